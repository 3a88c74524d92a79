package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Postgres is a PostgreSQL server of a test's own, on a socket in a temporary folder.
type Postgres struct {
	dir       string
	databases atomic.Int32
}

// keeper starts a server and ends it, and its folder with it, when the pipe from the test closes: also when the test is killed.
const keeper = `
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c max_connections=200 >"$2/log" 2>&1 &
read _
kill -INT $!
wait
rm -rf "$2"/*
`

// StartPostgres starts a server that ends with the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	programs := postgresPrograms(t)
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	run := asUser(t, dir)
	if out, err := run(filepath.Join(programs, "initdb"), "-D", filepath.Join(dir, "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8",
		"--no-locale", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	server := run("sh", "-c", keeper, "sh", programs, dir)
	pipe, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pipe.Close()
		server.Wait() //nolint:errcheck // it was told to stop
	})
	p := &Postgres{dir: dir}
	p.await(t)
	return p
}

// postgresPrograms finds the folder of the server's programs, which Debian keeps off the PATH.
func postgresPrograms(t testing.TB) string {
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		t.Fatal("PostgreSQL is missing: run `task setup`")
	}
	return filepath.Dir(slices.Max(found))
}

// asUser returns exec.Command for the user who owns dir from then on: the server refuses to run as root.
func asUser(t testing.TB, dir string) func(string, ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		return exec.Command
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal("there is no user postgres for the server to run as: run `task setup`")
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return func(name string, args ...string) *exec.Cmd {
		command := exec.Command(name, args...)
		command.Dir = dir
		command.SysProcAttr = credential(uint32(uid), uint32(gid))
		return command
	}
}

func (p *Postgres) url(database string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s", database, p.dir)
}

func (p *Postgres) await(t testing.TB) {
	t.Helper()
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = db.PingContext(context.Background()); err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			t.Fatalf("PostgreSQL does not answer: %v\n%s", err, log)
		}
	}
}

// Database makes an empty database and returns its URL.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("test%d", p.databases.Add(1))
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return p.url(name)
}
