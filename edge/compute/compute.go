// Package compute is what the platform asks of the machines that compute: evaluators, which run models, and sandboxes, which run
// optimizers. It has the words only; cmd/medley brings those who answer.
package compute

import (
	"context"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Base is a base model that evaluators have.
type Base struct {
	Name   string // as requests call it
	Digest string // SHA-256 of its files' names and contents, in hexadecimal
	Size   int64  // bytes
}

// Module is a module that is stored as an archive.
type Module struct {
	Name   string // as errors call it, unique in a Spec
	Digest string // SHA-256 of the archive, in hexadecimal
}

// Spec is a model to be opened: a base and modules on it.
type Spec struct {
	Base    string
	Modules []Module // every weight vector weighs them in this order
	Method  lora.Method
}

// Models opens models on evaluators. It is safe for concurrent use.
type Models interface {
	// Bases lists the bases that can be opened.
	Bases(ctx context.Context) ([]Base, error)
	// Open makes a model ready. Its errors have the field "base", "modules" or that of the module's file.
	Open(ctx context.Context, spec Spec) (Model, error)
	// Ready says what keeps models from being opened; nil if nothing does.
	Ready(ctx context.Context) error
}

// Model is a model that is open. It survives the death of its evaluator: requests wait for the next one and are sent again. It is safe for concurrent use.
type Model interface {
	compose.Model
	// Backend names what it is computed on.
	Backend() string
	// Count tells what the tokenizer makes of examples.
	Count(ctx context.Context, examples []task.Example) (task.Counts, error)
	// Answer answers each prompt under one weight vector; listener hears of each text and end once, in the order of an answer. Errors about
	// what is asked are about "prompt", "messages" (fault.TooLarge where it is too long) or the sampling.
	Answer(ctx context.Context, prompts []Prompt, weights []float64, sampling Sampling, listener Listener) ([]Answer, error)
	Close() error
}

// Message is one turn of a conversation.
type Message struct{ Role, Content string }

// Prompt is what is to be answered: a text, or a conversation in the base's chat template.
type Prompt struct {
	Text     string
	Messages []Message // if there are any, Text is not read; what is too long is refused
	Whole    bool      // Text as it is: refused and not cut where it is too long, and the answer with the space that it begins with
	Salt     string    // whose prompt it is: nobody else finds out, by the time that an answer takes, what it begins with
}

// Sampling says how answers are drawn.
type Sampling struct {
	MaxTokens   int     // end token not counted
	Temperature float64 // 0 is greedy
	TopK        int     // 0 is the whole vocabulary
	TopP        float64 // in (0, 1]
	Seed        uint64
	Stop        []string // an answer ends before the first of them; 16 at most
}

// Answer is what there is to know of an answer beside its text.
type Answer struct {
	Prompt  int    // tokens of the prompt
	Tokens  int    // of the answer, end token not counted
	Limited bool   // it ended because it could have no more tokens
	Warning string // says that the prompt was cut
}

// Listener hears of answers as they come.
type Listener struct {
	Text func(input int, text string) // what the answer goes on with
	Done func(input int, answer Answer)
}

// OptimizerSpec names an optimizer.
type OptimizerSpec struct {
	Name    string            // of a built-in one; not read if Wasm is there
	Wasm    []byte            // a plugin
	Options map[string]string // a plugin's
}

// Optimizers runs optimizers in sandboxes. It is safe for concurrent use.
type Optimizers interface {
	// Open makes an optimizer ready for problems of up to dim weights. A plugin is tried on a small problem, so that what is wrong with it or
	// its options is known at once.
	Open(ctx context.Context, spec OptimizerSpec, dim int) (Optimizer, error)
	// Validate runs the checks that a plugin must pass, each with its outcome.
	Validate(ctx context.Context, wasm []byte) (Validation, error)
}

// Optimizer is an optimizer that is ready.
type Optimizer interface {
	Info() OptimizerInfo
	// New starts a search. An optimizer that fails in mid-search ends it, as if there were nothing more to ask, so that what was found is
	// kept; Failure says why.
	New(ctx context.Context, problem search.Problem) (search.Optimizer, error)
	// Failure is what ended the last search early; nil if nothing did.
	Failure() error
	Close()
}

// OptimizerInfo is what an optimizer says of itself.
type OptimizerInfo struct {
	Name, Version string
	SHA256        string // of a plugin, in hexadecimal; empty for a built-in one
}

// Validation is the outcome of the checks of a plugin.
type Validation struct {
	Info   OptimizerInfo // empty unless it could say so
	Checks []Check
}

// Check is one check of a plugin.
type Check struct {
	Name   string
	Passed bool
	Detail string // what was seen, and what to do about it
}

// Passed says whether no check failed.
func (v Validation) Passed() bool {
	for _, c := range v.Checks {
		if !c.Passed {
			return false
		}
	}
	return len(v.Checks) > 0
}
