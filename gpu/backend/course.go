package backend

import (
	"context"

	"github.com/medley-lora/medley/shared/fault"
)

// Kind tells the residents of an implementation apart.
type Kind string

// The kinds of residents, by the method of Backend that uploads them.
const (
	MatrixKind Kind = "matrix"
	TableKind  Kind = "table"
	VectorKind Kind = "vector"
	FactorKind Kind = "factor"
)

// CheckSize refuses n numbers that are not [rows, cols], both at least 1.
func CheckSize(k Kind, n, rows, cols int) error {
	if rows < 1 || cols < 1 || n%cols != 0 || n/cols != rows {
		return mismatch(string(k), "%d numbers for [%d, %d]", n, rows, cols)
	}
	return nil
}

// NotOfPass is the error of an operation whose input is a tensor of another pass, or one that was released.
func NotOfPass(op string) error {
	return mismatch(op, "the tensor is not of this pass, or its scope has ended")
}

// NotResident is the error of an operation that takes a resident of kind k.
func NotResident(op string, k Kind) error {
	return mismatch(op, "takes a %s of this backend that is not freed", k)
}

// Course is how a pass is going. Implementations of Pass keep one: after the first error nothing runs.
type Course struct {
	Context context.Context
	Err     error // the first
	Ended   bool
}

// Fail records err unless there is an earlier one.
func (c *Course) Fail(err error) {
	if c.Err == nil {
		c.Err = err
	}
}

// OK records the end of the pass, broken (what keeps the backend from working), the end of the context or err, whichever is first of
// these, and says whether the next operation should run.
func (c *Course) OK(broken, err error) bool {
	switch {
	case c.Err != nil:
	case c.Ended:
		c.Err = fault.New(fault.Internal, "", "the pass has ended")
	case broken != nil:
		c.Err = broken
	case c.Context.Err() != nil:
		c.Err = fault.Wrap(c.Context.Err(), fault.Canceled, "", "%v", c.Context.Err())
	default:
		c.Err = err
	}
	return c.Err == nil
}
