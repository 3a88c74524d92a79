package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// zipped makes a zip of stored entries, given as name, content, name, content, …
func zipped(t testing.TB, method uint16, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Pieces of pickle programs, protocol 2.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}
func number(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
func numbers(list ...int) string {
	var b strings.Builder
	for _, n := range list {
		b.WriteString(number(n))
	}
	return "(" + b.String() + "t"
}
func storageID(class, key string, elements int) string {
	return "(" + text("storage") + "ctorch\n" + class + "\n" + text(key) + text("cpu") + number(elements) + "tQ"
}
func rebuilt(storage string, offset int, shape, strides string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + strides + "\x89ccollections\nOrderedDict\n)RtR"
}
func program(items ...string) string { return "\x80\x02}(" + strings.Join(items, "") + "u." }

// counting is a storage of the F32 numbers 0, 1, 2, …
func counting(n int) string {
	var b []byte
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i)))
	}
	return string(b)
}

// saved is a PyTorch file with one storage of six F32 and the given program.
func saved(t testing.TB, program string) []byte {
	return zipped(t, zip.Store, "m/data.pkl", program, "m/byteorder", "little", "m/data/0", counting(6), "m/version", "3\n")
}

func TestPickle(t *testing.T) {
	six := storageID("FloatStorage", "0", 6)
	data := zipped(t, zip.Store, "m/data.pkl", program(
		text("whole"), rebuilt(six, 0, numbers(2, 3), numbers(3, 1)),
		text("transposed"), rebuilt(six, 0, numbers(3, 2), numbers(1, 3)),
		text("tail"), rebuilt(six, 4, numbers(2), numbers(1)),
		text("column"), rebuilt(six, 2, numbers(2), numbers(3)),
		text("row of one"), rebuilt(six, 1, numbers(1, 2), numbers(99, 1)),
		text("repeated"), rebuilt(six, 5, numbers(2, 3), numbers(0, 0)),
		text("scalar"), rebuilt(six, 3, ")", ")"),
		text("empty"), rebuilt(six, 6, numbers(0, 3), numbers(3, 1)),
		text("parameter"), "ctorch._utils\n_rebuild_parameter\n("+rebuilt(six, 0, numbers(1), numbers(1))+"\x88ccollections\nOrderedDict\n)RtR",
		text("half"), rebuilt(storageID("HalfStorage", "1", 2), 0, numbers(2), numbers(1)),
		text("steps"), rebuilt(storageID("LongStorage", "2", 1), 0, ")", ")"),
	), "m/data/0", counting(6), "m/data/1", "\x00\x3c\x00\xc0", "m/data/2", strings.Repeat("\x01", 8))
	store, err := ParsePickle(data)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]float32{
		"whole": {0, 1, 2, 3, 4, 5}, "transposed": {0, 3, 1, 4, 2, 5}, "tail": {4, 5}, "column": {2, 5}, "row of one": {1, 2},
		"repeated": {5, 5, 5, 5, 5, 5}, "scalar": {3}, "empty": {}, "parameter": {0}, "half": {1, -2},
	} {
		if got, err := store.Float32(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := store.Float32("steps"); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), "tensor steps: has type I64") {
		t.Errorf("an integer tensor that is asked for: %v", err)
	}
}

