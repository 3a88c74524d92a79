package host_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
)

func newGuest(t testing.TB, a *assembly, o host.Options) *host.Guest {
	t.Helper()
	g, err := compile(t, newRuntime(t, o), a.bytes()).New(t.Context(), one(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A trap does not close an instance of wazero: the host must.
func TestDeadStaysDead(t *testing.T) {
	// The first ask is honest, the second traps, a third would be honest again.
	counter := ops(i32(2048), i32(2048), op{0x28, 2, 0}, i32(1), op{0x6a}, storeI32())
	second := ops(i32(2048), op{0x28, 2, 0}, i32(2), op{0x46, 0x04, 0x40}, unreachable(), op{0x0b})
	g := newGuest(t, but("opt_ask", counter, second, local(0), f64(0.5), storeF64(), i32(1)), host.Options{})
	x, err := g.Ask(1)
	if err != nil {
		t.Fatal(err)
	}
	told := []search.Score{{Objective: 2}}
	if err := g.Tell(x, told); err != nil {
		t.Fatal(err)
	}
	_, first := g.Ask(1)
	if first == nil {
		t.Fatal("a trap is no error")
	}
	if _, again := g.Ask(1); !errors.Is(again, first) || g.Tell(x, told) == nil || !errors.Is(g.Err(), first) {
		t.Errorf("after %v the guest says %v", first, again)
	}
	if best := g.Best(); !slices.Equal(best, []float64{0.5}) {
		t.Errorf("the best candidate told was lost: %v", best)
	}
}

// After a refusal a guest lives on, and books are as they were before.
func TestRefusalIsNotDeath(t *testing.T) {
	counter := ops(i32(2048), i32(2048), op{0x28, 2, 0}, i32(1), op{0x6a}, storeI32())
	result := ops(i32(-3), i32(0), i32(2048), op{0x28, 2, 0}, i32(1), op{0x46, 0x1b}) // select
	g := newGuest(t, but("opt_tell", counter, result), host.Options{})
	x, err := g.Ask(2)
	if err != nil {
		t.Fatal(err)
	}
	s := []search.Score{{Objective: 1}}
	if err := g.Tell(x, s); fault.CodeOf(err) != fault.Invalid || g.Err() != nil || g.Best() != nil {
		t.Fatalf("refusal %v, death %v, best %v", err, g.Err(), g.Best())
	}
	if err := g.Tell(x, s); err != nil {
		t.Error(err)
	}
	if _, err := g.Ask(1); err != nil {
		t.Error(err)
	}
}

func TestRounding(t *testing.T) {
	g := newGuest(t, but("opt_ask", local(0), f64(math.Nextafter(1.5, 2)), storeF64(), i32(1)), host.Options{})
	x, err := g.Ask(1)
	if err != nil || x[0][0] != 1.5 {
		t.Errorf("a candidate outside by a rounding error became %v, %v", x, err)
	}
}

func TestRecursion(t *testing.T) {
	// if n < 2 return n; fib(n-1) + fib(n-2)
	fib := with(but("opt_ask", i32(60), call(9)), func(a *assembly) {
		a.functions = append(a.functions, function{"", vI32, vI32, nil, ops(local(0), i32(2), op{0x48, 0x04, 0x7f}, local(0), op{0x05},
			local(0), i32(1), op{0x6b}, call(9), local(0), i32(2), op{0x6b}, call(9), op{0x6a, 0x0b})})
	})
	endless := but("opt_ask", local(0), local(1), call(4))
	pool := host.NewPool(host.PoolOptions{Command: command, Limits: quick})
	for _, c := range []struct {
		name, guarded, isolated string
		guest                   *assembly
	}{
		{"exponential", "was stopped: opt_ask took longer than 200ms", "was stopped: its process took longer than 200ms in ask", fib},
		{"endless", "was stopped: opt_ask made too many calls within calls, at most 2000 are allowed",
			"was stopped in ask: its process needed more memory than it may have", endless},
	} {
		expect(t, c.name+", guarded", fault.TooLarge, c.guarded, func() error {
			return search1(one(), newGuest(t, c.guest, host.Options{Limits: quick, Guard: true}))
		})
		expect(t, c.name+", isolated", fault.TooLarge, c.isolated, func() error {
			g, err := host.NewIsolated(t.Context(), pool, c.guest.bytes(), one(), nil)
			if err != nil {
				return err
			}
			return search1(one(), g)
		})
	}
}

func TestCanceled(t *testing.T) {
	wasm := but("opt_ask", forever(), i32(1)).bytes()
	m := compile(t, newRuntime(t, host.Options{}), wasm)
	pool := host.NewPool(host.PoolOptions{Command: command})
	for name, create := range map[string]func(context.Context) (search.Optimizer, error){
		"here": func(ctx context.Context) (search.Optimizer, error) { return m.New(ctx, one(), nil) },
		"isolated": func(ctx context.Context) (search.Optimizer, error) {
			return host.NewIsolated(ctx, pool, wasm, one(), nil)
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		o, err := create(ctx)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		if _, err := o.Ask(1); fault.CodeOf(err) != fault.Canceled {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// What a guest cannot know it cannot use: its randomness, its clock and its environment are the seed's.
func TestReplay(t *testing.T) {
	// x = a random u32 / 2³²
	random := with(but("opt_ask", i32(3000), i32(8), call(0), drop(),
		local(0), i32(3000), op{0x28, 2, 0}, op{0xb8}, f64(1.0/(1<<32)), op{0xa2}, storeF64(), i32(1)), func(a *assembly) {
		a.imports = []importing{{"wasi_snapshot_preview1", "random_get", vI32 + vI32, vI32}}
	})
	m := compile(t, newRuntime(t, host.Options{}), random.bytes())
	run := func(seed uint64, replay []search.Evaluation) ([]search.Evaluation, error) {
		p := one()
		p.Seed = seed
		g, err := m.New(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		var seen []search.Evaluation
		_, err = search.Run(t.Context(), p, g, zeros{}, search.RunOptions{Replay: replay, Observe: func(e search.Evaluation) { seen = append(seen, e) }})
		return seen, err
	}
	first, err := run(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := run(1, first[:5])
	if err != nil || len(rest) != 3 || rest[2].Candidate[0] != first[7].Candidate[0] || first[0].Candidate[0] == first[1].Candidate[0] {
		t.Errorf("replayed %v, %v", rest, err)
	}
	if _, err := run(2, first[:5]); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "evaluation 1 does not follow") {
		t.Errorf("candidates that change on replay: %v", err)
	}
}

func TestOptions(t *testing.T) {
	m := compile(t, newRuntime(t, host.Options{Interpreter: true}), guest.Wasm())
	_, err := m.New(t.Context(), one(), map[string]string{"colour": "red"})
	if fault.CodeOf(err) != fault.Unsupported || !strings.HasPrefix(err.Error(), `plugin: refuses opt_create (-2): options: "colour" is not an option`) {
		t.Errorf("error %v", err)
	}
	g, err := m.New(t.Context(), one(), map[string]string{"optimizer": "cobyla"})
	if err != nil {
		t.Fatal(err)
	}
	if x, err := g.Ask(2); err != nil || len(x) != 1 { // random would propose two
		t.Errorf("asked %v, error %v", x, err)
	}
}

func TestMaxDim(t *testing.T) {
	small := with(still(), func(a *assembly) {
		a.data[512] = `{"name":"small","max_dim":2}`
		a.functions[7].body = pointer(512, len(a.data[512]))
	})
	p := one()
	p.Dim = 3
	p.Lower, p.Upper = search.Box(3, 1)
	_, err := compile(t, newRuntime(t, host.Options{}), small.bytes()).New(t.Context(), p, nil)
	if fault.CodeOf(err) != fault.Unsupported || err.Error() != "dim: small takes up to 2 weights, got 3" {
		t.Errorf("error %v", err)
	}
}

func TestClosed(t *testing.T) {
	r := newRuntime(t, host.Options{})
	m := compile(t, r, still().bytes())
	g, err := m.New(t.Context(), one(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Ask(1); err == nil {
		t.Error("a guest outlives its runtime")
	}
	if _, err := m.New(t.Context(), one(), nil); err == nil {
		t.Error("a module outlives its runtime")
	}
	if _, err := r.Compile(t.Context(), still().bytes()); fault.CodeOf(err) != fault.Canceled {
		t.Errorf("a closed runtime compiles: %v", err)
	}
}

func TestHugeFile(t *testing.T) {
	huge := make([]byte, 500<<20) // pages that nobody touches
	copy(huge, "\x00asm\x01\x00\x00\x00")
	const want = "plugin: has 524288000 bytes, at most 16777216 are allowed"
	_, err := newRuntime(t, host.Options{}).Compile(t.Context(), huge)
	if fault.CodeOf(err) != fault.TooLarge || err.Error() != want {
		t.Errorf("error %v", err)
	}
	_, err = host.NewIsolated(t.Context(), host.NewPool(host.PoolOptions{Command: command}), huge, one(), nil)
	if fault.CodeOf(err) != fault.TooLarge || err.Error() != want {
		t.Errorf("isolated: error %v", err)
	}
}
