package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/wire"
)

// decidedThere refuses what a server decides.
func (f backendFlag) decidedThere() error {
	if f.Backend != "auto" || f.Precision != f32 {
		return fault.New(fault.Invalid, "--backend", "and --precision cannot be used with --server, which decides that")
	}
	return nil
}

// onServer scores on a server, with the output of scoring here.
func (c *scoreCommand) onServer(a *app) error {
	if err := c.decidedThere(); err != nil {
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
	s, modules, err := c.withModules(a, c.modulesFlag)
	if err != nil {
		return err
	}
	weights, err := readWeights(c.Weights, len(modules))
	if err != nil {
		return err
	}
	opened, err := s.OpenEvaluationWithResponse(a.ctx, &api.OpenEvaluationParams{IdempotencyKey: once()}, api.EvaluationRequest{
		Base: c.Base, Modules: ids(modules), Examples: examples, Method: lora.Method(c.Method),
	})
	if err != nil {
		return s.unreachable(a.ctx, err)
	}
	e := opened.JSON201
	if e == nil {
		return refused(opened.HTTPResponse, opened.ApplicationProblemJSONDefault)
	}
	defer s.CloseEvaluation(context.WithoutCancel(a.ctx), e.ID) //nolint:errcheck // it closes by itself in a day
	for _, w := range e.Warnings {
		a.note("warning: %s", w)
	}
	scores, err := s.score(a.ctx, e.ID, weights)
	if err != nil {
		return err
	}
	out := &scoreOutput{Backend: e.Backend, Precision: f32}
	for _, m := range modules {
		out.Modules = append(out.Modules, m.Name)
	}
	out.add(scores, e.Tokens, weights, objective)
	if c.JSON {
		return a.printJSON(out)
	}
	out.print(a)
	return nil
}

// maxCandidates is what one request may score.
const maxCandidates = 256

// score scores weights in as many requests as they need.
func (s *server) score(ctx context.Context, evaluation string, weights [][]float64) (scores []search.Score, err error) {
	for len(weights) > 0 {
		n := min(maxCandidates, len(weights))
		r, err := s.ScoreCandidatesWithResponse(ctx, evaluation, api.Candidates{Weights: weights[:n]})
		if err != nil {
			return nil, s.unreachable(ctx, err)
		}
		if r.JSON200 == nil || len(r.JSON200.Scores) != n {
			return nil, refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
		}
		for _, one := range r.JSON200.Scores {
			scores = append(scores, search.Score{Loss: float64(one.Loss), Examples: wire.Floats(one.Examples), LogProbs: wire.Floats(one.LogProbs)})
		}
		weights = weights[n:]
	}
	return scores, nil
}

// onServer answers on a server, with the output of answering here.
func (c *generateCommand) onServer(a *app, prompts []string) error {
	if err := c.decidedThere(); err != nil {
		return err
	}
	if c.Adapter != "" {
		if len(c.Modules)+len(c.Folders) > 0 || c.Weights != "" {
			return fault.New(fault.Invalid, "--adapter", "cannot be used together with --modules and --weights; an adapter has weight 1")
		}
		c.Modules, c.Weights, c.Method = []string{c.Adapter}, "1", string(lora.Delta)
	}
	s, modules, err := c.withModules(a, c.modulesFlag)
	if err != nil {
		return err
	}
	weights, err := c.weightsOf(len(modules))
	if err != nil {
		return err
	}
	seed := int64(c.Seed) //nolint:gosec // the server refuses what it has no room for
	listener := engine.AnswerListener{Text: func(int, string) {}, Done: func(int, engine.Answer) {}}
	if !c.JSON {
		listener = stream(a, len(prompts))
	}
	var out []answerOf
	for first := 0; first < len(prompts); first += maxInputs {
		some := prompts[first:min(first+maxInputs, len(prompts))]
		texts, err := s.generate(a, api.GenerationRequest{
			Base: c.Base, Modules: ids(modules), Weights: weights, Method: lora.Method(c.Method), Inputs: some, MaxTokens: c.MaxTokens,
			Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, Seed: &seed,
		}, first, listener)
		if err != nil {
			return err
		}
		for i, text := range texts {
			out = append(out, answerOf{Input: some[i], Output: text})
		}
	}
	if !c.JSON {
		return nil
	}
	return a.printJSON(map[string]any{"answers": out})
}

// maxInputs is what one request may ask for.
const maxInputs = 64

// generate answers prompts, whose number begins at first, as they come.
func (s *server) generate(a *app, q api.GenerationRequest, first int, l engine.AnswerListener) (texts []string, err error) {
	r, err := s.Generate(a.ctx, q)
	if err != nil {
		return nil, s.unreachable(a.ctx, err)
	}
	defer r.Body.Close()
	lines := json.NewDecoder(r.Body)
	if r.StatusCode != http.StatusOK {
		var p api.Problem
		if lines.Decode(&p) != nil {
			return nil, refused(r, nil)
		}
		return nil, refused(r, &p)
	}
	texts = make([]string, len(q.Inputs))
	for {
		var line api.GenerationLine
		if err := lines.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, s.unreachable(a.ctx, err)
		}
		switch {
		case line.Problem != nil:
			return nil, refused(&http.Response{StatusCode: line.Problem.Status}, line.Problem)
		case line.End:
			for _, w := range line.Warnings {
				a.note("warning: %s", w)
			}
			return texts, nil
		case line.Input < 0 || line.Input >= len(texts):
			return nil, fault.New(fault.Internal, "--server", "answered an input that there is not")
		case line.Done:
			l.Done(first+line.Input, engine.Answer{Text: texts[line.Input]})
		default:
			texts[line.Input] += line.Text
			l.Text(first+line.Input, line.Text)
		}
	}
}
