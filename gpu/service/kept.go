package service

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/medley-lora/medley/shared/fault"
)

// kept is a session that is opened again in each evaluator that is asked for it.
type kept struct {
	request OpenRequest
	opening gate    // held to open
	on      *Client // where the session is open; nil before, and when it is lost
	opened  openReply
	closed  atomic.Bool
}

// openOn returns the session's id in an evaluator.
func (k *kept) openOn(ctx context.Context, c *Client) (id string, err error) {
	if err := k.opening.enter(ctx); err != nil {
		return "", err
	}
	defer k.opening.leave()
	if k.closed.Load() {
		return "", errNoSession
	}
	if k.on == c {
		return k.opened.ID, nil
	}
	opened, err := c.open(ctx, k.request)
	if err != nil {
		return "", err
	}
	if first := k.opened.Backend; first.Name != "" && (opened.Backend.Name != first.Name || opened.Backend.Device != first.Device) {
		c.close(ctx, opened.ID)
		return "", fault.New(fault.Internal, "evaluator", "came back on %s (%s) instead of %s (%s), which gives other numbers",
			opened.Backend.Name, opened.Backend.Device, first.Name, first.Device)
	}
	k.on, k.opened = c, opened
	return opened.ID, nil
}

// close frees the session where it is open. With the evaluator dead nothing is left to free.
func (k *kept) close(ctx context.Context) error {
	if err := k.opening.enter(ctx); err != nil {
		return err
	}
	defer k.opening.leave()
	if k.closed.Swap(true) || k.on == nil {
		return nil
	}
	err := k.on.close(ctx, k.opened.ID)
	if errors.As(err, new(broken)) {
		return nil
	}
	return err
}

// lose forgets an id that its evaluator does not know any more.
func (k *kept) lose(ctx context.Context, id string) error {
	if err := k.opening.enter(ctx); err != nil {
		return err
	}
	defer k.opening.leave()
	if k.opened.ID == id {
		k.on = nil
	}
	return nil
}
