package jobs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/compute/computetest"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/edge/store"
)

// What TestWorkerProcess is told by TestWorkersAreKilled.
const (
	processDir   = "MEDLEY_TEST_WORKER_DIR"
	processRedis = "MEDLEY_TEST_WORKER_REDIS"
	processName  = "MEDLEY_TEST_WORKER_NAME"
)

// TestWorkerProcess is a worker in a process of its own, for TestWorkersAreKilled.
func TestWorkerProcess(t *testing.T) {
	dir := os.Getenv(processDir)
	if dir == "" {
		return // not a test by itself
	}
	p := openPlatform(t, dir, os.Getenv(processRedis))
	p.work(os.Getenv(processName), &computetest.Models{Delay: 20 * time.Millisecond}, quick)
	time.Sleep(time.Minute) // it is killed before, or with the test that started it
}

func quick(o *jobs.WorkerOptions) { o.Lease, o.Concurrency, o.Attempts = time.Second, 2, 1000 }

// process is a worker that can be killed.
type process struct {
	t    *testing.T
	p    *platform
	url  string
	name string
	cmd  *exec.Cmd
}

func (w *process) start() {
	w.t.Helper()
	w.cmd = exec.Command(os.Args[0], "-test.run", "^TestWorkerProcess$")
	w.cmd.Env = append(os.Environ(), processDir+"="+w.p.dir, processRedis+"="+w.url, processName+"="+w.name)
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *process) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// Workers and Redis are killed again and again while compositions run: each ends once, as if nothing had happened.
func TestWorkersAreKilled(t *testing.T) {
	const kills, compositions = 25, 12
	server := redistest.Start(t)
	p := newPlatform(t, t.TempDir(), server.URL())
	whole := p.request(nil)
	stop := p.work("whole", &computetest.Models{}, quick)
	want := p.ended(whole.ID)
	wantJournal := p.journal(whole.ID)
	stop()

	workers := []*process{{t: t, p: p, url: server.URL(), name: "a"}, {t: t, p: p, url: server.URL(), name: "b"}}
	for _, w := range workers {
		w.start()
		defer w.kill()
	}
	var ids []string
	for range compositions {
		ids = append(ids, p.request(nil).ID)
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // when to kill whom
	for i := range kills {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		if i%5 == 4 {
			server.Kill()
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			server.Restart()
			continue
		}
		w := workers[random.IntN(len(workers))]
		w.kill()
		w.start()
	}
	leases := int64(0)
	for _, id := range ids {
		got := p.ended(id)
		leases += got.Fence
		compareOutputs(t, got, want)
		if !slices.Equal(p.journal(id), wantJournal) {
			t.Errorf("the journal of %s differs from that of the unbroken run", id)
		}
	}
	if leases == compositions {
		t.Error("no composition was interrupted, so this tested nothing")
	}
	t.Logf("%d compositions took %d leases", compositions, leases)
	if left, err := waitingIn(p); err != nil || len(left) > 0 {
		t.Errorf("still waiting: %v, %v", left, err)
	}
}

func waitingIn(p *platform) (ids []string, err error) {
	for _, state := range []record.State{record.Queued, record.Running} {
		list, err := p.store.Compositions(context.Background(), owner, state, store.Page{})
		if err != nil {
			return nil, err
		}
		for _, c := range list.Items {
			ids = append(ids, fmt.Sprint(c.ID, " ", state))
		}
	}
	return ids, nil
}
