package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/platform"
	"github.com/medley-lora/medley/shared/fault"
)

type serveCommand struct {
	stateFlags
	baseFlags
	gatewayFlags
	workerFlags
	logFlags
}

// Help is what kong prints above the flags.
func (*serveCommand) Help() string {
	return "Gateway, worker, evaluator, database and Redis, all on this machine. The first start makes keys and prints a token for " +
		"everything, good for a day; medley token create makes others. The API is described at /docs; OpenAI's clients find theirs at /v1."
}

// logFlags say what is logged.
type logFlags struct {
	LogLevel slog.Level `default:"WARN" help:"DEBUG, INFO, WARN or ERROR."`
	LogJSON  bool       `name:"log-json" help:"Log as JSON lines."`
}

func (f logFlags) logger(a *app) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogJSON {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

func (c *serveCommand) Run(a *app) error {
	for _, check := range []func() error{c.gatewayFlags.check, c.workerFlags.check, c.hostFlags.check} {
		if err := check(); err != nil {
			return err
		}
	}
	dir, err := c.folder()
	if err != nil {
		return err
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := listen(c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	first := !isFolder(c.keysFolder(dir))
	s, err := c.open(a.ctx, false)
	if err != nil {
		return err
	}
	defer s.end()
	return c.run(a, s, listener, first)
}

// run brings every role up on what is open, and answers until a.ctx ends.
func (c *serveCommand) run(a *app, s *state, listener net.Listener, first bool) error {
	log := c.logger(a)
	relay, warm, err := c.relay(a, s, log)
	if err != nil {
		return err
	}
	if err := warm(a.ctx); err != nil {
		return err
	}
	models := &models{evaluators: []evaluator{relay}, variant: c.variant()}
	p, err := c.platform(s, models, log)
	if err != nil {
		return err
	}
	if err := p.SyncBases(a.ctx); err != nil {
		return err
	}
	if len(c.Base) == 0 {
		if err := importZoo(a.ctx, p, filepath.Join(s.dir, zooFolder)); err != nil {
			return err
		}
	}
	worker, err := c.worker(s, models, log)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	ctx, stop := context.WithCancel(a.ctx)
	defer background.Wait()
	defer stop()
	background.Go(func() { worker.Run(ctx) })
	background.Go(func() { p.Keep(ctx) })
	if first {
		if err := c.greet(a, p); err != nil {
			return err
		}
	}
	return c.serve(a, p, listener)
}

// greet prints the first token. It is the only secret that is ever shown without being asked for.
func (c *serveCommand) greet(a *app, p *platform.Platform) error {
	token, err := p.Authority.Issue(operator, auth.Request{Scopes: []string{string(auth.Admin)}, TTL: auth.MaxTTL})
	if err != nil {
		return err
	}
	a.note("A token for everything, good for a day (later: medley token create):\n%s\n", token.Text)
	return nil
}

// operator is whom tokens of the command line are for, unless somebody says.
const operator = "admin"

// lockFolder keeps a second server out of a folder.
func lockFolder(dir string) (unlock func(), err error) {
	lock := flock.New(filepath.Join(dir, "lock"))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--data", "the folder cannot be locked: %v", errorWithoutPath(err))
	}
	if !ok {
		return nil, fault.New(fault.Invalid, "--data", "another medley serves from this folder")
	}
	return func() { lock.Unlock() }, nil //nolint:errcheck // it ends with the process
}

// isLoopback says whether nobody but this machine reaches a host.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// innermost is the error without what the layers above it repeat.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// serve answers requests until a.ctx ends, and then lets those under way come to their end.
func (f gatewayFlags) serve(a *app, p *platform.Platform, listener net.Listener) error {
	tuneCollector(a.ctx)
	closing, closeStreams := context.WithCancel(context.Background())
	defer closeStreams()
	o := p.Gateway()
	o.Origins, o.Closing, o.Page = f.Origin, closing, page(a)
	handler, err := gateway.New(o)
	if err != nil {
		return err
	}
	server := gateway.Server(handler)
	server.ErrorLog = slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug)
	f.sayWhere(a, listener)
	failed := make(chan error, 1)
	go func() {
		if f.TLSCert != "" {
			failed <- server.ServeTLS(listener, f.TLSCert, f.TLSKey)
			return
		}
		failed <- server.Serve(listener)
	}()
	select {
	case err := <-failed:
		return fault.Wrap(err, fault.Internal, "", "the server cannot answer: %v", innermost(err))
	case <-a.ctx.Done():
	}
	a.note("stopping")
	closeStreams()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), f.Stop)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		server.Close() // what is left has had its time
	}
	return nil
}

// sayWhere prints the address, on standard output for programs that start this one.
func (f gatewayFlags) sayWhere(a *app, listener net.Listener) {
	scheme := "http"
	if f.TLSCert != "" {
		scheme = "https"
	}
	address := listener.Addr().String()
	if host, _, err := net.SplitHostPort(address); err == nil && !isLoopback(host) && scheme == "http" {
		a.note("warning: %s can be reached from other machines, and what is said to it can be read on the way: see --tls-cert", address)
	}
	fmt.Fprintf(a.stdout, "Listening on %s://%s (API: /docs)\n", scheme, address)
}

// importZoo makes the built-in modules everyone's.
func importZoo(ctx context.Context, p *platform.Platform, dir string) error {
	folders, err := filepath.Glob(filepath.Join(dir, "modules", "*"))
	if err != nil {
		return err
	}
	for _, folder := range slices.Backward(folders) { // lists show the newest first
		name := filepath.Base(folder)
		err := p.Import(ctx, platform.Imported{Folder: folder, Name: "zoo/" + name, Task: name, Author: "Medley", Licence: "Apache-2.0"})
		if err != nil {
			return err
		}
	}
	return nil
}

// processName is another for each process.
func processName() string {
	return strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}
