package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/lora"
)

type generateCommand struct {
	Base    string `required:"" placeholder:"DIR" help:"Base model: a folder, or ORG/NAME on the Hub; with --server, its name there."`
	Adapter string `placeholder:"DIR" help:"One adapter, at weight 1: a folder, or ORG/NAME on the Hub."`
	modulesFlag
	Weights string `placeholder:"LIST|FILE" help:"Weights of --modules, as for score."`
	Method  string `default:"delta" help:"delta or product."`
	backendFlag
	Prompt      string  `placeholder:"TEXT" help:"The text to answer."`
	Input       string  `placeholder:"FILE" help:"A file with one prompt a line, plain or as JSON {\"input\"}; - is standard input, the default."`
	MaxTokens   int     `default:"256" help:"The most tokens of an answer."`
	Temperature float64 `default:"0" help:"0 is greedy; higher is more random."`
	TopK        int     `default:"0" help:"Draw among the K likeliest tokens (0: all)."`
	TopP        float64 `default:"1" help:"Draw among the likeliest tokens that hold this share of the probability."`
	Seed        uint64  `default:"42" help:"Seed of the draws."`
	JSON        bool    `help:"Print the answers as one JSON object instead of as they come."`
	serverFlags
}

// answerOf is one answer in the output of generate --json.
type answerOf struct {
	Input  string `json:"input"`
	Output string `json:"output"`
	Tokens int    `json:"tokens,omitempty"` // not told by servers
}

func (c *generateCommand) Run(a *app) error {
	prompts, err := c.prompts(a.stdin)
	if err != nil {
		return err
	}
	if c.Server != "" {
		return c.onServer(a, prompts)
	}
	modules, weights, err := c.composition(a)
	if err != nil {
		return err
	}
	base, err := openBase(a, c.Base, c.backendFlag)
	if err != nil {
		return err
	}
	defer base.close()
	model, err := base.open(lora.Method(c.Method), modules)
	if err != nil {
		return err
	}
	defer model.Close()
	listener := engine.AnswerListener{}
	if !c.JSON {
		listener = stream(a, len(prompts))
	}
	sampling := engine.Sampling{MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, Seed: c.Seed}
	answers, err := model.Answer(a.ctx, engine.Texts(prompts), weights, sampling, listener)
	if err != nil {
		return err
	}
	out := make([]answerOf, len(answers))
	for i, x := range answers {
		if x.Warning != "" {
			a.note("warning: prompt %d: %s", i+1, x.Warning)
		}
		out[i] = answerOf{Input: prompts[i], Output: x.Text, Tokens: x.Tokens}
	}
	if !c.JSON {
		return nil
	}
	return a.printJSON(map[string]any{"answers": out, "backend": base.backend})
}

// composition is the adapter, the weighted modules, or none for the bare base.
func (c *generateCommand) composition(a *app) ([]module, []float64, error) {
	modules, err := c.find(a)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case c.Adapter != "" && len(modules) > 0:
		return nil, nil, fault.New(fault.Invalid, "--adapter", "and --modules cannot be used together")
	case c.Adapter != "" && c.Weights != "":
		return nil, nil, fault.New(fault.Invalid, "--adapter", "and --weights cannot be used together; an adapter has weight 1")
	case c.Adapter != "":
		c.Method = string(lora.Delta)
		folder, err := a.place("--adapter", c.Adapter, hub.Adapter)
		return []module{{name: "adapter", folder: folder}}, []float64{1}, err
	}
	weights, err := c.weightsOf(len(modules))
	return modules, weights, err
}

// weightsOf reads one weight for each of n modules.
func (c *generateCommand) weightsOf(n int) ([]float64, error) {
	switch {
	case n == 0 && c.Weights != "":
		return nil, fault.New(fault.Invalid, "--weights", "needs --modules, the folders that they weigh")
	case n == 0:
		return nil, nil
	case c.Weights == "":
		return nil, fault.New(fault.Invalid, "--weights", "is missing; expected one number per module")
	}
	weights, err := readWeights(c.Weights, n)
	if err != nil {
		return nil, err
	}
	if len(weights) != 1 {
		return nil, fault.New(fault.Invalid, "--weights", "holds %d vectors; expected one", len(weights))
	}
	return weights[0], nil
}

// Bounds on what is read as prompts.
const (
	maxPromptLine = 16 << 20
	maxPrompts    = 1_000_000
)

// prompts is --prompt, or the lines of --input.
func (c *generateCommand) prompts(stdin io.Reader) ([]string, error) {
	if c.Prompt != "" {
		if c.Input != "" {
			return nil, fault.New(fault.Invalid, "--prompt", "and --input cannot be used together")
		}
		return []string{c.Prompt}, nil
	}
	in := stdin
	if c.Input != "" && c.Input != "-" {
		f, err := os.Open(c.Input)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "--input", "%s cannot be read: %v", c.Input, errorWithoutPath(err))
		}
		defer f.Close()
		in = f
	}
	var prompts []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxPromptLine)
	for lines.Scan() {
		if len(prompts) == maxPrompts {
			return nil, fault.New(fault.TooLarge, "--input", "has more than %d lines", maxPrompts)
		}
		if text := strings.TrimSpace(lines.Text()); text != "" {
			prompts = append(prompts, promptOf(text))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--input", "line %d: %v", len(prompts)+1, err)
	}
	if len(prompts) == 0 {
		return nil, fault.New(fault.Invalid, "--prompt", "there is nothing to answer; give --prompt, --input or lines on standard input")
	}
	return prompts, nil
}

// promptOf takes the input of a JSON line, and any other line as it is.
func promptOf(line string) string {
	var x struct {
		Input *string `json:"input"`
	}
	if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &x) == nil && x.Input != nil {
		return *x.Input
	}
	return line
}

// stream prints n answers in the order of the prompts, one a line: the first unfinished one token by token, later ones, which are decoded at
// the same time, when their turn comes.
func stream(a *app, n int) engine.AnswerListener {
	waiting := make([]answerLine, n)
	current := 0
	return engine.AnswerListener{
		Text: func(i int, text string) {
			if i == current {
				fmt.Fprint(a.stdout, text)
			} else {
				waiting[i].text += text
			}
		},
		Done: func(i int, _ engine.Answer) {
			waiting[i].done = true
			for current < n && waiting[current].done {
				fmt.Fprintln(a.stdout)
				if current++; current < n {
					fmt.Fprint(a.stdout, waiting[current].text)
				}
			}
		},
	}
}

// answerLine is an answer that is not printed to its end yet.
type answerLine struct {
	text string // what came before its turn
	done bool
}
