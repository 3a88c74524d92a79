package store

import (
	"context"

	"github.com/medley-lora/medley/edge/record"
)

var audits = table[record.Audit]{"audit", "event", record.AuditID, "id, created, principal, action, detail, address",
	func(row scanner) (a record.Audit, err error) {
		return a, row.Scan(&a.ID, instant{&a.Time}, &a.Principal, &a.Action, &a.Detail, &a.Address)
	}, record.Audit.Place}

// Audit records an event. It fills in ID and Time where ID is empty; an event that has an ID and is there already stays as it is.
// Whoever is audited chooses some of the text, so it is cut and mended rather than refused.
func (s *Store) Audit(ctx context.Context, a record.Audit) (record.Audit, error) {
	if a.ID == "" {
		a.ID = record.NewID(record.AuditID)
	}
	err := s.write(ctx, func(w tx) error {
		_, err := w.exec("INSERT INTO audit ("+audits.columns+") VALUES ($1, "+w.now+", $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING",
			a.ID, mended(a.Principal), mended(a.Action), mended(a.Detail), mended(a.Address))
		if err == nil {
			a, err = audits.get(w.querier, a.ID, "TRUE")
		}
		return err
	})
	return a, err
}

// Audits lists the events of a principal, or of all when it is empty.
func (s *Store) Audits(ctx context.Context, principal string, p Page) (List[record.Audit], error) {
	if principal == "" {
		return list(ctx, s, audits, newestFirst, p, "TRUE")
	}
	return list(ctx, s, audits, newestFirst, p, "principal = $1", principal)
}
