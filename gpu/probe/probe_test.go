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
		}
		return faulty{reference.New(), mode}, nil
	}}
}

func TestOpen(t *testing.T) {
	oracle := candidate("reference", "")
	oracle.LastResort = true
	good, wrong, panics, absent := candidate("good", ""), candidate("wrong", "wrong"), candidate("panics", "panic"), candidate("absent", "absent")
	cases := []struct {
		name, ask  string
		candidates []Candidate
		chosen     string
		err        string
	}{
		{"the one that works", "auto", []Candidate{wrong, absent, panics, good, oracle}, "good", ""},
		{"the last resort", "auto", []Candidate{wrong, absent, oracle}, "reference", ""},
		{"by name", "reference", []Candidate{good, oracle}, "reference", ""},
		{"wrong numbers are refused by name", "wrong", []Candidate{wrong, oracle}, "", "gelu: the self-test gave wrong numbers"},
		{"a panic is refused", "panics", []Candidate{panics, oracle}, "", "device lost"},
		{"absent", "absent", []Candidate{absent, oracle}, "", "no such device"},
		{"unknown", "tpu", []Candidate{good, oracle}, "", "expected auto, good, reference"},
		{"nothing at all", "auto", []Candidate{wrong}, "", "none passed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, reports, reason, err := Open(t.Context(), c.ask, c.candidates, false)
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
			for _, r := range reports {
				if r.Chosen != (r.Name == c.chosen) {
					t.Errorf("%s: chosen is %v", r.Name, r.Chosen)
				}
			}
			if !strings.HasPrefix(reason, c.chosen) {
				t.Errorf("reason %q does not name %s", reason, c.chosen)
			}
		})
	}
}

func TestOpenStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, _, err := Open(ctx, "auto", []Candidate{candidate("good", "")}, false); !errors.Is(err, context.Canceled) {
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
	worst, err := SelfTest(t.Context(), b)
	if err != nil || worst == 0 || worst > tolerance/10 {
		t.Errorf("worst difference %g, error %v", worst, err)
	}
}
