package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/medley-lora/medley/shared/fault"
)

// Info is what a guest says of itself.
type Info struct {
	ABI            int    `json:"abi"` // version of the guest interface, major<<16 | minor
	Name           string `json:"name"`
	Version        string `json:"version"`
	WantsAux       bool   `json:"wants_aux"`       // it reads the log-probabilities of target tokens
	MaxDim         int    `json:"max_dim"`         // the most weights it takes; 0 is no limit of its own
	PreferredBatch int    `json:"preferred_batch"` // 0 is no preference
}

// Module is a compiled guest. It is safe for concurrent use.
type Module struct {
	owner    *Runtime
	runtime  wazero.Runtime // of this module alone, so that nothing of it outlives Close
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	options  Options
	info     Info
}

// signatures are the functions of the guest interface.
var signatures = map[string]signature{
	"opt_abi_version": {"", i32},
	"opt_alloc":       {i32, i32},
	"opt_free":        {i32 + i32, ""},
	"opt_create":      {i32 + i32, i32},
	"opt_ask":         {i32 + i32, i32},
	"opt_tell":        {i32 + i32 + i32 + i32 + i32, i32},
	"opt_best":        {i32 + i32, i32},
	"opt_info":        {"", i64},
	"opt_last_error":  {"", i64},
	initialize:        {"", ""},
}

const initialize = "_initialize"

// Compile compiles a guest, starts it once and asks it what it is. It refuses what is no guest of version 1 or is over a limit, with a
// sentence about which part of it; wasm is not kept. Compilation itself takes as long as it takes: see Limits.Compile.
func (r *Runtime) Compile(ctx context.Context, wasm []byte) (*Module, error) {
	shape, clean, err := inspect(wasm, r.options.Limits)
	if err != nil {
		return nil, err
	}
	if err := shape.check(); err != nil {
		return nil, err
	}
	m := &Module{owner: r, options: r.options}
	if err := m.compile(ctx, clean); err != nil {
		return nil, err
	}
	if m.info, err = m.probe(ctx); err != nil {
		_ = m.close() // the error says more
		return nil, err
	}
	if !r.keep(m) {
		_ = m.close()
		return nil, refuse(fault.Canceled, "cannot be compiled: the runtime is closed")
	}
	return m, nil
}

// check holds the module to the guest interface.
func (s *shape) check() error {
	for _, m := range s.imports {
		f, ok := wasi[m.name]
		if m.module != wasiModule || !ok {
			return refuse(fault.Unsupported, "imports %s.%s, which plugins are not given", quote(m.module), quote(m.name))
		}
		want := signature{f.params, i32}
		if f.call == nil {
			want.results = ""
		}
		if int(m.typ) >= len(s.types) || s.types[m.typ] != want {
			return refuse(fault.Invalid, "imports %s with a type that is not WASI's", m.name)
		}
	}
	if e, ok := s.exports["memory"]; !ok || e.kind != kindMemory || s.memories != 1 {
		return refuse(fault.Invalid, "does not export its one memory as \"memory\"")
	}
	for _, name := range sortedNames(signatures) {
		e, ok := s.exports[name]
		if !ok && name == initialize {
			continue
		}
		if !ok || e.kind != kindFunction {
			return refuse(fault.Invalid, "does not export the function %s", name)
		}
		if got, ok := s.typeOf(e.index); !ok || got != signatures[name] {
			return refuse(fault.Invalid, "exports %s with a type that is not the interface's", name)
		}
	}
	return nil
}

// typeOf returns the type of a function by its index, which counts imports first.
func (s *shape) typeOf(function uint32) (signature, bool) {
	i := int(function)
	var typ uint32
	switch {
	case i < len(s.imports):
		typ = s.imports[i].typ
	case i-len(s.imports) < len(s.functions):
		typ = s.functions[i-len(s.imports)]
	default:
		return signature{}, false
	}
	if int(typ) >= len(s.types) {
		return signature{}, false
	}
	return s.types[typ], true
}

// compile fills in runtime and compiled. A cache that fails costs time and nothing else.
func (m *Module) compile(ctx context.Context, clean []byte) error {
	if m.options.CacheDir != "" && !m.options.Interpreter {
		if entry, err := openEntry(m.options.CacheDir, clean); err == nil {
			if m.compileIn(ctx, clean, entry.cache) == nil {
				m.cache = entry.cache
				entry.seal()
				return nil
			}
			_ = entry.cache.Close(ctx)
		}
	}
	return m.compileIn(ctx, clean, nil)
}

