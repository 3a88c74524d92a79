package host

import (
	"encoding/binary"

	"github.com/medley-lora/medley/shared/fault"
)

// The parts of the binary format (WebAssembly core specification 2.0, section 5.5) that the host looks at itself.
const (
	sectionCustom, sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory = 0, 1, 2, 3, 4, 5
	sectionGlobal, sectionExport, sectionStart, sectionElement, sectionCode, sectionData    = 6, 7, 8, 9, 10, 11
	sectionDataCount, sectionTag                                                            = 12, 13

	kindFunction, kindMemory = 0, 2
)

// shape is what inspect learned of a module.
type shape struct {
	types     []signature
	imports   []imported
	functions []uint32 // types of the functions that the module defines
	exports   map[string]exported
	memories  int
}

type signature struct{ params, results string } // one byte a value, as in the binary format

type imported struct {
	module, name string
	kind         byte
	typ          uint32
}

type exported struct {
	kind  byte
	index uint32
}

// inspect walks through a module before the compiler sees it, and refuses what is over a limit: wazero allocates what a module claims
// to have before it reads that. It returns the module without its custom sections, and with every table that has no maximum, or a
// larger one, bounded, for wazero would let a guest grow it to 32 GiB.
func inspect(wasm []byte, l Limits) (shape, []byte, error) {
	if len(wasm) > l.ModuleBytes {
		return shape{}, nil, refuse(fault.TooLarge, "has %d bytes, at most %d are allowed", len(wasm), l.ModuleBytes)
	}
	const header = "\x00asm\x01\x00\x00\x00"
	if len(wasm) < len(header) || string(wasm[:len(header)]) != header {
		return shape{}, nil, refuse(fault.Invalid, "is not a WebAssembly module (version 1)")
	}
	in := &inspector{limits: l}
	in.shape.exports = map[string]exported{}
	clean := []byte(header)
	for r := (&reader{b: wasm[len(header):]}); len(r.b) > 0; {
		id, size := r.byte(), r.u32()
		body := r.take(size)
		if r.err != nil {
			return shape{}, nil, r.err
		}
		if id == sectionCustom {
			continue
		}
		body, err := in.section(id, body)
		if err != nil {
			return shape{}, nil, err
		}
		clean = append(clean, id)
		clean = binary.AppendUvarint(clean, uint64(len(body)))
		clean = append(clean, body...)
	}
	return in.shape, clean, nil
}

type inspector struct {
	limits   Limits
	shape    shape
	elements int
}

// section looks at one section and returns it, bounded if it holds tables.
func (in *inspector) section(id byte, body []byte) ([]byte, error) {
	r := &reader{b: body}
	each := func(limit int, what string, f func()) {
		for n := r.count(limit, what); n > 0 && r.err == nil; n-- {
			f()
		}
	}
	items := in.limits.Items
	switch id {
	case sectionType:
		each(items, "types", func() { in.typ(r) })
	case sectionImport:
		each(items, "imports", func() { in.imported(r) })
	case sectionFunction:
		each(in.limits.Functions, "functions", func() { in.shape.functions = append(in.shape.functions, r.u32()) })
	case sectionTable:
		var tables []byte
		count := 0
		each(in.limits.Tables, "tables", func() { tables = append(tables, in.table(r)...); count++ })
		body = append(binary.AppendUvarint(nil, uint64(count)), tables...)
	case sectionMemory:
		each(items, "memories", func() { in.memory(r) })
	case sectionGlobal:
		each(items, "globals", func() { r.valueType(); r.byte(); r.expression() })
	case sectionExport:
		each(items, "exports", func() { name := r.name(); in.shape.exports[name] = exported{r.byte(), r.u32()} })
	case sectionStart, sectionDataCount:
		r.u32()
	case sectionElement:
		each(items, "element segments", func() { in.element(r) })
	case sectionCode:
		each(in.limits.Functions, "functions", func() { in.code(r) })
	case sectionData:
		each(items, "data segments", func() { in.data(r) })
	case sectionTag:
		return nil, refuse(fault.Unsupported, "uses exceptions, which plugins cannot")
	default:
		return nil, refuse(fault.Invalid, "is not a valid module: section %d is not known", id)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("section %d is longer than its contents", id)
	}
	return body, r.err
}

