//go:build !windows

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/edge/store"
)

var rounds = flag.Int("rounds", 8, "how often TestClusterSurvivesKills kills a part")

// role is a part of a cluster that can be killed and started again.
type role struct {
	t    *testing.T
	name string
	args []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

func (r *role) start() {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(self, r.args...)
	r.cmd.Env = append(os.Environ(), asProgram+"=1")
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.WaitDelay = time.Second
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// kill ends the part at once, and an evaluator's child with it: the machine is gone.
func (r *role) kill() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	_ = r.cmd.Wait()
}

// cluster is every role in a process of its own.
type cluster struct {
	t     *testing.T
	dir   string
	url   string
	token string
	redis *redistest.Server
	roles map[string]*role
	names []string
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), redis: redistest.Start(t), roles: map[string]*role{}}
	secret := filepath.Join(c.dir, "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway, evaluator := freeAddress(t), freeAddress(t)
	c.url = "http://" + gateway
	shared := []string{
		"--redis", c.redis.URL(), "--database", "sqlite:" + filepath.Join(c.dir, "medley.db"), "--blobs", "file://" + filepath.Join(c.dir, "blobs"),
		"--evaluator", "http://" + evaluator, "--secret-file", secret,
	}
	data := func(name string) []string { return []string{"--data", filepath.Join(c.dir, name)} }
	c.add("gateway", slices.Concat([]string{"gateway", "--listen", gateway}, shared, data("gateway")))
	c.add("worker-a", slices.Concat([]string{"worker", "--lease", "2s"}, shared, data("worker-a")))
	c.add("worker-b", slices.Concat([]string{"worker", "--lease", "2s"}, shared, data("worker-b")))
	c.add("evaluator", slices.Concat([]string{
		"evaluator", "--listen", evaluator, "--secret-file", secret, "--blobs", "file://" + filepath.Join(c.dir, "blobs"), "--backend", "cpu",
	}, data("evaluator")))
	t.Cleanup(func() {
		for _, r := range c.roles {
			r.kill()
			if t.Failed() {
				t.Logf("%s: %.3000s", r.name, r.log)
			}
		}
	})
	c.until("the gateway and the evaluator are ready", func() bool { return c.status("/readyz") == http.StatusOK })
	c.token = strings.TrimSpace(succeed(t, "token", "create", "--data", filepath.Join(c.dir, "gateway"), "--ttl", "24h").stdout)
	return c
}

func (c *cluster) add(name string, args []string) {
	r := &role{t: c.t, name: name, args: args, log: &bytes.Buffer{}}
	c.roles[name], c.names = r, append(c.names, name)
	r.start()
}

