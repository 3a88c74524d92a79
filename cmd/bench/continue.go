package main

import (
	"slices"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
)

// continuation times the greedy continuation of Sequences prompts at once, each under a module of its own if there are Modules. Seconds are from
// the first token to the last, First those until the first.
func (b *bench) continuation(r request) (reply, error) {
	m, err := b.model(r)
	if err != nil {
		return reply{}, err
	}
	requests := make([]engine.Request, max(1, r.Sequences))
	for i := range requests {
		requests[i].Source = r.Prompt
		if r.Apart {
			requests[i].Source = slices.Clone(r.Prompt)
			requests[i].Source[0] += int32(i)
		}
	}
	if r.Modules > 0 {
		if err := m.compose(r, requests); err != nil {
			return reply{}, err
		}
	}
	var first, last time.Time
	made := 0
	start := time.Now()
	outputs, err := m.engine.Generate(b.ctx, requests, engine.Sampling{MaxTokens: r.Count}, engine.Listener{Token: func(request int, _ int32) bool {
		last = time.Now()
		if first.IsZero() {
			first = last
		}
		made++
		return true
	}})
	if err != nil {
		return reply{}, err
	}
	steps := 0
	for _, ids := range outputs {
		steps = max(steps, len(ids))
	}
	return reply{
		First: first.Sub(start).Seconds(), Seconds: last.Sub(first).Seconds(), Tokens: made - made/max(1, steps), IDs: slices.Clone(outputs[0]),
		Peak: mebibytes("/proc/self/status", "VmHWM"), Own: mebibytes("/proc/self/status", "RssAnon"), Mapped: mebibytes("/proc/self/status", "RssFile"),
	}, nil
}

// compose gives each request a module of its own, in turns where they are fewer.
func (m *model) compose(r request, requests []engine.Request) error {
	if _, err := m.use(r); err != nil {
		return err
	}
	for i := range requests {
		one := make([]float64, r.Modules)
		one[i%r.Modules] = 1
		c, err := m.mixer.Composition(one)
		if err != nil {
			return err
		}
		requests[i].Composition = &c
	}
	return nil
}
