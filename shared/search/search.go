// Package search is black-box optimization by ask and tell: a Problem, an Optimizer that proposes candidates for it, an
// Evaluator that scores them, the Run loop between the two, and the Trace that a run leaves behind.
//
// A WebAssembly guest is an optimizer alone: there (wasip1) the package is what an optimizer needs, without the rest's imports.
package search

// Problem is what an optimizer is told before its first candidate.
type Problem struct {
	Dim    int       // length of every candidate
	Lower  []float64 // [Dim]; inclusive
	Upper  []float64 // [Dim]; inclusive
	Budget int       // evaluations in all; an optimizer is never asked for more
	Batch  int       // the most candidates that the evaluator takes at once, at least 1
	Seed   uint64    // everything random comes from it
	L1     float64   // the objective holds L1·Σ|w|, a term the optimizer may treat as known; 0 if it holds none
	Groups []int     // target tokens of each example, in the order of Score.LogProbs; nil if scores carry none
}

// Score is what an evaluator says of one candidate. More than a number, because a model of the answers needs less guessing
// than a model of their sum.
type Score struct {
	Objective float64   // minimised; NaN when the evaluation failed
	Loss      float64   // token-mean cross-entropy over all examples, without any penalty
	Examples  []float64 // token-mean cross-entropy of each example
	LogProbs  []float64 // natural log-probability of each target token, example after example; nil if unknown
}

// Optimizer proposes candidates and learns their scores. Implementations are deterministic functions of the problem and of
// what they were told, hold no clock and do no I/O. They are not safe for concurrent use. searchtest.Run holds them to it.
type Optimizer interface {
	// Ask returns between 1 and n candidates within the bounds, or none when it has converged or has asked for the whole
	// budget. Calling it again before every answer is told is an error. The candidates belong to the caller.
	Ask(n int) ([][]float64, error)
	// Tell gives the scores of candidates, asked ones or others (a warm start, which does not count against the budget),
	// in one call per batch. A told candidate answers the asked one that it equals bit for bit. Nothing told is kept.
	Tell(x [][]float64, s []Score) error
	// Best returns the candidate to use: the best seen unless the implementation documents another choice. It is nil
	// before the first finite score.
	Best() []float64
}
