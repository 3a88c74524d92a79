// Package host runs optimizers that somebody else wrote: a .wasm file that implements version 1 of the guest interface becomes a
// search.Optimizer in a wazero sandbox. A guest has no files, no environment, no network and no clock; its randomness comes from the
// seed of the search, so that a search with a guest replays like any other. Every answer of a guest is checked before it is believed, and
// a guest that traps, overruns a limit or breaks a rule is dead for good.
//
// The guest interface, all numbers little-endian, pointers and lengths i32, vectors f64, row-major and 8-aligned:
//
//	memory
//	_initialize()                                  optional, called once
//	opt_abi_version() -> i32                       major<<16 | minor
//	opt_alloc(n) -> i32, opt_free(p, n)            0 is out of memory
//	opt_create(json, len) -> i32                   see config
//	opt_ask(x, k) -> i32                           writes j ≤ k candidates to x, returns j; 0 is converged
//	opt_tell(x, f, k, aux, m) -> i32               k candidates, objectives (NaN: failed) and m log-probabilities each (NaN: unknown)
//	opt_best(x, f) -> i32                          writes a candidate and its objective; 1 observed, 2 predicted, 0 none yet
//	opt_info() -> i64, opt_last_error() -> i64     pointer<<32 | length of UTF-8 text
//
// A result below 0 refuses: -1 bad argument, -2 unsupported, -3 wrong state, -4 no memory, -5 internal; opt_last_error says why.
//
// Compile and New run a guest in this process, which suits guests that the user chose. Guests of strangers belong into a process of their
// own: see NewIsolated.
package host

import (
	"context"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Limits bounds what a guest may use. A field that is 0 takes its value from DefaultLimits.
type Limits struct {
	MemoryPages   uint32        // of 64 KiB, linear memory of one instance; a Go guest starts with about 43
	Call          time.Duration // of one ask or tell, by the clock on the wall
	Start         time.Duration // of the start function, of _initialize and of opt_create, each
	Compile       time.Duration // of the compilation; enforced by NewIsolated alone, since only the death of a process can end one
	CPU           time.Duration // of an isolated guest's whole life: the last resort, should nobody be left to end it
	ModuleBytes   int           // of the file; a Go guest has 2 to 4 MiB
	Functions     int           // 100,000 empty ones would compile for a minute
	FunctionBytes int           // of one function's body, whose compilation may take more than linear time; Go's have up to 13 KB
	Locals        int           // of one function: frames on the stack have room for all of them
	TableElements int           // of each table, grown or not, and of all element segments together; 8 and about 100 bytes each
	Tables        int
	Items         int // types, imports, globals, exports, segments, of each kind; a Go guest has 25,000 data segments
	CallDepth     int // with Options.Guard: wazero's own limit is 400 MB of stack
	LogBytes      int // of the end of what it wrote to stdout and stderr, which errors quote
	TextBytes     int // of opt_info and of opt_last_error
}

// DefaultLimits are for uploads. They leave a Go guest of ordinary size four times what it needs.
func DefaultLimits() Limits {
	return Limits{
		MemoryPages: 256, Call: 2 * time.Second, Start: 2 * time.Second, Compile: 30 * time.Second, CPU: 10 * time.Minute,
		ModuleBytes: 16 << 20, Functions: 50_000, FunctionBytes: 256 << 10, Locals: 2000, TableElements: 100_000, Tables: 4, Items: 100_000,
		CallDepth: 2000, LogBytes: 4 << 10, TextBytes: 4 << 10,
	}
}

// TrustedLimits are for Options.Trusted. Nobody's malice has to be bounded there, but whatever a native optimizer could do has to fit: a
// thousand weights want more than 16 MiB, and a round with them takes many seconds where the machine is slow, busy or known to wazero's
// interpreter alone.
func TrustedLimits() Limits {
	l := DefaultLimits()
	l.MemoryPages, l.Call, l.Start = 1<<14, 10*time.Minute, time.Minute
	return l
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.MemoryPages = orDefault(l.MemoryPages, d.MemoryPages)
	l.Call, l.Start = orDefault(l.Call, d.Call), orDefault(l.Start, d.Start)
	l.Compile, l.CPU = orDefault(l.Compile, d.Compile), orDefault(l.CPU, d.CPU)
	l.ModuleBytes, l.Functions = orDefault(l.ModuleBytes, d.ModuleBytes), orDefault(l.Functions, d.Functions)
	l.FunctionBytes, l.Locals = orDefault(l.FunctionBytes, d.FunctionBytes), orDefault(l.Locals, d.Locals)
	l.TableElements, l.Tables = orDefault(l.TableElements, d.TableElements), orDefault(l.Tables, d.Tables)
	l.Items, l.CallDepth = orDefault(l.Items, d.Items), orDefault(l.CallDepth, d.CallDepth)
	l.LogBytes, l.TextBytes = orDefault(l.LogBytes, d.LogBytes), orDefault(l.TextBytes, d.TextBytes)
	return l
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Options is ready to use when zero.
type Options struct {
	CacheDir    string // where compiled guests are kept between runs; made if it is missing. Empty keeps none
	Interpreter bool   // do not compile: starts at once, runs about ten times slower
	Limits      Limits
	// Guard looks at the clock and at the depth of the stack on every call inside the guest, at about a microsecond each. Without it a
	// guest that recurses without a loop runs past its time, and may use 400 MB of stack.
	Guard bool
	// Trusted runs a guest that comes with the program, such as package wasm/guest. Its loops are not watched, which makes it several
	// times as fast, but a call ends when it ends, over its limit or canceled; and should Go collect garbage, the program waits for it.
	Trusted bool

	reserve bool // take the memory of an instance at once, so that it does not grow later
}

// Runtime compiles guests. It is safe for concurrent use.
type Runtime struct {
	options Options
	mu      sync.Mutex
	modules map[*Module]struct{} // open; nil when the runtime is closed
}

// New makes a runtime. It fails with fault.Invalid if the cache folder cannot be used, or if others may write to it: what lies in it is
// run as machine code.
func New(_ context.Context, o Options) (*Runtime, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Limits.MemoryPages > 1<<16 {
		return nil, fault.New(fault.Invalid, "memory pages", "must be at most %d, got %d", 1<<16, o.Limits.MemoryPages)
	}
	if o.CacheDir != "" {
		if err := privateDir(o.CacheDir); err != nil {
			return nil, err
		}
	}
	return &Runtime{options: o, modules: map[*Module]struct{}{}}, nil
}

// Close closes every module of the runtime, and with it every guest.
func (r *Runtime) Close() error {
	r.mu.Lock()
	modules := r.modules
	r.modules = nil
	r.mu.Unlock()
	var first error
	for m := range modules {
		if err := m.close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// keep notes an open module; false if the runtime is closed.
func (r *Runtime) keep(m *Module) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.modules == nil {
		return false
	}
	r.modules[m] = struct{}{}
	return true
}

func (r *Runtime) forget(m *Module) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.modules, m)
}

// field is what errors about a guest are about.
const field = "plugin"

func refuse(code fault.Code, format string, args ...any) error {
	return fault.New(code, field, format, args...)
}
