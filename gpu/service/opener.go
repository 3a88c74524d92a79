package service

import (
	"context"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Opener opens models for a Server: a Host opens its own, a Relay those of an evaluator process. It is safe for concurrent use.
type Opener interface {
	// Open makes a model ready. ctx bounds the opening alone. The server closes the model.
	Open(ctx context.Context, q OpenRequest) (Model, error)
	// Backend is what models run on; it is opened and tested if it is not yet.
	Backend(ctx context.Context) (Backend, error)
	// Bases lists the bases that can be opened by name or are loaded.
	Bases(ctx context.Context) ([]Base, error)
	// Ready says what keeps models from being opened; nil if nothing does.
	Ready(ctx context.Context) error
	// State is for Health: it answers at once.
	State(ctx context.Context) State
	// Close frees everything. Every model was closed before.
	Close() error
}

// Model is a base model with modules, as engine.Mixer and Session are. It is safe for concurrent use.
type Model interface {
	Backend() Backend
	Quantised() []engine.Quantised // the engine's, of the base
	Count(ctx context.Context, examples []task.Example) (task.Counts, error)
	Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error)
	Answer(ctx context.Context, prompts []engine.Prompt, weights []float64, s engine.Sampling, l engine.AnswerListener) ([]engine.Answer, error)
	Close() error
}

var (
	_ Opener = (*Host)(nil)
	_ Model  = (*Session)(nil)
	_ Model  = (*hostModel)(nil)
)

// State is how the opener of a server gets on.
type State struct {
	Pace  Pace  `json:"pace"`
	Stats Stats `json:"stats"`
}

// Stats counts since the evaluator process started.
type Stats struct {
	Requests     int64 `json:"requests"`      // scores asked for
	Generations  int64 `json:"generations"`   // answers asked for
	Candidates   int64 `json:"candidates"`    // weight vectors scored
	Batches      int64 `json:"batches"`       // that they were scored in: Candidates/Batches is the mean size
	LargestBatch int64 `json:"largest_batch"` // in candidates

	Bases     int   `json:"bases"`          // that are loaded
	Modules   int   `json:"modules"`        // that are loaded
	Resident  int64 `json:"resident_bytes"` // of both
	Memory    int64 `json:"memory_bytes"`   // that they may have
	Evictions int64 `json:"evictions"`      // bases and modules that had to make room
}
