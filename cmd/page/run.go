//go:build js

package main

import (
	"strings"
	"syscall/js"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// score is model.score(examples, weights, options).
func (m *model) score(args []js.Value) (any, error) {
	var options struct{ Method lora.Method }
	if err := decode("options", argument(args, 2), &options); err != nil {
		return nil, err
	}
	var examples []task.Example
	if err := decode("examples", argument(args, 0), &examples); err != nil {
		return nil, err
	}
	n, err := length("weights", argument(args, 1))
	if err != nil {
		return nil, err
	}
	weights := make([][]float64, n)
	for i := range weights {
		if weights[i], err = vector("weights", args[1].Index(i)); err != nil {
			return nil, err
		}
	}
	mixer, err := m.mixer(options.Method)
	if err != nil {
		return nil, err
	}
	scores, err := mixer.Score(m.ctx, examples, weights)
	if err != nil {
		return nil, err
	}
	tokens, err := mixer.Tokens(examples)
	if err != nil {
		return nil, err
	}
	return array(scores, func(s search.Score) any {
		left := s.LogProbs
		logProbs := array(tokens, func(n int) any {
			of := array(left[:n], number)
			left = left[n:]
			return of
		})
		return map[string]any{"loss": s.Loss, "examples": array(s.Examples, number), "logProbs": logProbs}
	}), nil
}

// generate is model.generate(inputs, weights, onToken, options).
func (m *model) generate(args []js.Value) (any, error) {
	var options struct {
		Method lora.Method
		engine.Sampling
	}
	if err := decode("options", argument(args, 3), &options); err != nil {
		return nil, err
	}
	var inputs []string
	if err := decode("inputs", argument(args, 0), &inputs); err != nil {
		return nil, err
	}
	weights, err := vector("weights", argument(args, 1))
	if err != nil {
		return nil, err
	}
	onToken := argument(args, 2)
	if !onToken.IsUndefined() && !onToken.IsNull() && onToken.Type() != js.TypeFunction {
		return nil, fault.New(fault.Invalid, "onToken", "is not a function")
	}
	mixer, err := m.mixer(options.Method)
	if err != nil {
		return nil, err
	}
	composition, err := mixer.Composition(weights)
	if err != nil {
		return nil, err
	}
	requests := make([]engine.Request, len(inputs))
	for i, input := range inputs {
		source, _ := m.engine.EncodeInput(input)
		requests[i] = engine.Request{Source: source, Composition: &composition}
	}
	outputs, err := m.engine.Generate(m.ctx, requests, options.Sampling, m.listener(onToken, len(inputs)))
	if err != nil {
		return nil, err
	}
	return array(outputs, func(ids []int32) any {
		return map[string]any{"ids": array(ids, func(id int32) any { return id }), "text": m.engine.Tokenizer.Decode(ids)}
	}), nil
}

// listener calls onToken(input, id, text), if it is a function.
func (m *model) listener(onToken js.Value, inputs int) engine.Listener {
	if onToken.Type() != js.TypeFunction {
		return engine.Listener{}
	}
	texts := make([]*tokenizer.Decoder, inputs)
	for i := range texts {
		texts[i] = m.engine.Tokenizer.NewDecoder()
	}
	return engine.Listener{Token: func(input int, id int32) bool {
		onToken.Invoke(input, id, texts[input].Next(id))
		return true
	}}
}

// tokens is model.tokens(examples).
func (m *model) tokens(args []js.Value) (any, error) {
	var examples []task.Example
	if err := decode("examples", argument(args, 0), &examples); err != nil {
		return nil, err
	}
	return array(examples, func(e task.Example) any {
		source, cut := m.engine.EncodeInput(e.Input)
		encoded, warnings := m.engine.Encode([]task.Example{{Output: e.Output}})
		if cut != "" {
			cut = "input " + cut
		}
		for _, w := range warnings { // of the output, the input being empty
			_, cut, _ = strings.Cut(w, ": ")
		}
		texts := array(m.engine.Pieces(encoded[0].Target), func(text string) any { return text })
		return map[string]any{"input": len(source), "output": texts, "warning": cut}
	}), nil
}
