package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

type scoreCommand struct {
	Base     string `required:"" placeholder:"DIR" help:"Base model: a folder, or ORG/NAME on the Hub; with --server, its name there."`
	Examples string `required:"" placeholder:"FILE" help:"Examples: JSON lines of {\"input\", \"output\"}."`
	Weights  string `required:"" placeholder:"LIST|FILE" help:"One weight per module, '0.5,-0.25,1', in the order of --modules; or a file with one JSON list a line, or one list of lists."`
	Method   string `default:"delta" help:"delta or product."`
	modulesFlag
	objectiveFlag
	backendFlag
	JSON bool `help:"Print the result as one JSON object."`
	serverFlags
}

// scoreOutput is what score prints with --json.
type scoreOutput struct {
	Scores  []scoreOf `json:"scores"`
	Modules []string  `json:"modules"`
	Backend string    `json:"backend"`

	Precision string `json:"precision"`
	// LossDifference is the mean over the vectors of |loss - loss in f32|; absent in f32.
	LossDifference *compose.Finite `json:"loss_difference,omitempty"`
	exact          *scoreOutput    // in f32
}

// lossDifference compares with the exact scores.
func (o *scoreOutput) lossDifference() *compose.Finite {
	sum := 0.0
	for i, s := range o.Scores {
		sum += math.Abs(float64(s.Loss - o.exact.Scores[i].Loss))
	}
	d := compose.Finite(sum / float64(len(o.Scores)))
	return &d
}

type scoreOf struct {
	Weights   []float64      `json:"weights"`
	Objective compose.Finite `json:"objective"`
	Loss      compose.Finite `json:"loss"`
	Examples  []exampleOf    `json:"examples"`
}

type exampleOf struct {
	Loss     compose.Finite   `json:"loss"`
	LogProbs []compose.Finite `json:"logprobs"`
}

func (c *scoreCommand) Run(a *app) error {
	if c.Server != "" {
		return c.onServer(a)
	}
	modules, err := c.find(a)
	if err != nil {
		return err
	}
	weights, err := readWeights(c.Weights, len(modules))
	if err != nil {
		return err
	}
	objective, err := c.parse()
	if err != nil {
		return err
	}
	examples, err := readExamples("--examples", c.Examples)
	if err != nil {
		return err
	}
	out, err := c.score(a, c.backendFlag, objective, examples, modules, weights)
	if err != nil {
		return err
	}
	if c.Precision != f32 {
		exact := c.backendFlag
		exact.Precision = f32
		if out.exact, err = c.score(a, exact, objective, examples, modules, weights); err != nil {
			return err
		}
		out.LossDifference = out.lossDifference()
	}
	if c.JSON {
		return a.printJSON(out)
	}
	out.print(a)
	return nil
}

// score loads the base as the flags say and scores every vector.
func (c *scoreCommand) score(a *app, f backendFlag, objective task.Objective, examples []task.Example, modules []module, weights [][]float64) (*scoreOutput, error) {
	base, err := openBase(a, c.Base, f)
	if err != nil {
		return nil, err
	}
	defer base.close()
	model, err := base.open(lora.Method(c.Method), modules)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	counts, err := model.Count(a.ctx, examples)
	if err != nil {
		return nil, err
	}
	if f == c.backendFlag { // not a second time for the comparison
		for _, w := range counts.Warnings {
			a.note("warning: %s", w)
		}
	}
	scores, err := model.Score(a.ctx, examples, weights)
	if err != nil {
		return nil, err
	}
	out := &scoreOutput{Modules: names(modules), Backend: base.backend, Precision: f.Precision}
	out.add(scores, counts.Outputs, weights, objective)
	return out, nil
}

// add takes the scores of examples with that many target tokens each.
func (o *scoreOutput) add(scores []search.Score, tokens []int, weights [][]float64, objective task.Objective) {
	for i, s := range scores {
		one := scoreOf{Weights: weights[i], Loss: compose.Finite(s.Loss), Objective: compose.Finite(objective.Value(s.Examples, tokens, weights[i]))}
		rest := s.LogProbs
		for j, loss := range s.Examples {
			x := exampleOf{Loss: compose.Finite(loss)}
			for _, v := range rest[:tokens[j]] {
				x.LogProbs = append(x.LogProbs, compose.Finite(v))
			}
			rest = rest[tokens[j]:]
			one.Examples = append(one.Examples, x)
		}
		o.Scores = append(o.Scores, one)
	}
}

func (o *scoreOutput) print(a *app) {
	t := newTable(a.stdout, "vector", "objective", "loss", "loss of each example")
	for i, s := range o.Scores {
		var losses []string
		for _, x := range s.Examples {
			losses = append(losses, fmt.Sprintf("%.4f", float64(x.Loss)))
		}
		t.AppendRow(table.Row{i + 1, fmt.Sprintf("%.6f", float64(s.Objective)), fmt.Sprintf("%.6f", float64(s.Loss)), strings.Join(losses, " ")})
	}
	t.Render()
	if o.LossDifference != nil {
		fmt.Fprintf(a.stdout, "\n%s against f32: the loss differs by %.2g in the mean.\n", o.Precision, float64(*o.LossDifference))
	}
}

// Bounds on a file of weights.
const (
	maxWeightsFile = 256 << 20
	maxWeight      = 1e6
)

// readWeights reads weight vectors of n numbers each: a comma-separated list, a JSON list, or a file of JSON lists.
func readWeights(text string, n int) ([][]float64, error) {
	data := []byte(text)
	if info, err := os.Stat(text); err == nil && !info.IsDir() {
		if info.Size() > maxWeightsFile {
			return nil, fault.New(fault.TooLarge, "--weights", "the file has %d bytes; at most %d are read", info.Size(), maxWeightsFile)
		}
		if data, err = os.ReadFile(text); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "--weights", "%s cannot be read: %v", text, errorWithoutPath(err))
		}
	} else if !strings.HasPrefix(strings.TrimSpace(text), "[") {
		data = []byte("[" + text + "]")
	}
	vectors, err := parseVectors(data)
	if err != nil {
		return nil, err
	}
	if len(vectors) == 0 {
		return nil, fault.New(fault.Invalid, "--weights", "holds no numbers; expected %d per vector, one per module", n)
	}
	for i, v := range vectors {
		if len(v) != n {
			return nil, fault.New(fault.Invalid, "--weights", "vector %d has %d numbers; expected %d, one per module", i+1, len(v), n)
		}
		for j, w := range v {
			if math.IsNaN(w) || math.Abs(w) > maxWeight {
				return nil, fault.New(fault.Invalid, "--weights", "vector %d, number %d: %g is outside ±%g", i+1, j+1, w, float64(maxWeight))
			}
		}
	}
	return vectors, nil
}

// parseVectors reads any sequence of JSON values, each a list of numbers or a list of such lists.
func parseVectors(data []byte) ([][]float64, error) {
	var vectors [][]float64
	d := json.NewDecoder(bytes.NewReader(data))
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, notWeights(err)
		}
		var one []float64
		if json.Unmarshal(raw, &one) == nil {
			vectors = append(vectors, one)
			continue
		}
		var many [][]float64
		if err := json.Unmarshal(raw, &many); err != nil {
			return nil, notWeights(err)
		}
		vectors = append(vectors, many...)
	}
	return vectors, nil
}

func notWeights(err error) error {
	return fault.Wrap(err, fault.Invalid, "--weights", "expected a file, or numbers such as '0.5,-0.25,1' (%v)", err)
}
