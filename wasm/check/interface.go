package check

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// What a refused call returns.
const (
	badArgument = -1
	unsupported = -2
	wrongState  = -3
)

// checkRefusals makes calls that are wrong, each of which has to be refused with its code and a reason, and to spoil nothing.
func checkRefusals(ctx context.Context, s *subject) (string, error) {
	in, err := s.instance(ctx)
	if err != nil {
		return "", err
	}
	defer in.close()
	right := s.config(3)
	_, code := in.ask(right.Dim, 1)
	in.expectCode("opt_ask before opt_create", code, wrongState)
	code = in.tell([][]float64{make([]float64, right.Dim)}, []float64{1})
	in.expectCode("opt_tell before opt_create", code, wrongState)
	_, _, code = in.best(right.Dim)
	in.expectCode("opt_best before opt_create", code, wrongState)
	in.expectCode("opt_create with {}, which has no dim,", in.create("{}"), badArgument)
	in.expectCode("opt_create with text that is no JSON", in.create("dim=3"), badArgument)
	in.expectCode("the right opt_create after refused ones", in.create(right.json()), 0)
	in.expectCode("opt_create a second time", in.create(right.json()), wrongState)
	_, code = in.ask(right.Dim, 0)
	in.expectCode("opt_ask for 0 candidates", code, badArgument)
	if _, code = in.ask(right.Dim, 1); in.err == nil && code != 1 {
		in.fail("opt_ask for 1 candidate, after refused calls, returned %d", code)
	}
	return "wrong calls are refused with their codes and a reason, and spoil nothing", in.err
}

// checkConfiguration creates optimizers with what a host may write into the configuration, now or later.
func checkConfiguration(ctx context.Context, s *subject) (string, error) {
	ordinary, elsewhere, unknown, seed, tiny := s.config(3), s.config(3), s.config(3), s.config(3), s.config(1)
	elsewhere.Init[0] = 0.25
	unknown.Options["no_such_option"] = "1"
	seed.Seed = fmt.Sprint(uint64(math.MaxUint64))
	tiny.Budget, tiny.Batch = 1, 1
	later := ordinary.json()
	later = later[:len(later)-1] + `,"later":{"dim":[1,"}"]},"flag":true}`
	seen := "takes what a host may write"
	for _, c := range []struct {
		what, text string
		dim        int
		may        int32  // it return instead of 0
		seen       string // if it does
	}{
		{"opt_create with members that version 1 does not have", later, ordinary.Dim, 0, ""},
		{"opt_create with the largest seed", seed.json(), seed.Dim, 0, ""},
		{"opt_create with one weight and one evaluation", tiny.json(), tiny.Dim, 0, ""},
		{"opt_create with an init that is not 0", elsewhere.json(), elsewhere.Dim, unsupported, "\nstarts at 0 only: refuses another init"},
		{"opt_create with an option that no plugin has", unknown.json(), unknown.Dim, unsupported, "\nrefuses options that it does not know"},
	} {
		in, err := s.instance(ctx)
		if err != nil {
			return "", err
		}
		code := in.create(c.text)
		if in.expectCode(c.what, code, 0, c.may); code != 0 {
			seen += c.seen
		} else if x, code := in.ask(c.dim, 1); in.err == nil && len(x) == 0 {
			in.fail("opt_ask returned %d after %s", code, c.what)
		}
		in.close()
		if in.err != nil {
			return "", in.err
		}
	}
	return seen, nil
}

// checkBuffers looks at what is written where.
func checkBuffers(ctx context.Context, s *subject) (string, error) {
	in, err := s.instance(ctx)
	if err != nil {
		return "", err
	}
	defer in.close()
	c := s.config(3)
	in.expectCode("opt_create", in.create(c.json()), 0)
	a, releaseA := in.lend(1000)
	b, releaseB := in.lend(1000)
	if in.err == nil && a < b+1000 && b < a+1000 {
		in.fail("opt_alloc returned %d and %d for 1000 bytes each, which overlap", a, b)
	}
	releaseB()
	releaseA()
	left := c.Budget
	err = in.search(c, sphere{make([]float64, c.Dim)}, func(x [][]float64, _ []float64) {
		left -= len(x)
		for _, w := range x {
			for i, v := range w {
				if !(v >= c.Lower[i] && v <= c.Upper[i]) {
					in.fail("opt_ask wrote weight %d as %v, which is not from %v to %v", i+1, v, c.Lower[i], c.Upper[i])
				}
			}
		}
	})
	return fmt.Sprintf("opt_ask writes as many candidates as it returns, %d in all, and nothing beyond them", c.Budget-left), err
}

// search asks and tells until the budget is spent.
func (in *instance) search(c config, f sphere, look func(x [][]float64, f []float64)) error {
	for left := c.Budget; left > 0 && in.err == nil; {
		x, code := in.ask(c.Dim, min(c.Batch, left))
		if code < 0 {
			in.fail("opt_ask returned %d: %s", code, in.reason())
		}
		if len(x) == 0 {
			break
		}
		left -= len(x)
		scores := make([]float64, len(x))
		for i := range x {
			scores[i] = f.at(x[i])
		}
		look(x, scores)
		if code := in.tell(x, scores); code < 0 {
			in.fail("opt_tell returned %d: %s", code, in.reason())
		}
	}
	return in.err
}

// checkChoice holds opt_best to what it says of its choice.
func checkChoice(ctx context.Context, s *subject) (string, error) {
	in, err := s.instance(ctx)
	if err != nil {
		return "", err
	}
	defer in.close()
	c := s.config(3)
	in.expectCode("opt_create", in.create(c.json()), 0)
	_, _, code := in.best(c.Dim)
	in.expectCode("opt_best before any score", code, 0)
	f := sphere{make([]float64, c.Dim)}
	for i := range f.centre {
		f.centre[i] = 0.5
	}
	var told [][]float64
	if err := in.search(c, f, func(x [][]float64, _ []float64) { told = append(told, x...) }); err != nil {
		return "", err
	}
	const observed, predicted = 1, 2
	x, value, code := in.best(c.Dim)
	switch {
	case in.err != nil:
		return "", in.err
	case code == predicted:
		return "chooses a point that it predicts to be good", nil
	case code != observed:
		in.fail("opt_best returned %d after %d scores were told, expected 1 (observed) or 2 (predicted)", code, len(told))
	case !slices.ContainsFunc(told, func(w []float64) bool { return slices.Equal(w, x) }):
		in.fail("opt_best returned 1 (observed) with a candidate that it was never told")
	case value != f.at(x):
		in.fail("opt_best wrote the objective %v of a candidate that was told with %v", value, f.at(x))
	}
	return "chooses one of the candidates that it was told, and knows its objective", in.err
}

// checkCost measures a search of ordinary size and judges nothing: the limits do.
func checkCost(ctx context.Context, s *subject) (string, error) {
	begin := time.Now()
	in, err := s.instance(ctx)
	if err != nil {
		return "", err
	}
	defer in.close()
	c := s.config(progressDim)
	c.Budget, c.Batch = progressBudget, progressBatch
	in.expectCode("opt_create", in.create(c.json()), 0)
	started := time.Since(begin)
	candidates := 0
	begin = time.Now()
	err = in.search(c, sphere{make([]float64, c.Dim)}, func(x [][]float64, _ []float64) { candidates += len(x) })
	each := time.Since(begin) / time.Duration(max(1, candidates))
	return fmt.Sprintf("%v for a candidate of %d weights, over %d of them; started in %v; %.2f MiB of memory in the end",
		rounded(each), c.Dim, candidates, rounded(started), float64(in.module.Memory().Size())/(1<<20)), err
}
