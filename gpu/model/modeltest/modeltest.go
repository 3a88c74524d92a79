// Package modeltest is what tests of models share: a pass that counts memory, and checkpoints of zeros.
package modeltest

import (
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/reference"
)

// Counting is a pass that counts the bytes of the tensors alive in it.
type Counting struct {
	backend.Pass
	live, peak int64
	made       []backend.Tensor // in the scope that is open
}

func (c *Counting) count(t backend.Tensor) backend.Tensor {
	c.live += bytesOf(t)
	c.peak = max(c.peak, c.live)
	c.made = append(c.made, t)
	return t
}

func bytesOf(t backend.Tensor) int64 {
	rows, cols := t.Dims()
	return int64(rows) * int64(cols) * 4
}

// Embed counts what it makes.
func (c *Counting) Embed(table backend.Resident, ids []int32) backend.Tensor {
	return c.count(c.Pass.Embed(table, ids))
}

// Norm counts what it makes.
func (c *Counting) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	return c.count(c.Pass.Norm(x, gain, eps))
}

// Linear counts what it makes.
func (c *Counting) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	return c.count(c.Pass.Linear(x, w, opt))
}

// Attend counts what it makes.
func (c *Counting) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	return c.count(c.Pass.Attend(q, k, v, a))
}

// Gate counts what it makes.
func (c *Counting) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	return c.count(c.Pass.Gate(act, a, b))
}

// SplitHeads counts what it makes.
func (c *Counting) SplitHeads(x backend.Tensor, heads int) backend.Tensor {
	return c.count(c.Pass.(backend.HeadSplitter).SplitHeads(x, heads))
}

// JoinHeads counts what it makes.
func (c *Counting) JoinHeads(x backend.Tensor, heads int) backend.Tensor {
	return c.count(c.Pass.(backend.HeadSplitter).JoinHeads(x, heads))
}

// Rotate counts what it makes.
func (c *Counting) Rotate(x, angles backend.Tensor, heads int) backend.Tensor {
	return c.count(c.Pass.Rotate(x, angles, heads))
}

// Gather counts what it makes.
func (c *Counting) Gather(x backend.Tensor, rows []int32) backend.Tensor {
	return c.count(c.Pass.Gather(x, rows))
}

// Free counts what it frees.
func (c *Counting) Free(t backend.Tensor) {
	c.Pass.Free(t)
	if i := slices.Index(c.made, t); i >= 0 {
		c.live -= bytesOf(t)
		c.made = slices.Delete(c.made, i, i+1)
	}
}

// Zeros counts what it makes.
func (c *Counting) Zeros(rows, cols int) backend.Tensor { return c.count(c.Pass.Zeros(rows, cols)) }

// LogProbs counts what it makes.
func (c *Counting) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	return c.count(c.Pass.LogProbs(x, head, targets))
}

// Scope counts what it makes.
func (c *Counting) Scope(f func() backend.Tensor) backend.Tensor {
	outer := c.made
	c.made = nil
	result := c.Pass.Scope(f)
	for _, t := range c.made {
		if t != result {
			c.live -= bytesOf(t)
		}
	}
	c.made = outer
	if result != nil {
		c.made = append(c.made, result)
	}
	return result
}

// Zeros is a checkpoint of the right shapes, all zero.
type Zeros map[string][]int

// Shape implements model.Weights.
func (z Zeros) Shape(name string) ([]int, bool) { s, ok := z[name]; return s, ok }

// Float32 implements model.Weights.
func (z Zeros) Float32(name string) ([]float32, error) {
	n := 1
	for _, d := range z[name] {
		n *= d
	}
	return make([]float32, n), nil
}

// Release implements model.Weights.
func (z Zeros) Release(string) {}

// Planned holds a plan to what a pass allocates: never less, and at most three times as much.
func Planned(t *testing.T, what string, planned int64, run func(backend.Pass)) {
	t.Helper()
	p := &Counting{Pass: reference.New().Begin(t.Context())}
	run(p)
	if _, err := p.Read(p.Zeros(1, 1)); err != nil {
		t.Fatal(err)
	}
	if p.peak > planned || planned > 3*p.peak {
		t.Errorf("%s: planned %d bytes, used %d", what, planned, p.peak)
	}
}
