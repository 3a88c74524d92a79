package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/medley-lora/medley/edge/record"
)

// What is audited.
const (
	LoginFailed = "login.failed"  // a token or API key that is not good
	ScopeDenied = "scope.denied"  // a good token that does not allow what was asked
	Revoked     = "token.revoked" // by its owner
)

// Auditor is told what security looks for later. It neither fails nor holds up a request, and is safe for concurrent use. Events come
// without an ID.
type Auditor interface {
	Audit(ctx context.Context, event record.Audit)
}

// maxFailures bounds the failures that an Auditor is told of in a second: a flood of bad tokens must not become a flood of writes.
const maxFailures = 20

// flood counts failures.
type flood struct {
	mu     sync.Mutex
	second time.Time
	told   int // in this second
	untold int // since the last that was told
}

// tell says whether to tell of a failure at now, and how many were not told before it.
func (f *flood) tell(now time.Time) (ok bool, untold int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if second := now.Truncate(time.Second); !second.Equal(f.second) {
		f.second, f.told = second, 0
	}
	if f.told >= maxFailures {
		f.untold++
		return false, 0
	}
	f.told++
	untold, f.untold = f.untold, 0
	return true, untold
}

// audit tells the Auditor, also when the client has gone.
func (a *Authority) audit(ctx context.Context, principal, action, detail string) {
	if a.o.Auditor == nil {
		return
	}
	now := a.o.Now()
	if action != Revoked {
		ok, untold := a.flood.tell(now)
		if !ok {
			return
		}
		if untold > 0 {
			detail += fmt.Sprintf(" (and %d failures before it that are not recorded)", untold)
		}
	}
	address, _ := ctx.Value(addressKey{}).(string)
	a.o.Auditor.Audit(context.WithoutCancel(ctx), record.Audit{Time: now, Principal: principal, Action: action, Detail: detail, Address: address})
}

type addressKey struct{}

// WithAddress puts the address of the client into a context, for the Auditor.
func WithAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}
