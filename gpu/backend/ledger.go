package backend

import "slices"

// Ledger is the list of the tensors that a pass has made and not yet freed, in the order they were made, so that a scope owns the
// end of it. Implementations of Pass keep one. T is their tensor type, a pointer.
type Ledger[T interface {
	comparable
	Tensor
}] struct {
	Release func(T) // frees one tensor
	made    []T
}

// Add enters a tensor.
func (l *Ledger[T]) Add(t T) { l.made = append(l.made, t) }

// Free is Pass.Free for a tensor that may be in the list. Its place stays, empty, since scopes count on the places before theirs.
func (l *Ledger[T]) Free(t T) {
	var none T
	for i := len(l.made) - 1; i >= 0; i-- {
		if l.made[i] == t {
			l.made[i] = none
			l.Release(t)
			return
		}
	}
}

func (l *Ledger[T]) release(t T) {
	var none T
	if t != none {
		l.Release(t)
	}
}

// Scope is Pass.Scope: it releases the tensors that f makes, but for its result. f may return nil, and may end the pass.
func (l *Ledger[T]) Scope(f func() Tensor) Tensor {
	first := len(l.made)
	result := f()
	kept, keeps := result.(T)
	first = min(first, len(l.made)) // an End within f has emptied the list
	for _, t := range l.made[first:] {
		if !keeps || t != kept {
			l.release(t)
		}
	}
	keeps = keeps && slices.Contains(l.made[first:], kept)
	l.made = l.made[:first]
	if keeps {
		l.made = append(l.made, kept)
	}
	return result
}

// End releases everything.
func (l *Ledger[T]) End() {
	for _, t := range l.made {
		l.release(t)
	}
	l.made = nil
}
