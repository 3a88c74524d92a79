package checkpoint

import (
	"slices"

	"github.com/medley-lora/medley/shared/fault"
)

// collect makes a tuple, list or dict of values on the stack.
func (u *unpickler) collect(op byte) error {
	var items []any
	var err error
	switch op {
	case 't', 'l', 'd':
		items, err = u.popMark()
	default: // TUPLE1, TUPLE2, TUPLE3
		items = make([]any, op-0x84)
		for i := len(items) - 1; i >= 0 && err == nil; i-- {
			items[i], err = u.pop()
		}
	}
	if err != nil {
		return err
	}
	switch op {
	case 'l':
		u.push(&list{items: items})
	case 'd':
		d := &dict{}
		u.push(d)
		return u.setAll(d, items)
	default:
		u.push(tuple(items))
	}
	return nil
}

// fill adds values on the stack to the container below them.
func (u *unpickler) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'e', 'u': // APPENDS, SETITEMS
		items, err = u.popMark()
	default: // APPEND, SETITEM, BUILD
		items = make([]any, map[byte]int{'a': 1, 's': 2, 'b': 1}[op])
		for i := len(items) - 1; i >= 0 && err == nil; i-- {
			items[i], err = u.pop()
		}
	}
	if err != nil {
		return err
	}
	container, err := u.top()
	if err != nil {
		return err
	}
	switch c := container.(type) {
	case *list:
		if op == 'a' || op == 'e' {
			c.items = append(c.items, items...)
			return nil
		}
	case *dict:
		switch op {
		case 's', 'u':
			return u.setAll(c, items)
		case 'b':
			// Attributes of an OrderedDict: PyTorch hangs the version of its modules (_metadata) there. They hold no weights.
			return nil
		}
	}
	return fault.New(fault.Unsupported, "", "byte %d: pickle operation %#02x on a value that cannot take it", u.at-1, op)
}

func (u *unpickler) setAll(d *dict, items []any) error {
	if len(items)%2 != 0 {
		return u.fault("a key has no value")
	}
	if d.items == nil {
		d.items = make(map[string]any, len(items)/2)
	}
	for i := 0; i < len(items); i += 2 {
		key, ok := items[i].(string)
		if !ok {
			return u.fault("a dictionary's key is not a text")
		}
		if _, ok := d.items[key]; ok {
			return u.fault("the key %.100q is set twice", key)
		}
		d.items[key] = items[i+1]
	}
	return nil
}

// construct looks up a name, resolves a storage or calls a function: the operations that make pickles dangerous. The only
// names are those in this file.
func (u *unpickler) construct(op byte) error {
	switch op {
	case 'c': // GLOBAL
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		if err != nil {
			return err
		}
		return u.pushGlobal(module, name)
	case 0x93: // STACK_GLOBAL
		name, err := u.pop()
		if err != nil {
			return err
		}
		module, err := u.pop()
		if err != nil {
			return err
		}
		m, ok1 := module.(string)
		n, ok2 := name.(string)
		if !ok1 || !ok2 {
			return u.fault("a global's name is not a text")
		}
		return u.pushGlobal(m, n)
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		s, err := u.storage(id)
		u.push(s)
		return err
	}
	args, err := u.pop() // REDUCE
	if err != nil {
		return err
	}
	function, err := u.pop()
	if err != nil {
		return err
	}
	value, err := u.call(function, args)
	u.push(value)
	return err
}

func (u *unpickler) pushGlobal(module, name string) error {
	g := global(module + "." + name)
	_, isStorage := storageTypes[g]
	if !isStorage && !slices.Contains([]global{orderedDict, rebuildTensor, rebuildParameter}, g) {
		return fault.New(fault.Unsupported, "", "refers to %.100q, which is not allowed in weights", string(g))
	}
	u.push(g)
	return nil
}

// storage resolves ("storage", type, key, device, elements).
func (u *unpickler) storage(id any) (*storage, error) {
	if t, ok := id.(tuple); ok && len(t) == 5 && t[0] == "storage" {
		class, _ := t[1].(global)
		key, keyOK := t[2].(string)
		n, nOK := t[4].(int64)
		if dtype, ok := storageTypes[class]; ok && keyOK && nOK && n >= 0 {
			return &storage{key: key, dtype: dtype, elements: n}, nil
		}
	}
	return nil, u.fault("a persistent id does not describe a storage")
}

func (u *unpickler) call(function, args any) (any, error) {
	t, ok := args.(tuple)
	if !ok {
		return nil, u.fault("a call's arguments are not a tuple")
	}
	switch function {
	case orderedDict:
		if len(t) == 0 {
			return &dict{}, nil
		}
	case rebuildParameter: // (tensor, requires_grad, backward_hooks)
		if len(t) == 3 {
			if inner, ok := t[0].(*tensor); ok {
				return inner, nil
			}
		}
	case rebuildTensor: // (storage, offset, shape, strides, requires_grad, backward_hooks[, metadata])
		if len(t) == 6 || len(t) == 7 {
			return u.tensor(t)
		}
	}
	g, ok := function.(global) // anything else is not printed: nested tuples can be exponentially long
	if !ok {
		return nil, u.fault("what is called is not a function")
	}
	return nil, u.fault("a call of %s has unexpected arguments", g)
}

// tensor is what _rebuild_tensor_v2 describes: a strided view of a storage. Lengths are in elements.
type tensor struct {
	storage *storage
	offset  int64
	shape   []int
	strides []int
}

func (u *unpickler) tensor(args tuple) (*tensor, error) {
	s, ok1 := args[0].(*storage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := integers(args[2])
	strides, ok4 := integers(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || offset < 0 || len(shape) != len(strides) {
		return nil, u.fault("a tensor's description is not one")
	}
	return &tensor{storage: s, offset: offset, shape: shape, strides: strides}, nil
}

// integers reads a tuple of non-negative integers that fit an int.
func integers(v any) ([]int, bool) {
	t, ok := v.(tuple)
	if !ok || len(t) > maxRank {
		return nil, false
	}
	out := make([]int, len(t))
	for i, item := range t {
		n, ok := item.(int64)
		if !ok || n < 0 || int64(int(n)) != n {
			return nil, false
		}
		out[i] = int(n)
	}
	return out, true
}

// checkExtent holds the last element that the strides reach to the storage.
func (t *tensor) checkExtent() error {
	left := t.storage.elements - 1 - t.offset // how far beyond the first element there is something
	for i, d := range t.shape {
		if d == 0 {
			left = 0 // no element at all
			break
		}
		stride := int64(t.strides[i])
		if left < 0 || (stride > 0 && int64(d-1) > left/stride) {
			left = -1
			break
		}
		left -= int64(d-1) * stride
	}
	if left < 0 {
		return fault.New(fault.Invalid, "", "reaches past the end of its storage of %d elements", t.storage.elements)
	}
	return nil
}

// rowMajor tells whether the elements are contiguous in the order of the shape; dimensions of 1 have no say.
func (t *tensor) rowMajor() bool {
	expected := 1
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.strides[i] != expected {
			return false
		}
		expected *= t.shape[i]
	}
	return true
}
