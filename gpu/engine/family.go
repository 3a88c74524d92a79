package engine

import (
	"context"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/tokenizer"
)

// Model is what there is to know of any base model.
type Model interface {
	// Maps are the linear maps that adapters may update, by name.
	Maps() map[string]model.Map
	// Bytes is the memory that the backend holds for the model.
	Bytes() int64
	// Layers is the number of layers that sequences go through one after the other, and Layer that of a map among them; sequences whose
	// compositions agree in the layers so far share their rows.
	Layers() int
	Layer(name string) (int, bool)
	// Transposed is what updates call the transpose of a map, or false if the model has no use for it.
	Transposed(name string) (string, bool)
	Free()
}

// family is a kind of model: how examples become tokens, and tokens numbers.
type family interface {
	Model
	// encode turns an input into tokens, and an output into those that follow it, end token included. Both are as long as they come.
	encode(t *tokenizer.Tokenizer, input, output string) (source, target []int32)
	// prompt is the source of an input alone, and plain that of a text as it is.
	prompt(t *tokenizer.Tokenizer, input string) []int32
	plain(t *tokenizer.Tokenizer, text string) []int32
	// context is how many positions the model was made for, those of the answer included; 0 if it does not count them.
	context() int
	// cut shortens a source to at most so many tokens.
	cut(t *tokenizer.Tokenizer, source []int32, most int) []int32
	// end is the token that ends an output, and ends says whether a token does.
	end(t *tokenizer.Tokenizer) int32
	ends(id int32) bool
	// answer is what a generated text is, given its beginning: without the space that separates it from the input.
	answer(text string) string

	// shared is what of an example goes through the layers that units share.
	shared(x Example) []int32
	// absorbs says how the targets of a request attend to the sources, where the family has two ways.
	absorbs(n tokens, examples int) bool
	// scoreBytes is the memory that a token of what is shared and one of a target add to scoring.
	scoreBytes(absorb bool) (shared, target int64)
	// score is one pass over units that all absorb or all do not: the log-probabilities of their targets, one after the other.
	score(ctx context.Context, e *Engine, units []unit, absorb bool) ([]float64, error)

	// stepBytes is the memory that a token that is fed or taken, and a sequence, add to a step of generation, the cache apart.
	stepBytes() (token, sequence int64)
	// takes refuses a source that cannot be continued by so many tokens.
	takes(source []int32, most int) error
	decode() decoding
	vocabulary() int
}

// decoding is the state of continuing sequences in a pass. Their keys and values are in its cache: those of `target`, and beside it of
// `source` if the model attends to a source by itself.
type decoding interface {
	cache() *model.Cache
	// prepare sets what a new sequence is fed, the pages that it may come to need, and whether it shares any.
	prepare(s *sequence)
	// atOnce is how many tokens of a new sequence have to go into one step.
	atOnce(s *sequence) int
	// take takes in the sources of those that are fed for the first time, if they are taken in by themselves. ahead is model.Cache.Fit's.
	take(p backend.Pass, feeds []feed, known *modules, ahead int)
	// step returns the next token's logits after the feeds that are the last: [count, vocabulary], or nil for none.
	step(p backend.Pass, feeds []feed, up model.Updates) (backend.Tensor, error)
}
