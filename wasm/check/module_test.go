package check

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
)

// askIndex is the number of opt_ask among the functions of assemble, without an import.
const askIndex = 4

// assemble makes a plugin for one weight that proposes 0, with other instructions for some of its functions. wasi, if there is one, is a
// function that it imports.
func assemble(wasi string, bodies map[string][]byte) []byte {
	sized := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	vec := func(items [][]byte) []byte {
		return append(binary.AppendUvarint(nil, uint64(len(items))), slices.Concat(items...)...)
	}
	section := func(id byte, body []byte) []byte { return append([]byte{id}, sized(body)...) }
	const info = `{"name":"assembled"}`
	honest := map[string][]byte{
		"opt_abi_version": {0x41, 0x80, 0x80, 4}, "opt_alloc": {0x41, 0x80, 8}, "opt_create": {0x41, 0}, // 1<<16; 1024; 0
		"opt_ask":  append(append([]byte{0x20, 0, 0x44}, make([]byte, 8)...), 0x39, 3, 0, 0x41, 1), // x[0] = 0; 1
		"opt_tell": {0x41, 0}, "opt_best": {0x41, 0}, "opt_last_error": {0x42, 0},
		"opt_info": append([]byte{0x42, 0xc0, 0, 0x42, 32, 0x86, 0x42}, byte(len(info)), 0x84), // 64<<32 | length
	}
	var types, imports, functions, exports, code [][]byte
	typ := func(s signature) []byte {
		return slices.Concat([]byte{0x60}, sized([]byte(s.params)), sized([]byte(s.results)))
	}
	for i, f := range signatures[1:] { // without _initialize
		body, ok := bodies[f.name]
		if !ok {
			body = honest[f.name]
		}
		types, functions = append(types, typ(f.signature)), append(functions, []byte{byte(i)})
		index := byte(i)
		if wasi != "" {
			index++
		}
		exports = append(exports, slices.Concat(sized([]byte(f.name)), []byte{kindFunction, index}))
		code = append(code, sized(slices.Concat([]byte{0}, body, []byte{0x0b})))
	}
	if wasi != "" {
		types = append(types, typ(wasiType(wasi)))
		imports = append(imports, slices.Concat(sized([]byte(wasiModule)), sized([]byte(wasi)), []byte{kindFunction, byte(len(types) - 1)}))
	}
	exports = append(exports, append(sized([]byte("memory")), kindMemory, 0))
	data := slices.Concat([]byte{1, 0, 0x41, 0xc0, 0, 0x0b}, sized([]byte(info))) // at 64
	return slices.Concat([]byte(header), section(1, vec(types)), section(2, vec(imports)), section(3, vec(functions)), section(5, []byte{1, 0, 1}),
		section(7, vec(exports)), section(10, vec(code)), section(11, data))
}

// wasiType is the type that wazero gives to a function of WASI.
func wasiType(name string) signature { return wasiFunctions()[name] }

var wasiFunctions = sync.OnceValue(func() map[string]signature {
	ctx, all := context.Background(), map[string]signature{}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	for name, f := range r.Module(wasiModule).ExportedFunctionDefinitions() {
		all[name] = signature{string(f.ParamTypes()), string(f.ResultTypes())}
	}
	return all
})

