package engine

import (
	"context"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/gpu/tokenizer"
)

// seq2seq is T5: an encoder for sources, a decoder for targets.
type seq2seq struct{ *t5.Model }

func (seq2seq) encode(t *tokenizer.Tokenizer, input, output string) (source, target []int32) {
	return t.Encode(input), t.Encode(output)
}

func (seq2seq) prompt(t *tokenizer.Tokenizer, input string) []int32 { return t.Encode(input) }

func (seq2seq) plain(t *tokenizer.Tokenizer, text string) []int32 { return t.Encode(text) }

func (seq2seq) context() int { return 0 }

// cut keeps the beginning and the end token.
func (s seq2seq) cut(t *tokenizer.Tokenizer, source []int32, most int) []int32 {
	return append(source[:most-1:most-1], s.end(t))
}

func (seq2seq) end(t *tokenizer.Tokenizer) int32 { return t.EOS() }

func (s seq2seq) ends(id int32) bool { return id == s.Config.EndID }

func (seq2seq) answer(text string) string { return text }

func (s seq2seq) vocabulary() int { return s.Config.VocabSize }

func (seq2seq) shared(x Example) []int32 { return x.Source }

func (s seq2seq) absorbs(n tokens, examples int) bool { return s.Absorbs(n.target, n.source, examples) }

func (s seq2seq) scoreBytes(absorb bool) (shared, target int64) { return s.ScoreBytes(absorb) }

func (s seq2seq) score(ctx context.Context, e *Engine, units []unit, absorb bool) ([]float64, error) {
	var shifted model.Packed
	var targets []int32
	heads := s.Config.Heads
	var targetSegments, headSegments segments
	for _, u := range units {
		shifted.Append(append([]int32{s.Config.StartID}, u.target[:len(u.target)-1]...))
		targets = append(targets, u.target...)
		targetSegments.tokens, headSegments.tokens = u.tokens.target, u.tokens.target*heads
		targetSegments.extend(u.composition, len(shifted.IDs))
		headSegments.extend(u.composition, len(shifted.IDs)*heads)
	}
	p := e.backend.Begin(ctx)
	defer p.End()
	known := e.snapshot()
	layout, onSource := e.stretches(units, known)
	encoded := s.Encode(p, layout...)
	decoded := s.Decode(p, t5.Targets{
		In: shifted, Source: layout[len(layout)-1].In, Encoded: encoded, Up: targetSegments.updates(known), SourceUp: onSource,
		HeadUp: headSegments.updates(known), Absorb: absorb,
	})
	return read(p, s.LogProbs(p, decoded, targets))
}

func (s seq2seq) stepBytes() (token, sequence int64) { return s.StepBytes() }

func (seq2seq) takes([]int32, int) error { return nil }

func (s seq2seq) decode() decoding { return seq2seqDecoding{s.StartDecoding(), s.Config.StartID} }

// seq2seqDecoding encodes sources. Each target depends on all of its source, and shares nothing.
type seq2seqDecoding struct {
	*t5.Decoding
	startID int32
}

func (d seq2seqDecoding) cache() *model.Cache { return d.Cache }

func (d seq2seqDecoding) prepare(s *sequence) {
	s.pending, s.needs = []int32{d.startID}, backend.PagesOf(d.atOnce(s))+backend.PagesOf(s.call.limit(s.request))
	s.source.Private, s.target.Private = true, true
}

func (seq2seqDecoding) atOnce(s *sequence) int { return len(s.call.requests[s.request].Source) }

func (d seq2seqDecoding) take(p backend.Pass, feeds []feed, known *modules, ahead int) {
	var in model.Packed
	var rows segments
	var sequences []*model.Sequence
	for _, f := range feeds {
		if f.made > 0 {
			continue
		}
		in.Append(f.call.requests[f.request].Source)
		rows.extend(f.composition(), len(in.IDs))
		sequences = append(sequences, &f.source)
	}
	if len(sequences) > 0 {
		d.Take(p, sequences, in, rows.updates(known), ahead)
	}
}

func (d seq2seqDecoding) step(p backend.Pass, feeds []feed, up model.Updates) (backend.Tensor, error) {
	all := make([]t5.Feed, len(feeds))
	for i, f := range feeds {
		all[i] = t5.Feed{Source: &f.source, Target: &f.target, ID: f.ids[0], Row: f.rows[0]}
	}
	return d.Step(p, all, up), nil
}
