package host

import (
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// reader takes the values of WebAssembly's binary format off b. After the first error it returns zeros and the error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = refuse(fault.Invalid, "is not a valid module: "+format, args...)
	}
	r.b = nil
}

func (r *reader) byte() byte {
	b := r.take(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (r *reader) take(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.b)) {
		r.fail("it ends too early")
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	v := uint64(0)
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v >= 1<<32 {
				break
			}
			return uint32(v)
		}
	}
	r.fail("a number is too long")
	return 0
}

// count reads the length of a vector of at least one byte an element.
func (r *reader) count(limit int, what string) int {
	n := r.u32()
	switch {
	case r.err != nil:
		return 0
	case uint64(n) > uint64(limit):
		r.err = refuse(fault.TooLarge, "has %d %s, at most %d are allowed", n, what, limit)
		return 0
	case uint64(n) > uint64(len(r.b)):
		r.fail("it ends too early")
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	b := r.take(r.u32())
	if !utf8.Valid(b) {
		r.fail("a name is no UTF-8")
	}
	return string(b)
}

func (r *reader) valueType() byte {
	b := r.byte()
	switch b {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f: // i32, i64, f32, f64, v128, funcref, externref
	default:
		if r.err == nil {
			r.err = refuse(fault.Unsupported, "uses a value of type %#x, which plugins cannot", b)
		}
	}
	return b
}

// expression skips a constant expression.
func (r *reader) expression() {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return
		case 0x41, 0x42, 0x23, 0xd2: // i32.const, i64.const, global.get, ref.func
			for n := 1; r.byte() >= 0x80 && r.err == nil; n++ {
				if n == 10 {
					r.fail("a number is too long")
				}
			}
		case 0x43:
			r.take(4)
		case 0x44:
			r.take(8)
		case 0xd0: // ref.null
			r.byte()
		case 0xfd: // v128.const
			if r.byte() != 0x0c {
				r.fail("an instruction in a constant expression is not constant")
			}
			r.take(16)
		default:
			r.fail("an instruction in a constant expression is not constant")
		}
	}
}
