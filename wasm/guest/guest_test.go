package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
	"github.com/medley-lora/medley/wasm/guest/guesttest"
	"github.com/medley-lora/medley/wasm/host"
	"github.com/medley-lora/medley/wasm/optimizer"
)

const howToBuild = "build it with tools/guest.sh and commit what that writes"

func compile(t testing.TB, wasm []byte, o host.Options) *host.Module {
	t.Helper()
	o.Limits.Call = max(o.Limits.Call, time.Minute) // for the race detector, and for machines that are busy
	r, err := host.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Compile(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var compiled *host.Module

// module is the guest, compiled once for all tests, which takes a second.
func module(t testing.TB) *host.Module {
	t.Helper()
	if compiled == nil {
		compiled = compile(t, Wasm(), host.Options{})
	}
	return compiled
}

// start returns a guest of m that runs the algorithm called name.
func start(t testing.TB, m *host.Module, name string, p search.Problem) search.Optimizer {
	t.Helper()
	g, err := m.New(t.Context(), p, map[string]string{"optimizer": name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// The size is what a page's visitor waits for.
func TestSize(t *testing.T) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(Wasm()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d with gzip", len(Wasm()), packed.Len())
	if len(Wasm()) > 2_500_000 || packed.Len() > 700_000 {
		t.Errorf("%d bytes, %d with gzip; the limits are 2,500,000 and 700,000", len(Wasm()), packed.Len())
	}
}

// TestUpToDate builds the guest again. With the version of Go that built the committed one, the bytes have to be the same. With another
// version they cannot be, so there the new build has to ask for what the committed one asks for: what a guest promises is its
// candidates, and nobody should need a second Go to run the tests.
func TestUpToDate(t *testing.T) {
	note, err := os.ReadFile("guest.wasm.sha256")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(Wasm())
	if want := "\n" + hex.EncodeToString(sum[:]) + "  guest.wasm\n"; !strings.HasSuffix(string(note), want) {
		t.Fatalf("guest.wasm.sha256 is not that of guest.wasm; %s", howToBuild)
	}
	folder, err := filepath.Abs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("../../tools/guest.sh", folder, "local").CombinedOutput(); err != nil {
		t.Fatalf("tools/guest.sh: %v\n%s", err, out)
	}
	built, err := os.ReadFile(filepath.Join(folder, "guest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := os.ReadFile(filepath.Join(folder, "guest.wasm.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	committedGo, _, _ := strings.Cut(string(note), "\n")
	builtGo, _, _ := strings.Cut(string(renewed), "\n")
	if committedGo == builtGo {
		if !bytes.Equal(built, Wasm()) {
			t.Errorf("guest.wasm is not what the source builds; %s", howToBuild)
		}
		return
	}
	t.Logf("comparing candidates, as guest.wasm was built with %q and this is %q", committedGo, builtGo)
	before, after := module(t), compile(t, built, host.Options{})
	for _, a := range optimizer.Algorithms() {
		for name, p := range guesttest.Problems() {
			guesttest.Record(t, name, a.Name, p, start(t, before, a.Name, p)).Replay(t, start(t, after, a.Name, p))
		}
	}
}

// Every build of an algorithm asks for the same candidates, bit for bit. Package web/optimizer holds the engines of Node and Chromium to
// the same.
func TestDeterminism(t *testing.T) {
	compiler, interpreter, trusted := module(t), compile(t, Wasm(), host.Options{Interpreter: true}), compile(t, Wasm(), host.Options{Trusted: true})
	for _, a := range optimizer.Algorithms() {
		for name, p := range guesttest.Problems() {
			t.Run(a.Name+" "+name, func(t *testing.T) {
				c := guesttest.Record(t, name, a.Name, p, start(t, compiler, a.Name, p))
				c.Replay(t, start(t, compiler, a.Name, p)) // in another instance
				c.Replay(t, start(t, interpreter, a.Name, p))
				c.Replay(t, start(t, trusted, a.Name, p))
				native, err := optimizer.New(a.Name, p)
				if err != nil {
					t.Fatal(err)
				}
				c.Replay(t, native)
			})
		}
	}
}

// The guest is held to the contract that the native algorithms are held to.
func TestContract(t *testing.T) {
	m := module(t)
	for _, a := range optimizer.Algorithms() {
		t.Run(a.Name, func(t *testing.T) {
			searchtest.Run(t, func(p search.Problem) (search.Optimizer, error) {
				g, err := m.New(t.Context(), p, map[string]string{"optimizer": a.Name})
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { g.Close() })
				return g, nil
			})
		})
	}
}

func TestInfo(t *testing.T) {
	info := module(t).Info()
	want := host.Info{ABI: 1 << 16, Name: "medley", Version: "1", WantsAux: true, MaxDim: search.MaxDim, PreferredBatch: 8}
	if info != want {
		t.Errorf("%+v, want %+v", info, want)
	}
}

func TestRefuses(t *testing.T) {
	m := module(t)
	for name, c := range map[string]struct {
		options map[string]string
		code    fault.Code
		message string
	}{
		"unknown algorithm": {map[string]string{"optimizer": "adam"}, fault.Unsupported, `"adam" is not one of auto, `},
		"unknown option":    {map[string]string{"speed": "9"}, fault.Unsupported, `"speed" is not an option`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.New(t.Context(), searchtest.Problem(3, 9, 2), c.options)
			if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.message) {
				t.Errorf("error %v (%s), want %q (%s)", err, fault.CodeOf(err), c.message, c.code)
			}
		})
	}
	if _, err := m.New(t.Context(), search.Problem{Dim: 1, Lower: []float64{0}, Upper: []float64{math.Inf(1)}, Budget: 1, Batch: 1}, nil); err == nil {
		t.Error("a problem with an infinite bound is taken")
	}
}

// Hundreds of weights are within what a host gives by default, and thousands within what it gives to this guest.
func TestManyWeights(t *testing.T) {
	trusted := compile(t, Wasm(), host.Options{Limits: host.TrustedLimits(), Trusted: true})
	for _, c := range []struct {
		name        string
		module      *host.Module
		dim, budget int
	}{
		{"gntr", module(t), 200, 40}, {"gntr", module(t), 500, 40}, {"gntr", module(t), 500, 600}, {"random", module(t), 5000, 40}, {"cobyla", module(t), 300, 40},
		{"gntr", trusted, 1000, 1000}, {"gntr", trusted, search.MaxDim, 20},
	} {
		t.Run(fmt.Sprint(c.name, c.dim, c.budget), func(t *testing.T) {
			p := searchtest.Problem(c.dim, c.budget, 64)
			o := start(t, c.module, c.name, p)
			begin := time.Now()
			result, err := search.Run(t.Context(), p, o, &searchtest.Evaluator{Problem: p}, search.RunOptions{})
			t.Logf("%d evaluations in %v", result.Evaluations, time.Since(begin).Round(time.Millisecond))
			if err != nil || result.Evaluations < min(c.budget, 40) {
				t.Errorf("%d evaluations, %v", result.Evaluations, err)
			}
		})
	}
}

func BenchmarkInstantiate(b *testing.B) {
	m := module(b)
	p := searchtest.Problem(20, 40, 8)
	for b.Loop() {
		g, err := m.New(b.Context(), p, nil)
		if err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
}

// BenchmarkSearch reports the time that an algorithm takes per candidate, the evaluator's (some microseconds) included.
func BenchmarkSearch(b *testing.B) {
	m := module(b)
	p := searchtest.Problem(20, 40, 8)
	for _, a := range optimizer.Algorithms() {
		for where, create := range map[string]func() (search.Optimizer, error){
			"native": func() (search.Optimizer, error) { return optimizer.New(a.Name, p) },
			"guest":  func() (search.Optimizer, error) { return m.New(b.Context(), p, map[string]string{"optimizer": a.Name}) },
		} {
			b.Run(a.Name+" "+where, func(b *testing.B) {
				candidates := 0
				for b.Loop() {
					b.StopTimer()
					o, err := create()
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					result, err := search.Run(b.Context(), p, o, &searchtest.Evaluator{Problem: p}, search.RunOptions{})
					if err != nil {
						b.Fatal(err)
					}
					candidates += result.Evaluations
					if g, ok := o.(*host.Guest); ok {
						g.Close()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(candidates), "µs/candidate")
			})
		}
	}
}
