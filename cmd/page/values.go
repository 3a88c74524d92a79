//go:build js

package main

import (
	"encoding/json"
	"errors"
	"math"
	"syscall/js"

	"github.com/medley-lora/medley/shared/fault"
)

// method is a JavaScript function that returns a promise of what f returns, something that js.ValueOf takes. It is never released:
// there is one for the page and a handful for each model.
func method(f func(args []js.Value) (any, error)) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		start := js.FuncOf(func(_ js.Value, settle []js.Value) any {
			go func() { // a callback must not wait
				if value, err := guarded(f, args); err != nil {
					settle[1].Invoke(thrown(err))
				} else {
					settle[0].Invoke(value)
				}
			}()
			return nil
		})
		defer start.Release()
		return js.Global().Get("Promise").New(start)
	})
}

// guarded keeps a panic, one of a backend or of a JavaScript function that was passed in, from ending the program.
func guarded(f func([]js.Value) (any, error), args []js.Value) (value any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Internal, "", "panicked: %v", r)
		}
	}()
	return f(args)
}

// thrown is err as a JavaScript Error.
func thrown(err error) js.Value {
	e := js.Global().Get("Error").New(err.Error())
	e.Set("code", string(fault.CodeOf(err)))
	var coded *fault.Error
	if errors.As(err, &coded) {
		e.Set("field", coded.Field)
	}
	return e
}

// argument is args[i], or undefined.
func argument(args []js.Value, i int) js.Value {
	if i < len(args) {
		return args[i]
	}
	return js.Undefined()
}

// decode reads plain data into what to points to. Undefined leaves it as it is.
func decode(field string, v js.Value, to any) error {
	if v.IsUndefined() {
		return nil
	}
	text := js.Global().Get("JSON").Call("stringify", v)
	if text.Type() != js.TypeString {
		return fault.New(fault.Invalid, field, "is not plain data")
	}
	if err := json.Unmarshal([]byte(text.String()), to); err != nil {
		return fault.Wrap(err, fault.Invalid, field, "does not have the expected form: %v", err)
	}
	return nil
}

// vector reads an array of finite numbers. JSON would not do: it makes NaN into null, which reads as 0.
func vector(field string, v js.Value) ([]float64, error) {
	n, err := length(field, v)
	if err != nil {
		return nil, err
	}
	numbers := make([]float64, n)
	for i := range numbers {
		x := v.Index(i)
		if x.Type() != js.TypeNumber || math.IsNaN(x.Float()) || math.IsInf(x.Float(), 0) {
			return nil, fault.New(fault.Invalid, field, "number %d is not a finite number", i)
		}
		numbers[i] = x.Float()
	}
	return numbers, nil
}

// length is that of an array, typed or not.
func length(field string, v js.Value) (int, error) {
	if v.Type() != js.TypeObject || v.Get("length").Type() != js.TypeNumber {
		return 0, fault.New(fault.Invalid, field, "is not an array")
	}
	return v.Length(), nil
}

// array converts the elements of a list.
func array[T any](list []T, convert func(T) any) []any {
	converted := make([]any, len(list))
	for i, x := range list {
		converted[i] = convert(x)
	}
	return converted
}

func number(x float64) any { return x }
