//go:build unix

package service_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// watched is a supervisor of this test binary, and what it told.
type watched struct {
	*service.Supervisor
	mu      sync.Mutex
	folders []string
	pids    []int
	deaths  []service.Death
}

func supervise(t *testing.T, startTimeout time.Duration, roles ...string) *watched {
	t.Helper()
	return superviseFor(t, startTimeout, 0, roles...)
}

func superviseFor(t *testing.T, startTimeout, patience time.Duration, roles ...string) *watched {
	t.Helper()
	w := &watched{}
	w.Supervisor = service.NewSupervisor(service.SupervisorOptions{
		StartTimeout: startTimeout,
		Patience:     patience,
		Command: func(socket string) *exec.Cmd {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.folders = append(w.folders, filepath.Dir(socket))
			return command(roles[min(len(w.folders), len(roles))-1], socket)
		},
		Started: func(pid int) { w.mu.Lock(); defer w.mu.Unlock(); w.pids = append(w.pids, pid) },
		Died:    func(d service.Death) { w.mu.Lock(); defer w.mu.Unlock(); w.deaths = append(w.deaths, d) },
	})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, pid := range w.pids {
			gone(t, pid, w.folders[i])
		}
	})
	return w
}

// kill ends the newest evaluator as a crash does.
func (w *watched) kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := syscall.Kill(w.pids[len(w.pids)-1], s); err != nil && !errors.Is(err, syscall.ESRCH) { // one just killed has no successor yet
		t.Error(err)
	}
}

func (w *watched) deathsTold() []service.Death {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.deaths)
}

// gone checks that a process and its folder vanish; a zombie would still take signals.
func gone(t *testing.T, pid int, folder string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(folder)
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) && errors.Is(err, os.ErrNotExist) {
			return
		}
	}
	t.Errorf("process %d or its folder is left", pid)
}

