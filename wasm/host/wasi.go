package host

import (
	"context"
	"encoding/binary"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

const wasiModule = "wasi_snapshot_preview1"

// Error numbers of WASI preview 1.
const (
	wasiOK    = 0
	wasiBadF  = 8
	wasiFault = 21
	wasiInval = 28
)

// clock is what a guest reads from every clock, always: nanoseconds, the first moment of 2022. Go's runtime does not start with 0.
const clock = 1_640_995_200_000_000_000

// state is what the imported functions of one instance share.
type state struct {
	log    *ring
	random uint64
	depth  int // of calls, with Options.Guard
	limits Limits
}

type stateKey struct{}

func stateOf(ctx context.Context) *state { return ctx.Value(stateKey{}).(*state) }

// i32 and i64 of the binary format are the wazero types of the same name.
const i32, i64 = "\x7f", "\x7e"

// wasi holds every function that a guest may import: what compilers for wasm32-wasip1 cannot do without, with nothing behind it. All but
// proc_exit return an error number.
var wasi = map[string]struct {
	params string
	call   func(s *state, m api.Memory, p []uint64) uint32
}{
	"args_get":            {i32 + i32, nothing},
	"args_sizes_get":      {i32 + i32, noStrings},
	"environ_get":         {i32 + i32, nothing},
	"environ_sizes_get":   {i32 + i32, noStrings},
	"sched_yield":         {"", nothing},
	"clock_time_get":      {i32 + i64 + i32, clockTimeGet},
	"random_get":          {i32 + i32, randomGet},
	"poll_oneoff":         {i32 + i32 + i32 + i32, pollOneoff},
	"fd_write":            {i32 + i32 + i32 + i32, fdWrite},
	"fd_close":            {i32, noFile},
	"fd_fdstat_get":       {i32 + i32, fdStat},
	"fd_fdstat_set_flags": {i32 + i32, noFile},
	"fd_prestat_get":      {i32 + i32, noFile},
	"fd_prestat_dir_name": {i32 + i32 + i32, noFile},
	"proc_exit":           {i32, nil},
}

// instantiateWASI makes the functions importable.
func instantiateWASI(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(wasiModule)
	for name, f := range wasi {
		function, results := api.GoModuleFunc(procExit), ""
		if f.call != nil {
			results = i32
			function = func(ctx context.Context, m api.Module, stack []uint64) {
				stack[0] = uint64(f.call(stateOf(ctx), m.Memory(), stack))
			}
		}
		b = b.NewFunctionBuilder().WithGoModuleFunction(function, []byte(f.params), []byte(results)).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func procExit(ctx context.Context, m api.Module, stack []uint64) {
	code := uint32(stack[0])
	_ = m.CloseWithExitCode(ctx, code) // an instance without files has nothing to fail with
	panic(sys.NewExitError(code))
}

func nothing(*state, api.Memory, []uint64) uint32 { return wasiOK }

func noFile(*state, api.Memory, []uint64) uint32 { return wasiBadF }

// noStrings tells how many strings there are, and their bytes.
func noStrings(_ *state, m api.Memory, p []uint64) uint32 {
	if !m.WriteUint32Le(uint32(p[0]), 0) || !m.WriteUint32Le(uint32(p[1]), 0) {
		return wasiFault
	}
	return wasiOK
}

func clockTimeGet(_ *state, m api.Memory, p []uint64) uint32 {
	if !m.WriteUint64Le(uint32(p[2]), clock) {
		return wasiFault
	}
	return wasiOK
}

// randomGet fills memory from SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
func randomGet(s *state, m api.Memory, p []uint64) uint32 {
	b, ok := m.Read(uint32(p[0]), uint32(p[1]))
	if !ok {
		return wasiFault
	}
	var word [8]byte
	for len(b) > 0 {
		s.random += 0x9e3779b97f4a7c15
		z := s.random
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		b = b[copy(b, word[:]):]
	}
	return wasiOK
}

// pollOneoff completes every subscription at once: one to a clock with success, one to a file with an error.
func pollOneoff(_ *state, m api.Memory, p []uint64) uint32 {
	const subscriptionSize, eventSize = 48, 32
	n := uint64(uint32(p[2]))
	if n == 0 {
		return wasiInval
	}
	if n*subscriptionSize > uint64(m.Size()) {
		return wasiFault
	}
	in, ok := m.Read(uint32(p[0]), uint32(n*subscriptionSize))
	if !ok {
		return wasiFault
	}
	events := make([]byte, n*eventSize) // of their own: the guest may have the two overlap
	for i := range n {
		s, e := in[i*subscriptionSize:], events[i*eventSize:]
		copy(e[:8], s[:8]) // user data
		if e[10] = s[8]; e[10] != 0 {
			e[8] = wasiBadF
		}
	}
	if !m.Write(uint32(p[1]), events) || !m.WriteUint32Le(uint32(p[3]), uint32(n)) {
		return wasiFault
	}
	return wasiOK
}

// fdWrite keeps the end of what is written to stdout and stderr.
func fdWrite(s *state, m api.Memory, p []uint64) uint32 {
	if fd := uint32(p[0]); fd != 1 && fd != 2 {
		return wasiBadF
	}
	const vectorSize, maxVectors = 8, 1024 // IOV_MAX of Linux
	n := uint32(p[2])
	if n > maxVectors {
		return wasiInval
	}
	vectors, ok := m.Read(uint32(p[1]), n*vectorSize)
	if !ok {
		return wasiFault
	}
	written := uint32(0)
	for ; len(vectors) > 0; vectors = vectors[vectorSize:] {
		at, size := binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:])
		b, ok := m.Read(at, size)
		if !ok {
			return wasiFault
		}
		s.log.write(b)
		written += size
	}
	if !m.WriteUint32Le(uint32(p[3]), written) {
		return wasiFault
	}
	return wasiOK
}

// fdStat says that the three standard files are character devices that can be written to.
func fdStat(_ *state, m api.Memory, p []uint64) uint32 {
	if uint32(p[0]) > 2 {
		return wasiBadF
	}
	const characterDevice, rightToWrite = 2, 1 << 6
	stat := make([]byte, 24)
	stat[0], stat[8] = characterDevice, rightToWrite
	if !m.Write(uint32(p[1]), stat) {
		return wasiFault
	}
	return wasiOK
}
