package archive_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// adapterFolder writes an adapter of two layers whose weights are all value.
func adapterFolder(t testing.TB, value float32, width int) string {
	t.Helper()
	layer := func(target string) lora.Layer {
		l := lora.Layer{Target: target, In: width, Out: width, Rank: 2, Scale: 1, A: make([]float32, 2*width), B: make([]float32, 2*width)}
		l.A[0], l.B[0] = value, value
		return l
	}
	folder := filepath.Join(t.TempDir(), "adapter")
	adapter := &lora.Adapter{Name: "a", Base: "tiny", Layers: []lora.Layer{layer("encoder.0.q"), layer("encoder.0.v")}}
	if err := peft.Write(folder, adapter, peft.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return folder
}

func pack(t testing.TB, folder string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := archive.Pack(&b, folder); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readFile(t testing.TB, folder, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// parts are an upload.
type parts []part

type part struct {
	name    string
	content io.Reader
}

func (p *parts) Next() (string, io.Reader, error) {
	if len(*p) == 0 {
		return "", nil, io.EOF
	}
	first := (*p)[0]
	*p = (*p)[1:]
	return first.name, first.content, nil
}

func upload(archived []byte) *parts {
	return &parts{{archive.PartArchive, bytes.NewReader(archived)}}
}

func TestPackIsCanonical(t *testing.T) {
	folder := adapterFolder(t, 1, 4)
	first := pack(t, folder)
	if err := os.Chtimes(filepath.Join(folder, archive.Config), testTime, testTime); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "README.md"), []byte("more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, pack(t, folder)) {
		t.Error("the archive depends on more than the two files")
	}
	if bytes.Equal(first, pack(t, adapterFolder(t, 2, 4))) {
		t.Error("other weights make the same archive")
	}
	z, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{archive.Config, archive.Weights} {
		r, err := z.File[i].Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || string(content) != readFile(t, folder, name) || z.File[i].Name != name {
			t.Errorf("entry %d is not %s: %v", i, name, err)
		}
	}
	if err := archive.Pack(io.Discard, t.TempDir()); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestReceive(t *testing.T) {
	folder := adapterFolder(t, 1, 4)
	config, weights := readFile(t, folder, archive.Config), readFile(t, folder, archive.Weights)
	var compressed bytes.Buffer
	z := zip.NewWriter(&compressed)
	for _, name := range []string{archive.Weights, archive.Config} { // the other order
		w, _ := z.Create(name)
		_, _ = io.WriteString(w, readFile(t, folder, name))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, up := range map[string]*parts{
		"ours":       upload(pack(t, folder)),
		"compressed": upload(compressed.Bytes()),
		"prefixed":   upload(append([]byte("#!/bin/sh\n"), compressed.Bytes()...)),
		"two files":  {{archive.Config, strings.NewReader(config)}, {archive.Weights, strings.NewReader(weights)}},
		"other order": {
			{archive.Weights, strings.NewReader(weights)}, {archive.Config, strings.NewReader(config)},
		},
	} {
		dir := t.TempDir()
		u, err := archive.Receive(dir, up, archive.DefaultLimits)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := u.Archive(t.Context())
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, pack(t, folder)) {
			t.Errorf("%s: does not become our archive: %v", name, err)
		}
		if u.Base != "tiny" || u.Rank != 2 || !slices.Equal(u.Targets, []string{"q", "v"}) {
			t.Errorf("%s: facts are %+v", name, u.Facts)
		}
		if size, err := u.Size(); size != int64(len(config)+len(weights)) || err != nil {
			t.Errorf("%s: %d bytes, %v", name, size, err)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
		empty(t, name, dir)
	}
}

func empty(t *testing.T, name, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("%s leaves %v, %v", name, left, err)
	}
}

// file is an entry of a hostile archive.
type file struct {
	name, content string
	change        func(*zip.FileHeader)
}

func zipOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, CRC32: crc32.ChecksumIEEE([]byte(f.content)), CompressedSize64: uint64(len(f.content)), UncompressedSize64: uint64(len(f.content))}
		h.SetMode(0o644)
		if f.change != nil {
			f.change(h)
		}
		w, err := z.CreateRaw(h)
		if err == nil {
			_, err = io.WriteString(w, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReceiveRefuses(t *testing.T) {
	folder := adapterFolder(t, 1, 4)
	config := file{name: archive.Config, content: readFile(t, folder, archive.Config)}
	weights := file{name: archive.Weights, content: readFile(t, folder, archive.Weights)}
	with := func(f file, change func(*zip.FileHeader)) file { f.change = change; return f }
	small := archive.Limits{Config: 1 << 12, Weights: 1 << 12}
	var bomb bytes.Buffer
	z := zip.NewWriter(&bomb)
	for _, name := range []string{archive.Config, archive.Weights} {
		w, _ := z.Create(name)
		_, _ = w.Write(make([]byte, 1<<20)) // a kilobyte when compressed
	}
	_ = z.Close()
	broken := errors.New("the connection broke")
	whole := zipOf(t, config, weights)
	damaged := bytes.Replace(slices.Clone(whole), []byte("lora_A"), []byte("lora_X"), 1)
	for _, c := range []struct {
		name  string
		parts *parts
		code  fault.Code
		field string
	}{
		{"nothing", &parts{}, fault.Invalid, archive.Config},
		{"no archive", upload([]byte("hello")), fault.Invalid, "archive"},
		{"empty archive", upload(nil), fault.Invalid, "archive"},
		{"cut short", upload(whole[:len(whole)-30]), fault.Invalid, "archive"},
		{"damaged", upload(damaged), fault.Invalid, archive.Weights},
		{"no weights", upload(zipOf(t, config)), fault.Invalid, archive.Weights},
		{"no configuration", upload(zipOf(t, weights)), fault.Invalid, archive.Config},
		{"more", upload(zipOf(t, config, weights, file{name: "README.md"})), fault.Invalid, "archive"},
		{"pickle", upload(zipOf(t, config, file{name: "adapter_model.bin", content: "\x80\x02."})), fault.Invalid, "archive"},
		{"traversal", upload(zipOf(t, config, weights, file{name: "../../escaped"})), fault.Invalid, "archive"},
		{"absolute", upload(zipOf(t, config, weights, file{name: "/etc/passwd"})), fault.Invalid, "archive"},
		{"backslash", upload(zipOf(t, config, weights, file{name: `..\escaped`})), fault.Invalid, "archive"},
		{"in a folder", upload(zipOf(t, file{name: "a/" + archive.Config, content: config.content}, weights)), fault.Invalid, "archive"},
		{"upper case", upload(zipOf(t, file{name: strings.ToUpper(archive.Config)}, weights)), fault.Invalid, "archive"},
		{"NUL in a name", upload(zipOf(t, file{name: archive.Config + "\x00"}, weights)), fault.Invalid, "archive"},
		{"twice", upload(zipOf(t, config, config, weights)), fault.Invalid, "archive"},
		{"link", upload(zipOf(t, config, with(weights, func(h *zip.FileHeader) { h.SetMode(os.ModeSymlink | 0o777) }))), fault.Invalid, archive.Weights},
		{"folder", upload(zipOf(t, config, with(weights, func(h *zip.FileHeader) { h.SetMode(os.ModeDir | 0o777) }))), fault.Invalid, archive.Weights},
		{"encrypted", upload(zipOf(t, config, with(weights, func(h *zip.FileHeader) { h.Flags = 1 }))), fault.Unsupported, archive.Weights},
		{"bzip2", upload(zipOf(t, config, with(weights, func(h *zip.FileHeader) { h.Method = 12 }))), fault.Unsupported, archive.Weights},
		{"a size that lies", upload(zipOf(t, config, with(weights, func(h *zip.FileHeader) { h.UncompressedSize64 = 1 << 40 }))), fault.Invalid, archive.Weights},
		{"bomb", upload(bomb.Bytes()), fault.TooLarge, archive.Config},
		{"long archive", upload(make([]byte, 1<<20)), fault.TooLarge, "archive"},
		{"long file", &parts{{archive.Weights, bytes.NewReader(make([]byte, 1<<13))}}, fault.TooLarge, archive.Weights},
		{"another part", &parts{{"adapter_model.bin", strings.NewReader("")}}, fault.Invalid, "body"},
		{"a part twice", &parts{{archive.Config, strings.NewReader("{}")}, {archive.Config, strings.NewReader("{}")}}, fault.Invalid, archive.Config},
		{"archive behind a file", &parts{{archive.Config, strings.NewReader("{}")}, {archive.PartArchive, bytes.NewReader(whole)}}, fault.Invalid, "archive"},
		{"file behind an archive", &parts{{archive.PartArchive, bytes.NewReader(whole)}, {archive.Config, strings.NewReader("{}")}}, fault.Invalid, archive.Config},
		{"not an adapter", upload(zipOf(t, file{name: archive.Config, content: "{}"}, weights)), fault.Invalid, "peft_type"},
		{"DoRA", upload(zipOf(t, file{name: archive.Config, content: `{"peft_type":"LORA","use_dora":true}`}, weights)), fault.Unsupported, "use_dora"},
		{"no safetensors", upload(zipOf(t, config, file{name: archive.Weights, content: "PK"})), fault.Invalid, archive.Weights},
	} {
		dir := t.TempDir()
		_, err := archive.Receive(dir, c.parts, small)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != c.code || !strings.HasPrefix(f.Field, c.field) {
			t.Errorf("%s: %v (%s), not %s about %s", c.name, err, fault.CodeOf(err), c.code, c.field)
		}
		if err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error names a path: %v", c.name, err)
		}
		empty(t, c.name, dir)
	}
	dir := t.TempDir()
	if _, err := archive.Receive(dir, &parts{{archive.Weights, io.MultiReader(strings.NewReader("ab"), failing{broken})}}, small); !errors.Is(err, broken) {
		t.Errorf("a connection that breaks is %v", err)
	}
	empty(t, "a broken connection", dir)
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestManyEntries holds that an archive with a long list of files costs no memory: each takes a few hundred bytes of ours for 47 of its.
func TestManyEntries(t *testing.T) {
	files := make([]file, 200_000)
	for i := range files {
		files[i].name = "x"
	}
	hostile := zipOf(t, files...)
	limits := archive.DefaultLimits
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := archive.Receive(t.TempDir(), upload(hostile), limits)
	runtime.ReadMemStats(&after)
	if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "has more than") {
		t.Error(err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes were allocated for an archive of %d", used, len(hostile))
	}
}

func FuzzReceive(f *testing.F) {
	folder := adapterFolder(f, 1, 4)
	f.Add(pack(f, folder))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, archived []byte) {
		dir := t.TempDir()
		u, err := archive.Receive(dir, upload(archived), archive.Limits{Config: 1 << 16, Weights: 1 << 16})
		if err == nil {
			defer u.Close()
			again := new(bytes.Buffer)
			r := u.Archive(t.Context())
			defer r.Close()
			if _, err := io.Copy(again, r); err != nil {
				t.Fatal(err)
			}
			second, err := archive.Receive(dir, upload(again.Bytes()), archive.DefaultLimits)
			if err != nil {
				t.Fatalf("what was accepted is not when it is canonical: %v", err)
			}
			second.Close()
			return
		}
		if code := fault.CodeOf(err); code == fault.Internal {
			t.Fatalf("%v", err)
		}
	})
}
