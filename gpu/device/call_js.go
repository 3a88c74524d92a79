package device

import (
	"context"
	"errors"
	"syscall/js"

	"github.com/medley-lora/medley/shared/fault"
)

// await waits for a promise. A rejection is an error; if ctx ends first, the promise is left to itself.
func await(ctx context.Context, promise js.Value) (js.Value, error) {
	type outcome struct {
		value js.Value
		err   error
	}
	settled := make(chan outcome, 1)
	var fulfil, reject js.Func
	settle := func(o outcome) any {
		fulfil.Release()
		reject.Release()
		settled <- o
		return nil
	}
	fulfil = js.FuncOf(func(_ js.Value, args []js.Value) any { return settle(outcome{value: args[0]}) })
	reject = js.FuncOf(func(_ js.Value, args []js.Value) any { return settle(outcome{err: thrown(js.Error{Value: args[0]})}) })
	promise.Call("then", fulfil, reject)
	select {
	case o := <-settled:
		return o.value, o.err
	case <-ctx.Done():
		return js.Undefined(), canceled(ctx)
	}
}

// call awaits the promise that a method returns.
func call(ctx context.Context, on js.Value, method string, args ...any) (result js.Value, err error) {
	if err := canceled(ctx); err != nil {
		return js.Undefined(), err
	}
	var promise js.Value
	if err := attempt(func() { promise = on.Call(method, args...) }); err != nil {
		return js.Undefined(), err
	}
	return await(ctx, promise)
}

// attempt turns an exception that JavaScript throws within f into an error.
func attempt(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(js.Error)
			if !ok {
				panic(r)
			}
			err = thrown(e)
		}
	}()
	f()
	return nil
}

func thrown(e js.Error) error {
	return fault.Wrap(e, fault.Internal, "", "WebGPU: %s", messageOf(e.Value))
}

func messageOf(v js.Value) string {
	if v.Type() == js.TypeObject {
		if m := v.Get("message"); m.Type() == js.TypeString {
			return m.String()
		}
	}
	return v.String()
}

// filters are the kinds of errors of an error scope. WebGPU reports what no scope catches to the console only.
var filters = []string{"validation", "out-of-memory", "internal"}

// watched calls f within error scopes. The verdict is a promise of the errors, one or null for each filter. The caller holds the
// lock, since the scopes of a device are one stack.
func (d *browser) watched(f func()) (verdict js.Value, err error) {
	for _, filter := range filters {
		d.device.Call("pushErrorScope", filter)
	}
	err = attempt(f)
	popped := make([]any, len(filters))
	for i := range popped {
		popped[i] = d.device.Call("popErrorScope")
	}
	return js.Global().Get("Promise").Call("all", popped), err
}

// with runs f under the lock, unless the device is closed or has failed.
func (d *browser) with(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return d.failed
	}
	return f()
}

// checked runs f within error scopes and waits for the verdict.
func (d *browser) checked(ctx context.Context, f func()) error {
	var verdict js.Value
	err := d.with(func() (err error) {
		verdict, err = d.watched(f)
		return err
	})
	if err != nil {
		return err
	}
	return judge(ctx, verdict)
}

// judge waits for a verdict.
func judge(ctx context.Context, verdict js.Value) error {
	found, err := await(ctx, verdict)
	if err != nil {
		return err
	}
	for i, filter := range filters {
		if e := found.Index(i); !e.IsNull() {
			code := fault.Internal
			if filter == "out-of-memory" {
				code = fault.TooLarge
			}
			return fault.Wrap(js.Error{Value: e}, code, "", "WebGPU: %s: %s", filter, messageOf(e))
		}
	}
	return nil
}

// enqueue runs f, which queues work on the device, within error scopes, and returns without waiting for the verdict. An error that comes
// later ends the device, since what it computed is not to be trusted: the argument rules leave no other cause than a defect.
func (d *browser) enqueue(ctx context.Context, f func() error) error {
	if err := d.settle(ctx, depth-1); err != nil {
		return err
	}
	return d.with(func() error {
		var refused error
		verdict, err := d.watched(func() { refused = f() })
		d.queued = append(d.queued, verdict)
		return errors.Join(refused, err)
	})
}

// settle waits until at most most things are queued.
func (d *browser) settle(ctx context.Context, most int) error {
	for {
		var oldest js.Value
		err := d.with(func() error {
			if len(d.queued) > most {
				oldest = d.queued[0]
			}
			return nil
		})
		if err != nil || oldest.IsUndefined() {
			return err
		}
		err = judge(ctx, oldest)
		if err := canceled(ctx); err != nil {
			return err
		}
		if err != nil {
			d.fail(err)
			return err
		}
		d.mu.Lock()
		if len(d.queued) > 0 && d.queued[0].Equal(oldest) { // else another goroutine waited for it too
			d.queued = d.queued[1:]
		}
		d.mu.Unlock()
	}
}
