package platform

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
)

const (
	maxAudits = 1024 // events that wait for the database; what comes then goes to the log alone
	lastAudit = 3 * time.Second
)

// auditor writes what auth tells of into the store, without holding up requests.
type auditor struct {
	store  *store.Store
	log    *slog.Logger
	events chan record.Audit
	done   sync.WaitGroup
	stop   sync.Once
}

func newAuditor(s *store.Store, log *slog.Logger) *auditor {
	a := &auditor{store: s, log: log, events: make(chan record.Audit, maxAudits)}
	a.done.Go(func() {
		for e := range a.events {
			ctx, cancel := context.WithTimeout(context.Background(), lastAudit)
			if _, err := a.store.Audit(ctx, e); err != nil {
				a.log.Warn("audit", "action", e.Action, "principal", e.Principal, "detail", e.Detail, "address", e.Address, "not_recorded", err)
			}
			cancel()
		}
	})
	return a
}

// Audit is auth.Auditor's.
func (a *auditor) Audit(ctx context.Context, e record.Audit) {
	a.log.InfoContext(ctx, "audit", "action", e.Action, "principal", e.Principal, "detail", e.Detail, "address", e.Address)
	select {
	case a.events <- e:
	default:
	}
}

// close waits for what was told. Nothing may be told afterwards.
func (a *auditor) close() {
	a.stop.Do(func() { close(a.events) })
	a.done.Wait()
}
