package check

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/host"
)

// bareModule is a plugin without package host in between, which would let no wrong call through. Only a plugin that has started in the
// host gets here, and only in a worker, since nothing but the end of a process stops one that recurses.
type bareModule struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

// bareOf compiles the plugin once more.
func (s *subject) bareOf(ctx context.Context) (*bareModule, error) {
	if s.bare != nil {
		return s.bare, nil
	}
	background := context.Background() // it lives on after the check
	config := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithCloseOnContextDone(true).
		WithMemoryLimitPages(host.DefaultLimits().MemoryPages).WithDebugInfoEnabled(false)
	b := &bareModule{runtime: wazero.NewRuntimeWithConfig(background, config)}
	_, err := wasi_snapshot_preview1.Instantiate(ctx, b.runtime)
	if err == nil {
		b.compiled, err = b.runtime.CompileModule(background, s.Wasm)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "", "cannot be compiled a second time")
	}
	s.bare = b
	return b, nil
}

// instance is one started plugin. Its functions return nothing of use after a call that failed: err is the first failure.
type instance struct {
	ctx    context.Context
	module api.Module
	err    error
}

// instance starts the plugin afresh; it ends with ctx. The caller closes it.
func (s *subject) instance(ctx context.Context) (*instance, error) {
	b, err := s.bareOf(ctx)
	if err != nil {
		return nil, err
	}
	m, err := b.runtime.InstantiateModule(ctx, b.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions(initialize))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", "does not start a second time")
	}
	return &instance{ctx: ctx, module: m}, nil
}

func (in *instance) close() { _ = in.module.Close(context.Background()) }

func (in *instance) fail(format string, args ...any) {
	if in.err == nil {
		in.err = fault.New(fault.Invalid, "", format, args...)
	}
}

// call returns 0 if the function has no result.
func (in *instance) call(name string, args ...uint64) uint64 {
	if in.err != nil {
		return 0
	}
	limit := host.DefaultLimits().Call
	ctx, cancel := context.WithTimeout(in.ctx, limit)
	defer cancel()
	results, err := in.module.ExportedFunction(name).Call(ctx, args...)
	switch {
	case err != nil && ctx.Err() != nil:
		in.fail("%s took longer than %v", name, limit)
	case err != nil:
		line, _, _ := strings.Cut(err.Error(), "\n")
		in.fail("failed in %s: %s", name, quote(line))
	case len(results) > 0:
		return results[0]
	}
	return 0
}

// lend has n bytes allocated, filled with a pattern; release gives them back.
func (in *instance) lend(n int) (at uint32, release func()) {
	p := uint32(in.call("opt_alloc", uint64(n)))
	release = func() { in.call("opt_free", uint64(p), uint64(n)) }
	size := in.module.Memory().Size()
	switch {
	case in.err != nil:
	case p == 0:
		in.fail("opt_alloc has no %d bytes, with %d in its memory", n, size)
	case p%8 != 0 || uint64(p)+uint64(n) > uint64(size):
		in.fail("opt_alloc returned %d for %d bytes: not divisible by 8, or outside the memory of %d", p, n, size)
	default:
		b, _ := in.module.Memory().Read(p, uint32(n))
		for i := range b {
			b[i] = pattern
		}
	}
	return p, release
}

// pattern is what untouched bytes hold; eight of them are a NaN.
const pattern = 0xff

// put has memory allocated with numbers in it.
func (in *instance) put(values []float64) (at uint32, release func()) {
	at, release = in.lend(8 * len(values))
	for i, v := range values {
		if in.err == nil {
			in.module.Memory().WriteUint64Le(at+uint32(8*i), math.Float64bits(v))
		}
	}
	return at, release
}

