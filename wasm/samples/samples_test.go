package samples

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/host"
)

// module returns the plugin that a template builds.
func module(t testing.TB, language string) []byte {
	t.Helper()
	if language == "go" {
		return builtGo(t)
	}
	wasm, err := os.ReadFile("testdata/" + language + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

var goModule []byte

// builtGo builds Go's template as its README says, once, in a copy as an author has one.
func builtGo(t testing.TB) []byte {
	t.Helper()
	if goModule != nil {
		return goModule
	}
	template, err := Template("go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, template); err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(template, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^GOOS=wasip1 .*$`).Find(text)
	if line == nil {
		t.Fatal("go/README.md has no line that builds it")
	}
	build := exec.Command("sh", "-c", string(line))
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	if goModule, err = os.ReadFile(filepath.Join(dir, "plugin.wasm")); err != nil {
		t.Fatal(err)
	}
	return goModule
}

type engineKey struct {
	language    string
	interpreter bool
}

var compiled = map[engineKey]*host.Module{}

// compile returns the plugin in a host, compiled once for all tests.
func compile(t testing.TB, language string, interpreter bool) *host.Module {
	t.Helper()
	key := engineKey{language, interpreter}
	if m := compiled[key]; m != nil {
		return m
	}
	limits := host.Limits{Call: time.Minute, Start: time.Minute} // for the race detector, and for machines that are busy
	r, err := host.New(context.Background(), host.Options{Interpreter: interpreter, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Compile(context.Background(), module(t, language))
	if err != nil {
		t.Fatalf("%s: %v", language, err)
	}
	compiled[key] = m
	return m
}

func TestInfo(t *testing.T) {
	for _, language := range Languages() {
		want := host.Info{ABI: 1 << 16, Name: "es", Version: "1"}
		if language == "go" {
			want.MaxDim = 4000
		}
		if got := compile(t, language, false).Info(); got != want {
			t.Errorf("%s: %+v, want %+v", language, got, want)
		}
	}
}

// A plugin is uploaded and downloaded, and its author looks at what the compiler made of it.
func TestSize(t *testing.T) {
	for language, limit := range map[string]int{"c": 10_000, "assemblyscript": 20_000, "rust": 50_000, "go": 4_000_000} {
		n := len(module(t, language))
		t.Logf("%s: %d bytes", language, n)
		if n > limit {
			t.Errorf("%s has %d bytes, over the limit of %d", language, n, limit)
		}
	}
}

// TestUpToDate: the modules in testdata were built from the sources as they are. It compares digests, so that nobody needs three
// compilers to run the tests.
func TestUpToDate(t *testing.T) {
	text, err := os.ReadFile("testdata/SOURCES.sha256")
	if err != nil {
		t.Fatal(err)
	}
	noted := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if digest, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && !strings.HasPrefix(line, "#") {
			noted[name] = digest
		}
	}
	current := map[string]string{}
	for _, language := range []string{"assemblyscript", "c", "rust"} {
		current["testdata/"+language+".wasm"] = digest(module(t, language))
		template, err := Template(language)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range contents(t, template) {
			if name != "README.md" {
				current[language+"/"+name] = digest(content)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(current)) {
		if noted[name] != current[name] {
			t.Errorf("%s is not what testdata/SOURCES.sha256 has; run tools/samples.sh and commit what that writes", name)
		}
		delete(noted, name)
	}
	for name := range noted {
		t.Errorf("%s is in testdata/SOURCES.sha256 alone; run tools/samples.sh and commit what that writes", name)
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func contents(t *testing.T, f fs.FS) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all[name], err = fs.ReadFile(f, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// leftover is what .gitignore has: a build in the folder itself leaves it behind.
var leftover = regexp.MustCompile(`(^|/)(plugin\.wasm$|target/|Cargo\.lock$|node_modules/|package-lock\.json$)`)

// TestTemplate: a template is its folder, all of it, and says how it is built.
func TestTemplate(t *testing.T) {
	installs := map[string]string{"c": "apt-get install clang lld make", "assemblyscript": "npm install", "rust": "rustup target add wasm32-unknown-unknown", "go": "go.dev"}
	for _, language := range Languages() {
		template, err := Template(language)
		if err != nil {
			t.Fatal(err)
		}
		got, want := contents(t, template), contents(t, os.DirFS(language))
		maps.DeleteFunc(want, func(name string, _ []byte) bool { return leftover.MatchString(name) })
		if !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: the template has %q, the folder %q", language, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		if install := installs[language]; !strings.Contains(string(got["README.md"]), install) {
			t.Errorf("%s/README.md does not say %q", language, install)
		}
	}
	if _, err := Template("cobol"); fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), "c, assemblyscript, rust, go") {
		t.Errorf("error %v", err)
	}
}
