package host_test

import (
	"context"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/host"
)

// hostile is every way of misbehaving that we know, with the error that it ends in.
func hostile() []struct {
	name  string
	wasm  []byte
	code  fault.Code
	error string
} {
	wasi := "wasi_snapshot_preview1"
	importing1 := func(module, name, params, results string) []byte {
		return with(still(), func(a *assembly) { a.imports = []importing{{module, name, params, results}} }).bytes()
	}
	body := func(f string, b ...op) []byte { return but(f, b...).bytes() }
	starting := func(b ...op) []byte {
		return with(still(), func(a *assembly) {
			a.start = len(a.functions)
			a.functions = append(a.functions, function{"", "", "", nil, ops(b...)})
		}).bytes()
	}
	flood := with(but("opt_tell", forever(i32(2), i32(512), i32(2), i32(700), call(0), drop()), i32(0)), func(a *assembly) {
		a.imports = []importing{{wasi, "fd_write", vI32 + vI32 + vI32 + vI32, vI32}}
		a.data[512] = "\x00\x00\x00\x00\x00\x00\x01\x00" + "\x58\x02\x00\x00\x0c\x00\x00\x00" // two vectors: the whole memory, and
		a.data[600] = "\nlast\x1bwords\n"
	})
	pi := f64(math.Pi)
	return []struct {
		name  string
		wasm  []byte
		code  fault.Code
		error string
	}{
		{"empty", nil, fault.Invalid, "is not a WebAssembly module (version 1)"},
		{"text", []byte("#!/bin/sh\n"), fault.Invalid, "is not a WebAssembly module (version 1)"},
		{"a version to come", []byte("\x00asm\x0d\x00\x01\x00"), fault.Invalid, "is not a WebAssembly module (version 1)"},
		{"cut off", still().bytes()[:200], fault.Invalid, "is not a valid module: it ends too early"},
		{"endless loop in ask", body("opt_ask", forever(), i32(1)), fault.TooLarge, "was stopped: opt_ask took longer than 200ms"},
		{"endless loop in tell", body("opt_tell", forever(), i32(1)), fault.TooLarge, "was stopped: opt_tell took longer than 200ms"},
		{"endless loop in best", body("opt_best", forever(), i32(1)), fault.TooLarge, "was stopped: opt_best took longer than 200ms"},
		{"endless loop in alloc", body("opt_alloc", forever(), i32(1)), fault.TooLarge, "was stopped: opt_alloc took longer than 200ms"},
		{"endless loop in free", body("opt_free", forever()), fault.TooLarge, "was stopped: opt_free took longer than 200ms"},
		{"endless loop in create", body("opt_create", forever(), i32(1)), fault.TooLarge, "was stopped: opt_create took longer than 200ms"},
		{"endless loop in info", body("opt_info", forever(), i64(1)), fault.TooLarge, "was stopped: opt_info took longer than 200ms"},
		{"endless start function", starting(forever()), fault.TooLarge, "was stopped: starting it took longer than 200ms"},
		{"start function that traps", starting(unreachable()), fault.Invalid, "failed in starting it: unreachable"},
		{"trap in ask", body("opt_ask", unreachable()), fault.Invalid, "failed in opt_ask: unreachable"},
		{"refuses to ask", body("opt_ask", i32(-2)), fault.Unsupported, "refuses opt_ask (-2): I would rather not [31m"},
		{"unknown refusal", body("opt_ask", i32(-6)), fault.Invalid, "breaks the rules: opt_ask returned -6"},
		{"internal error in tell", body("opt_tell", i32(-5)), fault.Internal, "refuses opt_tell (-5): I would rather not [31m"},
		{"refuses the problem", body("opt_create", i32(-1)), fault.Invalid, "refuses opt_create (-1): I would rather not [31m"},
		{"memory bomb", body("opt_ask", op{0x03, 0x40}, i32(100), growMemory(), i32(-1), op{0x47, 0x0d, 0, 0x0b}, unreachable()), fault.Invalid, "failed in opt_ask: unreachable"},
		{"memory of 4 GiB", with(still(), func(a *assembly) { a.memory = append([]byte{0}, unsigned(65536)...) }).bytes(), fault.TooLarge, "asks for 65536 pages of memory (64 KiB each), at most 256 are allowed"},
		{"shared memory", with(still(), func(a *assembly) { a.memory = []byte{3, 1, 1} }).bytes(), fault.Unsupported, "uses threads (shared memory), which plugins cannot"},
		{"giant table", with(still(), func(a *assembly) {
			a.table = append([]byte{1, 0x70, 0}, unsigned(1<<27)...)
		}).bytes(), fault.TooLarge, "has a table of 134217728 elements, at most 100000 are allowed"},
		{"table that grows", with(but("opt_ask", op{0xd0, 0x70}, i32(1<<30), growTable(), op{0x04, 0x7f}, unreachable(), op{0x05}, i32(1), op{0x0b}), func(a *assembly) {
			a.table = []byte{1, 0x70, 0, 1}
		}).bytes(), fault.Invalid, "failed in opt_ask: unreachable"},
		{"no memory", body("opt_alloc", i32(0)), fault.TooLarge, "has no memory for 122 bytes"},
		{"wild alloc", body("opt_alloc", i32(-8)), fault.Invalid, "breaks the rules: opt_alloc returned 4294967288 for 122 bytes, outside the memory of 65536"},
		{"alloc at the end", body("opt_alloc", i32(65536-8)), fault.Invalid, "breaks the rules: opt_alloc returned 65528 for 122 bytes, outside the memory of 65536"},
		{"crooked alloc", body("opt_alloc", i32(1025)), fault.Invalid, "breaks the rules: opt_alloc returned 1025, which is not divisible by 8"},
		{"wild info", body("opt_info", pointer(65535, 100)), fault.Invalid, "breaks the rules: opt_info returned a text of 100 bytes at 65535, outside the memory of 65536"},
		{"long info", body("opt_info", i64(-1)), fault.Invalid, "breaks the rules: opt_info returned a text of 4294967295 bytes, at most 4096 are allowed"},
		{"info that is not JSON", body("opt_info", pointer(errorAt, 5)), fault.Invalid, "describes itself with something that is not the JSON of opt_info"},
		{"wild last error", with(but("opt_ask", i32(-1)), func(a *assembly) { a.functions[8].body = pointer(-16, 100) }).bytes(), fault.Invalid, "breaks the rules: opt_last_error returned a text of 100 bytes at 4294967280, outside the memory of 65536"},
		{"NaN", body("opt_ask", local(0), f64(math.NaN()), storeF64(), i32(1)), fault.Invalid, "breaks the rules: opt_ask proposed a candidate whose weight 1 is not a finite number"},
		{"infinity", body("opt_ask", local(0), f64(math.Inf(-1)), storeF64(), i32(1)), fault.Invalid, "breaks the rules: opt_ask proposed a candidate whose weight 1 is not a finite number"},
		{"out of bounds", body("opt_ask", local(0), pi, storeF64(), i32(1)), fault.Invalid, "breaks the rules: opt_ask proposed a candidate whose weight 1 is outside its bounds"},
		{"too many candidates", body("opt_ask", i32(math.MaxInt32)), fault.Invalid, "breaks the rules: opt_ask returned 2147483647 candidates when asked for 2"},
		{"best out of bounds", body("opt_best", local(0), pi, storeF64(), i32(1)), fault.Invalid, "breaks the rules: opt_best chose a candidate whose weight 1 is outside its bounds"},
		{"best of no kind", body("opt_best", i32(3)), fault.Invalid, "breaks the rules: opt_best returned 3"},
		{"log flood", flood.bytes(), fault.TooLarge, "was stopped: opt_tell took longer than 200ms; it wrote: last words"},
		{"exit", with(but("opt_ask", i32(3), call(0), i32(1)), func(a *assembly) {
			a.imports = []importing{{wasi, "proc_exit", vI32, ""}}
		}).bytes(), fault.Invalid, "ended itself in opt_ask with exit code 3"},
		{"undeclared import", importing1("env", "system", vI32, vI32), fault.Unsupported, `imports "env"."system", which plugins are not given`},
		{"WASI beyond the 15", importing1(wasi, "path_open", vI32, vI32), fault.Unsupported, `imports "wasi_snapshot_preview1"."path_open", which plugins are not given`},
		{"WASI of another type", importing1(wasi, "random_get", vI32, vI32), fault.Invalid, "imports random_get with a type that is not WASI's"},
		{"threads", body("opt_ask", op{0xfe, 0x03, 0x00}, i32(1)), fault.Unsupported, `uses a feature that plugins cannot: invalid function[4] export["opt_ask"]: atomic.fence invalid as feature "threads" is disabled`},
		{"tail calls", body("opt_ask", local(0), local(1), op{0x12, 0x04}), fault.Unsupported, `uses a feature that plugins cannot: invalid function[4] export["opt_ask"]: return_call invalid as feature "tail-call" is disabled`},
		{"exceptions", with(still(), func(a *assembly) { a.extra = section(13, vec([]byte{0, 0})) }).bytes(), fault.Unsupported, "uses exceptions, which plugins cannot"},
		{"exception instructions", body("opt_ask", op{0x06, 0x40, 0x0b}, i32(1)), fault.Invalid, `is not a valid module: invalid function[4] export["opt_ask"]: invalid instruction 0x6`},
		{"without tell", without("opt_tell").bytes(), fault.Invalid, "does not export the function opt_tell"},
		{"another type", with(still(), func(a *assembly) { a.functions[0].results = vI64; a.functions[0].body = i64(1) }).bytes(), fault.Invalid, "exports opt_abi_version with a type that is not the interface's"},
		{"another interface", body("opt_abi_version", i32(2<<16)), fault.Unsupported, "speaks version 2 of the guest interface, only version 1 is known"},
		{"100,000 functions", with(still(), func(a *assembly) { a.functions = append(a.functions, make([]function, 100_000)...) }).bytes(), fault.TooLarge, "has 100009 functions, at most 50000 are allowed"},
		{"a billion types", append([]byte("\x00asm\x01\x00\x00\x00"), section(1, unsigned(1<<30))...), fault.TooLarge, "has 1073741824 types, at most 100000 are allowed"},
		{"a billion locals", with(still(), func(a *assembly) {
			a.functions[4].locals = vec(append(unsigned(1<<30), vI64...))
		}).bytes(), fault.TooLarge, "has a function with 1073741824 locals, at most 2000 are allowed"},
	}
}

