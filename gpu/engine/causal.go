package engine

import (
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/gpu/llama"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/fault"
)

// causal is a decoder-only model: a target continues its source in one sequence, and its tokens alone count.
type causal struct {
	*llama.Model
	endIDs []int32     // the first ends a target
	chat   *chat.Frame // around an input; nil for none
}

// newCausal collects the tokens that end a text: the tokenizer's and the configuration's.
func newCausal(m *llama.Model, t *tokenizer.Tokenizer, frame *chat.Frame) (causal, error) {
	var ids []int32
	if id := t.EOS(); id >= 0 {
		ids = append(ids, id)
	}
	ids = append(ids, m.Config.EndIDs...)
	if len(ids) == 0 {
		return causal{}, fault.New(fault.Invalid, "eos_token", "neither tokenizer_config.json nor config.json (eos_token_id) names the token that ends a text")
	}
	return causal{m, ids, frame}, nil
}

// separator stands between an input and its output unless there is white space already.
func separator(input, output string) string {
	last, _ := utf8.DecodeLastRuneInString(input)
	first, _ := utf8.DecodeRuneInString(output)
	if input == "" || unicode.IsSpace(last) || unicode.IsSpace(first) {
		return ""
	}
	return " "
}

// encode takes the input's tokens out of those of the whole text. Should its last ones come out otherwise with the output behind them, they
// are the output's.
func (c causal) encode(t *tokenizer.Tokenizer, input, output string) (source, target []int32) {
	source = c.prompt(t, input)
	if c.chat != nil {
		return source, append(t.EncodeBare(output), c.endIDs[0])
	}
	whole := t.Encode(input + separator(input, output) + output)
	if input == "" { // what source begins with is no part of the text
		whole = append(slices.Clone(source), t.EncodeBare(output)...)
	}
	common := 0
	for common < min(len(source), len(whole)) && source[common] == whole[common] {
		common++
	}
	common = max(common, 1)
	return source[:common], append(slices.Clone(whole[common:]), c.endIDs[0])
}

// prompt is an input, in its frame if there is one.
func (c causal) prompt(t *tokenizer.Tokenizer, input string) []int32 {
	if c.chat != nil {
		return c.some(t.EncodeBare(c.chat.Around(input))) // which has what begins a text
	}
	return c.plain(t, input)
}

func (c causal) plain(t *tokenizer.Tokenizer, text string) []int32 { return c.some(t.Encode(text)) }

// some is at least one token: without any the one that ends texts, after which another begins.
func (c causal) some(ids []int32) []int32 {
	if len(ids) == 0 {
		ids = append(ids, c.endIDs[0])
	}
	return ids
}

func (c causal) context() int { return c.Config.MaxPositions }

// cut keeps the token that begins a text and the last ones: an output continues the end of its input.
func (causal) cut(t *tokenizer.Tokenizer, source []int32, most int) []int32 {
	last := source[len(source)-most:]
	if source[0] == t.BOS() {
		last = append([]int32{source[0]}, last[1:]...)
	}
	return last
}

func (c causal) end(*tokenizer.Tokenizer) int32 { return c.endIDs[0] }

func (c causal) ends(id int32) bool { return slices.Contains(c.endIDs, id) }

func (causal) answer(text string) string { return strings.TrimPrefix(text, " ") }

func (c causal) vocabulary() int { return c.Config.VocabSize }

// shared is the whole sequence but for its last token, which predicts nothing.
func (causal) shared(x Example) []int32 { return slices.Concat(x.Source, x.Target[:len(x.Target)-1]) }

func (causal) absorbs(tokens, int) bool { return false }

func (c causal) scoreBytes(bool) (shared, target int64) { return c.ScoreBytes(), 0 }

func (c causal) score(ctx context.Context, e *Engine, units []unit, _ bool) ([]float64, error) {
	var rows, targets []int32
	at := 0
	for _, u := range units {
		at += len(u.source)
		for i := range u.target { // the last rows predict them
			rows = append(rows, int32(at-len(u.target)+i))
		}
		targets = append(targets, u.target...)
	}
	p := e.backend.Begin(ctx)
	defer p.End()
	layout, _ := e.stretches(units, e.snapshot())
	x, err := c.Forward(p, layout...)
	if err != nil {
		return nil, err
	}
	return read(p, c.LogProbs(p, x, rows, targets))
}

func (c causal) stepBytes() (token, sequence int64) { return c.StepBytes() }

func (c causal) takes(source []int32, most int) error { return c.Takes(len(source) + most) }

func (c causal) decode() decoding { return causalDecoding{c.StartDecoding()} }

// causalDecoding feeds sources as it feeds what follows them.
type causalDecoding struct{ *llama.Decoding }

func (d causalDecoding) cache() *model.Cache { return d.Cache }

func (d causalDecoding) prepare(s *sequence) {
	source := s.call.requests[s.request].Source
	s.pending, s.needs = source, backend.PagesOf(len(source)+s.call.limit(s.request))
}

func (causalDecoding) atOnce(*sequence) int { return 1 }

func (causalDecoding) take(backend.Pass, []feed, *modules, int) {}

func (d causalDecoding) step(p backend.Pass, feeds []feed, up model.Updates) (backend.Tensor, error) {
	all := make([]llama.Feed, len(feeds))
	for i, f := range feeds {
		all[i] = llama.Feed{Sequence: &f.target, IDs: f.ids, Rows: f.rows, Logits: f.last}
	}
	return d.Step(p, all, up)
}
