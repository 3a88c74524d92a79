package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asked sends requests to a worker of this program and returns its replies.
func asked(t *testing.T, requests ...request) []reply {
	t.Helper()
	var in, out bytes.Buffer
	for _, r := range requests {
		if err := json.NewEncoder(&in).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := answer(t.Context(), &in, &out); err != nil {
		t.Fatal(err)
	}
	var replies []reply
	for d := json.NewDecoder(&out); ; {
		var a reply
		if err := d.Decode(&a); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, a)
	}
	if len(replies) != len(requests) {
		t.Fatalf("%d replies to %d requests", len(replies), len(requests))
	}
	return replies
}

const zooData = "../../shared/zoo/data"

func zooFolders(t *testing.T) []string {
	t.Helper()
	all, err := workload{modules: filepath.Join(zooData, "modules", "*")}.folders()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWorker(t *testing.T) {
	if a := asked(t, request{Op: "about"})[0]; a.Error != "" {
		t.Skip("the cpu backend is not in this build: ", a.Error)
	}
	base, file := filepath.Join(zooData, "base"), filepath.Join(zooData, "tasks", "which_shelf.few.jsonl")
	score := request{Op: "score", Base: base, Folders: zooFolders(t), Examples: file, Candidates: candidates(3, usedModules, usedModules)}
	narrow := score
	narrow.Weights = "bf16"
	madeUp := request{Op: "score", Base: base, Modules: 3, Rank: 2, Lengths: []int{4, 9}, Candidates: candidates(2, 3, 1)}
	uploaded := madeUp
	uploaded.Upload = true
	replies := asked(t,
		request{Op: "product", Rows: 3, Out: 40, In: 20, For: 1e-3},
		score, narrow, madeUp, uploaded,
		request{Op: "searches", Base: base, Folders: score.Folders, Examples: file, Count: 2},
		request{Op: "sing"},
		request{Op: "product", Rows: 3, Out: 40, In: 20, Library: "abacus"},
	)
	for i, a := range replies[:6] {
		if a.Error != "" || !(a.Seconds > 0) {
			t.Errorf("reply %d: %g seconds, error %q", i, a.Seconds, a.Error)
		}
	}
	for i, a := range replies[6:] {
		if a.Error == "" {
			t.Errorf("wrong request %d: no error", i)
		}
	}
	full, rounded := replies[1].Losses, replies[2].Losses
	if len(full) != 3 || len(rounded) != 3 || full[0] == rounded[0] || math.Abs(full[0]-rounded[0]) > 0.1*full[0] {
		t.Errorf("losses %v with f32, %v with bf16", full, rounded)
	}
	if a, b := replies[3].Losses, replies[4].Losses; len(a) != 2 || a[0] != b[0] || a[1] != b[1] || a[0] == a[1] {
		t.Errorf("losses %v, with unused modules on the backend %v", a, b)
	}
	if len(replies[5].Samples) != 2 {
		t.Errorf("samples %v of 2 searches", replies[5].Samples)
	}
}

// sampled is a small result with every section.
func sampled() *results {
	rounds := func(own, peer float64) timings {
		return timings{{medley("f32"), []float64{own, own * 1.5}}, {openblas, []float64{peer}}, {torch, []float64{peer * 2}}}
	}
	return &results{
		Made: "2001-02-03", Command: "make bench", Subject: "a shape", Minutes: 12.4, Machine: []fact{{"processor", "an abacus"}}, Forms: []string{"f32"},
		Jobs: []jobs{{"zoo", []job{{"peer", 40, 4, 5, 100}, {"medley", 40, 1, 2, 50}, {"peer", 40, 2, 5, 100}, {"medley", 40, 1, 2, 50}}}},
		Products: []productResult{
			{"base", "wi", 20, 100, 50, rounds(1e-5, 2e-5)}, {"base", "wo", 20, 50, 100, rounds(4e-5, 2e-5)}, {"base", "wi", 100, 100, 50, rounds(1e-4, 4e-4)},
		},
		Evaluations: []evaluations{{"zoo", rounds(0.01, 0.1), map[string][]float64{
			medley("f32"): {1, 2}, medley("bf16"): {1.5, 2.1}, torch: {1, 2},
		}}},
		Scaling:  []scaling{{"rank", "", []point{{4, rounds(1, 2)}, {8, rounds(2, 4)}, {16, timings{{medley("f32"), []float64{8}}}}}}},
		Free:     []free{{"Unused modules", []freeCase{{"0", timings{{medley("f32"), []float64{2, 1}}}, 10}, {"1000", timings{{medley("f32"), []float64{1.25}}}, 12}}}},
		Searches: &searchesResult{3, []sample{{1, 40}, {2, 41}}},
		GPU:      &gpuResult{Device: "Some H200", Peak: 67_000, Products: []productResult{{"base", "wi", 20, 100, 50, timings{{medley("webgpu"), []float64{1e-5}}}}}},
	}
}

func TestPage(t *testing.T) {
	text, err := markdown(sampled())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| processor | an abacus |",
		"measures for 12 minutes",
		"| zoo | medley | 2 | 40 | 2.67 | 2 s | 50 MiB |", // the peer's median is 15 a second
		"| Medley f32 to OpenBLAS f32 | 1.59 | 0.50, base wo at 20 rows | 4.00, base wi at 100 rows |", // ∛(2·½·4)
		"| zoo | Medley f32 | 80 | 66.7 to 100 | 16 |  |",
		"| rank | PyTorch f32 | 4 | 8 | 4 to 8 | 2.00 |",
		"| Unused modules | 1000 | Medley f32 | 1.25 | 1.25 | 12 MiB |",
		"After 1 it holds 40 MiB, after 2 41 MiB.",
		"| 20 | base wi | 50 | 100 | 20 | 0.0 % |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(string(text), "quick run") || strings.Contains(string(text), "other work") {
		t.Error("the page warns of a run that was neither quick nor disturbed")
	}
	if t.Failed() {
		t.Log(string(text))
	}
}

