package host_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/host"
)

// Fuzzing runs in this process: guards take the place of the kill.
func fuzzRuntimes(f *testing.F) []*host.Runtime {
	limits := host.Limits{Call: 20 * time.Millisecond, Start: 20 * time.Millisecond, FunctionBytes: 4 << 10, ModuleBytes: 64 << 10, MemoryPages: 16}
	return []*host.Runtime{
		newRuntime(f, host.Options{Guard: true, Limits: limits}), newRuntime(f, host.Options{Guard: true, Interpreter: true, Limits: limits}),
	}
}

// attempt runs a search, and expects of an error that it is one of ours.
func attempt(t *testing.T, runtimes []*host.Runtime, wasm []byte) {
	for _, r := range runtimes {
		if err := try(r, wasm); err != nil && !errors.As(err, new(*fault.Error)) {
			t.Errorf("error of another kind: %v", err)
		}
	}
}

func try(r *host.Runtime, wasm []byte) error {

	m, err := r.Compile(context.Background(), wasm)
	if err != nil {
		return err
	}
	defer m.Close()
	g, err := m.New(context.Background(), one(), nil)
	if err != nil {
		return err
	}
	defer g.Close()
	return search1(one(), g)
}

// FuzzModule feeds the host modules that are nearly right.
func FuzzModule(f *testing.F) {
	r := fuzzRuntimes(f)
	f.Add(still().bytes())
	for _, c := range hostile() {
		if len(c.wasm) < 4<<10 {
			f.Add(c.wasm)
		}
	}
	f.Fuzz(func(t *testing.T, wasm []byte) { attempt(t, r, wasm) })
}

// FuzzAnswers feeds the host a guest whose every answer, and every byte of memory, is the fuzzer's.
func FuzzAnswers(f *testing.F) {
	r := fuzzRuntimes(f)
	f.Add([]byte{}, `{"name":"x"}`, int32(1024))
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63-1), `{"max_dim":1e99}`, int32(-8))
	f.Add(make([]byte, 72), `null`, int32(65528))
	f.Fuzz(func(t *testing.T, answers []byte, info string, at int32) {
		next := func() int64 {
			var b [8]byte
			answers = answers[copy(b[:], answers):]
			return int64(binary.LittleEndian.Uint64(b[:]))
		}
		a := still()
		a.functions[1].body = i32(at)
		for _, i := range []int{3, 4, 5, 6} {
			a.functions[i].body = i32(int32(next()))
		}
		a.functions[7].body = i64(infoAt<<32 | int64(len(info)))
		a.functions[8].body = i64(next())
		if len(info)+infoAt < 60_000 {
			a.data = map[int32]string{infoAt: info, 61_000: string(answers[:min(len(answers), 4000)])}
		}
		attempt(t, r, a.bytes())
	})
}
