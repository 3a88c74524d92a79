package engine_test

import (
	"fmt"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// tolerance is for numbers of about 1, and relative for larger ones. The goldens are PyTorch's f32: run in f64, PyTorch itself moves by up
// to 2e-4 on log-probabilities of a few tens, to where gpu/reference is.
const tolerance = 1e-4

var backends = map[string]func(testing.TB) backend.Backend{
	"reference": func(testing.TB) backend.Backend { return reference.New() },
	"cpu": func(t testing.TB) backend.Backend {
		b, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
}

// eachBackend runs a test on the zoo, loaded on every backend.
func eachBackend(t *testing.T, test func(t *testing.T, z *zooEngine)) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) { test(t, openZoo(t, open(t), engine.Options{})) })
	}
}

// zooEngine is the zoo with what the tests of this package ask of it.
type zooEngine struct{ *enginetest.Zoo }

func openZoo(t testing.TB, b backend.Backend, o engine.Options) *zooEngine {
	t.Helper()
	return &zooEngine{enginetest.Open(t, b, o)}
}

func near(t *testing.T, what string, got, want any) {
	t.Helper()
	enginetest.Near(t, what, got, want, tolerance)
}

func TestGoldenForward(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) { z.Forward(t, tolerance) })
}

func TestGoldenVariants(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) { z.Variants(t, tolerance) })
}

func TestGoldenObjective(t *testing.T) {
	golden := zootest.LoadGolden(t)
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		for i, o := range golden.Objective {
			t.Run(fmt.Sprintf("%d %s", i, o.Task), func(t *testing.T) {
				for method, want := range map[string]struct{ LoraHub, Mean float64 }{"product": o.Product, "delta": o.Delta} {
					got := z.objectives(t, o, method)
					near(t, method+" lorahub", got[0], want.LoraHub)
					near(t, method+" mean", got[1], want.Mean)
				}
			})
		}
	})
}