// A file that PyTorch wrote, and its other habits: an OrderedDict with _metadata, protocol 4 opcodes.
func TestPickleOfPyTorch(t *testing.T) {
	store, err := OpenPickle(filepath.Join(zootest.Dir(t), "variants", "bin_r8", "adapter_model.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if len(store.Names()) != 36 {
		t.Fatalf("%d tensors; want 36", len(store.Names()))
	}
	for _, name := range store.Names() {
		v, err := store.Float32(name)
		if err != nil || len(v) != 8*128 || CheckFinite(name, v) != nil {
			t.Errorf("%s: %d elements, %v", name, len(v), err)
		}
	}

	w := text("w") + rebuilt(storageID("FloatStorage", "0", 6), 0, numbers(6), numbers(1))
	for name, program := range map[string]string{
		"ordered":  "\x80\x02ccollections\nOrderedDict\n)Rq\x00(" + w + "u}" + text("_metadata") + "ccollections\nOrderedDict\n)Rsb.",
		"protocol": "\x80\x04\x95" + strings.Repeat("\x00", 8) + "\x8c\x0bcollections\x8c\x0bOrderedDict\x93\x94)R\x94" + w + "s.",
		"memo":     "\x80\x02}q\x05h\x05r\x06\x00\x00\x00" + "0j\x06\x00\x00\x00(" + w + "u.",
		"dict":     "\x80\x02(" + w + "d.",
	} {
		store, err := ParsePickle(saved(t, program))
		if err != nil || !slices.Equal(store.Names(), []string{"w"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPickleRefuses(t *testing.T) {
	six := storageID("FloatStorage", "0", 6)
	tensor := func(storage string, offset int, shape, strides string) string {
		return program(text("w"), rebuilt(storage, offset, shape, strides))
	}
	long := "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"
	var laughs strings.Builder
	laughs.WriteString("\x80\x02)")
	for range 200 {
		laughs.WriteString("q\x00h\x00\x86")
	}
	for name, c := range map[string]struct {
		program string
		code    fault.Code
		want    string
	}{
		"system":        {"\x80\x02cposix\nsystem\n" + text("id") + "\x85R.", fault.Unsupported, `"posix.system"`},
		"system 4":      {"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", fault.Unsupported, `"posix.system"`},
		"eval":          {program(text("w"), "c__builtin__\neval\n"), fault.Unsupported, `"__builtin__.eval"`},
		"load":          {program(text("w"), "ctorch.storage\n_load_from_bytes\n"), fault.Unsupported, "_load_from_bytes"},
		"instance":      {"\x80\x02(iposix\nsystem\n.", fault.Unsupported, "0x69"},
		"object":        {"\x80\x02ccollections\nOrderedDict\n)\x81.", fault.Unsupported, "0x81"},
		"extension":     {"\x80\x02\x82\x01.", fault.Unsupported, "0x82"},
		"text id":       {"\x80\x02P0\n.", fault.Unsupported, "0x50"},
		"protocol":      {"\x80\x09}.", fault.Invalid, "protocol 9"},
		"empty":         {"", fault.Invalid, "too early"},
		"unfinished":    {"\x80\x02}", fault.Invalid, "too early"},
		"no stack":      {"\x80\x02.", fault.Invalid, "stack is empty"},
		"no mark":       {"\x80\x02}t.", fault.Invalid, "no mark"},
		"mark":          {"\x80\x02(.", fault.Invalid, "mark"},
		"memo":          {"\x80\x02h\x07.", fault.Invalid, "memo"},
		"line":          {"\x80\x02cposix", fault.Invalid, "line"},
		"text length":   {"\x80\x02X\xff\xff\xff\xff.", fault.Invalid, "too early"},
		"text8 length":  {"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", fault.Invalid, "too early"},
		"list":          {"\x80\x02].", fault.Unsupported, "dictionary"},
		"nested":        {program(text("state_dict"), "}"), fault.Unsupported, "tensor state_dict: is not a tensor"},
		"number":        {program(text("epoch"), number(3)), fault.Unsupported, "tensor epoch"},
		"key":           {program(number(3), number(3)), fault.Invalid, "key"},
		"key twice":     {program(text("w"), number(3), text("w"), number(3)), fault.Invalid, "twice"},
		"odd":           {program(text("w")), fault.Invalid, "no value"},
		"set on number": {"\x80\x02" + number(1) + text("w") + number(1) + "s.", fault.Unsupported, "cannot take"},
		"call number":   {"\x80\x02" + number(1) + ")R.", fault.Invalid, "not a function"},
		"call laughs":   {laughs.String() + ")R.", fault.Invalid, "not a function"},
		"call storage":  {"\x80\x02ctorch\nFloatStorage\n)R.", fault.Invalid, "torch.FloatStorage"},
		"arguments":     {"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", fault.Invalid, "_rebuild_tensor_v2"},
		"persistent":    {"\x80\x02)Q.", fault.Invalid, "storage"},
		"self":          {"\x80\x02}q\x00" + text("me") + "h\x00s.", fault.Unsupported, "tensor me"},
		"offset":        {tensor(six, 1, numbers(6), numbers(1)), fault.Invalid, "past the end"},
		"far offset":    {program(text("w"), "ctorch._utils\n_rebuild_tensor_v2\n("+six+long+numbers(1)+numbers(1)+"\x89NtR"), fault.Invalid, "past the end"},
		"negative":      {tensor(six, -1, numbers(1), numbers(1)), fault.Invalid, "description"},
		"shape":         {tensor(six, 0, numbers(-6), numbers(1)), fault.Invalid, "description"},
		"strides":       {tensor(six, 0, numbers(2, 3), numbers(1)), fault.Invalid, "description"},
		"stride":        {tensor(six, 0, numbers(2), numbers(6)), fault.Invalid, "past the end"},
		"huge stride":   {program(text("w"), rebuilt(six, 0, numbers(2), "("+long+"t")), fault.Invalid, "past the end"},
		"expanded":      {tensor(six, 0, numbers(7), numbers(0)), fault.Unsupported, "more than"},
		"overflow":      {program(text("w"), rebuilt(six, 0, "("+long+long+"t", numbers(1, 1))), fault.Unsupported, "more than"},
		"storage key":   {tensor(storageID("FloatStorage", "../../x", 6), 0, numbers(6), numbers(1)), fault.Invalid, "missing"},
		"storage size":  {tensor(storageID("FloatStorage", "0", 7), 0, numbers(6), numbers(1)), fault.Invalid, "24 bytes"},
		"storage long":  {program(text("w"), rebuilt("("+text("storage")+"ctorch\nFloatStorage\n"+text("0")+text("cpu")+long+"tQ", 0, numbers(1), numbers(1))), fault.Invalid, "24 bytes"},
		"storage type":  {tensor(storageID("ComplexFloatStorage", "0", 3), 0, numbers(1), numbers(1)), fault.Unsupported, "ComplexFloatStorage"},
		"stack":         {"\x80\x02" + strings.Repeat("N", maxStack+1), fault.TooLarge, "too many values"},
		"operations":    {"\x80\x02" + strings.Repeat("N0", maxOperations), fault.TooLarge, "operations"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, ParsePickle, saved(t, c.program), c.code, c.want) })
	}
}

func TestPickleArchiveRefuses(t *testing.T) {
	good := program(text("w"), rebuilt(storageID("FloatStorage", "0", 6), 0, numbers(6), numbers(1)))
	var sharing []string
	for i := range 1000 {
		sharing = append(sharing, text(fmt.Sprint(i)), rebuilt(storageID("FloatStorage", "0", 1<<16), 0, numbers(1<<16), numbers(1)))
	}
	many := make([]string, 0, 800_000)
	for i := range 400_000 {
		many = append(many, fmt.Sprint(i), "")
	}
	whole := saved(t, good)
	for name, c := range map[string]struct {
		data []byte
		code fault.Code
		want string
	}{
		"legacy":     {[]byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02"), fault.Unsupported, "before version 1.6"},
		"nothing":    {nil, fault.Invalid, "zip"},
		"text":       {[]byte("hello, world, this is a text"), fault.Invalid, "zip"},
		"cut":        {whole[:len(whole)/2], fault.Invalid, "zip"},
		"other zip":  {zipped(t, zip.Store, "a.txt", "hello"), fault.Invalid, "data.pkl"},
		"two":        {zipped(t, zip.Store, "a/data.pkl", good, "b/data.pkl", good), fault.Invalid, "more than one"},
		"twice":      {zipped(t, zip.Store, "a/data.pkl", good, "a/data.pkl", good), fault.Invalid, "twice"},
		"big endian": {zipped(t, zip.Store, "m/data.pkl", good, "m/byteorder", "big"), fault.Unsupported, "byteorder"},
		"deflated":   {zipped(t, zip.Deflate, "m/data.pkl", good, "m/data/0", counting(6)), fault.Invalid, "compressed"},
		"bomb":       {zipped(t, zip.Deflate, "m/data.pkl", strings.Repeat("\x00", 30<<20)), fault.Invalid, "compressed"},
		"large":      {zipped(t, zip.Store, "m/data.pkl", strings.Repeat("N", maxPickle+1)), fault.TooLarge, "data.pkl"},
		"damaged":    {bytes.Replace(whole, []byte("_rebuild_tensor_v2"), []byte("_rebuild_tensor_v3"), 1), fault.Invalid, "damaged"},
		"sharing":    {zipped(t, zip.Store, "m/data.pkl", program(sharing...), "m/data/0", counting(1<<16)), fault.TooLarge, "share"},
		"directory":  {zipped(t, zip.Store, many...), fault.Invalid, "directory exceeds"},
		"missing":    {zipped(t, zip.Store, "m/data.pkl", good), fault.Invalid, "data/0"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "directory" { // what the zip package allocates is bounded by the directory's bound, not by the file
				if _, err := ParsePickle(c.data); fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v; want %q", err, c.want)
				}
				return
			}
			refused(t, ParsePickle, c.data, c.code, c.want)
		})
	}
}

// Under the wrong name a pickle is recognised, not run and not taken for something else.
func TestBadInput_31_PickleNamedSafetensors(t *testing.T) {
	whole := saved(t, program())
	refused(t, Parse, whole, fault.Invalid, "zip archive")
	refused(t, Parse, []byte("\x80\x04\x95\x10\x00\x00\x00\x01\x00}."), fault.Invalid, "pickle")
	refused(t, Parse, []byte("7z\xbc\xaf\x27\x1c\x00\x04 and so on"), fault.Invalid, "7z")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenModel(dir); err == nil || !strings.Contains(err.Error(), "model.safetensors: header: this is a zip archive") {
		t.Errorf("OpenModel: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	store, err := OpenModel(dir)
	if err != nil {
		t.Fatalf("pytorch_model.bin: %v", err)
	}
	store.Close()
}

func FuzzPickle(f *testing.F) {
	six := storageID("FloatStorage", "0", 6)
	f.Add([]byte(program(text("w"), rebuilt(six, 0, numbers(2, 3), numbers(3, 1)))))
	f.Add([]byte(program(text("t"), rebuilt(six, 0, numbers(3, 2), numbers(1, 3)), text("e"), rebuilt(six, 0, numbers(2, 0), numbers(9, 9)))))
	f.Add([]byte("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x0bcollections\x8c\x0bOrderedDict\x93\x94)R\x94}b."))
	f.Add([]byte("\x80\x02cposix\nsystem\n" + text("id") + "\x85R."))
	f.Add([]byte("\x80\x02(]q\x01K\x01ah\x01\x8a\x02\xff\xffG\x00\x00\x00\x00\x00\x00\x00\x00N\x88\x89l."))
	f.Fuzz(func(t *testing.T, data []byte) {
		store, err := ParsePickle(saved(t, string(data)))
		if err != nil {
			if fault.CodeOf(err) == fault.Internal {
				t.Fatalf("an internal error: %v", err)
			}
			return
		}
		for _, name := range store.Names() {
			info, _ := store.Info(name)
			if values, err := store.Float32(name); err == nil && len(values) != info.Elements() {
				t.Fatalf("%q: %d elements of %d", name, len(values), info.Elements())
			} else if fault.CodeOf(err) == fault.Internal || fault.CodeOf(err) == fault.Invalid {
				t.Fatalf("%q: %v", name, err)
			}
		}
	})
}

// The zip around the program is hostile too.
func FuzzPickleArchive(f *testing.F) {
	f.Add(saved(f, program(text("w"), rebuilt(storageID("FloatStorage", "0", 6), 0, numbers(2, 3), numbers(3, 1)))))
	f.Add(zipped(f, zip.Deflate, "m/data.pkl", program()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if store, err := ParsePickle(data); err == nil {
			for _, name := range store.Names() {
				if _, err := store.Float32(name); fault.CodeOf(err) == fault.Internal {
					t.Fatalf("%q: an internal error: %v", name, err)
				}
			}
		} else if fault.CodeOf(err) == fault.Internal {
			t.Fatalf("an internal error: %v", err)
		}
	})
}
