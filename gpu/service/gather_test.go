package service_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

func openCPU(context.Context) (backend.Backend, string, error) {
	b, err := cpu.New(cpu.Options{})
	return b, "", err
}

// question is a request for scores, and the scores that it has alone.
type question struct {
	open     service.OpenRequest
	examples []task.Example
	weights  [][]float64
	want     []search.Score
}

// questions are of several modules, methods, examples and sizes.
func (z zoo) questions(t *testing.T, r *rand.Rand, n int) []question {
	t.Helper()
	b, _, err := openCPU(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), filepath.Join(z.dir, "base"), b, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); b.Close() })
	stacks := [][]string{{"plural", "french"}, {"french"}, {"add", "plural", "french"}, {}}
	all := make([]question, n)
	for i := range all {
		stack := stacks[i%len(stacks)]
		q := question{open: z.request([]lora.Method{lora.Delta, lora.Product}[r.IntN(2)], stack...), examples: examples[r.IntN(2) : 3+r.IntN(2)]}
		for range 1 + r.IntN(5) {
			w := make([]float64, len(stack))
			for j := range w {
				w[j] = r.Float64() - 0.5
			}
			q.weights = append(q.weights, w)
		}
		m := z.mixerOn(t, e, q.open)
		if q.want, err = m.Score(t.Context(), q.examples, q.weights); err != nil {
			t.Fatal(err)
		}
		all[i] = q
	}
	return all
}

// Requests of many sessions that are scored in batches have the numbers that each has alone, bit for bit, while others are given up and
// others fail.
func TestGather(t *testing.T) {
	z := newZoo(t)
	questions := z.questions(t, rand.New(rand.NewPCG(8, 8)), 8)
	server := serverOf(openCPU, service.HostOptions{Gather: 20 * time.Millisecond})
	defer server.Close()
	c, _ := clientOf(t, server)
	const rounds = 5
	var group sync.WaitGroup
	for i, q := range questions {
		s := openSession(t, c, q.open)
		group.Go(func() {
			for range rounds {
				got, err := s.Score(t.Context(), q.examples, q.weights)
				if err != nil || !sameScores(got, q.want) {
					t.Errorf("question %d: %v, error %v, want %v", i, got, err, q.want)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	hasty := openSession(t, c, z.request(lora.Delta, "plural"))
	group.Go(func() {
		for i := range 4 * rounds {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			if _, err := hasty.Score(ctx, examples, [][]float64{{1}}); err != nil && fault.CodeOf(err) != fault.Canceled {
				t.Errorf("given up: %v", err)
			}
			cancel()
		}
	})
	broken := z.request(lora.Delta, "plural", "none")
	unreadable := openSession(t, c, broken)
	group.Go(func() {
		for range rounds {
			if _, err := unreadable.Score(t.Context(), examples, [][]float64{{1, 1}}); fault.CodeOf(err) != fault.NotFound {
				t.Errorf("unreadable: %v", err)
			}
		}
	})
	group.Wait()
	h, err := c.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	candidates := int64(0)
	for _, q := range questions {
		candidates += rounds * int64(len(q.weights))
	}
	s := h.Stats
	if s.Candidates < candidates || s.Requests < rounds*int64(len(questions)) || s.Batches == 0 || s.Batches > s.Requests/2 || s.LargestBatch < 5 {
		t.Errorf("%+v for %d candidates: nothing was gathered", s, candidates)
	}
	t.Logf("%+v", s)
}

// A batch goes on without those that have left it, and ends when all have.
func TestGatheredLeave(t *testing.T) {
	z := newZoo(t)
	b := &waiting{Backend: reference.New(), begun: make(chan context.Context), goOn: make(chan struct{})}
	server := serverOf(func(context.Context) (backend.Backend, string, error) { return b, "", nil }, service.HostOptions{Gather: service.MaxGather})
	defer server.Close()
	c, _ := clientOf(t, server)
	q := z.request(lora.Delta, "plural")
	_, m := z.mixer(t, q)
	want, err := m.Score(t.Context(), berries, [][]float64{{1}})
	if err != nil {
		t.Fatal(err)
	}
	first, second := openSession(t, c, q), openSession(t, c, q)
	for name, both := range map[string]bool{"one": false, "both": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stays := t.Context()
			if both {
				stays = ctx
			}
			left, stayed := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := first.Score(ctx, berries, [][]float64{{1}})
				left <- err
			}()
			go func() {
				got, err := second.Score(stays, berries, [][]float64{{1}})
				if err == nil && !sameScores(got, want) {
					t.Errorf("scores %v, want %v", got, want)
				}
				stayed <- err
			}()
			pass := <-b.begun // both sessions have asked: there is one pass
			cancel()
			if err := <-left; fault.CodeOf(err) != fault.Canceled {
				t.Errorf("who left: %v", err)
			}
			if both {
				select {
				case <-pass.Done():
				case <-time.After(20 * time.Second):
					t.Error("the pass goes on for nobody")
				}
			} else if pass.Err() != nil {
				t.Error("the pass has ended for one who stays")
			}
			b.goOn <- struct{}{}
			if err := <-stayed; (fault.CodeOf(err) == fault.Canceled) != both || err != nil && !both {
				t.Errorf("the other: %v", err)
			}
		})
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

// waiting is a backend whose passes wait, once begun, until told to go on.
type waiting struct {
	backend.Backend
	begun chan context.Context
	goOn  chan struct{}
}

func (b *waiting) Begin(ctx context.Context) backend.Pass {
	b.begun <- ctx
	<-b.goOn
	return b.Backend.Begin(ctx)
}

func TestHostOptions(t *testing.T) {
	for _, o := range []service.HostOptions{{Gather: -1}, {Gather: service.MaxGather + 1}, {Memory: -1}} {
		if _, err := service.NewHost(openCPU, o); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

// BenchmarkGather has eight clients score against one evaluator, in batches and one after the other; compare candidates/s.
func BenchmarkGather(b *testing.B) {
	z := newZoo(b)
	const clients = 8
	few := []task.Example{
		{Input: "one berry , several", Output: "berries"}, {Input: "one cat , several", Output: "cats"}, {Input: "one fox , several", Output: "foxes"},
		{Input: "one day , several", Output: "days"}, {Input: "one baby , several", Output: "babies"},
	}
	for name, together := range map[string]bool{"batched": true, "one after the other": false} {
		b.Run(name, func(b *testing.B) {
			var options service.HostOptions
			if !together {
				options.Gather = time.Nanosecond // who is alone should not wait for company
			}
			server := serverOf(openCPU, options)
			defer server.Close()
			c, _ := clientOf(b, server)
			var sessions []*service.Session
			for range clients {
				sessions = append(sessions, openSession(b, c, z.request(lora.Delta, "plural", "french")))
			}
			var turn sync.Mutex
			score := func(i int, weight float64) {
				if !together {
					turn.Lock()
					defer turn.Unlock()
				}
				if _, err := sessions[i].Score(b.Context(), few, [][]float64{{weight, 1 - weight}}); err != nil {
					b.Error(err)
				}
			}
			for i := range clients {
				score(i, 0.5) // reads the modules
			}
			b.ResetTimer()
			var group sync.WaitGroup
			for i := range clients {
				group.Go(func() {
					for n := range b.N {
						score(i, float64(i*b.N+n)/float64(clients*b.N))
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(clients*b.N)/b.Elapsed().Seconds(), "candidates/s")
		})
	}
}
