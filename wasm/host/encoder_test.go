package host_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// A tiny assembler of WebAssembly modules: every guest of these tests is written with it, as readable bytes.

// op is one instruction, or several.
type op = []byte

func ops(list ...op) op { return slices.Concat(list...) }

func unsigned(v uint64) []byte { return binary.AppendUvarint(nil, v) }

// signed is LEB128 with a sign.
func signed(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func vec(items ...[]byte) []byte {
	return append(unsigned(uint64(len(items))), slices.Concat(items...)...)
}
func text(s string) []byte { return append(unsigned(uint64(len(s))), s...) }

func i32(v int32) op { return append(op{0x41}, signed(int64(v))...) }
func i64(v int64) op { return append(op{0x42}, signed(v)...) }
func f64(v float64) op {
	return binary.LittleEndian.AppendUint64(op{0x44}, math.Float64bits(v))
}
func local(i byte) op     { return op{0x20, i} }
func call(i byte) op      { return op{0x10, i} }
func storeF64() op        { return op{0x39, 3, 0} }
func storeI32() op        { return op{0x36, 2, 0} }
func growMemory() op      { return op{0x40, 0} }
func growTable() op       { return op{0xfc, 15, 0} }
func drop() op            { return op{0x1a} }
func unreachable() op     { return op{0x00} }
func forever(in ...op) op { return ops(op{0x03, 0x40}, ops(in...), op{0x0c, 0, 0x0b}) }

// Value types.
const vI32, vI64, vF64 = "\x7f", "\x7e", "\x7c"

type function struct {
	name            string // exported under, if any
	params, results string
	locals          []byte // a vector of them; nil is none
	body            op     // without its end
}

// assembly is a module in the making.
type assembly struct {
	imports   []importing
	functions []function
	memory    []byte // limits
	table     []byte // a table section's contents, if any
	start     int    // function, counted with the imports; -1 is none
	data      map[int32]string
	extra     []byte // sections put before the code, as they are
}

type importing struct{ module, name, params, results string }

func section(id byte, body []byte) []byte {
	return slices.Concat([]byte{id}, unsigned(uint64(len(body))), body)
}

func (a *assembly) bytes() []byte {
	var types, imports, declared, exports, code, data [][]byte
	addType := func(params, results string) []byte {
		typ := slices.Concat([]byte{0x60}, text(params), text(results))
		i := slices.IndexFunc(types, func(t []byte) bool { return bytes.Equal(t, typ) })
		if i < 0 {
			i, types = len(types), append(types, typ)
		}
		return unsigned(uint64(i))
	}
	for _, m := range a.imports {
		imports = append(imports, slices.Concat(text(m.module), text(m.name), []byte{0}, addType(m.params, m.results)))
	}
	for i, f := range a.functions {
		declared = append(declared, addType(f.params, f.results))
		if f.name != "" {
			exports = append(exports, slices.Concat(text(f.name), []byte{0}, unsigned(uint64(i+len(a.imports)))))
		}
		locals := f.locals
		if locals == nil {
			locals = []byte{0}
		}
		body := slices.Concat(locals, f.body, []byte{0x0b})
		code = append(code, append(unsigned(uint64(len(body))), body...))
	}
	exports = append(exports, slices.Concat(text("memory"), []byte{2, 0}))
	out := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), section(1, vec(types...)), section(2, vec(imports...)), section(3, vec(declared...)))
	if a.table != nil {
		out = append(out, section(4, a.table)...)
	}
	out = slices.Concat(out, section(5, vec(a.memory)), section(7, vec(exports...)))
	if a.start >= 0 {
		out = append(out, section(8, unsigned(uint64(a.start)))...)
	}
	out = slices.Concat(out, a.extra, section(10, vec(code...)))
	for _, at := range slices.Sorted(maps.Keys(a.data)) {
		data = append(data, slices.Concat([]byte{0}, i32(at), []byte{0x0b}, text(a.data[at])))
	}
	return append(out, section(11, vec(data...))...)
}

// Where the honest guest below keeps things.
const (
	infoAt, errorAt, heapAt = 64, 256, 1024
	honestInfo              = `{"name":"still","version":"1.0","wants_aux":true,"max_dim":0,"preferred_batch":4}`
	honestError             = "I would rather not\x1b[31m"
)

func pointer(at, n int) op { return i64(int64(at)<<32 | int64(n)) }

// still is an honest guest for one weight: it proposes 0 and chooses 0.
func still() *assembly {
	zero := func(at op) op { return ops(at, f64(0), storeF64()) }
	return &assembly{
		start: -1, memory: []byte{0, 1}, data: map[int32]string{infoAt: honestInfo, errorAt: honestError},
		functions: []function{
			{"opt_abi_version", "", vI32, nil, i32(1 << 16)},
			{"opt_alloc", vI32, vI32, nil, i32(heapAt)},
			{"opt_free", vI32 + vI32, "", nil, nil},
			{"opt_create", vI32 + vI32, vI32, nil, i32(0)},
			{"opt_ask", vI32 + vI32, vI32, nil, ops(zero(local(0)), i32(1))},
			{"opt_tell", vI32 + vI32 + vI32 + vI32 + vI32, vI32, nil, i32(0)},
			{"opt_best", vI32 + vI32, vI32, nil, ops(zero(local(0)), zero(local(1)), i32(1))},
			{"opt_info", "", vI64, nil, pointer(infoAt, len(honestInfo))},
			{"opt_last_error", "", vI64, nil, pointer(errorAt, len(honestError))},
		},
	}
}

// but is the honest guest with another body for one of its functions.
func but(name string, body ...op) *assembly {
	a := still()
	i := slices.IndexFunc(a.functions, func(f function) bool { return f.name == name })
	a.functions[i].body = ops(body...)
	return a
}

// with changes an assembly.
func with(a *assembly, change func(*assembly)) *assembly {
	change(a)
	return a
}

func without(name string) *assembly {
	return with(still(), func(a *assembly) {
		a.functions = slices.DeleteFunc(a.functions, func(f function) bool { return f.name == name })
	})
}
