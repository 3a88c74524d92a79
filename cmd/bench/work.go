package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
)

type workCommand struct{}

// leastRuns are the timed runs of a short operation.
const leastRuns = 3

func (workCommand) Run(ctx context.Context) error { return answer(ctx, os.Stdin, os.Stdout) }

// answer is a worker: a reply for each request until the requests end.
func answer(ctx context.Context, from io.Reader, to io.Writer) error {
	b := bench{ctx: ctx, backends: map[string]backend.Backend{}, models: map[string]*model{}}
	defer b.close()
	requests, replies := json.NewDecoder(bufio.NewReader(from)), json.NewEncoder(to)
	for ctx.Err() == nil {
		var r request
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := b.do(r)
		if err != nil {
			a = reply{Error: err.Error()}
		}
		if err := replies.Encode(a); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// bench is what a worker keeps between requests.
type bench struct {
	ctx      context.Context
	backends map[string]backend.Backend // by library and form of weights
	models   map[string]*model          // by these and the base
	operands operands
}

func (b *bench) close() {
	for _, m := range b.models {
		m.close()
	}
	for _, o := range b.backends {
		o.Close()
	}
}

func (b *bench) do(r request) (reply, error) {
	switch r.Op {
	case "about":
		return b.about(r)
	case "product":
		return b.product(r)
	case "score":
		return b.score(r)
	case "searches":
		return b.searches(r)
	case "continue":
		return b.continuation(r)
	}
	return reply{}, errors.New("unknown request " + r.Op)
}

func (b *bench) about(r request) (reply, error) {
	facts := map[string]string{"go": runtime.Version()}
	o, err := b.backend(r)
	if err != nil {
		return reply{}, err
	}
	facts["backend"] = o.Info().Device
	return reply{About: facts}, nil
}

// backend opens a backend at its first use.
func (b *bench) backend(r request) (backend.Backend, error) {
	key := r.Library + " " + r.Weights
	if o, ok := b.backends[key]; ok {
		return o, nil
	}
	o, err := openBackend(b.ctx, r.Library, r.Weights)
	if err == nil {
		b.backends[key] = o
	}
	return o, err
}

// operands of a product, the same for every form of weights.
type operands struct {
	rows, out, in int
	x, w          []float32
}

func (o *operands) make(rows, out, in int) {
	if o.rows == rows && o.out == out && o.in == in {
		return
	}
	*o = operands{rows, out, in, uniform(1, rows*in, 1), uniform(2, out*in, 1)}
}

// uniform are n numbers around 0, width apart at most.
func uniform(seed uint64, n int, width float32) []float32 {
	random := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = (random.Float32() - 0.5) * width
	}
	return x
}

// product times one linear map. On the cpu backend an operation has happened when its call returns.
func (b *bench) product(r request) (reply, error) {
	o, err := b.backend(r)
	if err != nil {
		return reply{}, err
	}
	b.operands.make(r.Rows, r.Out, r.In)
	table, err := o.Table(b.operands.x, r.Rows, r.In)
	if err != nil {
		return reply{}, err
	}
	defer table.Free()
	w, err := o.Matrix(b.operands.w, r.Out, r.In)
	if err != nil {
		return reply{}, err
	}
	defer w.Free()
	if o.Info().Name == "cpu" {
		return b.productAtOnce(o, r, table, w)
	}
	return b.productRecorded(o, r, table, w)
}

func rowNumbers(n int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

func (b *bench) productAtOnce(o backend.Backend, r request, table, w backend.Resident) (reply, error) {
	p := o.Begin(b.ctx)
	defer p.End()
	x := p.Embed(table, rowNumbers(r.Rows))
	best := quickest(r.For, func() {
		p.Scope(func() backend.Tensor { p.Linear(x, w, backend.Linear{}); return nil })
	})
	_, err := p.Read(x)
	return reply{Seconds: best.Seconds()}, err
}

// productRecorded times passes of one product and of several, and divides the difference: a device starts when results are read, and
// reading costs time of its own. What is read is one number per row.
func (b *bench) productRecorded(o backend.Backend, r request, table, w backend.Resident) (reply, error) {
	reduce, err := o.Matrix(make([]float32, r.Out), 1, r.Out)
	if err != nil {
		return reply{}, err
	}
	defer reduce.Free()
	var failure error
	pass := func(products int) time.Duration {
		return quickest(0, func() {
			p := o.Begin(b.ctx)
			defer p.End()
			x := p.Embed(table, rowNumbers(r.Rows))
			var last backend.Tensor
			for range products {
				last = p.Scope(func() backend.Tensor {
					return p.Linear(p.Linear(x, w, backend.Linear{}), reduce, backend.Linear{})
				})
			}
			if _, err := p.Read(last); err != nil {
				failure = err
			}
		})
	}
	products := 1
	for failure == nil {
		products *= 4
		one, several := pass(1), pass(1+products)
		if spent := several - one; spent.Seconds() >= r.For || products > 1<<12 {
			return reply{Seconds: spent.Seconds() / float64(products)}, failure
		}
	}
	return reply{}, failure
}

// quickest runs for that many seconds, after a run to warm up.
func quickest(seconds float64, run func()) time.Duration {
	run()
	best, spent := time.Duration(1<<63-1), time.Duration(0)
	for n := 0; n < leastRuns || spent.Seconds() < seconds; n++ {
		start := time.Now()
		run()
		d := time.Since(start)
		best, spent = min(best, d), spent+d
	}
	return best
}
