package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/host"
)

// look checks the file as it lies there; nothing of it runs. It returns whether the rest of the checks have something to stand on.
func (r *run) look() bool {
	begin := time.Now()
	most := host.DefaultLimits().ModuleBytes
	var m module
	err := error(nil)
	if len(r.wasm) > most {
		err = fault.New(fault.TooLarge, "", "has %d bytes, at most %d are allowed", len(r.wasm), most)
	} else {
		m, err = parse(r.wasm)
	}
	r.add(judge(checkFile, begin, fmt.Sprintf("%d bytes, at most %d are allowed", len(r.wasm), most), err))
	if err != nil {
		return false
	}
	for _, c := range []struct {
		name string
		look func() (string, error)
	}{{checkImports, m.checkImports}, {checkExports, m.checkExports}, {checkMemory, m.checkMemory}} {
		begin := time.Now()
		detail, err := c.look()
		r.add(judge(c.name, begin, detail, err))
	}
	return !r.unsound
}

// wasi are the functions that a host gives to plugins; a test holds the list to package host.
var wasi = []string{
	"args_get", "args_sizes_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_close", "fd_fdstat_get", "fd_fdstat_set_flags",
	"fd_prestat_dir_name", "fd_prestat_get", "fd_write", "poll_oneoff", "proc_exit", "random_get", "sched_yield",
}

const wasiModule = "wasi_snapshot_preview1"

// listed is how many things of one kind a detail names.
const listed = 20

func (m *module) checkImports() (string, error) {
	var refused []string
	for _, in := range m.imports {
		known := in.kind == kindFunction && in.module == wasiModule && slices.Contains(wasi, in.name)
		if known {
			continue
		}
		if line := quote(in.module) + "." + quote(in.name); !slices.Contains(refused, line) {
			refused = append(refused, line)
		}
		if len(refused) > listed {
			refused[listed] = "and more"
			break
		}
	}
	if len(refused) > 0 {
		return "", fault.New(fault.Unsupported, "", "not given to plugins:\n%s", strings.Join(refused, "\n"))
	}
	if len(m.imports) == 0 {
		return "none", nil
	}
	return fmt.Sprintf("%d, all of WASI and without anything behind them", len(m.imports)), nil
}

const (
	i32, i64   = "\x7f", "\x7e"
	initialize = "_initialize"
)

// signatures are the functions of the guest interface, in the order of its description (package host).
var signatures = []struct {
	name string
	signature
}{
	{initialize, signature{}},
	{"opt_abi_version", signature{"", i32}},
	{"opt_alloc", signature{i32, i32}},
	{"opt_free", signature{i32 + i32, ""}},
	{"opt_create", signature{i32 + i32, i32}},
	{"opt_ask", signature{i32 + i32, i32}},
	{"opt_tell", signature{i32 + i32 + i32 + i32 + i32, i32}},
	{"opt_best", signature{i32 + i32, i32}},
	{"opt_info", signature{"", i64}},
	{"opt_last_error", signature{"", i64}},
}

func (m *module) checkExports() (string, error) {
	exports := map[string]exported{}
	for _, e := range m.exports {
		exports[e.name] = e
	}
	var wrong []string
	if e, ok := exports["memory"]; !ok || e.kind != kindMemory || len(m.memories) != 1 {
		wrong = append(wrong, `its one memory, as "memory"`)
	}
	for _, f := range signatures {
		e, ok := exports[f.name]
		if !ok && f.name == initialize {
			continue
		}
		if !ok || e.kind != kindFunction {
			wrong = append(wrong, f.name+f.String())
			continue
		}
		if got, ok := m.typeOf(e.index); !ok || got != f.signature {
			wrong = append(wrong, fmt.Sprintf("%s%s; there is one of type %s", f.name, f, got))
		}
	}
	if len(wrong) > 0 {
		return "", fault.New(fault.Invalid, "", "missing or of another type:\n%s", strings.Join(wrong, "\n"))
	}
	return "memory and the functions of the interface", nil
}

// String writes a type as authors do: (i32, i32) -> i32.
func (s signature) String() string {
	list := func(values string) string {
		var names []string
		for _, v := range []byte(values[:min(len(values), listed)]) {
			name := map[byte]string{0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64"}[v]
			if name == "" {
				name = fmt.Sprintf("%#x", v)
			}
			names = append(names, name)
		}
		return strings.Join(names, ", ")
	}
	if s.results == "" {
		return "(" + list(s.params) + ")"
	}
	return "(" + list(s.params) + ") -> " + list(s.results)
}

func (m *module) checkMemory() (string, error) {
	if len(m.memories) == 0 {
		return "", skip("there is none")
	}
	most := host.DefaultLimits().MemoryPages
	if least := m.memories[0].least; least > most {
		return "", fault.New(fault.TooLarge, "", "asks for %d pages of 64 KiB to begin with, at most %d are allowed", least, most)
	}
	return fmt.Sprintf("%d of at most %d pages of 64 KiB to begin with", m.memories[0].least, most), nil
}

// quote makes a stranger's text safe to print, and short.
func quote(text string) string {
	const width = 100
	if runes := []rune(text); len(runes) > width {
		text = string(runes[:width]) + "…"
	}
	return strconv.Quote(text)
}
