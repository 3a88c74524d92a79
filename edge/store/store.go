// Package store is the platform's record of truth: what package record describes, kept in SQL by SQLite on one machine or PostgreSQL for
// many.
//
// Every write is one transaction and may be sent again when its outcome is unknown. A create carries the client's idempotency key, a
// worker's write the fence of its lease, and the rest come to the same state however often they run.
//
// Every time comes from the database's clock. The workers of a cluster disagree about the time and the database does not disagree with
// itself; nobody waits longer than a lease for a machine whose clock is wrong. Leases only decide who works: it is the fence that decides
// who may write, so a clock that jumps costs work done twice and never a record.
package store

import (
	"context"
	"database/sql"
	"errors"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/medley-lora/medley/shared/fault"
)

// Store reads and writes records. It is safe for concurrent use, by any number of processes on one database.
//
// A method that takes a principal sees and changes what that principal may: its own records, and to read what others share. Everything
// else does not exist for it, which is fault.NotFound.
type Store struct {
	reader  *sql.DB
	writer  *sql.DB // the same as reader where the database takes concurrent writers
	dialect dialect
}

// dialect holds the few words that SQLite and PostgreSQL do not share.
type dialect struct {
	now      string // expression: microseconds since 1970
	lock     string // ends a SELECT whose rows stay locked until the end of the transaction
	lockFree string // likewise, passing over rows that others have locked
}

// Close waits for running statements and lets the database go.
func (s *Store) Close() error {
	if s.writer == s.reader {
		return s.reader.Close()
	}
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// Ping says whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return failure(ctx, s.reader.PingContext(ctx)) }

// write runs do in a transaction, which is there as a whole or not at all.
func (s *Store) write(ctx context.Context, do func(t tx) error) error {
	sqlTx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return failure(ctx, err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back, and after a failure that one counts
	if err := do(tx{querier{ctx, sqlTx}, s.dialect}); err != nil {
		return failure(ctx, err)
	}
	return failure(ctx, sqlTx.Commit())
}

func (s *Store) read(ctx context.Context) querier { return querier{ctx, s.reader} }

// tx is a running transaction.
type tx struct {
	querier
	dialect
}

// querier runs statements after a look at their arguments.
type querier struct {
	ctx context.Context
	on  interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}
}

// exec returns how many rows a statement changed.
func (q querier) exec(statement string, args ...any) (int64, error) {
	if err := storable(args); err != nil {
		return 0, err
	}
	result, err := q.on.ExecContext(q.ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// scanner is a row to read from.
type scanner interface{ Scan(into ...any) error }

// one reads the row that a statement returns. Without one the error is sql.ErrNoRows.
func one[T any](q querier, scan func(scanner) (T, error), statement string, args ...any) (T, error) {
	if err := storable(args); err != nil {
		var none T
		return none, err
	}
	return scan(q.on.QueryRowContext(q.ctx, statement, args...))
}

// all reads the rows that a statement returns.
func all[T any](q querier, scan func(scanner) (T, error), statement string, args ...any) ([]T, error) {
	if err := storable(args); err != nil {
		return nil, err
	}
	rows, err := q.on.QueryContext(q.ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, item)
	}
	return found, rows.Err()
}

// value scans a row of one column.
func value[T any](row scanner) (v T, err error) { return v, row.Scan(&v) }

// failure leaves our own errors as they are, and says no more of the database's than that it failed.
func failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if ctx.Err() != nil {
		return fault.Wrap(err, fault.Canceled, "", "the request ended before the database answered")
	}
	if full(err) {
		err = errors.Join(syscall.ENOSPC, err)
	}
	return fault.Wrap(err, fault.Internal, "", "the database failed")
}

// full says whether a database had no room on its disk.
func full(err error) bool {
	const diskFull = "53100" // of PostgreSQL's error codes
	lite, isLite := errors.AsType[*sqlite.Error](err)
	post, isPost := errors.AsType[*pgconn.PgError](err)
	return isLite && lite.Code()&0xff == sqlite3.SQLITE_FULL || isPost && post.Code == diskFull
}

// found turns "no rows" into fault.NotFound about a kind of thing.
func found(ctx context.Context, kind string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return notFound(kind)
	}
	return failure(ctx, err)
}

func notFound(kind string) error { return fault.New(fault.NotFound, "", "there is no such %s", kind) }
