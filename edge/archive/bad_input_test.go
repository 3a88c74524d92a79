package archive_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/shared/fault"
)

// refused receives an upload that must not be, and holds that the refusal names the archive or a file in it and no path, that nothing
// is left, and that nothing appeared beside the folder.
func refused(t *testing.T, name string, archived []byte, limits archive.Limits, codes ...fault.Code) {
	t.Helper()
	around := t.TempDir()
	dir := filepath.Join(around, "uploads")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := archive.Receive(dir, upload(archived), limits)
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !slices.Contains(codes, f.Code) || f.Field == "" || strings.Contains(err.Error(), around) {
		t.Errorf("%s: %v (%s), want one of %v", name, err, fault.CodeOf(err), codes)
	}
	empty(t, name, dir)
	if left, err := os.ReadDir(around); err != nil || len(left) != 1 {
		t.Errorf("%s: %v beside the folder, %v", name, left, err)
	}
}

// entries are the two files that an adapter has.
func entries(t *testing.T) (config, weights file) {
	t.Helper()
	folder := adapterFolder(t, 1, 4)
	return file{name: archive.Config, content: readFile(t, folder, archive.Config)}, file{name: archive.Weights, content: readFile(t, folder, archive.Weights)}
}

func TestBadInput_34_NamesThatLeaveTheFolder(t *testing.T) {
	config, weights := entries(t)
	for _, name := range []string{
		"../escaped", "../../" + archive.Config, "./../escaped", "a/../../escaped", "/escaped", "/etc/passwd", "//host/share/escaped", `..\escaped`, `\escaped`,
		`\\host\share\escaped`, `C:\escaped`, "C:escaped", "c:/escaped", "..", ".", "", "./" + archive.Weights,
	} {
		refused(t, name+" as well", zipOf(t, config, weights, file{name: name, content: weights.content}), archive.DefaultLimits, fault.Invalid)
		refused(t, name+" instead", zipOf(t, config, file{name: name, content: weights.content}), archive.DefaultLimits, fault.Invalid)
	}
}

func TestBadInput_35_Links(t *testing.T) {
	config, weights := entries(t)
	for name, mode := range map[string]os.FileMode{
		"symbolic link": os.ModeSymlink | 0o777, "pipe": os.ModeNamedPipe | 0o644, "device": os.ModeDevice | 0o644, "character device": os.ModeDevice | os.ModeCharDevice | 0o644,
		"socket": os.ModeSocket | 0o644, "folder": os.ModeDir | 0o755,
	} {
		link := file{name: archive.Weights, content: "/etc/passwd", change: func(h *zip.FileHeader) { h.SetMode(mode) }}
		refused(t, name, zipOf(t, config, link), archive.DefaultLimits, fault.Invalid)
		refused(t, name+" before the file", zipOf(t, link, config, weights), archive.DefaultLimits, fault.Invalid)
	}
}

// Bombs are refused while they are unpacked, in memory that does not depend on what they would become.
func TestBadInput_36_Bombs(t *testing.T) {
	limits := archive.Limits{Config: 1 << 20, Weights: 16 << 20}
	config, _ := entries(t)
	deflated := func(name string, zeros int64) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create(archive.Config)
		if err == nil && name != archive.Config {
			if _, err = io.WriteString(w, config.content); err == nil {
				w, err = z.Create(name)
			}
		}
		if err == nil {
			_, err = io.CopyN(w, zero{}, zeros)
		}
		if err = errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	within := deflated("inner.zip", 1<<20)
	for name, archived := range map[string][]byte{
		"a thousand to one as weights":       deflated(archive.Weights, 64<<20),
		"a thousand to one as configuration": deflated(archive.Config, 64<<20),
		"an archive in an archive":           zipOf(t, config, file{name: archive.Weights, content: string(within)}),
		"zstd": zipOf(t, config, file{name: archive.Weights, content: "\x28\xb5\x2f\xfd\x00\xff", change: func(h *zip.FileHeader) {
			h.Method, h.UncompressedSize64 = 93, 1<<30
		}}),
		"gzip": append([]byte("\x1f\x8b\x08\x00"), make([]byte, 1000)...),
		"tar":  append([]byte(archive.Config), make([]byte, 10_240)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refused(t, name, archived, limits, fault.Invalid, fault.TooLarge, fault.Unsupported)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("%s: %d bytes were allocated", name, used)
		}
	}
}

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// Names are compared byte for byte, so what a file system may take for the same file never becomes one.
func TestBadInput_37_NamesThatCollide(t *testing.T) {
	config, weights := entries(t)
	for _, name := range []string{
		"ADAPTER_CONFIG.JSON", "Adapter_Model.safetensors", "adapter_model.safetensor\u017f", "adapter_\u212aonfig.json", "adapter_model.safetensors\u200b",
		"e\u0301", "\u00e9", "adapter_model.safetensors ", "adapter_model.safetensors.", "adapter_model.safetensors::$DATA", "CON", "nul.safetensors", "aux", "COM1.json",
		"LPT9", "\xff\xfe",
	} {
		refused(t, name+" as well", zipOf(t, config, weights, file{name: name, content: weights.content}), archive.DefaultLimits, fault.Invalid)
		refused(t, name+" instead", zipOf(t, config, file{name: name, content: weights.content}), archive.DefaultLimits, fault.Invalid)
	}
	refused(t, "twice", zipOf(t, config, weights, weights), archive.DefaultLimits, fault.Invalid)
}