// What this package takes and refuses of WASI is what the host does.
func TestImportsAsHost(t *testing.T) {
	r, err := host.New(t.Context(), host.Options{Interpreter: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	given := 0
	for name := range wasiFunctions() {
		wasm := assemble(name, nil)
		_, refused := r.Compile(t.Context(), wasm)
		m, err := parse(wasm)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.checkImports(); (err == nil) != (refused == nil) {
			t.Errorf("%s: the host says %v, the check %v", name, refused, err)
		}
		if refused == nil {
			given++
		}
	}
	if given != len(wasi) || len(wasiFunctions()) < 40 {
		t.Errorf("%d of %d functions are given, %d listed", given, len(wasiFunctions()), len(wasi))
	}
}

// A function that is missing or of another type is refused here and by the host.
func TestExportsAsHost(t *testing.T) {
	r, err := host.New(t.Context(), host.Options{Interpreter: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	honest := string(assemble("", nil))
	cases := map[string]string{"honest": honest, "opt_free": strings.NewReplacer("opt_free", "opt_tell", "opt_tell", "opt_free").Replace(honest)}
	for _, f := range signatures[1:] {
		cases[f.name+"("] = strings.Replace(honest, f.name, "OPT"+f.name[3:], 1)
	}
	for says, wasm := range cases {
		m, err := parse([]byte(wasm))
		if err != nil {
			t.Fatal(err)
		}
		_, here := m.checkExports()
		_, there := r.Compile(t.Context(), []byte(wasm))
		if (here == nil) != (there == nil) || (here == nil) != (says == "honest") || here != nil && !strings.Contains(here.Error(), "\n"+says) {
			t.Errorf("%s: here %v, in the host %v", says, here, there)
		}
	}
}

func TestParse(t *testing.T) {
	m, err := parse(guest.Wasm())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.imports) != 10 || len(m.memories) != 1 || len(m.exports) < len(signatures)+1 || m.imports[0].module != wasiModule {
		t.Errorf("%d imports, %d memories, %d exports", len(m.imports), len(m.memories), len(m.exports))
	}
	for name, wasm := range map[string]string{
		"billion types":      header + "\x01\x05\x80\x80\x80\x80\x04",
		"endless number":     header + "\x01\x06\x80\x80\x80\x80\x80\x01",
		"long section":       header + "\x01\x7f\x00",
		"name over the end":  header + "\x02\x03\x01\x7fa",
		"name of no UTF-8":   header + "\x02\x08\x01\x01\xff\x01a\x00\x00\x00",
		"import of no kind":  header + "\x02\x07\x01\x01a\x01a\x09\x00",
		"type of other form": header + "\x01\x04\x01\x5f\x00\x00",
	} {
		if _, err := parse([]byte(wasm)); err == nil || !strings.Contains(err.Error(), "is cut off, damaged or far too long") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the host compiles this package can read, and nothing makes it fail otherwise than with an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(header))
	f.Add(assemble("", nil))
	f.Add(assemble("random_get", nil))
	f.Add([]byte(header + "\x02\x0b\x01\x01a\x01a\x01\x70\x01\x00\x01\x00"))
	r, err := host.New(context.Background(), host.Options{Interpreter: true, Guard: true, Limits: host.Limits{Call: time.Second, Start: time.Second}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { r.Close() })
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := parse(wasm)
		_, imports := m.checkImports()
		_, exports := m.checkExports()
		_, memory := m.checkMemory()
		compiled, refused := r.Compile(t.Context(), wasm)
		if refused != nil {
			return
		}
		defer compiled.Close()
		if err != nil || imports != nil || exports != nil || memory != nil {
			t.Errorf("the host takes it: %v, %v, %v, %v", err, imports, exports, memory)
		}
	})
}

// The words that advices go by are words of an error, of the host's or of this package's.
func TestAdvices(t *testing.T) {
	source := ""
	for _, pattern := range []string{"*.go", "../host/*.go", "../../shared/search/searchcheck/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || file == "advice.go" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source += string(text)
		}
	}
	for _, a := range advices {
		if words := strings.TrimSuffix(a.words, "opt_create"); !strings.Contains(source, words) { // whose name is filled in
			t.Errorf("no error says %q", a.words)
		}
	}
	names := Names()
	for name := range changes {
		if !slices.Contains(names, name) {
			t.Errorf("there is no check %q", name)
		}
	}
}

// The author's guide has every function, import and limit as they are.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/plugins.md")
	if err != nil {
		t.Fatal(err)
	}
	l := host.DefaultLimits()
	said := []string{
		fmt.Sprintf("| memory | %d MiB |", l.MemoryPages>>4),
		fmt.Sprintf("| `opt_ask`, `opt_tell`, `opt_best`, each | %.0f s |", l.Call.Seconds()),
		fmt.Sprintf("| start, `_initialize`, `opt_create`, each | %.0f s |", l.Start.Seconds()),
		fmt.Sprintf("| compilation | %.0f s |", l.Compile.Seconds()),
		fmt.Sprintf("| file | %d MiB, 50,000 functions of %d KiB and %d locals |", l.ModuleBytes>>20, l.FunctionBytes>>10, l.Locals),
		fmt.Sprintf("| tables | %d of 100,000 elements |", l.Tables),
		fmt.Sprintf("| imports | %d functions of `%s` |", len(wasi), wasiModule),
	}
	for _, name := range wasi {
		said = append(said, "`"+name+"`")
	}
	for _, f := range signatures {
		said = append(said, "| `"+f.name+f.String()+"` |")
	}
	parameter := regexp.MustCompile(`\b[a-z]+: (i32)`) // "x: i32" has the type i32
	guide := parameter.ReplaceAllString(string(text), "$1")
	for _, want := range said {
		if !strings.Contains(guide, want) {
			t.Errorf("the guide does not say %q", want)
		}
	}
	if l.Functions != 50_000 || l.TableElements != 100_000 {
		t.Error("the guide has the limits of functions and of elements in tables as words")
	}
}
