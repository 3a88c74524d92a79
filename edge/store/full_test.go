package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestFullDiskIsTold(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "small.db")+"?_pragma=max_page_count(8)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE t (b BLOB)"); err != nil {
		t.Fatal(err)
	}
	_, noRoom := db.Exec("INSERT INTO t VALUES (zeroblob(1000000))")
	_, syntax := db.Exec("INSERT")
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"SQLite":          {noRoom, true},
		"PostgreSQL":      {&pgconn.PgError{Code: "53100"}, true},
		"another failure": {syntax, false},
	} {
		if c.err == nil {
			t.Fatalf("%s: the statement did not fail", name)
		}
		if got := errors.Is(failure(t.Context(), c.err), syscall.ENOSPC); got != c.want {
			t.Errorf("%s: %v: %v", name, c.err, got)
		}
	}
}
