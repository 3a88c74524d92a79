package check

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/medley-lora/medley/wasm/host"
)

// These arguments make this test binary the program of another process.
const sandboxArgument, workerArgument = "run-a-sandbox", "run-a-worker"

func TestMain(m *testing.M) {
	programs := map[string]func() error{
		sandboxArgument: func() error { return host.Sandbox(os.Stdin, os.Stdout) },
		workerArgument:  func() error { return Work(os.Stdin, os.Stdout) },
	}
	if program := programs[os.Args[len(os.Args)-1]]; len(os.Args) == 2 && program != nil {
		if err := program(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func options() Options {
	return Options{
		Sandbox: func() *exec.Cmd { return exec.Command(os.Args[0], sandboxArgument) },
		Worker:  func() *exec.Cmd { return exec.Command(os.Args[0], workerArgument) },
	}
}

// build compiles testdata/flawed, once for all tests.
var build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "flawed")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "flawed.wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "./testdata/flawed")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(file)
})

// flawed is a plugin with one flaw; without a name it has none.
func flawed(t *testing.T, flaw string) []byte {
	t.Helper()
	wasm, err := build()
	if err != nil {
		t.Fatal(err)
	}
	const place = "flaw: ......................"
	if bytes.Count(wasm, []byte(place)) != 1 {
		t.Fatal("the place of the flaw is not in the plugin once")
	}
	name := "flaw: " + flaw
	return bytes.Replace(wasm, []byte(place), []byte(name+strings.Repeat(".", len(place)-len(name))), 1)
}

// find returns the result of one check.
func (r *Report) find(t *testing.T, name string) Result {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no check %q", name)
	return Result{}
}
