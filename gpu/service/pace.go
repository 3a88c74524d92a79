package service

import (
	"context"
	"sync"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// Pace says how an evaluator's backend gets on: nothing else tells one that hangs in a driver from one that is slow.
type Pace struct {
	Quiet    float64 `json:"quiet_seconds"`   // since a call of the backend last began or ended, while one is under way; 0 while none is
	Longest  float64 `json:"longest_seconds"` // of the calls that have ended, opening it apart
	Software bool    `json:"software"`        // backend.Info's; true until the backend is open
}

// pace measures a Pace.
type pace struct {
	mu       sync.Mutex
	underWay int
	last     time.Time // when a call began or ended
	longest  time.Duration
	hardware bool
}

// call counts a call until its end.
func (p *pace) call() (end func()) {
	begun := p.count(1)
	return func() {
		took := p.count(-1).Sub(begun)
		p.mu.Lock()
		p.longest = max(p.longest, took)
		p.mu.Unlock()
	}
}

func (p *pace) count(calls int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay += calls
	p.last = time.Now()
	return p.last
}

func (p *pace) now() Pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := Pace{Longest: p.longest.Seconds(), Software: !p.hardware}
	if p.underWay > 0 {
		now.Quiet = time.Since(p.last).Seconds()
	}
	return now
}

// of is a backend whose calls p measures from now on.
func (p *pace) of(b backend.Backend) backend.Backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hardware = !b.Info().Software
	if packer, ok := b.(backend.Packer); ok {
		return measuredPacker{measured{b, p}, packer}
	}
	return measured{b, p}
}

// measured is a backend under a pace.
type measured struct {
	backend.Backend
	pace *pace
}

func (m measured) Matrix(w []float32, out, in int) (backend.Resident, error) {
	defer m.pace.call()()
	return m.Backend.Matrix(w, out, in)
}

func (m measured) Table(t []float32, n, d int) (backend.Resident, error) {
	defer m.pace.call()()
	return m.Backend.Table(t, n, d)
}

func (m measured) Vector(v []float32) (backend.Resident, error) {
	defer m.pace.call()()
	return m.Backend.Vector(v)
}

func (m measured) Factor(a, b []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	defer m.pace.call()()
	return m.Backend.Factor(a, b, rank, in, out, scale)
}

func (m measured) Begin(ctx context.Context) backend.Pass {
	return measuredPass{m.Backend.Begin(ctx), m.pace}
}

// SplitsHeads is what backend.SplitsHeads asks.
func (m measured) SplitsHeads() bool { return backend.SplitsHeads(m.Backend) }

// measuredPacker is a backend under a pace that keeps blocks packed.
type measuredPacker struct {
	measured
	packer backend.Packer
}

func (m measuredPacker) Packs(t checkpoint.DType) bool { return m.packer.Packs(t) }

func (m measuredPacker) PackedMatrix(w backend.Packed) (backend.Resident, error) {
	defer m.pace.call()()
	return m.packer.PackedMatrix(w)
}

func (m measuredPacker) PackedTable(t backend.Packed) (backend.Resident, error) {
	defer m.pace.call()()
	return m.packer.PackedTable(t)
}

// measuredPass is a pass under a pace. Scope is not a call: what it runs consists of them.
type measuredPass struct {
	backend.Pass
	pace *pace
}

func (p measuredPass) Embed(table backend.Resident, ids []int32) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Embed(table, ids)
}

func (p measuredPass) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Norm(x, gain, eps)
}

func (p measuredPass) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Linear(x, w, opt)
}

func (p measuredPass) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Attend(q, k, v, a)
}

func (p measuredPass) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Gate(act, a, b)
}

func (p measuredPass) Gather(x backend.Tensor, rows []int32) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Gather(x, rows)
}

func (p measuredPass) Scatter(dst, src backend.Tensor, rows []int32) {
	defer p.pace.call()()
	p.Pass.Scatter(dst, src, rows)
}

func (p measuredPass) Zeros(rows, cols int) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.Zeros(rows, cols)
}

func (p measuredPass) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.LogProbs(x, head, targets)
}

func (p measuredPass) SplitHeads(x backend.Tensor, heads int) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.(backend.HeadSplitter).SplitHeads(x, heads)
}

func (p measuredPass) JoinHeads(x backend.Tensor, heads int) backend.Tensor {
	defer p.pace.call()()
	return p.Pass.(backend.HeadSplitter).JoinHeads(x, heads)
}

func (p measuredPass) Read(t backend.Tensor) ([]float32, error) {
	defer p.pace.call()()
	return p.Pass.Read(t)
}

func (p measuredPass) End() {
	defer p.pace.call()()
	p.Pass.End()
}
