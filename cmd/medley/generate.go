package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

type generateCommand struct {
	Base    string `required:"" placeholder:"DIR" help:"Base model folder."`
	Adapter string `placeholder:"DIR" help:"One adapter folder, at weight 1."`
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
}

// answerOf is one answer in the output of generate --json.
type answerOf struct {
	Input  string `json:"input"`
	Output string `json:"output"`
	Tokens int    `json:"tokens"`
}

func (c *generateCommand) Run(a *app) error {
	prompts, err := c.prompts(a.stdin)
	if err != nil {
		return err
	}
	e, _, closeBase, err := openBase(a, c.Base, c.backendFlag)
	if err != nil {
		return err
	}
	defer closeBase()
	composition, err := c.composition(e)
	if err != nil {
		return err
	}
	requests := make([]engine.Request, len(prompts))
	for i, text := range prompts {
		source, warning := e.EncodeInput(text)
		if warning != "" {
			a.note("warning: prompt %d: %s", i+1, warning)
		}
		requests[i] = engine.Request{Source: source, Composition: composition}
	}
	sampling := engine.Sampling{MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, Seed: c.Seed}
	if c.JSON {
		return c.generateJSON(a, e, prompts, requests, sampling)
	}
	return stream(a, e, requests, sampling)
}

// composition is the adapter, the weighted modules, or the bare base.
func (c *generateCommand) composition(e *engine.Engine) (*engine.Composition, error) {
	modules, err := c.find()
	if err != nil {
		return nil, err
	}
	switch {
	case c.Adapter != "" && len(modules) > 0:
		return nil, fault.New(fault.Invalid, "--adapter", "and --modules cannot be used together")
	case c.Adapter != "" && c.Weights != "":
		return nil, fault.New(fault.Invalid, "--adapter", "and --weights cannot be used together; an adapter has weight 1")
	case c.Adapter != "":
		modules, c.Weights, c.Method = []module{{name: "adapter", folder: c.Adapter}}, "1", string(lora.Delta)
	case len(modules) == 0 && c.Weights != "":
		return nil, fault.New(fault.Invalid, "--weights", "needs --modules, the folders that they weigh")
	case len(modules) == 0:
		return nil, nil
	case c.Weights == "":
		return nil, fault.New(fault.Invalid, "--weights", "is missing; expected one number per module")
	}
	weights, err := readWeights(c.Weights, len(modules))
	if err != nil {
		return nil, err
	}
	if len(weights) != 1 {
		return nil, fault.New(fault.Invalid, "--weights", "holds %d vectors; expected one", len(weights))
	}
	mixer, err := engine.NewMixer(e, lora.Method(c.Method), names(modules), loader(modules))
	if err != nil {
		return nil, err
	}
	composition, err := mixer.Composition(weights[0])
	return &composition, err
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

func (c *generateCommand) generateJSON(a *app, e *engine.Engine, prompts []string, requests []engine.Request, s engine.Sampling) error {
	outputs, err := e.Generate(a.ctx, requests, s, engine.Listener{})
	if err != nil {
		return err
	}
	answers := make([]answerOf, len(outputs))
	for i, ids := range outputs {
		answers[i] = answerOf{Input: prompts[i], Output: e.Tokenizer.Decode(ids), Tokens: len(ids)}
	}
	return a.printJSON(map[string]any{"answers": answers, "backend": e.Backend().Name})
}

// stream prints the answers in the order of the prompts, one a line: the first unfinished one token by token, later ones, which are
// decoded at the same time, when their turn comes.
func stream(a *app, e *engine.Engine, requests []engine.Request, s engine.Sampling) error {
	waiting := make([]answerLine, len(requests))
	for i := range waiting {
		waiting[i].decoder = e.Tokenizer.NewDecoder()
	}
	current := 0
	_, err := e.Generate(a.ctx, requests, s, engine.Listener{
		Token: func(request int, id int32) {
			text := waiting[request].decoder.Next(id)
			if request == current {
				fmt.Fprint(a.stdout, text)
			} else {
				waiting[request].text += text
			}
		},
		Done: func(request int) {
			waiting[request].done = true
			for current < len(waiting) && waiting[current].done {
				fmt.Fprintln(a.stdout)
				if current++; current < len(waiting) {
					fmt.Fprint(a.stdout, waiting[current].text)
				}
			}
		},
	})
	return err
}

// answerLine is an answer that is not printed to its end yet.
type answerLine struct {
	decoder *tokenizer.Decoder
	text    string // what came before its turn
	done    bool
}
