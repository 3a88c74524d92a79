package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo"
)

// process is a server that was started.
type process struct {
	name, address string
	cmd           *exec.Cmd
}

// cluster is a Redis, an evaluator, a gateway and a bare handler, all on the loopback interface.
type cluster struct {
	command                         *platformCommand
	dir, token                      string
	redis, evaluator, gateway, bare *process
	cache                           *goredis.Client
	base                            string
	modules                         []string
	examples                        []map[string]string
}

// startProcess starts a program and waits until it accepts connections.
func startProcess(ctx context.Context, dir, name, address, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{name: name, address: address, cmd: exec.Command(program, args...)} //nolint:gosec // the developer names it
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, name, "cannot be started: %v", err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return p, connection.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			p.stop()
			said, _ := os.ReadFile(log.Name()) // it is shown as far as it can be read
			return nil, fault.New(fault.Internal, name, "does not answer: %s", said)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(15*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait()
}

// peak is the most memory that the process ever held, in MiB.
func (p *process) peak() float64 {
	return mebibytes(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmHWM")
}

// used is the processor time of the process so far, by clock ticks of a hundredth of a second.
func (p *process) used() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(data, []byte(") ")) // the name may hold anything
	fields := strings.Fields(string(after))
	ticks := 0
	for _, i := range []int{11, 12} { // utime and stime, fields 14 and 15 of proc(5)
		n, _ := strconv.Atoi(fields[i])
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startCluster starts everything and uploads the zoo's modules.
func startCluster(ctx context.Context, c *platformCommand, dir string) (w *cluster, err error) {
	w = &cluster{command: c}
	if w.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	address, err := freeAddress()
	if err != nil {
		return w, err
	}
	_, port, _ := strings.Cut(address, ":")
	if w.redis, err = startProcess(ctx, w.dir, "redis", address, c.Redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", w.dir); err != nil {
		return w, err
	}
	w.cache = goredis.NewClient(&goredis.Options{Addr: address})
	if err := os.WriteFile(filepath.Join(w.dir, "secret"), []byte("secret-of-the-benchmark\n"), 0o600); err != nil {
		return w, err
	}
	if address, err = freeAddress(); err != nil {
		return w, err
	}
	w.evaluator, err = startProcess(ctx, w.dir, "evaluator", address, c.Medley, "evaluator", "--listen", address, "--secret-file", filepath.Join(w.dir, "secret"),
		"--data", filepath.Join(w.dir, "e"), "--blobs", w.blobs(), "--backend", "cpu")
	if err != nil {
		return w, err
	}
	if address, err = freeAddress(); err != nil {
		return w, err
	}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	if w.bare, err = startProcess(ctx, w.dir, "bare", address, self, "bare", "--listen", address, "--redis", w.redis.address); err != nil {
		return w, err
	}
	if err := w.restartGateway(ctx); err != nil {
		return w, err
	}
	return w, w.furnish(ctx)
}

func (w *cluster) blobs() string { return "file://" + filepath.ToSlash(filepath.Join(w.dir, "blobs")) }

// restartGateway ends the gateway if there is one, and starts one.
func (w *cluster) restartGateway(ctx context.Context) error {
	w.gateway.stop()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	data := filepath.Join(w.dir, "g")
	w.gateway, err = startProcess(ctx, w.dir, "gateway", address, w.command.Medley, "gateway", "--listen", address, "--data", data,
		"--redis", "redis://"+w.redis.address, "--database", "sqlite:"+filepath.Join(w.dir, "medley.db"), "--blobs", w.blobs(),
		"--evaluator", "http://"+w.evaluator.address, "--secret-file", filepath.Join(w.dir, "secret"), "--request-rate", "1000000")
	if err != nil {
		return err
	}
	token, err := exec.Command(w.command.Medley, "token", "create", "--data", data, "--ttl", "24h").Output() //nolint:gosec // the developer names it
	w.token = strings.TrimSpace(string(token))
	if err != nil {
		return err
	}
	for { // until the evaluator has its bases warm
		err := w.call(ctx, "GET", "/readyz", nil, nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

func (w *cluster) stop() {
	for _, p := range []*process{w.gateway, w.bare, w.evaluator, w.redis} {
		p.stop()
	}
	if w.cache != nil {
		w.cache.Close()
	}
}

// call makes a request with a JSON body and reads a JSON answer.
func (w *cluster) call(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(data)
	}
	return w.send(ctx, method, path, "application/json", r, answer)
}

func (w *cluster) send(ctx context.Context, method, path, media string, body io.Reader, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+w.gateway.address+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	if body != nil {
		r.Header.Set("Content-Type", media)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fault.New(fault.Internal, "", "%s %s: %s: %.300s", method, path, res.Status, data)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

// furnish uploads the zoo's modules and reads examples of one of its tasks.
func (w *cluster) furnish(ctx context.Context) error {
	var bases struct{ Items []struct{ Name string } }
	for len(bases.Items) == 0 { // the gateway records them when the evaluator is there
		if err := w.call(ctx, "GET", "/v1/bases", nil, &bases); err != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
	w.base = bases.Items[0].Name
	folder := filepath.Join(w.dir, "zoo")
	if err := zoo.Extract(folder); err != nil {
		return err
	}
	folders, err := filepath.Glob(filepath.Join(folder, "modules", "*"))
	if err != nil {
		return err
	}
	for _, f := range folders[:20] {
		var b bytes.Buffer
		if err := archive.Pack(&b, f); err != nil {
			return err
		}
		var made struct{ ID string }
		if err := w.send(ctx, "POST", "/v1/modules?name="+filepath.Base(f), "application/zip", &b, &made); err != nil {
			return err
		}
		w.modules = append(w.modules, made.ID)
	}
	w.examples, err = firstExamples(folder)
	return err
}

// firstExamples reads the examples of the first task of the zoo's that one may search with.
func firstExamples(folder string) (examples []map[string]string, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "tasks", "*.few.jsonl"))
	if err != nil || len(files) == 0 {
		return nil, fault.New(fault.Internal, "", "the zoo has no tasks")
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var e map[string]string
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		examples = append(examples, e)
	}
	return examples, nil
}

// task asks about the first n modules.
func (w *cluster) task(n int) map[string]any {
	return map[string]any{"base": w.base, "modules": w.modules[:n], "examples": w.examples}
}

// forget has the cluster forget every score: a gateway keeps those of the last five seconds near.
func (w *cluster) forget(ctx context.Context) error {
	pause(ctx, 6*time.Second)
	return w.cache.Del(ctx, "medley:cache:values", "medley:cache:order").Err()
}
