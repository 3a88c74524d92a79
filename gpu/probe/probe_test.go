package probe

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/reference"
)

// emulation is the reference, calling itself software.
type emulation struct{ backend.Backend }

func (e emulation) Info() backend.Info {
	i := e.Backend.Info()
	i.Software = true
	return i
}

// faulty is the reference with one operation that gives wrong numbers or panics.
type faulty struct {
	backend.Backend
	mode string
}

func (f faulty) Begin(ctx context.Context) backend.Pass {
	return faultyPass{f.Backend.Begin(ctx), f.mode}
}

type faultyPass struct {
	backend.Pass
	mode string
}

func (p faultyPass) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	if p.mode == "panic" {
		panic("device lost")
	}
	return p.Pass.Gate(backend.ReLU, a, b)
}

func candidate(name, mode string) Candidate {
	return Candidate{Name: name, Open: func() (backend.Backend, error) {
		switch mode {
		case "absent":
			return nil, errors.New("no such device")
		case "":
			return reference.New(), nil
		case "software":
			return emulation{reference.New()}, nil
		}
		return faulty{reference.New(), mode}, nil
	}}
}

func TestOpen(t *testing.T) {
	oracle := candidate("reference", "")
	oracle.LastResort = true
	good, wrong, panics, absent := candidate("good", ""), candidate("wrong", "wrong"), candidate("panics", "panic"), candidate("absent", "absent")
	software := candidate("software", "software")
	elsewhere := Candidate{Name: "elsewhere", Open: good.Open, Examine: func(context.Context, bool) (Report, error) {
		return Report{Name: "elsewhere", Passed: true, GFLOPS: 1e9}, nil
	}}
	dies := Candidate{Name: "dies", Examine: func(context.Context, bool) (Report, error) {
		return Report{Name: "dies", Error: "signal: segmentation fault"}, nil
	}}
	cases := []struct {
		name, ask  string
		candidates []Candidate
		chosen     string
		err        string
	}{
		{"the one that works", "auto", []Candidate{wrong, absent, panics, good, oracle}, "good", ""},
		{"the last resort", "auto", []Candidate{wrong, absent, oracle}, "reference", ""},
		{"an emulation loses, however fast", "auto", []Candidate{software, good, oracle}, "good", ""},
		{"an emulation by name", "software", []Candidate{software, good, oracle}, "software", ""},
		{"the faster", "auto", []Candidate{good, elsewhere}, "elsewhere", ""},
		{"one that dies elsewhere", "auto", []Candidate{dies, good}, "good", ""},
		{"one that dies, by name", "dies", []Candidate{dies, good}, "", "segmentation fault"},
		{"by name", "reference", []Candidate{good, oracle}, "reference", ""},
		{"wrong numbers are refused by name", "wrong", []Candidate{wrong, oracle}, "", "gelu: the self-test gave wrong numbers"},
		{"a panic is refused", "panics", []Candidate{panics, oracle}, "", "device lost"},
		{"absent", "absent", []Candidate{absent, oracle}, "", "no such device"},
		{"unknown", "tpu", []Candidate{good, oracle}, "", "expected auto, good, reference"},
		{"nothing at all", "auto", []Candidate{wrong}, "", "none passed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, choice, err := Open(t.Context(), c.ask, c.candidates)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			for _, r := range choice.Reports {
				if r.Chosen != (r.Name == c.chosen) {
					t.Errorf("%s: chosen is %v", r.Name, r.Chosen)
				}
			}
			if !strings.HasPrefix(choice.Reason, c.chosen) {
				t.Errorf("reason %q does not name %s", choice.Reason, c.chosen)
			}
			for _, r := range choice.Reports {
				if says := strings.Contains(choice.Reason, r.Name+" cannot be used: "+r.Error); says == r.Passed && c.ask == Auto {
					t.Errorf("reason %q: %s passed is %v", choice.Reason, r.Name, r.Passed)
				}
			}
		})
	}
}

// counted is a backend whose openings and closings are counted.
type counted struct {
	backend.Backend
	open *int
}

func (c counted) Close() error {
	*c.open--
	return c.Backend.Close()
}

// TestOpenOnce: what was examined is what is handed out, and nothing else stays open.
func TestOpenOnce(t *testing.T) {
	opened, open := map[string]int{}, 0
	count := func(c Candidate) Candidate {
		inner := c.Open
		c.Open = func() (backend.Backend, error) {
			b, err := inner()
			if err != nil {
				return nil, err
			}
			opened[c.Name]++
			open++
			return counted{b, &open}, nil
		}
		return c
	}
	oracle := candidate("reference", "")
	oracle.LastResort = true
	all := []Candidate{count(candidate("a", "")), count(candidate("b", "")), count(candidate("wrong", "wrong")), count(candidate("software", "software")), count(oracle)}
	b, choice, err := Open(t.Context(), Auto, all)
	if err != nil {
		t.Fatal(err)
	}
	if open != 1 {
		t.Errorf("%d are open", open)
	}
	if err := b.Close(); err != nil || open != 0 {
		t.Errorf("%d are open after it was closed, error %v", open, err)
	}
	for _, r := range choice.Reports {
		if opened[r.Name] != 1 || r.rival() != (r.GFLOPS > 0) {
			t.Errorf("%s was opened %d times, %g GFLOP/s", r.Name, opened[r.Name], r.GFLOPS)
		}
	}
	if _, err := Choose(t.Context(), Auto, all, true); err != nil || open != 0 {
		t.Errorf("%d are open after choosing, error %v", open, err)
	}
	if _, _, err := Open(t.Context(), Auto, all[2:3]); err == nil || open != 0 {
		t.Errorf("%d are open after a refusal, error %v", open, err)
	}
}

func TestOpenStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Open(ctx, "auto", []Candidate{candidate("good", "")}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

// TestSelfTestPassesWhatIsRight guards against a self-test that refuses good kernels for answers too small to compare.
func TestSelfTestPassesWhatIsRight(t *testing.T) {
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	worst, err := SelfTest(t.Context(), b, 0)
	if err != nil || worst == 0 || worst > f32Tolerance/10 {
		t.Errorf("worst difference %g, error %v", worst, err)
	}
}