// search1 does with a guest what a search does, and returns the first error.
func search1(p search.Problem, g interface {
	search.Optimizer
	Err() error
}) error {
	for range 2 {
		x, err := g.Ask(2)
		if err != nil {
			return err
		}
		s, _ := zeros{}.Evaluate(context.Background(), x)
		if err := g.Tell(x, s); err != nil {
			return err
		}
		if g.Best() == nil {
			return fault.New(fault.Internal, "", "there is no best candidate")
		}
	}
	return g.Err()
}

func TestHostile(t *testing.T) {
	before := runtime.NumGoroutine()
	engines := map[string]host.Options{"compiler": {Limits: quick}, "interpreter": {Limits: quick, Interpreter: true}, "guard": {Limits: quick, Guard: true}}
	for name, o := range engines {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, o)
			for _, c := range hostile() {
				expect(t, c.name, c.code, c.error, func() error {
					m, err := r.Compile(t.Context(), c.wasm)
					if err != nil {
						return err
					}
					defer m.Close()
					g, err := m.New(t.Context(), one(), nil)
					if err != nil {
						return err
					}
					defer g.Close()
					return search1(one(), g)
				})
			}
		})
	}
	t.Run("isolated", func(t *testing.T) {
		pool := host.NewPool(host.PoolOptions{Command: command, Limits: quick})
		for _, c := range hostile() {
			expect(t, c.name, c.code, c.error, func() error {
				g, err := host.NewIsolated(t.Context(), pool, c.wasm, one(), nil)
				if err != nil {
					return err
				}
				defer g.Close()
				return search1(one(), g)
			})
		}
	})
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func expect(t *testing.T, name string, code fault.Code, text string, run func() error) {
	t.Helper()
	var err error
	var took time.Duration
	for range 3 { // a machine that is busy with something else may stop a guest before it shows what it does
		start := time.Now()
		err = run()
		took = time.Since(start)
		if err == nil || strings.Contains(text, "took longer") || !strings.Contains(err.Error(), "took longer") {
			break
		}
	}
	if err == nil || fault.CodeOf(err) != code || err.Error() != "plugin: "+text {
		t.Errorf("%s: %s: %v", name, fault.CodeOf(err), err)
	}
	if took > time.Second+quick.Call {
		t.Errorf("%s: took %v", name, took)
	}
}
