//go:build wasip1

// The built-in guest: the interface's functions as WebAssembly exports, each a line over package abi. tools/guest.sh builds it.
package main

import (
	"unsafe"

	"github.com/medley-lora/medley/wasm/guest/abi"
)

func main() {} // never called: a reactor is initialized, then answers

// An instance is one guest. Go's collector does not move what it has allocated, so an address stays one.
var guest = abi.New(func(p *float64) uint32 { return uint32(uintptr(unsafe.Pointer(p))) })

//go:wasmexport opt_abi_version
func version() int32 { return abi.Version }

//go:wasmexport opt_alloc
func alloc(n uint32) uint32 { return guest.Alloc(n) }

//go:wasmexport opt_free
func free(p, n uint32) { guest.Free(p, n) }

//go:wasmexport opt_create
func create(json, n uint32) int32 { return guest.Create(json, n) }

//go:wasmexport opt_ask
func ask(x, k uint32) int32 { return guest.Ask(x, k) }

//go:wasmexport opt_tell
func tell(x, f, k, aux, m uint32) int32 { return guest.Tell(x, f, k, aux, m) }

//go:wasmexport opt_best
func best(x, f uint32) int32 { return guest.Best(x, f) }

//go:wasmexport opt_info
func info() uint64 { return guest.Info() }

//go:wasmexport opt_last_error
func lastError() uint64 { return guest.LastError() }
