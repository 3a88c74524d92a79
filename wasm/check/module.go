package check

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/host"
)

// module is what a file says of its borders (WebAssembly core specification 2.0, section 5.5). Package host decides what it may say; this
// lists all of it, so that an author is told of ten wrong imports at once.
type module struct {
	types     []signature
	imports   []imported
	functions []uint32 // types of the functions that the module defines
	exports   []exported
	memories  []memory
}

type signature struct{ params, results string } // one byte a value, as in the binary format

type imported struct {
	module, name string
	kind         byte
	typ          uint32 // of a function
}

type exported struct {
	name  string
	kind  byte
	index uint32
}

// memory has its size in pages of 64 KiB.
type memory struct{ least uint32 }

const (
	kindFunction, kindTable, kindMemory, kindGlobal, kindTag      = 0, 1, 2, 3, 4
	sectionType, sectionImport, sectionFunction                   = 1, 2, 3
	sectionMemory, sectionExport                                  = 5, 7
	header                                                        = "\x00asm\x01\x00\x00\x00"
	functionForm                                             byte = 0x60
)

// parse reads a file of at most host.DefaultLimits().ModuleBytes. What it does not list it does not look at.
func parse(wasm []byte) (module, error) {
	if len(wasm) < len(header) || string(wasm[:len(header)]) != header {
		return module{}, fault.New(fault.Invalid, "", "is not a WebAssembly module (version 1)")
	}
	m := module{}
	for r := (&reader{b: wasm[len(header):]}); len(r.b) > 0; {
		id := r.byte()
		s := &reader{b: r.take(r.u32())}
		if !r.broken {
			m.section(id, s)
		}
		if r.broken || s.broken {
			return module{}, fault.New(fault.Invalid, "", "is not a valid module: section %d is cut off, damaged or far too long", id)
		}
	}
	return m, nil
}

func (m *module) section(id byte, r *reader) {
	switch id {
	case sectionType:
		r.each(func() {
			if r.byte() != functionForm {
				r.fail()
			}
			m.types = append(m.types, signature{params: string(r.take(r.u32())), results: string(r.take(r.u32()))})
		})
	case sectionImport:
		r.each(func() { m.imports = append(m.imports, m.imported(r)) })
	case sectionFunction:
		r.each(func() { m.functions = append(m.functions, r.u32()) })
	case sectionMemory:
		r.each(func() { m.memories = append(m.memories, r.memory()) })
	case sectionExport:
		r.each(func() { m.exports = append(m.exports, exported{r.name(), r.byte(), r.u32()}) })
	}
}

func (m *module) imported(r *reader) imported {
	in := imported{module: r.name(), name: r.name(), kind: r.byte()}
	switch in.kind {
	case kindFunction:
		in.typ = r.u32()
	case kindTable:
		r.byte()
		r.memory()
	case kindMemory:
		r.memory()
	case kindGlobal:
		r.take(2)
	case kindTag:
		r.byte()
		r.u32()
	default:
		r.fail()
	}
	return in
}

// typeOf returns the type of a function by its index, which counts imports first.
func (m *module) typeOf(function uint32) (signature, bool) {
	i := uint64(function)
	for _, in := range m.imports {
		if in.kind != kindFunction {
			continue
		}
		if i == 0 {
			return m.typeAt(in.typ)
		}
		i--
	}
	if i >= uint64(len(m.functions)) {
		return signature{}, false
	}
	return m.typeAt(m.functions[i])
}

func (m *module) typeAt(i uint32) (signature, bool) {
	if uint64(i) >= uint64(len(m.types)) {
		return signature{}, false
	}
	return m.types[i], true
}

// reader takes values off b. After the first that is not there it is broken and returns zeros.
type reader struct {
	b      []byte
	broken bool
}

func (r *reader) fail() { r.b, r.broken = nil, true }

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) byte() byte {
	b := r.take(1)
	if r.broken {
		return 0
	}
	return b[0]
}

func (r *reader) u32() uint32 {
	v, n := binary.Uvarint(r.b[:min(len(r.b), 5)])
	if n <= 0 || v > 1<<32-1 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

func (r *reader) name() string {
	b := r.take(r.u32())
	if !utf8.Valid(b) {
		r.fail()
	}
	return string(b)
}

// memory reads limits, of a table too.
func (r *reader) memory() memory {
	flags := r.byte()
	m := memory{least: r.u32()}
	if flags&1 != 0 {
		r.u32()
	}
	return m
}

// each reads a vector. No vector that a host takes is longer than the limit, and one that claims to be is not read.
func (r *reader) each(read func()) {
	n := r.u32()
	if uint64(n) > uint64(host.DefaultLimits().Items) {
		r.fail()
	}
	for ; n > 0 && !r.broken; n-- {
		read()
	}
}
