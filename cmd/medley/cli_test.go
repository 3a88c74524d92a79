package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// asProgram makes the test binary be medley, so that a test can kill the real program.
const asProgram = "MEDLEY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" || slices.Equal(os.Args[1:], []string{"sandbox"}) { // a sandbox has no environment
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Setenv(asProgram, "1") // for the processes that the program starts of itself
	os.Exit(m.Run())
}

// outcome is what a run of the command line leaves.
type outcome struct {
	code           int
	stdout, stderr string
}

func medley(t *testing.T, args ...string) outcome {
	t.Helper()
	return medleyWith(t.Context(), "", args...)
}

func medleyWith(ctx context.Context, stdin string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// succeed runs the command line and fails the test unless it succeeds.
func succeed(t *testing.T, args ...string) outcome {
	t.Helper()
	o := medley(t, args...)
	if o.code != 0 {
		t.Fatalf("medley %s: exit code %d: %s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o
}

// decode reads stdout as one JSON object that has every field of v's type and no other.
func decode[T any](t *testing.T, o outcome) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(o.stdout))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("stdout is not the JSON object of %T: %v\n%.500s", v, err, o.stdout)
	}
	if d.More() {
		t.Fatalf("stdout holds more than one JSON object: %.500s", o.stdout)
	}
	return v
}

// files lists everything in a folder with its content, to see what a command changed.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[path] = "folder"
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// place is the zoo on disk, and a folder to write to.
type place struct{ zoo, out string }

func newPlace(t *testing.T) place {
	t.Helper()
	return place{zoo: zootest.Dir(t), out: t.TempDir()}
}

func (p place) base() string               { return filepath.Join(p.zoo, "base") }
func (p place) module(name string) string  { return filepath.Join(p.zoo, "modules", name) }
func (p place) variant(name string) string { return filepath.Join(p.zoo, "variants", name) }
func (p place) few(task string) string     { return filepath.Join(p.zoo, "tasks", task+".few.jsonl") }
func (p place) to(name string) string      { return filepath.Join(p.out, name) }

// modules are the flags that name modules of the zoo.
func (p place) modules(names ...string) []string {
	var args []string
	for _, name := range names {
		args = append(args, "--modules", p.module(name))
	}
	return args
}

func (p place) write(t *testing.T, name, content string) string {
	t.Helper()
	path := p.to(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHelp asks every command for help, which must name every flag with a sentence.
func TestHelp(t *testing.T) {
	all := reflect.TypeFor[commands]()
	for i := range all.NumField() {
		f := all.Field(i)
		if _, isCommand := f.Tag.Lookup("cmd"); !isCommand {
			continue
		}
		name := strings.ToLower(f.Name)
		t.Run(name, func(t *testing.T) {
			o := succeed(t, name, "--help")
			if o.stderr != "" {
				t.Errorf("help writes to stderr: %s", o.stderr)
			}
			for _, flag := range flagsOf(f.Type) {
				if !strings.Contains(o.stdout, "--"+flag) {
					t.Errorf("help does not name --%s:\n%s", flag, o.stdout)
				}
			}
			if whole := words(succeed(t, "--help").stdout); !strings.Contains(whole, f.Tag.Get("help")) {
				t.Errorf("medley --help does not say what %s does:\n%s", name, whole)
			}
		})
	}
}

// words undoes the wrapping of lines.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// flagsOf lists the flags of a command's struct as kong spells them.
func flagsOf(command reflect.Type) []string {
	var flags []string
	for i := range command.NumField() {
		f := command.Field(i)
		if f.Anonymous {
			flags = append(flags, flagsOf(f.Type)...)
			continue
		}
		_, positional := f.Tag.Lookup("arg")
		_, below := f.Tag.Lookup("cmd")
		if _, hidden := f.Tag.Lookup("hidden"); positional || below || hidden || !f.IsExported() {
			continue
		}
		spelled := ""
		for i, r := range f.Name {
			if upper := r >= 'A' && r <= 'Z'; upper && i > 0 && f.Name[i-1] >= 'a' {
				spelled += "-"
			}
			spelled += strings.ToLower(string(r))
		}
		if name, ok := f.Tag.Lookup("name"); ok {
			spelled = name
		}
		flags = append(flags, spelled)
	}
	return flags
}

func TestHelpNamesEveryMethod(t *testing.T) {
	help := words(succeed(t, "merge", "--help").stdout)
	for _, m := range lora.Methods() {
		if !strings.Contains(help, " "+string(m)+",") && !strings.Contains(help, " "+string(m)+";") && !strings.Contains(help, "="+`"`+string(m)+`"`) {
			t.Errorf("merge --help does not name the method %s: %s", m, help)
		}
	}
}

func TestProgram(t *testing.T) {
	if o := succeed(t, "--version"); strings.TrimSpace(o.stdout) == "" {
		t.Error("--version prints nothing")
	}
	if bare, help := succeed(t), succeed(t, "--help"); bare.stdout != help.stdout {
		t.Errorf("without arguments: %s", bare.stdout)
	}
	for _, args := range [][]string{{"harmonise"}, {"--harmonise"}, {"score", "--harmonise"}, {"compose", "--budget"}} {
		if o := medley(t, args...); o.code != exitUsage || o.stdout != "" || !strings.Contains(o.stderr, args[len(args)-1]) {
			t.Errorf("medley %s: exit code %d, stdout %q, stderr %q", strings.Join(args, " "), o.code, o.stdout, o.stderr)
		}
	}
}
