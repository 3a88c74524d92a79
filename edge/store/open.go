package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/medley-lora/medley/shared/fault"
)

// Open opens the database that location names and brings its tables up to date. The location is "sqlite:PATH", a file that is made when
// it is missing, or a PostgreSQL URL, "postgres://…". Errors do not repeat it, for it may hold a password.
func Open(ctx context.Context, location string) (*Store, error) {
	scheme, rest, _ := strings.Cut(location, ":")
	switch {
	case scheme == "sqlite" && rest != "" && !strings.HasPrefix(rest, ":"):
		return openSQLite(ctx, rest)
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, location)
	}
	return nil, fault.New(fault.Invalid, "database", "must be sqlite:PATH or postgres://…")
}

// readers bounds the connections that read from SQLite at a time; more would only wait for the disk.
const readers = 8

func openSQLite(ctx context.Context, path string) (*Store, error) {
	// SQLite would let everyone read the file; its journals take the file's permissions.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "database", "cannot be opened for writing")
	}
	if err := file.Close(); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "database", "cannot be opened")
	}
	// A commit is on the disk before it is answered (synchronous=FULL). Writers queue for the one lock from their first statement on
	// (immediate): a transaction that found out later that it cannot write would have to be run again.
	name := func(more string) string {
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&" + more
	}
	writer, err := sql.Open("sqlite", name("_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"))
	if err != nil {
		return nil, unopened(ctx, err)
	}
	writer.SetMaxOpenConns(1)
	reader, err := sql.Open("sqlite", name("_pragma=query_only(1)"))
	if err != nil {
		writer.Close() // the first error counts, and this one may name files
		return nil, unopened(ctx, err)
	}
	reader.SetMaxOpenConns(readers)
	s := &Store{reader, writer, dialect{now: "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"}}
	// Two processes that start at once may both begin to make the tables. The later finds them made when it tries again.
	for range 3 {
		if err = s.migrate(ctx, goose.DialectSQLite3); err == nil || ctx.Err() != nil {
			break
		}
	}
	return s.opened(ctx, err)
}

func openPostgres(ctx context.Context, location string) (*Store, error) {
	db, err := sql.Open("pgx", location)
	if err != nil {
		return nil, unopened(ctx, err)
	}
	s := &Store{db, db, dialect{
		now:      "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
		lock:     " FOR UPDATE",
		lockFree: " FOR UPDATE SKIP LOCKED",
	}}
	locker, err := lock.NewPostgresSessionLocker()
	if err == nil {
		err = s.migrate(ctx, goose.DialectPostgres, goose.WithSessionLocker(locker))
	}
	return s.opened(ctx, err)
}

// opened gives s back, or closes it when err says that it cannot be used.
func (s *Store) opened(ctx context.Context, err error) (*Store, error) {
	if err != nil {
		s.Close() // the first error counts, and this one may name files
		return nil, unopened(ctx, err)
	}
	return s, nil
}

func unopened(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok || ctx.Err() != nil {
		return failure(ctx, err)
	}
	return fault.Wrap(err, fault.Internal, "database", "cannot be opened")
}

//go:embed migrations/*.sql
var migrations embed.FS

func (s *Store) migrate(ctx context.Context, dialect goose.Dialect, options ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, s.writer, files, options...)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	current, target, err := provider.GetVersions(ctx)
	if err == nil && current > target {
		return fault.New(fault.Unsupported, "database", "was written by a newer medley")
	}
	return err
}
