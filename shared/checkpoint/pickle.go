package checkpoint

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Bounds on what a pickle program may build. A state dict takes about 45 operations a tensor.
const (
	maxOperations = 1 << 22
	maxStack      = 1 << 16 // PyTorch fills its dictionaries 1,000 entries at a time
	maxMemo       = 1 << 20
)

// What the unpickler can build, besides nil, bool, int64, float64, string, tuple and *list.
type (
	tuple  []any
	list   struct{ items []any }
	dict   struct{ items map[string]any }
	global string // "module.name", one of the allowed
	mark   struct{}
)

// storage is a persistent id: a piece of the file.
type storage struct {
	key      string
	dtype    DType
	elements int64
}

// storageTypes are the classes that a persistent id may name.
var storageTypes = map[global]DType{
	"torch.FloatStorage": F32, "torch.HalfStorage": F16, "torch.BFloat16Storage": BF16, "torch.DoubleStorage": "F64",
	"torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
	"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL",
}

// The functions that a program may call; each is implemented here, none is looked up.
const (
	orderedDict      global = "collections.OrderedDict"
	rebuildTensor    global = "torch._utils._rebuild_tensor_v2"
	rebuildParameter global = "torch._utils._rebuild_parameter"
)

// unpickler runs a pickle program (Python's pickletools describes the operations). It calls nothing outside this file and
// its memory is bounded by the program's length and the limits above.
type unpickler struct {
	program string
	at      int
	stack   []any
	memo    map[uint32]any
}

// unpickle runs program and returns what it leaves.
func unpickle(program string) (any, error) {
	u := &unpickler{program: program, memo: map[uint32]any{}}
	for range maxOperations {
		op, err := u.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			return u.pop()
		}
		if err := u.run(op[0]); err != nil {
			return nil, err
		}
		if len(u.stack) > maxStack || len(u.memo) > maxMemo {
			return nil, fault.New(fault.TooLarge, "", "the pickle program holds too many values")
		}
	}
	return nil, fault.New(fault.TooLarge, "", "the pickle program has more than %d operations", maxOperations)
}

func (u *unpickler) fault(format string, args ...any) error {
	return fault.New(fault.Invalid, "", "byte %d: "+format, append([]any{u.at}, args...)...)
}

// take reads n bytes of the program.
func (u *unpickler) take(n uint64) (string, error) {
	if n > uint64(len(u.program)-u.at) {
		return "", u.fault("the pickle program ends too early")
	}
	u.at += int(n)
	return u.program[u.at-int(n) : u.at], nil
}

// number reads a little-endian unsigned integer of the given width.
func (u *unpickler) number(width uint64) (uint64, error) {
	raw, err := u.take(width)
	if err != nil {
		return 0, err
	}
	var b [8]byte
	copy(b[:], raw)
	return binary.LittleEndian.Uint64(b[:]), nil
}

// text reads a string that follows its length.
func (u *unpickler) text(width uint64) (string, error) {
	n, err := u.number(width)
	if err != nil {
		return "", err
	}
	return u.take(n)
}

func (u *unpickler) line() (string, error) {
	line, _, ok := strings.Cut(u.program[u.at:], "\n")
	if !ok {
		return "", u.fault("a line does not end")
	}
	u.at += len(line) + 1
	return line, nil
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

func (u *unpickler) pop() (any, error) {
	if len(u.stack) == 0 {
		return nil, u.fault("the stack is empty")
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	if _, ok := v.(mark); ok {
		return nil, u.fault("a mark stands where a value is needed")
	}
	return v, nil
}

// popMark takes everything above the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, ok := u.stack[i].(mark); ok {
			items := append([]any(nil), u.stack[i+1:]...)
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, u.fault("there is no mark")
}

func (u *unpickler) top() (any, error) {
	v, err := u.pop()
	if err == nil {
		u.push(v)
	}
	return v, err
}

// run executes one operation other than STOP.
func (u *unpickler) run(op byte) error {
	switch op {
	case 0x80: // PROTO
		version, err := u.number(1)
		if err == nil && (version < 2 || version > 5) {
			err = u.fault("pickle protocol %d is not supported", version)
		}
		return err
	case 0x95: // FRAME
		_, err := u.take(8)
		return err
	case '(':
		u.push(mark{})
	case '0': // POP
		_, err := u.pop()
		return err
	case 'N':
		u.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		u.push(op == 0x88)
	case '}':
		u.push(&dict{})
	case ']':
		u.push(&list{})
	case ')':
		u.push(tuple{})
	case 'q', 'r', 'h', 'j', 0x94:
		return u.memoOp(op)
	case 'K', 'M', 'J', 0x8a, 'G', 'X', 0x8c, 0x8d:
		return u.scalar(op)
	case 't', 0x85, 0x86, 0x87, 'l', 'd':
		return u.collect(op)
	case 'a', 'e', 's', 'u', 'b':
		return u.fill(op)
	case 'c', 0x93, 'Q', 'R':
		return u.construct(op)
	default:
		return fault.New(fault.Unsupported, "", "byte %d: pickle operation %#02x is not allowed", u.at-1, op)
	}
	return nil
}

// memoOp stores the top of the stack in the memo, or pushes what is there.
func (u *unpickler) memoOp(op byte) error {
	index := uint64(len(u.memo)) // MEMOIZE
	var err error
	switch op {
	case 'q', 'h': // BINPUT, BINGET
		index, err = u.number(1)
	case 'r', 'j': // LONG_BINPUT, LONG_BINGET
		index, err = u.number(4)
	}
	if err != nil {
		return err
	}
	if op == 'h' || op == 'j' {
		v, ok := u.memo[uint32(index)]
		if !ok {
			return u.fault("the memo has no value %d", index)
		}
		u.push(v)
		return nil
	}
	v, err := u.top()
	u.memo[uint32(index)] = v
	return err
}

// scalar pushes a number or a text that stands in the program.
func (u *unpickler) scalar(op byte) error {
	switch op {
	case 'X', 0x8c, 0x8d: // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
		s, err := u.text(map[byte]uint64{'X': 4, 0x8c: 1, 0x8d: 8}[op])
		u.push(s)
		return err
	case 'G': // BINFLOAT, the one big-endian number
		raw, err := u.take(8)
		if err == nil {
			u.push(math.Float64frombits(binary.BigEndian.Uint64([]byte(raw))))
		}
		return err
	case 0x8a: // LONG1: little-endian two's complement
		raw, err := u.text(1)
		if err != nil {
			return err
		}
		if len(raw) > 8 {
			return u.fault("an integer has %d bytes; at most 8 are supported", len(raw))
		}
		v := int64(0)
		for i := len(raw) - 1; i >= 0; i-- {
			v = v<<8 | int64(raw[i])
		}
		if unused := 64 - 8*len(raw); unused < 64 {
			v = v << unused >> unused // extends the sign
		}
		u.push(v)
		return nil
	}
	n, err := u.number(map[byte]uint64{'K': 1, 'M': 2, 'J': 4}[op]) // BININT1, BININT2, BININT
	if op == 'J' {
		n = uint64(int32(n))
	}
	u.push(int64(n))
	return err
}