func (in *inspector) typ(r *reader) {
	if b := r.byte(); b != 0x60 && r.err == nil {
		r.fail("a type is no function type")
	}
	values := func() string {
		n := r.count(1000, "values in a type")
		b := make([]byte, 0, n)
		for ; n > 0 && r.err == nil; n-- {
			b = append(b, r.valueType())
		}
		return string(b)
	}
	in.shape.types = append(in.shape.types, signature{params: values(), results: values()})
}

func (in *inspector) imported(r *reader) {
	m := imported{module: r.name(), name: r.name(), kind: r.byte()}
	if r.err == nil && m.kind != kindFunction {
		r.err = refuse(fault.Unsupported, "imports %s.%s, which is no function", quote(m.module), quote(m.name))
	}
	m.typ = r.u32()
	in.shape.imports = append(in.shape.imports, m)
}

// table returns the table's declaration with a maximum of at most the limit.
func (in *inspector) table(r *reader) []byte {
	typ, flag, least := r.byte(), r.byte(), r.u32()
	most := uint32(in.limits.TableElements)
	switch {
	case r.err != nil:
	case typ != 0x70 && typ != 0x6f:
		r.err = refuse(fault.Unsupported, "has a table of typed references, which plugins cannot")
	case flag > 1:
		r.fail("a table has limits of kind %d", flag)
	case least > most:
		r.err = refuse(fault.TooLarge, "has a table of %d elements, at most %d are allowed", least, most)
	case flag == 1:
		most = min(most, max(r.u32(), least))
	}
	return binary.AppendUvarint(binary.AppendUvarint([]byte{typ, 1}, uint64(least)), uint64(most))
}

func (in *inspector) memory(r *reader) {
	flag, least := r.byte(), r.u32()
	switch {
	case r.err != nil:
	case flag&2 != 0:
		r.err = refuse(fault.Unsupported, "uses threads (shared memory), which plugins cannot")
	case flag > 3:
		r.fail("a memory has limits of kind %d", flag)
	case least > in.limits.MemoryPages:
		r.err = refuse(fault.TooLarge, "asks for %d pages of memory (64 KiB each), at most %d are allowed", least, in.limits.MemoryPages)
	case flag&1 != 0:
		r.u32()
	}
	in.shape.memories++
}

// element skips a segment; its first number says which parts it has.
func (in *inspector) element(r *reader) {
	flags := r.u32()
	if flags > 7 && r.err == nil {
		r.fail("an element segment is of kind %d", flags)
	}
	active, explicit, expressions := flags&1 == 0, flags&2 != 0, flags&4 != 0
	if active {
		if explicit {
			r.u32()
		}
		r.expression()
	}
	if !active || explicit {
		r.byte() // the type
	}
	n := r.count(in.limits.TableElements-in.elements, "elements in segments")
	in.elements += n
	for ; n > 0 && r.err == nil; n-- {
		if expressions {
			r.expression()
		} else {
			r.u32()
		}
	}
}

func (in *inspector) code(r *reader) {
	size := r.u32()
	if r.err == nil && uint64(size) > uint64(in.limits.FunctionBytes) {
		r.err = refuse(fault.TooLarge, "has a function of %d bytes, at most %d are allowed", size, in.limits.FunctionBytes)
	}
	body := &reader{b: r.take(size)}
	if r.err != nil {
		return
	}
	locals := uint64(0)
	for n := body.count(in.limits.Locals, "kinds of locals"); n > 0 && body.err == nil; n-- {
		locals += uint64(body.u32())
		body.valueType()
	}
	if body.err == nil && locals > uint64(in.limits.Locals) {
		body.err = refuse(fault.TooLarge, "has a function with %d locals, at most %d are allowed", locals, in.limits.Locals)
	}
	r.err = body.err
}

func (in *inspector) data(r *reader) {
	switch flags := r.u32(); {
	case flags > 2 && r.err == nil:
		r.fail("a data segment is of kind %d", flags)
	case flags == 2:
		r.u32()
		fallthrough
	case flags == 0:
		r.expression()
	}
	r.take(r.u32())
}
