package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
)

// children lists the processes that this one has started and that are still there, dead ones nobody waited for included.
func children(t *testing.T) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		if runtime.GOOS == "linux" {
			t.Fatalf("no tasks: %v", err)
		}
		return nil
	}
	var pids []string
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // the thread may have gone
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// settled waits until f is true, for a second.
func settled(f func() bool) bool {
	for range 100 {
		if f() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// refused asks a dead guest.
func refused(g *host.Isolated) error {
	if _, err := g.Ask(1); err == nil {
		return errors.New("a dead guest answers")
	}
	return nil
}

func TestIsolatedLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	if pids := children(t); len(pids) > 0 {
		t.Fatalf("processes before: %v", pids)
	}
	pool := host.NewPool(host.PoolOptions{Command: command, Limits: quick})
	for name, end := range map[string]func(*host.Isolated, context.CancelFunc) error{
		"close":       func(g *host.Isolated, _ context.CancelFunc) error { return g.Close() },
		"close twice": func(g *host.Isolated, _ context.CancelFunc) error { return errors.Join(g.Close(), g.Close()) },
		"cancel, ask": func(g *host.Isolated, cancel context.CancelFunc) error {
			cancel()
			return refused(g)
		},
		"a sudden end": func(g *host.Isolated, _ context.CancelFunc) error {
			return errors.Join(g.Process().Process.Kill(), refused(g))
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		g, err := host.NewIsolated(ctx, pool, still().bytes(), one(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(g, cancel); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if g.Err() == nil {
			t.Errorf("%s: the guest lives", name)
		}
		if name == "a sudden end" && (fault.CodeOf(g.Err()) != fault.Internal || !strings.Contains(g.Err().Error(), "lost its process in ask (signal: killed)")) {
			t.Errorf("%s: %v", name, g.Err())
		}
	}
	if !settled(func() bool { return runtime.NumGoroutine() <= before && len(children(t)) == 0 }) {
		t.Errorf("%d goroutines before, %d after; processes %v", before, runtime.NumGoroutine(), children(t))
	}
}

// When the context ends between two calls, nobody calls again: the process must go by itself.
func TestIsolatedEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := host.NewIsolated(ctx, host.NewPool(host.PoolOptions{Command: command}), still().bytes(), one(), nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	if !settled(func() bool { return len(children(t)) == 0 }) {
		t.Errorf("processes %v", children(t))
	}
}

func TestCommandThatIsNoSandbox(t *testing.T) {
	for name, c := range map[string]*exec.Cmd{
		"missing": exec.Command(filepath.Join(t.TempDir(), "none")), "ends": exec.Command("true"), "babbles": exec.Command("yes"),
	} {
		pool := host.NewPool(host.PoolOptions{Command: func() *exec.Cmd { return c }})
		_, err := host.NewIsolated(t.Context(), pool, still().bytes(), one(), nil)
		if fault.CodeOf(err) != fault.Internal || strings.Contains(err.Error(), "/") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A process whose parent was killed sees its input end, even while a guest runs that cannot be interrupted.
func TestOrphan(t *testing.T) {
	recursion := with(but("opt_ask", i32(60), call(9)), func(a *assembly) {
		a.functions = append(a.functions, function{"", vI32, vI32, nil, ops(local(0), i32(2), op{0x48, 0x04, 0x7f}, local(0), op{0x05},
			local(0), i32(1), op{0x6b}, call(9), local(0), i32(2), op{0x6b}, call(9), op{0x6a, 0x0b})})
	}).bytes()
	for name, wasm := range map[string][]byte{"loop": but("opt_ask", forever(), i32(1)).bytes(), "recursion": recursion} {
		c := command()
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := host.SendAsk(in, wasm, one()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // until the guest runs
		in.Close()
		start := time.Now()
		killer := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
		err = c.Wait()
		if !killer.Stop() || err != nil {
			t.Errorf("%s: the process ended after %v: %v", name, time.Since(start), err)
		}
	}
}

// Sixty-four guests that loop for ever take the processor from an honest search for less time than that needs itself.
func TestCrowd(t *testing.T) {
	honest := func() time.Duration {
		p := searchtest.Problem(20, 120, 8)
		m := compile(t, newRuntime(t, host.Options{Interpreter: true}), guest.Wasm())
		o, err := m.New(t.Context(), p, random)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := search.Run(t.Context(), p, o, slow{searchtest.Evaluator{Problem: p}}, search.RunOptions{}); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	ratio := 0.0
	for range 5 { // the machine may be busy with something else
		alone := honest()
		ctx, cancel := context.WithCancel(t.Context())
		pool := host.NewPool(host.PoolOptions{Command: command})
		wasm := but("opt_ask", forever(), i32(1)).bytes()
		var crowd sync.WaitGroup
		for range 64 {
			crowd.Go(func() {
				g, err := host.NewIsolated(ctx, pool, wasm, one(), nil)
				if err == nil {
					_, err = g.Ask(1)
				}
				if code := fault.CodeOf(err); code != fault.TooLarge && code != fault.Canceled {
					t.Errorf("error %v", err)
				}
			})
		}
		beside := honest()
		cancel()
		crowd.Wait()
		if ratio = beside.Seconds() / alone.Seconds(); ratio <= 2 {
			t.Logf("alone %v, beside the crowd %v", alone, beside)
			return
		}
	}
	t.Errorf("beside the crowd a search took %.1f times as long", ratio)
}

// slow is an evaluator with work to do.
type slow struct{ searchtest.Evaluator }

func (s slow) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	sum := 0.0
	for i := range 10_000_000 {
		sum += float64(i&3) * 1e-30
	}
	scores, err := s.Evaluator.Evaluate(ctx, x)
	for i := range scores {
		scores[i].Objective += sum
	}
	return scores, err
}

func ExampleNewIsolated() {
	pool := host.NewPool(host.PoolOptions{Command: command}) // in a program: exec.Command(os.Args[0], "sandbox")
	g, err := host.NewIsolated(context.Background(), pool, still().bytes(), one(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	x, err := g.Ask(1)
	fmt.Println(g.Info().Name, x, err)
	// Output: still [[0]] <nil>
}

// Fifty thousand blocks within blocks are 150 KB, and seconds for the compiler, which nothing but a kill stops.
func TestCompileBomb(t *testing.T) {
	const depth = 50_000
	bomb := but("opt_ask", bytes.Repeat(op{0x02, 0x40}, depth), bytes.Repeat(op{0x0b}, depth), i32(1)).bytes()
	limits := host.Limits{Compile: 100 * time.Millisecond, Start: 100 * time.Millisecond}
	pool := host.NewPool(host.PoolOptions{Command: command, Limits: limits})
	start := time.Now()
	_, err := host.NewIsolated(t.Context(), pool, bomb, one(), nil)
	if fault.CodeOf(err) != fault.TooLarge || err.Error() != "plugin: was stopped: its process took longer than 400ms in open" {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 1400*time.Millisecond || len(children(t)) > 0 {
		t.Errorf("took %v, processes %v", took, children(t))
	}
}
