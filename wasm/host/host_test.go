package host_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
)

// sandboxArgument makes this test binary the program of an isolated guest.
const sandboxArgument = "run-a-sandbox"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sandboxArgument {
		if err := host.Sandbox(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func command() *exec.Cmd { return exec.Command(os.Args[0], sandboxArgument) }

func newRuntime(t testing.TB, o host.Options) *host.Runtime {
	t.Helper()
	r, err := host.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func compile(t testing.TB, r *host.Runtime, wasm []byte) *host.Module {
	t.Helper()
	m, err := r.Compile(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// one is a problem for guests that know one weight.
func one() search.Problem {
	lower, upper := search.Box(1, 1.5)
	return search.Problem{Dim: 1, Lower: lower, Upper: upper, Budget: 8, Batch: 2, Seed: 1, Groups: []int{2}}
}

// random are the options of the built-in guest that make it cheap.
var random = map[string]string{"optimizer": "random"}

func TestContract(t *testing.T) {
	for name, o := range map[string]host.Options{"compiler": {}, "interpreter": {Interpreter: true}, "guard": {Guard: true}} {
		t.Run(name, func(t *testing.T) {
			o.Limits.Call = time.Minute // what a slow machine needs is not what is tested here
			m := compile(t, newRuntime(t, o), guest.Wasm())
			searchtest.Run(t, func(p search.Problem) (search.Optimizer, error) { return m.New(t.Context(), p, random) })
		})
	}
	t.Run("isolated", func(t *testing.T) {
		if raceDetector {
			t.Skip("starting a hundred processes takes minutes with the race detector; TestHostile has it look at them")
		}
		pool := host.NewPool(host.PoolOptions{Command: command, Interpreter: true, Limits: host.Limits{Call: time.Minute}})
		searchtest.Run(t, func(p search.Problem) (search.Optimizer, error) {
			g, err := host.NewIsolated(t.Context(), pool, guest.Wasm(), p, random)
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { g.Close() })
			return g, nil
		})
	})
}

func TestHonest(t *testing.T) {
	m := compile(t, newRuntime(t, host.Options{}), still().bytes())
	want := host.Info{ABI: 1 << 16, Name: "still", Version: "1.0", WantsAux: true, PreferredBatch: 4}
	if m.Info() != want {
		t.Errorf("info is %+v, expected %+v", m.Info(), want)
	}
	g, err := m.New(t.Context(), one(), nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := search.Run(t.Context(), one(), g, zeros{}, search.RunOptions{})
	if err != nil || result.Evaluations != 8 || result.Best[0] != 0 {
		t.Errorf("result %+v, error %v", result, err)
	}
	if g.Err() != nil {
		t.Error(g.Err())
	}
}

// zeros scores every candidate with 0, and the second of a batch not at all.
type zeros struct{}

func (zeros) Evaluate(_ context.Context, x [][]float64) ([]search.Score, error) {
	s := make([]search.Score, len(x))
	for i := range s {
		if s[i].LogProbs = []float64{-1, -2}; i == 1 {
			s[i] = search.Score{Objective: math.NaN()}
		}
	}
	return s, nil
}

var quick = host.Limits{Call: 200 * time.Millisecond, Start: 200 * time.Millisecond}
