//go:build wasip1

// The flawed plugin keeps the guest interface but for one flaw, which a test writes into the module.
package main

import (
	"math"
	"os"
	"strings"
	"unsafe"

	"github.com/medley-lora/medley/wasm/guest/abi"
)

func main() {}

// flaw is found in the module by these letters, and by their number, and overwritten.
var flaw = "flaw: ......................"

func has(name string) bool { return strings.TrimRight(flaw[len("flaw: "):], ".") == name }

var (
	guest = abi.New(func(p *float64) uint32 { return uint32(uintptr(unsafe.Pointer(p))) })
	dim   int
	asked [][]float64 // in the last round
	one   uint32      // what opt_alloc always returns
	held  [][]byte
	zero  float64
)

func numbers(at, n uint32) []float64 {
	return unsafe.Slice((*float64)(unsafe.Pointer(uintptr(at))), n)
}

func address(b []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(len(b))
}

//go:wasmexport opt_abi_version
func version() int32 {
	if has("version 2") {
		return 2 << 16
	}
	return abi.Version
}

//go:wasmexport opt_alloc
func alloc(n uint32) uint32 {
	switch {
	case has("crooked"):
		return guest.Alloc(n+8) + 4
	case has("overlapping"):
		if one == 0 {
			one = guest.Alloc(1 << 16)
		}
		return one
	case has("hungry"):
		held = append(held, make([]byte, 1<<20))
	}
	return guest.Alloc(n)
}

//go:wasmexport opt_free
func free(p, n uint32) {
	if !has("overlapping") && !has("crooked") {
		guest.Free(p, n)
	}
}

//go:wasmexport opt_create
func create(json, n uint32) int32 {
	text := string(unsafe.Slice((*byte)(unsafe.Pointer(uintptr(json))), n))
	if has("strict") && strings.Contains(text, "later") {
		return abi.BadArgument
	}
	if has("picky") {
		return abi.Unsupported
	}
	code := guest.Create(json, n)
	if _, after, ok := strings.Cut(text, `"dim":`); code == abi.OK && ok {
		for _, c := range after {
			if c < '0' || c > '9' {
				break
			}
			dim = 10*dim + int(c-'0')
		}
	}
	return code
}

//go:wasmexport opt_ask
func ask(x, k uint32) int32 {
	switch {
	case has("early") && dim == 0:
		return 0
	case has("greedy") && dim == 4:
		return int32(k + 1)
	case has("traps"):
		panic("I trip\x1b[31m")
	case has("exits"):
		os.Exit(3)
	case has("endless"):
		for {
			zero++
		}
	case has("recursive") && dim == 12:
		zero = float64(fibonacci(80))
	case has("unsupported"):
		return abi.Unsupported
	}
	j := guest.Ask(x, k)
	if j <= 0 {
		return j
	}
	out := numbers(x, uint32(j)*uint32(dim))
	switch {
	case has("overrun"):
		numbers(x, (k+1)*uint32(dim))[k*uint32(dim)] = 1
	case has("NaN"):
		out[0] = math.NaN()
	case has("far") && asked != nil:
		out[0] = 99
	case has("NaN bits") && math.Float64bits(zero/zero)>>63 == 1:
		out[0] = 0.5
	}
	asked = nil
	for i := range int(j) {
		asked = append(asked, append([]float64{}, out[i*dim:(i+1)*dim]...))
	}
	return j
}

// fibonacci recurses without a loop, for a very long time.
func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}

//go:wasmexport opt_tell
func tell(x, f, k, aux, m uint32) int32 {
	if dim == 0 {
		return guest.Tell(x, f, k, aux, m)
	}
	told := numbers(x, k*uint32(dim))
	for i := range int(k) {
		known := false
		for _, a := range asked {
			known = known || a[0] == told[i*dim] && a[dim-1] == told[i*dim+dim-1]
		}
		if has("no strangers") && !known {
			return abi.BadArgument
		}
		if has("in order") && (i >= len(asked) || asked[i][0] != told[i*dim]) {
			return abi.BadArgument
		}
		if v := numbers(f, k)[i]; has("afraid of NaN") && math.IsNaN(v) {
			panic("a NaN")
		}
	}
	return guest.Tell(x, f, k, aux, m)
}

//go:wasmexport opt_best
func best(x, f uint32) int32 {
	code := guest.Best(x, f)
	switch {
	case has("makes it up") && code == abi.Observed:
		numbers(x, 1)[0] = 0.123
	case has("forgetful"):
		return 0
	case has("wrong objective") && code == abi.Observed:
		numbers(f, 1)[0]++
	}
	return code
}

var notJSON, small = []byte("a plugin"), []byte(`{"name":"small","max_dim":2}`)

//go:wasmexport opt_info
func info() uint64 {
	if has("no JSON") {
		return address(notJSON)
	}
	if has("small") {
		return address(small)
	}
	return guest.Info()
}

//go:wasmexport opt_last_error
func lastError() uint64 {
	if has("silent") {
		return 0
	}
	return guest.LastError()
}