func (c *cluster) until(what string, is func() bool) {
	c.t.Helper()
	for begun := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 3*time.Minute {
			c.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (c *cluster) status(path string) int {
	res, err := http.Get(c.url + path)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// call makes a request, again until the gateway answers it; what is sent again has an idempotency key.
func (c *cluster) call(method, path string, body any, key string) []byte {
	c.t.Helper()
	data, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			c.t.Fatal(err)
		}
	}
	var answer []byte
	var last string
	c.until("the gateway answers "+path+" as it should: "+last, func() bool {
		r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, bytes.NewReader(data))
		if err != nil {
			c.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		switch {
		case ok:
			r.Header.Set("Content-Type", "application/zip")
		case body != nil:
			r.Header.Set("Content-Type", "application/json")
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			last = err.Error()
			return false
		}
		defer res.Body.Close()
		if answer, err = io.ReadAll(res.Body); err != nil {
			last = err.Error()
			return false
		}
		if res.StatusCode/100 == 4 && res.StatusCode != http.StatusTooManyRequests {
			c.t.Fatalf("%s %s: status %d: %.300s", method, path, res.StatusCode, answer)
		}
		last = string(answer)
		return res.StatusCode/100 == 2
	})
	return answer
}

// request is a composition of the zoo, another for each seed.
func (c *cluster) request(p place, modules []string, seed int64) *api.CompositionRequest {
	c.t.Helper()
	examples, err := readExamples("--examples", p.few("several"))
	if err != nil {
		c.t.Fatal(err)
	}
	return &api.CompositionRequest{Base: "zoo", Modules: modules, Examples: examples, Optimizer: "gntr", Budget: 30, Batch: 4, Seed: &seed}
}

// ended waits for the end of a composition.
func (c *cluster) ended(id string) (made api.Composition) {
	c.t.Helper()
	c.until("composition "+id+" is over", func() bool {
		if err := json.Unmarshal(c.call("GET", "/v1/compositions/"+id, nil, ""), &made); err != nil {
			c.t.Fatal(err)
		}
		return made.State.Ended()
	})
	return made
}

func (c *cluster) journal(s *store.Store, id string) (lines []string) {
	c.t.Helper()
	all, err := s.Journal(c.t.Context(), operator, id, 0, 500)
	if err != nil {
		c.t.Fatal(err)
	}
	for i, line := range all {
		if line.Number != i {
			c.t.Errorf("line %d of %s is number %d", i, id, line.Number)
		}
		lines = append(lines, string(line.Line))
	}
	return lines
}

// Every part is killed again and again, at every stage of compositions, and started again: each composition ends, once, with the trace
// of an unbroken run. (go test ./cmd/medley -run ClusterSurvivesKills -timeout 30m -rounds 50)
func TestClusterSurvivesKills(t *testing.T) {
	c := startCluster(t)
	p := newPlace(t)
	var modules []string
	for _, name := range []string{"plural", "add", "french", "antonym"} {
		var packed bytes.Buffer
		if err := archive.Pack(&packed, filepath.Join(p.zoo, "modules", name)); err != nil {
			t.Fatal(err)
		}
		var m api.Module
		if err := json.Unmarshal(c.call("POST", "/v1/modules?name="+name, packed.Bytes(), name), &m); err != nil {
			t.Fatal(err)
		}
		modules = append(modules, m.ID)
	}
	create := func(i int) string {
		var made api.Composition
		// Every composition has another seed, so that none is answered from what is remembered of another.
		if err := json.Unmarshal(c.call("POST", "/v1/compositions", c.request(p, modules, int64(i)), fmt.Sprint("round-", i)), &made); err != nil {
			t.Fatal(err)
		}
		return made.ID
	}
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // when to kill what
	var broken []string
	for i := range *rounds {
		var sent sync.WaitGroup
		sent.Go(func() { broken = append(broken, create(i)) })
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		if victim := (i + random.IntN(2)) % (len(c.names) + 1); victim == len(c.names) {
			c.redis.Kill()
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			c.redis.Restart()
		} else {
			r := c.roles[c.names[victim]]
			r.kill()
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			r.start()
		}
		sent.Wait()
	}
	compareWithUnbroken(t, c, p, modules, broken)
}

// compareWithUnbroken waits for compositions that were broken, and holds them to unbroken runs.
func compareWithUnbroken(t *testing.T, c *cluster, p place, modules, broken []string) {
	t.Helper()
	ends := make([]api.Composition, len(broken))
	for i, id := range broken {
		ends[i] = c.ended(id)
	}
	s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(c.dir, "medley.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	interrupted := 0
	for i, end := range ends {
		if end.State != record.Succeeded || end.Adapter == "" {
			t.Errorf("composition %d ended %s: %+v", i, end.State, end.Problem)
			continue
		}
		full, err := s.Composition(t.Context(), operator, end.ID)
		if err != nil {
			t.Fatal(err)
		}
		if full.Fence > 1 {
			interrupted++
		}
		trace := filepath.Join(t.TempDir(), "trace.jsonl")
		succeed(t, "compose", "--base", p.base(), "--modules", filepath.Join(p.zoo, "modules", "plural"), "--modules", filepath.Join(p.zoo, "modules", "add"),
			"--modules", filepath.Join(p.zoo, "modules", "french"), "--modules", filepath.Join(p.zoo, "modules", "antonym"),
			"--examples", p.few("several"), "--optimizer", "gntr", "--budget", "30", "--batch", "4", "--seed", fmt.Sprint(i), "--backend", "cpu",
			"--out", filepath.Join(t.TempDir(), "adapter"), "--trace", trace)
		data, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSpace(string(data)), "\n")[1:] // without the header
		if got := c.journal(s, end.ID); !slices.Equal(got, want) {
			t.Errorf("the journal of composition %d has %d lines and differs from the unbroken trace of %d", i, len(got), len(want))
		}
	}
	for _, state := range []record.State{record.Queued, record.Running} {
		if list, err := s.Compositions(t.Context(), operator, state, store.Page{}); err != nil || len(list.Items) > 0 {
			t.Errorf("%d are still %s, %v", len(list.Items), state, err)
		}
	}
	t.Logf("%d rounds: %d compositions ended, %d of them after their worker was killed", *rounds, len(ends), interrupted)
	if *rounds >= 8 && interrupted == 0 {
		t.Error("no composition was interrupted, so this tested nothing")
	}
}
