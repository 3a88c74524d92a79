package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// Page asks for a part of a list. The zero value asks for the beginning.
type Page struct {
	After string // List.Next of the page before
	Limit int    // at most this many; 0 is DefaultLimit
}

// Bounds on Page.Limit.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// List is a page, newest records first. Records made since the first page do not move those of the next.
type List[T any] struct {
	Items []T
	Next  string // where the next page begins; empty after the last
}

// cursor is a place between two records in the order of their age. Records of one instant are in the order of their IDs.
type cursor struct {
	created int64
	id      string
}

func (c cursor) String() string { return strconv.FormatInt(c.created, 36) + "." + c.id }

// maxCursor is longer than any that we make: 13 digits of time, a dot and an ID.
const maxCursor = 64

func parseCursor(text string) (c cursor, err error) {
	created, id, ok := strings.Cut(text, ".")
	if ok && len(text) <= maxCursor {
		c.id = id
		c.created, err = strconv.ParseInt(created, 36, 64)
	}
	if !ok || len(text) > maxCursor || err != nil || c.String() != text {
		return cursor{}, fault.New(fault.Invalid, "cursor", "is not one that a list ended with")
	}
	return c, nil
}

// bounds returns the place and the number of records that p asks for.
func (p Page) bounds() (after *cursor, limit int, err error) {
	if p.Limit < 0 || p.Limit > MaxLimit {
		return nil, 0, fault.New(fault.Invalid, "limit", "must be from 1 to %d", MaxLimit)
	}
	limit = p.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if p.After != "" {
		c, err := parseCursor(p.After)
		return &c, limit, err
	}
	return nil, limit, nil
}

// order is that of a list.
type order struct{ direction, beyond string }

var (
	newestFirst = order{"DESC", "<"}
	oldestFirst = order{"ASC", ">"}
)

// list reads a page of the records of a table that fit a condition on args.
func list[T any](ctx context.Context, s *Store, t table[T], o order, p Page, condition string, args ...any) (List[T], error) {
	after, limit, err := p.bounds()
	if err != nil {
		return List[T]{}, err
	}
	if after != nil {
		condition += fmt.Sprintf(" AND (created, id) %s ($%d, $%d)", o.beyond, len(args)+1, len(args)+2)
		args = append(args, after.created, after.id)
	}
	// One more than asked for, to know whether there is a next page.
	statement := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY created %s, id %s LIMIT %d",
		t.columns, t.name, condition, o.direction, o.direction, limit+1)
	items, err := all(s.read(ctx), t.scan, statement, args...)
	if err != nil {
		return List[T]{}, failure(ctx, err)
	}
	if len(items) <= limit {
		return List[T]{Items: items}, nil
	}
	created, id := t.place(items[limit-1])
	return List[T]{items[:limit], cursor{micros(created), id}.String()}, nil
}

// table says how the rows of a table become records.
type table[T any] struct {
	name    string
	kind    string // what a user calls its records
	prefix  string // of their IDs
	columns string // in the order that scan reads them
	scan    func(scanner) (T, error)
	place   func(T) (created time.Time, id string)
}

// get reads the record called id that fits a condition on args, which begin at $2.
func (t table[T]) get(q querier, id, condition string, args ...any) (T, error) {
	if !record.IsID(t.prefix, id) {
		var none T
		return none, notFound(t.kind)
	}
	item, err := one(q, t.scan, "SELECT "+t.columns+" FROM "+t.name+" WHERE id = $1 AND "+condition, append([]any{id}, args...)...)
	return item, found(q.ctx, t.kind, err)
}

// remove deletes the record called id of owner.
func (t table[T]) remove(ctx context.Context, s *Store, owner, id string) error {
	if !record.IsID(t.prefix, id) {
		return notFound(t.kind)
	}
	return s.write(ctx, func(w tx) error {
		n, err := w.exec("DELETE FROM "+t.name+" WHERE id = $1 AND owner = $2", id, owner)
		if err == nil && n == 0 {
			return notFound(t.kind)
		}
		return err
	})
}
