//go:build !js

package simd

import (
	"context"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/medley-lora/medley/shared/fault"
)

// sandbox runs the kernels in wazero.
type sandbox struct {
	runtime wazero.Runtime
	module  api.Module
}

func newInstance(ctx context.Context) (instance, error) {
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithMemoryLimitPages(memoryBytes/pageBytes))
	module, err := runtime.Instantiate(ctx, kernels)
	if err != nil {
		_ = runtime.Close(ctx)
		return nil, fault.Wrap(err, fault.Unsupported, "", "the WebAssembly kernels do not start")
	}
	return &sandbox{runtime: runtime, module: module}, nil
}

func (s *sandbox) call(name string, args ...any) (float64, error) {
	words := make([]uint64, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case uint32:
			words[i] = api.EncodeU32(a)
		case float32:
			words[i] = api.EncodeF32(a)
		case float64:
			words[i] = api.EncodeF64(a)
		default:
			return 0, fault.New(fault.Internal, name, "argument %d is a %T", i, a)
		}
	}
	results, err := s.module.ExportedFunction(name).Call(context.Background(), words...)
	if err != nil {
		return 0, fault.Wrap(err, fault.Internal, name, "the WebAssembly kernel failed")
	}
	if len(results) == 0 {
		return 0, nil
	}
	return math.Float64frombits(results[0]), nil
}

func (s *sandbox) write(at int64, from []byte) error {
	if !s.module.Memory().Write(uint32(at), from) {
		return errOutside(at, len(from))
	}
	return nil
}

func (s *sandbox) read(at int64, to []byte) error {
	data, ok := s.module.Memory().Read(uint32(at), uint32(len(to)))
	if !ok {
		return errOutside(at, len(to))
	}
	copy(to, data)
	return nil
}

func (s *sandbox) extent() (start, end int64) {
	return int64(s.module.ExportedGlobal("__heap_base").Get()), int64(s.module.Memory().Size())
}

func (s *sandbox) grow(bytes int64) bool {
	_, ok := s.module.Memory().Grow(uint32(bytes / pageBytes))
	return ok
}

func (s *sandbox) close() error { return s.runtime.Close(context.Background()) }
