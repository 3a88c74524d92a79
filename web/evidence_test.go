package web_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/zoo/zootest"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
)

func navigate(address string) chromedp.Action[chromedp.Void] { return chromedp.Navigate(address) }

// sameInWazero replays the search of a trace in wazero, which must ask for the same candidates, bit for bit.
func sameInWazero(t *testing.T, text []byte) {
	t.Helper()
	trace, err := search.ReadTrace(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("the trace cannot be read: %v\n%.500s", err, text)
	}
	if len(trace.Evaluations) < 10 {
		t.Fatalf("the trace has only %d evaluations", len(trace.Evaluations))
	}
	r, err := host.New(t.Context(), host.Options{Limits: host.Limits{Call: patience}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := r.Compile(t.Context(), guest.Wasm())
	if err != nil {
		t.Fatal(err)
	}
	o, err := m.New(t.Context(), trace.Problem, map[string]string{"optimizer": trace.Optimizer})
	if err != nil {
		t.Fatal(err)
	}
	result, err := search.Run(t.Context(), trace.Problem, o, nobody{}, search.RunOptions{Replay: trace.Evaluations})
	if err != nil && !errors.Is(err, errNobody) { // a search that was stopped would go on
		t.Fatalf("%s in wazero asks for other candidates: %v", trace.Optimizer, err)
	}
	if result.Evaluations != len(trace.Evaluations) {
		t.Errorf("%d evaluations in wazero, %d in the page", result.Evaluations, len(trace.Evaluations))
	}
	t.Logf("%s: %d evaluations in %d rounds are the same in wazero", trace.Optimizer, result.Evaluations, result.Rounds)
}

var errNobody = errors.New("the record is at its end")

// nobody scores nothing.
type nobody struct{}

func (nobody) Evaluate(context.Context, [][]float64) ([]search.Score, error) {
	return nil, errNobody
}

// checkAdapter unpacks an archive and holds the adapter in it to the sum of the zoo's modules with the weights that the page shows to three
// digits. prefix stands before the names of modules at the server.
func checkAdapter(t *testing.T, archive []byte, shown map[string]float64, prefix string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "adapter")
	unpack(t, archive, folder)
	m, err := peft.Open(folder, peft.OpenOptions{})
	if err != nil {
		t.Fatalf("the adapter cannot be read back: %v", err)
	}
	made, err := m.Load()
	if err != nil {
		t.Fatalf("the adapter cannot be read back: %v", err)
	}
	if len(shown) == 0 {
		t.Fatal("the page shows no weights")
	}
	var modules []*lora.Adapter
	var weights []float64
	for name, w := range shown {
		module, err := peft.Open(filepath.Join(zootest.Dir(t), "modules", strings.TrimPrefix(name, prefix)), peft.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		adapter, err := module.Load()
		if err != nil {
			t.Fatal(err)
		}
		modules, weights = append(modules, adapter), append(weights, w)
	}
	_, all, err := lora.Difference(made, lora.Delta, modules, weights, lora.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !(all.Relative < 0.005) || math.IsNaN(all.MaxAbs) { // three digits of each weight
		t.Errorf("the adapter differs from the weights shown by %.4f", all.Relative)
	}
	t.Logf("the adapter of %d modules differs from the weights shown, which are rounded, by %.1e", len(weights), all.Relative)
	if peersRead != nil {
		peersRead(t, folder)
	}
}

// peersRead lets PEFT load an adapter; set where the test is built with the peers.
var peersRead func(t *testing.T, folder string)

func unpack(t *testing.T, archive []byte, folder string) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatalf("the download is no archive: %v", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if f.Name != filepath.Base(f.Name) {
			t.Fatalf("the archive has a file %q", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, f.Name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// guestBuilder is the script that assembles guests, as the global object guests.
func guestBuilder(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("optimizer/testdata/guests.js")
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.ReplaceAll(string(text), "export ", "")
	return "globalThis.guests = (() => {" + plain + "; return { guest, i32Const, i64Const, local, store, unreachable, endless, grow, recurse } })();undefined"
}

// sampleArchive is a module of the zoo as an archive.
func sampleArchive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(zootest.Dir(t), "modules", "plural", name))
		if err != nil {
			t.Fatal(err)
		}
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
