// Package computetest is evaluators and optimizers for tests of the platform: small, deterministic, and as slow or broken as a test likes.
package computetest

import (
	"context"
	"hash/fnv"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// tokens is how many target tokens every example has.
const tokens = 2

// Models is compute.Models on nothing: every example's loss is the mean squared distance of the weights from a point that its text and the
// modules' digests determine. It has one base, "tiny".
type Models struct {
	Delay time.Duration             // of each call of Score and Answer
	Fail  func(call string) error   // if set, is asked by "open", "score" and "answer" before they answer
	Asked func(weights [][]float64) // if set, is told of what is scored

	Asking func(spec compute.Spec, prompts []compute.Prompt, weights []float64) // if set, is told of what is answered

	Opened, Scored, Closed atomic.Int64 // models; candidates; models
}

// Bases lists the one base.
func (m *Models) Bases(context.Context) ([]compute.Base, error) {
	return []compute.Base{{Name: "tiny", Digest: "00000000000000000000000000000000000000000000000000000000000000ba", Size: 1 << 20}}, nil
}

// Ready finds nothing wrong.
func (m *Models) Ready(context.Context) error { return m.fail("ready") }

func (m *Models) fail(call string) error {
	if m.Fail == nil {
		return nil
	}
	return m.Fail(call)
}

// Open opens a model on the base "tiny".
func (m *Models) Open(ctx context.Context, spec compute.Spec) (compute.Model, error) {
	if err := m.fail("open"); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, canceled(ctx)
	}
	if spec.Base != "tiny" {
		return nil, fault.New(fault.NotFound, "base", "there is no base %s", spec.Base)
	}
	m.Opened.Add(1)
	return &model{m, spec}, nil
}

type model struct {
	*Models
	spec compute.Spec
}

func canceled(ctx context.Context) error {
	return fault.Wrap(ctx.Err(), fault.Canceled, "", "canceled")
}

func (m *model) wait(ctx context.Context, call string) error {
	if err := m.fail(call); err != nil {
		return err
	}
	select {
	case <-time.After(m.Delay):
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	}
}

// Backend is a name.
func (m *model) Backend() string { return "fake" }

// Tokens is two each.
func (m *model) Tokens(examples []task.Example) ([]int, error) {
	counts := make([]int, len(examples))
	for i := range counts {
		counts[i] = tokens
	}
	return counts, nil
}

// Count counts an input's words and warns of nothing; the first of the two tokens is the whole output.
func (m *model) Count(_ context.Context, examples []task.Example) (c task.Counts, err error) {
	c.Outputs, err = m.Tokens(examples)
	for _, x := range examples {
		c.Inputs = append(c.Inputs, len(strings.Fields(x.Input)))
		c.Pieces = append(c.Pieces, []string{x.Output, ""})
	}
	return c, err
}

// Score computes the distances.
func (m *model) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	if err := m.wait(ctx, "score"); err != nil {
		return nil, err
	}
	m.Scored.Add(int64(len(weights)))
	if m.Asked != nil {
		m.Asked(weights)
	}
	scores := make([]search.Score, len(weights))
	for k, w := range weights {
		for _, e := range examples {
			loss := m.loss(e, w)
			scores[k].Examples = append(scores[k].Examples, loss)
			scores[k].Loss += loss / float64(len(examples))
			for range tokens {
				scores[k].LogProbs = append(scores[k].LogProbs, -loss)
			}
		}
	}
	return scores, nil
}

func (m *model) loss(e task.Example, w []float64) float64 {
	sum := 0.0
	for i, module := range m.spec.Modules {
		h := fnv.New32a()
		_, _ = h.Write([]byte(e.Input + e.Output + module.Digest))
		d := w[i] - float64(h.Sum32()%1000)/1000
		sum += d * d
	}
	return sum / math.Max(1, float64(len(m.spec.Modules)))
}

// Generate says the input.
func (m *model) Generate(ctx context.Context, inputs []string, _ []float64, progress func(done int)) ([]string, error) {
	if err := m.wait(ctx, "answer"); err != nil {
		return nil, err
	}
	progress(len(inputs))
	return inputs, nil
}

// Answer says each text, and of each conversation the last message, in two pieces; a token is a byte.
func (m *model) Answer(ctx context.Context, prompts []compute.Prompt, weights []float64, _ compute.Sampling, l compute.Listener) ([]compute.Answer, error) {
	if m.Asking != nil {
		m.Asking(m.spec, prompts, weights)
	}
	answers := make([]compute.Answer, len(prompts))
	for i, p := range prompts {
		if err := m.wait(ctx, "answer"); err != nil {
			return nil, err
		}
		text := p.Text
		if n := len(p.Messages); n > 0 {
			text = p.Messages[n-1].Content
		}
		l.Text(i, text[:len(text)/2])
		l.Text(i, text[len(text)/2:])
		answers[i] = compute.Answer{Prompt: len(text), Tokens: len(text)}
		l.Done(i, answers[i])
	}
	return answers, nil
}

// Close counts.
func (m *model) Close() error {
	m.Closed.Add(1)
	return nil
}
