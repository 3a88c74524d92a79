package simd

import (
	"context"
	"syscall/js"

	"github.com/medley-lora/medley/shared/fault"
)

// engine runs the kernels in the WebAssembly engine that runs this program too: a browser's or Node's.
type engine struct {
	exports, memory js.Value
	functions       map[string]js.Value
	view            js.Value // Uint8Array over the whole memory; growing the memory invalidates it
}

func newInstance(context.Context) (made instance, err error) {
	defer func() {
		if thrown := caught(recover()); thrown != nil {
			err = fault.Wrap(thrown, fault.Unsupported, "", "this WebAssembly engine does not take the kernels; they need its vector instructions (SIMD)")
		}
	}()
	source := js.Global().Get("Uint8Array").New(len(kernels))
	js.CopyBytesToJS(source, kernels)
	api := js.Global().Get("WebAssembly")
	exports := api.Get("Instance").New(api.Get("Module").New(source)).Get("exports")
	e := &engine{exports: exports, memory: exports.Get("memory"), functions: map[string]js.Value{}}
	e.refresh()
	return e, nil
}

// caught turns what a JavaScript call has thrown into an error; other panics go on.
func caught(recovered any) error {
	if recovered == nil {
		return nil
	}
	if thrown, ok := recovered.(js.Error); ok {
		return thrown
	}
	panic(recovered)
}

func (e *engine) refresh() { e.view = js.Global().Get("Uint8Array").New(e.memory.Get("buffer")) }

func (e *engine) call(name string, args ...any) (result float64, err error) {
	defer func() {
		if thrown := caught(recover()); thrown != nil {
			err = fault.Wrap(thrown, fault.Internal, name, "the WebAssembly kernel failed")
		}
	}()
	function, ok := e.functions[name]
	if !ok {
		function = e.exports.Get(name)
		e.functions[name] = function
	}
	if value := function.Invoke(args...); value.Type() == js.TypeNumber {
		result = value.Float()
	}
	return result, nil
}

func (e *engine) write(at int64, from []byte) error {
	if js.CopyBytesToJS(e.view.Call("subarray", at, at+int64(len(from))), from) != len(from) {
		return errOutside(at, len(from))
	}
	return nil
}

func (e *engine) read(at int64, to []byte) error {
	if js.CopyBytesToGo(to, e.view.Call("subarray", at, at+int64(len(to)))) != len(to) {
		return errOutside(at, len(to))
	}
	return nil
}

func (e *engine) extent() (start, end int64) {
	return int64(e.exports.Get("__heap_base").Get("value").Int()), int64(e.memory.Get("buffer").Get("byteLength").Int())
}

func (e *engine) grow(bytes int64) (grown bool) {
	defer func() {
		if caught(recover()) != nil { // a RangeError
			grown = false
		}
	}()
	e.memory.Call("grow", bytes/pageBytes)
	e.refresh()
	return true
}

// close leaves the memory to the garbage collector.
func (e *engine) close() error {
	*e = engine{}
	return nil
}