func TestLossDifference(t *testing.T) {
	if got := lossDifference(sampled().Evaluations[0], medley("bf16")); got != "5.0e-01 of 1.00" {
		t.Errorf("got %q", got)
	}
}

// TestBusy: a run on a machine with other work says so.
func TestBusy(t *testing.T) {
	r := sampled()
	for i := range r.Products {
		r.Products[i].Timings.add(openblas, 1)
	}
	text, err := markdown(r)
	if err != nil || !strings.Contains(string(text), "other work") {
		t.Errorf("no warning; error %v", err)
	}
}

// TestWrite: results survive being written and read, and every picture that the page shows is there and well-formed.
func TestWrite(t *testing.T) {
	for name, r := range map[string]*results{"all": sampled(), "nothing": {}} {
		docs := t.TempDir()
		if err := write(docs, r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := readResults(docs)
		if err != nil {
			t.Fatal(err)
		}
		first, err := markdown(r)
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(docs, page))
		if err != nil || !bytes.Equal(first, second) || again.Subject != r.Subject {
			t.Errorf("%s: the page changes when results are read back; error %v", name, err)
		}
		pictures := 0
		for _, part := range strings.Split(string(first), "](")[1:] {
			path, _, _ := strings.Cut(part, ")")
			data, err := os.ReadFile(filepath.Join(docs, path))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if strings.HasSuffix(path, ".svg") {
				pictures++
				wellFormed(t, path, data)
			}
		}
		if want := map[string]int{"all": 4}[name]; pictures != want {
			t.Errorf("%s: %d pictures, expected %d", name, pictures, want)
		}
	}
}

func wellFormed(t *testing.T, name string, data []byte) {
	t.Helper()
	if bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("Inf")) {
		t.Errorf("%s: a point that is no number", name)
	}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
	}
}

func TestPeakOf(t *testing.T) {
	for _, c := range []struct {
		device       string
		stated, want float64
	}{{"NVIDIA H200, vulkan", 0, 67_000}, {"NVIDIA H200", 5, 5}, {"llvmpipe", 0, 0}} {
		if got := peakOf(c.device, c.stated); got != c.want {
			t.Errorf("%s: %g, expected %g", c.device, got, c.want)
		}
	}
}
