package compose

import (
	"github.com/medley-lora/medley/shared/compose/narrow"
	"github.com/medley-lora/medley/shared/task"
)

// Point is one weight vector and what is known of it. The data are the examples searched with unless said otherwise.
type Point struct {
	Module    string    `json:"module,omitempty"` // the module that this is, at weight 1 alone
	Objective float64   `json:"objective"`
	Loss      float64   `json:"loss"`               // token-mean cross-entropy
	HeldOut   *float64  `json:"heldout,omitempty"`  // token-mean cross-entropy of held-out examples, see Result.HeldOutBy
	Accuracy  *float64  `json:"accuracy,omitempty"` // share of evaluation examples answered right, 0 to 100
	Weights   []float64 `json:"weights"`            // by module
}

// How held-out losses come about (Result.HeldOutBy).
const (
	// ByHoldout: measured on examples that the search did not see.
	ByHoldout = "holdout"
	// ByLeaveOneOut: estimated from the scores at hand, at no cost. For each example the point is chosen, among those evaluated
	// (for the best single module: among the single modules), that is best on all other examples, and the losses of the
	// examples at these points are averaged by token. It is optimistic: although no example takes part in the choice of its
	// point, all took part in proposing the points. For zero weights there is no choice, and it is the loss itself.
	ByLeaveOneOut = "leave-one-out"
)

// Prediction is what the model answers before (zero weights) and after (composed) beside what is wanted.
type Prediction struct {
	Input       string `json:"input"`
	Target      string `json:"target"`
	Before      string `json:"before"`
	After       string `json:"after"`
	BeforeRight bool   `json:"before_right"`
	AfterRight  bool   `json:"after_right"`
	HeldOut     bool   `json:"held_out,omitempty"` // of the few examples: not searched with
}

// Step is one evaluation of the search. What is not known or not finite is nil.
type Step struct {
	Number    int      `json:"evaluation"` // evaluations spent after it, narrowing included
	Round     int      `json:"round"`
	Objective *float64 `json:"objective"`
	Best      *float64 `json:"best"`    // lowest objective so far
	HeldOut   *float64 `json:"heldout"` // held-out loss had the search ended here
}

// Narrowed says how many modules became few.
type Narrowed struct {
	From        int            `json:"from"`
	To          []string       `json:"to"`          // best first
	Evaluations int            `json:"evaluations"` // spent, zero weights included
	Rounds      []narrow.Round `json:"rounds"`
}

// Result is the outcome of a job. Points that a canceled job did not come to are nil.
type Result struct {
	Modules   []string           `json:"modules"`
	Weights   map[string]float64 `json:"weights"` // of Composed, by name
	Objective task.Objective     `json:"objective"`

	ZeroShot   *Point `json:"zero_shot"`
	BestSingle *Point `json:"best_single"`
	Composed   *Point `json:"composed"`

	HeldOutBy    string `json:"heldout_by"`
	Examples     int    `json:"examples"`      // searched with
	Holdout      int    `json:"holdout"`       // held out
	EvalExamples int    `json:"eval_examples"` // that accuracy was measured on

	Evaluations      int       `json:"evaluations"`       // of the budget
	ExtraEvaluations int       `json:"extra_evaluations"` // beyond it: points of comparison that the search did not evaluate
	Rounds           int       `json:"rounds"`            // of the search
	Stopped          string    `json:"stopped"`           // as search.Result has it
	Seconds          float64   `json:"seconds"`
	SearchSeconds    float64   `json:"search_seconds"` // narrowing and search alone
	Narrowed         *Narrowed `json:"narrowed,omitempty"`

	Few      []Prediction `json:"few"`  // the first examples
	Eval     []Prediction `json:"eval"` // the first evaluation examples
	History  []Step       `json:"history"`
	Warnings []string     `json:"warnings"`
}

// maxPredictions is how many predictions of each kind a result holds.
const maxPredictions = 50