// A session lives on through every way in which an evaluator can die, with the same numbers.
func TestSessionSurvives(t *testing.T) {
	z := newZoo(t)
	q := z.request(lora.Delta, "plural", "french")
	_, m := z.mixer(t, q)
	weights := [][]float64{{1, 0}, {0.3, -0.7}}
	want, err := m.Score(t.Context(), examples, weights)
	if err != nil {
		t.Fatal(err)
	}
	w := supervise(t, 0, "serve")
	s := openSession(t, w, q)
	var deaths []string
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGTERM, syscall.SIGABRT} {
		w.kill(t, signal)
		got, err := s.Score(t.Context(), examples, weights)
		if err != nil || !sameScores(got, want) {
			t.Fatalf("after %v: %v, error %v, want %v", signal, got, err, want)
		}
	}
	for _, d := range w.deathsTold() {
		deaths = append(deaths, d.Status)
	}
	if len(deaths) != 4 || deaths[0] != "signal: killed" {
		t.Errorf("deaths %q", deaths)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Killed in mid-answer, the evaluator's successor answers, and the listener hears every text once.
func TestAnswerSurvives(t *testing.T) {
	z := newZoo(t)
	q := z.request(lora.Delta, "plural")
	_, m := z.mixer(t, q)
	inputs := []string{"one berry , several", "one cat , several", strings.Repeat("long ", 60)}
	want, err := m.Generate(t.Context(), inputs, []float64{2}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	w := supervise(t, 0, "serve")
	s := openSession(t, w, q)
	heard, kills, ends := make([]string, len(inputs)), 0, 0
	answers, err := s.Answer(t.Context(), engine.Texts(inputs), []float64{2}, engine.Sampling{}, engine.AnswerListener{
		Text: func(i int, text string) {
			heard[i] += text
			if kills < 2 {
				kills++
				w.kill(t, syscall.SIGKILL)
			}
		},
		Done: func(int, engine.Answer) { ends++ },
	})
	if err != nil || kills != 2 || ends != len(inputs) || !slices.Equal(heard, want) || answers[2].Text != want[2] {
		t.Errorf("heard %q after %d kills and %d ends, want %q, error %v", heard, kills, ends, want, err)
	}
}

func TestChildThatAlwaysDies(t *testing.T) {
	for role, c := range map[string]struct{ status, stderr string }{
		"die":              {"exit status 3", "first words\n  driver: the device is lost"},
		"dies of scores":   {"exit status 4", "driver: cannot score"},
		"panics of scores": {"exit status 2", "panic: a defect"},
		"hang":             {"was not ready after 300ms, signal: killed", ""},
		"hangs of scores":  {"hung in its backend for ", ""}, // 1s, and what the machine was late by
		"lost device":      {"exit status 2", "ended (exit status 2)\n  driver: the device is lost"},
	} {
		t.Run(role, func(t *testing.T) {
			startTimeout := 20 * time.Second
			if role == "hang" {
				startTimeout = 300 * time.Millisecond
			}
			w := superviseFor(t, startTimeout, time.Second, role)
			s, err := w.Open(t.Context(), newZoo(t).request(lora.Delta, "plural"))
			if err == nil {
				_, err = s.Score(t.Context(), examples, [][]float64{{1}})
			}
			f := faultOf(err)
			if f.Code != fault.Internal || f.Field != "evaluator" || !strings.Contains(f.Message, "("+c.status) || !strings.Contains(f.Message, c.stderr) {
				t.Errorf("%+v, want %s and %q", f, c.status, c.stderr)
			}
			if deaths := w.deathsTold(); len(deaths) != 3 {
				t.Errorf("%d deaths, want 3: %v", len(deaths), deaths)
			}
		})
	}
}

// Deaths and a hang at the start do not keep a later one from answering, whose faults are no deaths.
func TestChildThatRecovers(t *testing.T) {
	for _, c := range [][]string{{"die", "die", "serve"}, {"hang", "serve"}} {
		w := supervise(t, 3*time.Second, c...)
		if b, err := w.Backend(t.Context()); err != nil || b.Name != "reference" {
			t.Errorf("%+v, %v", b, err)
		}
		if _, err := w.Open(t.Context(), service.OpenRequest{}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("error %v", err)
		}
		if deaths := w.deathsTold(); len(deaths) != len(c)-1 {
			t.Errorf("deaths %v, want %d", deaths, len(c)-1)
		}
	}
}

func TestChildThatCannotStart(t *testing.T) {
	s := service.NewSupervisor(service.SupervisorOptions{Command: func(socket string) *exec.Cmd {
		t.Cleanup(func() {
			if _, err := os.Stat(filepath.Dir(socket)); !errors.Is(err, os.ErrNotExist) {
				t.Error("the folder of the socket is left")
			}
		})
		return exec.Command(filepath.Join(t.TempDir(), "no-program"))
	}})
	defer s.Close()
	if _, err := s.Backend(t.Context()); faultOf(err).Message != "cannot be started: no such file or directory" {
		t.Errorf("error %v", err)
	}
}

// Cancel and Close end a wait for an evaluator that hangs at its start.
func TestHangIsLeft(t *testing.T) {
	w := supervise(t, time.Hour, "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.Backend(ctx); faultOf(err) != (fault.Error{Code: fault.Canceled, Message: "context deadline exceeded"}) {
		t.Errorf("canceled: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { w.Close() })
	if _, err := w.Backend(t.Context()); fault.CodeOf(err) != fault.Canceled {
		t.Errorf("closed: %v", err)
	}
	if len(w.deathsTold()) != 0 {
		t.Errorf("told of deaths that were asked for: %v", w.deathsTold())
	}
}

// What hangs in mid-pass, or altogether, is replaced, with the same numbers.
func TestHangIsReplaced(t *testing.T) {
	z := newZoo(t)
	q := z.request(lora.Delta, "plural", "french")
	_, m := z.mixer(t, q)
	weights := [][]float64{{0.3, -0.7}}
	want, err := m.Score(t.Context(), examples, weights)
	if err != nil {
		t.Fatal(err)
	}
	w := superviseFor(t, 0, time.Second, "hangs of scores", "serve")
	s := openSession(t, w, q)
	check := func(what, status string) {
		t.Helper()
		got, err := s.Score(t.Context(), examples, weights)
		if err != nil || !sameScores(got, want) {
			t.Fatalf("%s: %v, error %v, want %v", what, got, err, want)
		}
		if deaths := w.deathsTold(); len(deaths) == 0 || !strings.HasPrefix(deaths[len(deaths)-1].Status, status) {
			t.Errorf("%s: deaths %v", what, deaths)
		}
	}
	check("in mid-pass", "hung in its backend for ")
	w.kill(t, syscall.SIGSTOP)
	check("altogether", "did not answer for 1s, signal: killed")
	if n := len(w.deathsTold()); n != 2 {
		t.Errorf("%d deaths, want 2", n)
	}
}

// A slow backend is not taken for one that hangs, however long its pass is.
func TestSlowIsLeftAlone(t *testing.T) {
	const patience = time.Second
	w := superviseFor(t, 0, patience, "slow")
	s := openSession(t, w, newZoo(t).request(lora.Delta, "plural"))
	start := time.Now()
	if _, err := s.Score(t.Context(), examples, [][]float64{{1}, {2}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < patience*3/2 || len(w.deathsTold()) > 0 {
		t.Errorf("took %v, which a patience of %v should not see; deaths %v", took, patience, w.deathsTold())
	}
}

// Many requests at once, with evaluators dying under them.
func TestManyAtOnce(t *testing.T) {
	z := newZoo(t)
	q := z.request(lora.Delta, "plural", "french")
	_, m := z.mixer(t, q)
	few := []task.Example{{Input: "one berry , several", Output: "berries"}}
	want, err := m.Score(t.Context(), few, [][]float64{{1, 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	w := supervise(t, 0, "serve")
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			s := openSession(t, w, q)
			for range 15 {
				got, err := s.Score(t.Context(), few, [][]float64{{1, 0.5}})
				if err != nil || !sameScores(got, want) {
					t.Errorf("%v, error %v, want %v", got, err, want)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 2 {
		time.Sleep(150 * time.Millisecond)
		w.kill(t, syscall.SIGKILL)
	}
	group.Wait()
}

// The evaluator ends, and cleans up, when its parent is killed.
func TestParentKilled(t *testing.T) {
	parent := command("parent", "")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var said []string
	for len(said) < 3 && lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, out) //nolint:errcheck // until the parent is dead
	parent.Wait()            //nolint:errcheck // it was killed
	if len(said) != 3 || said[2] != "ready <nil>" {
		t.Fatalf("the parent said %q", said)
	}
	pid, err := strconv.Atoi(said[1])
	if err != nil {
		t.Fatal(err)
	}
	gone(t, pid, said[0])
}
