package host

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/medley-lora/medley/shared/fault"
)

// instance is a started guest, and everything that crosses its border.
type instance struct {
	module    api.Module
	functions map[string]api.Function
	state     *state
	life      context.Context // calls end with it
	dead      error           // why nothing can be called any more
}

// instantiate starts a guest whose randomness comes from seed. Its life ends with ctx.
func (m *Module) instantiate(ctx context.Context, seed uint64) (*instance, error) {
	s := &state{log: &ring{size: m.options.Limits.LogBytes}, random: seed, limits: m.options.Limits}
	in := &instance{state: s, life: context.WithValue(ctx, stateKey{}, s), functions: map[string]api.Function{}}
	start, cancel := context.WithTimeout(in.life, s.limits.Start)
	defer cancel()
	// Without a name, so that instances do not meet; _start is not among what is run, as a guest is no command.
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	module, err := m.runtime.InstantiateModule(start, m.compiled, config)
	if err != nil {
		return nil, in.failed(start, "starting it", s.limits.Start, err)
	}
	in.module = module
	for name := range signatures {
		in.functions[name] = module.ExportedFunction(name)
	}
	if in.functions[initialize] != nil {
		if _, err := in.call(initialize, s.limits.Start); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// call runs an exported function; its result is 0 if it has none.
func (in *instance) call(name string, limit time.Duration, args ...uint64) (uint64, error) {
	if in.dead != nil {
		return 0, in.dead
	}
	ctx, cancel := context.WithTimeout(in.life, limit)
	defer cancel()
	in.state.depth = 0
	results, err := in.functions[name].Call(ctx, args...)
	if err == nil {
		err = ctx.Err() // it ended in time, but wazero may have closed it a moment later
	}
	if err != nil {
		return 0, in.end(in.failed(ctx, name, limit, err))
	}
	if len(results) == 0 {
		return 0, nil
	}
	return results[0], nil
}

// failed says why a call under ctx did not come back.
func (in *instance) failed(ctx context.Context, name string, limit time.Duration, err error) error {
	said := in.state.log.said()
	exit := new(sys.ExitError)
	switch {
	case in.life.Err() != nil:
		return fault.Wrap(err, fault.Canceled, field, "was stopped in %s: the search was canceled", name)
	case ctx.Err() != nil:
		return fault.Wrap(err, fault.TooLarge, field, "was stopped: %s took longer than %v%s", name, limit, said)
	case errors.Is(err, errTooDeep):
		return fault.Wrap(err, fault.TooLarge, field, "was stopped: %s made %v, at most %d are allowed%s", name, errTooDeep, in.state.limits.CallDepth, said)
	case errors.As(err, &exit):
		return fault.Wrap(err, fault.Invalid, field, "ended itself in %s with exit code %d%s", name, exit.ExitCode(), said)
	}
	return fault.Wrap(err, fault.Invalid, field, "failed in %s: %s%s", name, firstLine(err), said)
}

// broke ends the instance for an answer against the rules.
func (in *instance) broke(format string, args ...any) error {
	return in.end(refuse(fault.Invalid, "breaks the rules: "+format, args...))
}

// end closes the instance for good: wazero itself would let a guest be called again after a trap.
func (in *instance) end(why error) error {
	if in.dead == nil {
		in.dead = why
		if in.module != nil {
			_ = in.module.Close(context.Background()) // nothing of an instance needs an orderly end
		}
	}
	return in.dead
}

func (in *instance) close() { _ = in.end(refuse(fault.Canceled, "is closed")) }

// lend takes n bytes of the guest's memory for the time of use.
func (in *instance) lend(n int, use func(p uint32) error) error {
	if uint64(n) > uint64(in.state.limits.MemoryPages)<<16 {
		return refuse(fault.TooLarge, "would have to be handed %d bytes at once, which is more than its memory", n)
	}
	result, err := in.call("opt_alloc", in.state.limits.Call, uint64(n))
	if err != nil {
		return err
	}
	p := uint32(result)
	switch {
	case p == 0:
		return in.end(refuse(fault.TooLarge, "has no memory for %d bytes%s", n, in.state.log.said()))
	case p%8 != 0:
		return in.broke("opt_alloc returned %d, which is not divisible by 8", p)
	case uint64(p)+uint64(n) > uint64(in.module.Memory().Size()):
		return in.broke("opt_alloc returned %d for %d bytes, outside the memory of %d", p, n, in.module.Memory().Size())
	}
	if err := use(p); err != nil {
		if in.dead == nil {
			_, _ = in.call("opt_free", in.state.limits.Call, uint64(p), uint64(n)) // err is the first to have happened
		}
		return err
	}
	_, err = in.call("opt_free", in.state.limits.Call, uint64(p), uint64(n))
	return err
}

// write copies b to p, which lend has checked; a memory never shrinks.
func (in *instance) write(p uint32, b []byte) error {
	if !in.module.Memory().Write(p, b) {
		return in.broke("%d bytes at %d are outside the memory", len(b), p)
	}
	return nil
}

// floats reads n numbers at p.
func (in *instance) floats(p uint32, n int) ([]float64, error) {
	b, ok := in.module.Memory().Read(p, uint32(8*n))
	if !ok {
		return nil, in.broke("%d numbers at %d are outside the memory", n, p)
	}
	v := make([]float64, n)
	for i := range v {
		v[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return v, nil
}

// text reads what opt_info or opt_last_error point to.
func (in *instance) text(name string, at uint64) (string, error) {
	p, n := uint32(at>>32), uint32(at)
	if uint64(n) > uint64(in.state.limits.TextBytes) {
		return "", in.broke("%s returned a text of %d bytes, at most %d are allowed", name, n, in.state.limits.TextBytes)
	}
	b, ok := in.module.Memory().Read(p, n)
	if !ok {
		return "", in.broke("%s returned a text of %d bytes at %d, outside the memory of %d", name, n, p, in.module.Memory().Size())
	}
	return string(b), nil
}

// What a guest refuses a call with. After the first three it can still be asked for something else.
const (
	resultBadArgument = -1 - iota
	resultUnsupported
	resultBadState
	resultNoMemory
	resultInternal
)

// refusal is the error for a result below 0.
func (in *instance) refusal(name string, result int32) error {
	code := fault.Invalid
	switch result {
	case resultBadArgument, resultBadState:
	case resultUnsupported:
		code = fault.Unsupported
	case resultNoMemory:
		code = fault.TooLarge
	case resultInternal:
		code = fault.Internal
	default:
		return in.broke("%s returned %d", name, result)
	}
	at, err := in.call("opt_last_error", in.state.limits.Call)
	if err != nil {
		return err
	}
	text, err := in.text("opt_last_error", at)
	if err != nil {
		return err
	}
	if text = plain(text); text == "" {
		text = "without a reason"
	}
	err = refuse(code, "refuses %s (%d): %s", name, result, text)
	if result == resultNoMemory || result == resultInternal {
		return in.end(err)
	}
	return err
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