func (in *instance) floats(at uint32, n int) []float64 {
	values := make([]float64, n)
	b, ok := in.module.Memory().Read(at, uint32(8*n))
	if !ok {
		in.fail("%d numbers at %d are outside the memory", n, at)
		return values
	}
	for i := range values {
		values[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return values
}

// config is what opt_create is told, in the order in which the host writes it.
type config struct {
	Dim     int               `json:"dim"`
	Budget  int               `json:"budget"`
	Batch   int               `json:"batch"`
	Seed    string            `json:"seed"`
	Lower   []float64         `json:"lower"`
	Upper   []float64         `json:"upper"`
	Init    []float64         `json:"init"`
	L1      float64           `json:"l1"`
	Aux     int               `json:"aux"`
	Options map[string]string `json:"options"`
}

// config is an ordinary one, of at most dim weights.
func (s *subject) config(dim int) config {
	if s.MaxDim > 0 {
		dim = min(dim, s.MaxDim)
	}
	c := config{Dim: dim, Budget: 24, Batch: 4, Seed: "7", Init: make([]float64, dim), L1: 0.05, Options: map[string]string{}}
	c.Lower, c.Upper = search.Box(dim, 1.5)
	maps.Copy(c.Options, s.Plugin)
	return c
}

func (c config) json() string {
	text, _ := json.Marshal(c) // numbers and text always can be
	return string(text)
}

func (in *instance) create(text string) int32 {
	at, release := in.lend(len(text))
	if in.err == nil {
		in.module.Memory().WriteString(at, text)
	}
	result := int32(in.call("opt_create", uint64(at), uint64(len(text))))
	release()
	return result
}

// ask returns the candidates written for k, and the code if it is below 0.
func (in *instance) ask(dim, k int) (x [][]float64, code int32) {
	const guard = 16 // numbers beyond the end that nobody may write to
	at, release := in.lend(8 * (k*dim + guard))
	j := int32(in.call("opt_ask", uint64(at), uint64(k)))
	if in.err != nil || j < 0 {
		release()
		return nil, j
	}
	if int(j) > k {
		in.fail("opt_ask returned %d candidates when asked for %d", j, k)
	}
	for i, v := range in.floats(at+uint32(8*k*dim), guard) {
		if math.Float64bits(v) != math.MaxUint64 {
			in.fail("opt_ask wrote beyond the end of x: %d numbers after the %d×%d that it has", i+1, k, dim)
			break
		}
	}
	if in.err == nil {
		values := in.floats(at, int(j)*dim)
		for i := range int(j) {
			x = append(x, values[i*dim:(i+1)*dim])
		}
	}
	release()
	return x, j
}

// tell gives objectives without log-probabilities.
func (in *instance) tell(x [][]float64, f []float64) int32 {
	var all []float64
	for _, w := range x {
		all = append(all, w...)
	}
	at, release := in.put(append(all, f...))
	code := int32(in.call("opt_tell", uint64(at), uint64(at)+uint64(8*len(all)), uint64(len(x)), 0, 0))
	release()
	return code
}

// best returns what opt_best wrote, into buffers that have room for more.
func (in *instance) best(dim int) (x []float64, f float64, code int32) {
	at, release := in.lend(8 * (dim + 2))
	code = int32(in.call("opt_best", uint64(at), uint64(at)+uint64(8*(dim+1))))
	values := make([]float64, dim+2)
	if in.err == nil {
		values = in.floats(at, dim+2)
		if math.Float64bits(values[dim]) != math.MaxUint64 {
			in.fail("opt_best wrote beyond the end of x, which has %d numbers", dim)
		}
	}
	release()
	return values[:dim], values[dim+1], code
}

// reason reads opt_last_error, which has to say something.
func (in *instance) reason() string {
	at := in.call("opt_last_error")
	p, n := uint32(at>>32), uint32(at)
	b, ok := in.module.Memory().Read(p, n)
	switch most := host.DefaultLimits().TextBytes; {
	case in.err != nil:
	case n == 0:
		in.fail("opt_last_error says nothing after a refusal")
	case !ok || int(n) > most || !utf8.Valid(b):
		in.fail("opt_last_error returned %d bytes at %d, which are not at most %d of UTF-8 in its memory", n, p, most)
	default:
		return quote(string(b))
	}
	return ""
}

// expectCode holds a refusal to its code.
func (in *instance) expectCode(what string, got int32, want ...int32) {
	for _, w := range want {
		if got == w {
			if w < 0 {
				in.reason()
			}
			return
		}
	}
	names := map[int32]string{0: "0", -1: "-1 (bad argument)", -2: "-2 (unsupported)", -3: "-3 (wrong state)"}
	text := names[want[0]]
	for _, w := range want[1:] {
		text += " or " + names[w]
	}
	in.fail("%s returned %d, expected %s", what, got, text)
}
