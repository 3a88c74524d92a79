package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

type platformCommand struct {
	Medley  string   `required:"" placeholder:"BINARY" help:"The medley program."`
	Redis   string   `default:"redis-server" placeholder:"BINARY" help:"The Redis server (${default})."`
	Docs    string   `default:"docs" placeholder:"DIR" help:"Where platform-benchmarks.md goes (${default})."`
	Scratch string   `default:"out/bench" placeholder:"DIR" help:"Where the servers keep their files while they run; 4 GB (${default})."`
	Only    []string `enum:"scores,streams,upload,batches" default:"scores,streams,upload,batches" help:"Only these sections; then no page is written."`
}

// The numbers that the platform is held to.
const (
	wantShare   = 0.5 // of a bare handler's requests per second, at least
	wantStreams = 200 // MiB of a gateway with idle streams, at most
	wantUpload  = 100 // MiB of a gateway during an upload, at most
	wantBatched = 1.5 // times the speed of one client after the other, at least
	closeEnough = 1e-5
)

// finding is a section of the page.
type finding struct {
	title, text string
	met         bool
}

// Run starts a cluster of this machine and measures its gateway.
func (c *platformCommand) Run(ctx context.Context) error {
	dir, err := os.MkdirTemp(c.Scratch, "platform-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := startCluster(ctx, c, dir)
	if err != nil {
		return err
	}
	defer w.stop()
	sections := map[string]func(context.Context, *cluster) (finding, error){
		"streams": measureStreams, "upload": measureUpload, "batches": measureBatches, "scores": measureScores,
	}
	var found []finding
	var missed []string
	for _, name := range []string{"streams", "upload", "batches", "scores"} { // memory first, while the gateway is young
		if !slices.Contains(c.Only, name) {
			continue
		}
		f, err := sections[name](ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%s: %s\n", f.title, f.text)
		found = append(found, f)
		if !f.met {
			missed = append(missed, f.title)
		}
	}
	if len(found) == len(sections) {
		if err := writePlatformPage(filepath.Join(c.Docs, "platform-benchmarks.md"), found); err != nil {
			return err
		}
	}
	if len(missed) > 0 {
		return fault.New(fault.Internal, "", "missed: %s", strings.Join(missed, ", "))
	}
	return nil
}

func writePlatformPage(path string, found []finding) error {
	var b strings.Builder
	b.WriteString("# What the platform costs\n\nMeasured by `go tool -modfile=tools/go.mod task bench:platform`, which starts a Redis, an evaluator and a gateway on this machine, " +
		"each in a process of its own, and writes this page. Every request goes through the gateway as a client's would: token, revocations, rate " +
		"limit, the checks against the specification. Memory is the most that the gateway's process ever held (VmHWM).\n\n")
	for _, f := range machine(0) {
		if f.Name != "features" {
			fmt.Fprintf(&b, "- %s: %s\n", f.Name, strings.TrimSuffix(f.Value, ", 0 threads used by every system"))
		}
	}
	for _, f := range found {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", f.title, f.text)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644) //nolint:gosec // a page of the documentation
}

// measureStreams holds idle event streams of a composition that nobody works on.
func measureStreams(ctx context.Context, w *cluster) (finding, error) {
	const streams = 2000
	f := finding{title: fmt.Sprintf("%d idle event streams", streams)}
	task := w.task(4)
	task["budget"] = 10
	var made struct{ ID string }
	if err := w.call(ctx, "POST", "/v1/compositions", task, &made); err != nil {
		return f, err
	}
	before := w.gateway.peak()
	open, err := openStreams(ctx, w, "/v1/compositions/"+made.ID+"/events", streams)
	defer open.close()
	if err != nil {
		return f, err
	}
	pause(ctx, 35*time.Second) // two heartbeats
	if n := open.alive(); n != streams {
		return f, fault.New(fault.Internal, "", "%d of %d streams are alive", n, streams)
	}
	peak := w.gateway.peak()
	f.met = peak < wantStreams
	f.text = fmt.Sprintf("The gateway's memory rose from %.0f to %.0f MiB with %d clients that follow a waiting composition, over two heartbeats (wanted: under %d).",
		before, peak, streams, wantStreams)
	return f, nil
}

// measureUpload sends an adapter of a gigabyte.
func measureUpload(ctx context.Context, w *cluster) (finding, error) {
	f := finding{title: "Uploading an adapter of 1 GiB"}
	if err := w.restartGateway(ctx); err != nil { // its memory so far is not the upload's
		return f, err
	}
	before := w.gateway.peak()
	archive, size, err := largeAdapter()
	if err != nil {
		return f, err
	}
	begun := time.Now()
	var made struct{ Size int64 }
	if err := w.send(ctx, "POST", "/v1/modules?name=large", "application/zip", archive, &made); err != nil {
		return f, err
	}
	if made.Size < 1<<30 {
		return f, fault.New(fault.Internal, "", "%d bytes were kept", made.Size)
	}
	peak := w.gateway.peak()
	f.met = peak < wantUpload
	f.text = fmt.Sprintf("A zip archive of %.2f GiB took %.0f s; the gateway's memory rose from %.0f to %.0f MiB (wanted: under %d).",
		float64(size)/(1<<30), time.Since(begun).Seconds(), before, peak, wantUpload)
	return f, nil
}

// measureBatches has clients score at once and one after the other.
func measureBatches(ctx context.Context, w *cluster) (finding, error) {
	const clients, each, rounds = 8, 12, 5
	f := finding{title: fmt.Sprintf("%d clients on one evaluator", clients)}
	var ratios, together, apart []float64
	worst := 0.0
	for round := range rounds {
		batches, err := w.clients(ctx, clients, each, round)
		if err != nil {
			return f, err
		}
		t1, at1, err := batches.score(ctx, w, true)
		if err != nil {
			return f, err
		}
		if err := w.forget(ctx); err != nil {
			return f, err
		}
		t2, at2, err := batches.score(ctx, w, false)
		if err != nil {
			return f, err
		}
		for i := range at1 {
			worst = math.Max(worst, math.Abs(at1[i]-at2[i]))
		}
		if round > 0 { // the first one warms up
			ratios, together, apart = append(ratios, t2/t1), append(together, clients*each/t1), append(apart, clients*each/t2)
		}
	}
	ratio := median(ratios)
	f.met = ratio >= wantBatched && worst <= closeEnough
	f.text = fmt.Sprintf("Every client has an evaluation of its own (the zoo on cpu, 5 examples, 20 modules) and scores %d candidates, one a request. At once: %.0f scores/s; "+
		"one client after the other: %.0f scores/s; %.2f times (median of %d rounds; wanted: %.1f). Largest difference of a loss: %g (wanted: %g).",
		each, median(together), median(apart), ratio, len(ratios), wantBatched, worst, closeEnough)
	return f, nil
}

// measureScores asks for a score that is remembered, and for the same bytes of a bare handler, in turns.
func measureScores(ctx context.Context, w *cluster) (finding, error) {
	const rounds, connections = 7, 16
	f := finding{title: "A remembered score beside a bare handler"}
	question, err := w.remembered(ctx)
	if err != nil {
		return f, err
	}
	var ratios, ours, bares, ourCPU, bareCPU []float64
	for round := range rounds {
		bare, err := w.bare.load(ctx, question.bare, connections, 2*time.Second)
		if err != nil {
			return f, err
		}
		our, err := w.gateway.load(ctx, question.gateway, connections, 2*time.Second)
		if err != nil {
			return f, err
		}
		if round > 0 {
			ratios = append(ratios, our.rate/bare.rate)
			ours, bares = append(ours, our.rate), append(bares, bare.rate)
			ourCPU, bareCPU = append(ourCPU, our.cpu), append(bareCPU, bare.cpu)
		}
	}
	ratio := median(ratios)
	f.met = ratio >= wantShare
	f.text = fmt.Sprintf("POST /v1/evaluations/{evaluation}/scores with a candidate that is remembered, %d connections: %.0f requests/s. An Echo handler that does one GET of Redis and "+
		"answers with the same %d bytes: %.0f requests/s. That is %.2f of it (median of %d rounds that take turns; wanted: %.1f). Processor time of the server's process: %.0f and %.0f µs a request.",
		connections, median(ours), question.bytes, median(bares), ratio, len(ratios), wantShare, median(ourCPU), median(bareCPU))
	return f, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
