package service

import (
	"context"

	"github.com/medley-lora/medley/shared/fault"
)

// gate is a mutex that a context can stop waiting for.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	}
}

func (g gate) leave() { <-g }

// canceled is the error of a context that has ended, in the words of the backends.
func canceled(ctx context.Context) error {
	return fault.Wrap(ctx.Err(), fault.Canceled, "", "%v", ctx.Err())
}
