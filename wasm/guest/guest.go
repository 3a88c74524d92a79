// Package guest is the built-in guest: every algorithm of wasm/optimizer in one WebAssembly module that implements the guest interface,
// for hosts that are not written in Go and for those that want the sandbox. Its option "optimizer" names the algorithm.
//
// The module and the native algorithms ask for the same candidates, bit for bit. Should they ever differ on some machine, the module is
// the reference.
package guest

import _ "embed" // the module

//go:embed guest.wasm
var wasm []byte

// Wasm returns the module, which tools/guest.sh builds. The bytes are shared: leave them as they are.
func Wasm() []byte { return wasm }
