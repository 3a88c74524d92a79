package engine

import (
	"context"
	"strings"

	"github.com/medley-lora/medley/gpu/tokenizer"
)

// Answer is what the model answers to one input.
type Answer struct {
	Text    string
	Tokens  int    // end token not counted
	Warning string // says whether the input was cut
}

// AnswerListener hears of answers as they come. Either function may be nil.
type AnswerListener struct {
	Text func(input int, text string) // what the answer goes on with; inputs take turns
	Done func(input int)
}

// Answer answers each input under one weight vector.
func (m *Mixer) Answer(ctx context.Context, inputs []string, weights []float64, s Sampling, l AnswerListener) ([]Answer, error) {
	c, err := m.Composition(weights)
	if err != nil {
		return nil, err
	}
	answers := make([]Answer, len(inputs))
	requests, decoders, texts := make([]Request, len(inputs)), make([]*tokenizer.Decoder, len(inputs)), make([]strings.Builder, len(inputs))
	for i, input := range inputs {
		requests[i].Composition = &c
		requests[i].Source, answers[i].Warning = m.engine.EncodeInput(input)
		decoders[i] = m.engine.Tokenizer.NewDecoder()
	}
	goOn := func(i int, text string) {
		if texts[i].Len() == 0 {
			text = m.engine.model.answer(text)
		}
		texts[i].WriteString(text)
		if l.Text != nil && text != "" {
			l.Text(i, text)
		}
	}
	_, err = m.engine.Generate(ctx, requests, s, Listener{
		Token: func(i int, id int32) {
			answers[i].Tokens++
			goOn(i, decoders[i].Next(id))
		},
		Done: func(i int) {
			goOn(i, decoders[i].Flush())
			if l.Done != nil {
				l.Done(i)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	for i := range answers {
		answers[i].Text = texts[i].String()
	}
	return answers, nil
}
