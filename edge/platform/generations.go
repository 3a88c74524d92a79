package platform

import (
	"context"
	"fmt"
	"sync"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
)

// Generate answers prompts.
func (p *Platform) Generate(ctx context.Context, owner string, r api.GenerationRequest, write func(api.GenerationLine) error) error {
	modules, err := p.known(ctx, owner, r.Base, r.Modules)
	if err != nil {
		return err
	}
	model, leave, err := p.pool.take(ctx, compute.Spec{Base: r.Base, Modules: modules, Method: r.Method})
	if err != nil {
		return err
	}
	defer leave()
	sampling := compute.Sampling{MaxTokens: r.MaxTokens, Temperature: r.Temperature, TopK: r.TopK, TopP: r.TopP}
	if r.Seed != nil {
		sampling.Seed = uint64(*r.Seed) //nolint:gosec // the specification has it at least 0
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &lineWriter{write: write, broken: cancel}
	prompts := make([]compute.Prompt, len(r.Inputs))
	for i, text := range r.Inputs {
		prompts[i] = compute.Prompt{Text: text, Salt: owner}
	}
	answers, err := model.Answer(ctx, prompts, r.Weights, sampling, compute.Listener{
		Text: func(input int, text string) { w.send(api.GenerationLine{Input: input, Text: text}) },
		Done: func(input int, _ compute.Answer) { w.send(api.GenerationLine{Input: input, Done: true}) },
	})
	if w.err != nil {
		return w.err
	}
	if err != nil {
		return err
	}
	var warnings []string
	for i, a := range answers {
		if a.Warning != "" {
			warnings = append(warnings, fmt.Sprintf("input %d: %s", i+1, a.Warning))
		}
	}
	return write(api.GenerationLine{End: true, Warnings: warnings})
}

// lineWriter writes lines until one cannot be written.
type lineWriter struct {
	write  func(api.GenerationLine) error
	broken context.CancelCauseFunc

	mu  sync.Mutex
	err error
}

func (w *lineWriter) send(line api.GenerationLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if w.err = w.write(line); w.err != nil {
		w.broken(w.err)
	}
}
