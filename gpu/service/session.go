package service

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/wire"
)

// Session is a base model and modules in an evaluator; it gives the numbers and the errors that an engine.Mixer gives in this process,
// bit for bit. It is safe for concurrent use.
type Session struct {
	life   context.Context
	opened openReply
	// with calls send with a client and the session's id there, again if the evaluator dies and another takes its place.
	with func(ctx context.Context, send func(c *Client, id string) error) error
	end  func(ctx context.Context) error
}

var _ compose.Model = (*Session)(nil)

// Backend is what the session runs on.
func (s *Session) Backend() Backend { return s.opened.Backend }

// Quantised is the engine's, of the base.
func (s *Session) Quantised() []engine.Quantised { return s.opened.Quantised }

// ask makes one request of a session and returns its answer.
func ask[T any](ctx context.Context, s *Session, path string, body any) (answer T, err error) {
	err = s.with(ctx, func(c *Client, id string) error {
		answer, err = call[T](ctx, c, http.MethodPost, "sessions/"+id+"/"+path, body)
		return err
	})
	return answer, err
}

// Tokens is compose.Model's.
func (s *Session) Tokens(examples []task.Example) ([]int, error) {
	counts, err := s.Count(s.life, examples)
	return counts.Outputs, err
}

// Count is the mixer's.
func (s *Session) Count(ctx context.Context, examples []task.Example) (task.Counts, error) {
	answer, err := ask[tokensReply](ctx, s, "tokens", tokensRequest{whole(examples)})
	return task.Counts{Inputs: answer.Inputs, Outputs: answer.Tokens, Pieces: answer.Pieces, Warnings: answer.Warnings}, err
}

// Score is compose.Model's. Objectives are left zero: they are the caller's.
func (s *Session) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	q := scoreRequest{Examples: whole(examples), Weights: make([][]wire.Number, len(weights))}
	for i, w := range weights {
		q.Weights[i] = wire.Numbers(w)
	}
	answer, err := ask[scoreReply](ctx, s, "score", q)
	if err != nil {
		return nil, err
	}
	scores := make([]search.Score, len(answer.Scores))
	for i, m := range answer.Scores {
		scores[i] = m.score()
	}
	return scores, nil
}

// Generate is compose.Model's: greedy answers.
func (s *Session) Generate(ctx context.Context, inputs []string, weights []float64, progress func(done int)) ([]string, error) {
	return engine.Greedy(ctx, s, inputs, weights, progress)
}

// Answer is the mixer's. The listener hears each text and each end once, also when the evaluator dies meanwhile and another does the work
// again.
func (s *Session) Answer(ctx context.Context, prompts []engine.Prompt, weights []float64, sampling engine.Sampling, l engine.AnswerListener) ([]engine.Answer, error) {
	q := generateRequest{Prompts: slices.Clone(prompts), Weights: wire.Numbers(weights), Sampling: newSamplingMessage(sampling)}
	for i := range q.Prompts {
		q.Prompts[i] = wholePrompt(q.Prompts[i])
	}
	told := telling{listener: l, bytes: make([]int, len(prompts)), done: make([]bool, len(prompts))}
	var answers []engine.Answer
	err := s.with(ctx, func(c *Client, id string) error {
		response, err := c.send(ctx, http.MethodPost, "sessions/"+id+"/generate", q)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		answers, err = readAnswers(ctx, json.NewDecoder(response.Body), len(prompts), &told)
		return err
	})
	return answers, err
}

// readAnswers reads the events of n answers.
func readAnswers(ctx context.Context, lines *json.Decoder, n int, told *telling) ([]engine.Answer, error) {
	answers, texts, ended := make([]engine.Answer, n), make([]strings.Builder, n), 0
	for {
		var e event
		if err := lines.Decode(&e); err != nil {
			return nil, interrupted(ctx, err)
		}
		switch {
		case e.Problem != nil && ctx.Err() != nil:
			return nil, canceled(ctx)
		case e.Problem != nil:
			return nil, e.Problem.fault()
		case e.End && ended == n:
			return answers, nil
		case e.End || e.Input < 0 || e.Input >= n:
			return nil, fault.New(fault.Internal, "evaluator", "gave answers that do not fit %d prompts", n)
		case e.Done != nil:
			ended++
			answers[e.Input] = e.Done.answer(texts[e.Input].String())
			told.end(e.Input, answers[e.Input])
		default:
			texts[e.Input].WriteString(e.Text)
			told.text(e.Input, texts[e.Input].String(), e.Text)
		}
	}
}

// telling remembers what a listener was told of each answer.
type telling struct {
	listener engine.AnswerListener
	bytes    []int
	done     []bool
}

// text tells what of an answer so far, which ends in the newest text, was not told yet.
func (t *telling) text(input int, all, newest string) {
	if t.listener.Text == nil || len(all) <= t.bytes[input] {
		return
	}
	t.listener.Text(input, newest[max(0, len(newest)-(len(all)-t.bytes[input])):])
	t.bytes[input] = len(all)
}

func (t *telling) end(input int, a engine.Answer) {
	if t.listener.Done != nil && !t.done[input] {
		t.listener.Done(input, a)
	}
	t.done[input] = true
}

// closeTime is how long the end of a session is waited for.
const closeTime = 10 * time.Second

// Close frees the session; what it is doing is canceled.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), closeTime)
	defer cancel()
	return s.end(ctx)
}

func whole(examples []task.Example) []task.Example {
	all := make([]task.Example, len(examples))
	for i, x := range examples {
		all[i] = task.Example{Input: wholeText(x.Input), Output: wholeText(x.Output)}
	}
	return all
}
