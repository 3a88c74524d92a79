//go:build js

// Command dies stands for an engine that ends at work, as one without memory does.
package main

import (
	"syscall/js"
	"time"
)

func main() {
	called := make(chan struct{})
	open := js.FuncOf(func(js.Value, []js.Value) any {
		close(called)
		return js.Global().Get("Promise").New(js.FuncOf(func(js.Value, []js.Value) any { return nil })) // never settled
	})
	js.Global().Set("medley", map[string]any{"open": open})
	<-called
	time.Sleep(100 * time.Millisecond) // the call has returned its promise by then
}