func (m *Module) compileIn(ctx context.Context, clean []byte, cache wazero.CompilationCache) (err error) {
	config := wazero.NewRuntimeConfig()
	if m.options.Interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	config = config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(m.options.Limits.MemoryPages).
		WithMemoryCapacityFromMax(m.options.reserve).WithCloseOnContextDone(!m.options.Trusted).WithDebugInfoEnabled(false)
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	defer func() {
		if p := recover(); p != nil { // the compiler meets what it does not expect
			err = refuse(fault.Invalid, "cannot be compiled: %s", plain(fmt.Sprint(p)))
		}
		if err != nil {
			_ = m.runtime.Close(ctx)
		}
	}()
	if err := instantiateWASI(ctx, m.runtime); err != nil {
		return fault.Wrap(err, fault.Internal, field, "cannot be given its imports")
	}
	if m.options.Guard {
		ctx = experimental.WithFunctionListenerFactory(ctx, guard{})
	}
	m.compiled, err = m.runtime.CompileModule(ctx, clean)
	if err == nil {
		return nil
	}
	text := firstLine(err)
	if strings.Contains(text, "is disabled") || strings.Contains(text, "not enabled") || strings.Contains(text, "unknown") {
		return fault.Wrap(err, fault.Unsupported, field, "uses a feature that plugins cannot: %s", text)
	}
	return fault.Wrap(err, fault.Invalid, field, "is not a valid module: %s", text)
}

// probe asks a fresh instance what it is.
func (m *Module) probe(ctx context.Context) (Info, error) {
	in, err := m.instantiate(ctx, 0)
	if err != nil {
		return Info{}, err
	}
	defer in.close()
	version, err := in.call("opt_abi_version", m.options.Limits.Start)
	if err != nil {
		return Info{}, err
	}
	if major := uint32(version) >> 16; major != 1 {
		return Info{}, refuse(fault.Unsupported, "speaks version %d of the guest interface, only version 1 is known", major)
	}
	at, err := in.call("opt_info", m.options.Limits.Start)
	if err != nil {
		return Info{}, err
	}
	text, err := in.text("opt_info", at)
	if err != nil {
		return Info{}, err
	}
	info := Info{}
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return Info{}, fault.Wrap(err, fault.Invalid, field, "describes itself with something that is not the JSON of opt_info")
	}
	info.ABI = int(uint32(version))
	info.Name, info.Version = plain(info.Name), plain(info.Version)
	if info.Name == "" || info.MaxDim < 0 || info.PreferredBatch < 0 {
		return Info{}, refuse(fault.Invalid, "describes itself without a name, or with numbers below 0")
	}
	return info, nil
}

// Info returns what the guest says of itself.
func (m *Module) Info() Info { return m.info }

// Close ends the module and its guests.
func (m *Module) Close() error {
	m.owner.forget(m)
	return m.close()
}

func (m *Module) close() error {
	ctx := context.Background()
	err := m.runtime.Close(ctx)
	if m.cache != nil {
		err = errors.Join(err, m.cache.Close(ctx))
	}
	if err != nil {
		return fault.Wrap(err, fault.Internal, field, "cannot be closed")
	}
	return nil
}

// guard stops a guest that is over its time or too deep in its own calls, whether it loops or not.
type guard struct{}

var errTooDeep = errors.New("too many calls within calls")

func (guard) NewFunctionListener(api.FunctionDefinition) experimental.FunctionListener {
	return guard{}
}

func (guard) Before(ctx context.Context, _ api.Module, _ api.FunctionDefinition, _ []uint64, _ experimental.StackIterator) {
	s := stateOf(ctx)
	s.depth++
	if s.depth > s.limits.CallDepth {
		panic(errTooDeep)
	}
	if err := ctx.Err(); err != nil {
		panic(err)
	}
}

func (guard) After(ctx context.Context, _ api.Module, _ api.FunctionDefinition, _ []uint64) {
	stateOf(ctx).depth--
}

func (guard) Abort(ctx context.Context, _ api.Module, _ api.FunctionDefinition, _ error) {
	stateOf(ctx).depth--
}

// firstLine is what wazero says, without what it puts before and the stack of the guest after.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if i := strings.LastIndex(line, "wasm error: "); i >= 0 {
		line = line[i+len("wasm error: "):]
	}
	return plain(strings.TrimSuffix(line, " (recovered by wazero)"))
}
