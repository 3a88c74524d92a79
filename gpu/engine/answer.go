package engine

import (
	"context"
	"strings"

	"github.com/medley-lora/medley/gpu/tokenizer"
)

// Answer is what the model answers to one prompt.
type Answer struct {
	Text    string
	Prompt  int    // tokens of the prompt
	Tokens  int    // of the answer, end token not counted
	Limited bool   // the limit of tokens ended it, not an end token or a stop
	Warning string // says whether the prompt was cut
}

// AnswerListener hears of answers as they come. Either function may be nil.
type AnswerListener struct {
	Text func(input int, text string) // what the answer goes on with; inputs take turns
	Done func(input int, a Answer)
}

// Answer answers each prompt under one weight vector.
func (m *Mixer) Answer(ctx context.Context, prompts []Prompt, weights []float64, s Sampling, l AnswerListener) ([]Answer, error) {
	c, err := m.Composition(weights)
	if err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	answers, requests := make([]answering, len(prompts)), make([]Request, len(prompts))
	for i, p := range prompts {
		source, warning, err := m.engine.EncodePrompt(p)
		if err != nil {
			return nil, err
		}
		requests[i] = Request{Source: source, Composition: &c, MaxTokens: m.engine.left(p, len(source), s.MaxTokens), Salt: p.Salt}
		answers[i] = answering{
			Answer: Answer{Prompt: len(source), Warning: warning}, whole: p.Whole && len(p.Messages) == 0, most: requests[i].MaxTokens,
			engine: m.engine, decoder: m.engine.Tokenizer.NewDecoder(), stopper: stopper{stops: s.Stop}, listen: func(text string) {
				if l.Text != nil && text != "" {
					l.Text(i, text)
				}
			},
		}
	}
	s.Stop = nil
	_, err = m.engine.Generate(ctx, requests, s, Listener{
		Token: func(i int, id int32) bool {
			answers[i].Tokens++
			answers[i].goOn(answers[i].decoder.Next(id))
			return !answers[i].stopper.stopped
		},
		Done: func(i int) {
			answers[i].end()
			if l.Done != nil {
				l.Done(i, answers[i].Answer)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	all := make([]Answer, len(answers))
	for i := range answers {
		all[i] = answers[i].Answer
	}
	return all, nil
}

// Answerer answers each prompt under one weight vector, as a Mixer does.
type Answerer interface {
	Answer(ctx context.Context, prompts []Prompt, weights []float64, s Sampling, l AnswerListener) ([]Answer, error)
}

// Greedy answers each input greedily under one weight vector. progress is called with the number of answers done.
func Greedy(ctx context.Context, a Answerer, inputs []string, weights []float64, progress func(done int)) ([]string, error) {
	done := 0
	answers, err := a.Answer(ctx, Texts(inputs), weights, Sampling{}, AnswerListener{Done: func(int, Answer) { done++; progress(done) }})
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(answers))
	for i, answer := range answers {
		texts[i] = answer.Text
	}
	return texts, nil
}

// answering is an answer that is on its way.
type answering struct {
	Answer
	whole   bool // it keeps the space that it begins with
	most    int  // tokens
	engine  *Engine
	decoder *tokenizer.Decoder
	stopper stopper
	begun   bool
	text    strings.Builder
	listen  func(text string)
}

// goOn takes a piece of the text.
func (a *answering) goOn(text string) {
	if text == "" {
		return
	}
	if !a.begun && !a.whole {
		text = a.engine.model.answer(text)
	}
	a.begun = true
	a.tell(a.stopper.next(text))
}

func (a *answering) tell(text string) {
	a.text.WriteString(text)
	a.listen(text)
}

func (a *answering) end() {
	a.goOn(a.decoder.Flush())
	a.tell(a.stopper.flush())
	a.Text = a.text.String()
	a.Limited = a.Tokens == a.most && !a.stopper.stopped
}
