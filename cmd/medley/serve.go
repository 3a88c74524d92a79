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
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/platform"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo"
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
		"everything, good for a day; medley token create makes others."
}

// baseFlags say which bases are served.
type baseFlags struct {
	Base map[string]string `placeholder:"NAME=DIR" mapsep:"none" help:"A base model to serve and its name; may be repeated. Default: the built-in zoo."`
	backendFlag
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
	if err := errors.Join(c.gatewayFlags.check(), c.workerFlags.check()); err != nil {
		return err
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
	listener, err := c.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	first := !isFolder(filepath.Join(dir, keysFolder))
	s, err := c.open(a.ctx, false)
	if err != nil {
		return err
	}
	defer s.end()
	log := c.logger(a)
	models, err := c.baseFlags.evaluate(a, s, log)
	if err != nil {
		return err
	}
	p, err := c.platform(s, models, log)
	if err != nil {
		return err
	}
	if err := p.SyncBases(a.ctx); err != nil {
		return err
	}
	if len(c.Base) == 0 {
		if err := importZoo(a.ctx, p, filepath.Join(dir, "zoo")); err != nil {
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

// listen opens the address.
func (f gatewayFlags) listen() (net.Listener, error) {
	if _, _, err := net.SplitHostPort(f.Listen); err != nil {
		return nil, fault.New(fault.Invalid, "--listen", "%q is no address; expected HOST:PORT", f.Listen)
	}
	listener, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--listen", "%s cannot be listened on: %v", f.Listen, innermost(err))
	}
	return listener, nil
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
		server.Close() //nolint:errcheck // what is left has had its time
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

// evaluate starts an evaluator on this machine for the bases of the flags.
func (f baseFlags) evaluate(a *app, s *state, log *slog.Logger) (compute.Models, error) {
	folders := f.Base
	if len(folders) == 0 {
		dir := filepath.Join(s.dir, "zoo")
		if err := zoo.Extract(dir); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "--data", "the zoo cannot be written: %v", errorWithoutPath(err))
		}
		folders = map[string]string{"zoo": filepath.Join(dir, "base")}
	}
	bases, err := openServedBases(a, folders)
	if err != nil {
		return nil, err
	}
	library, err := s.library()
	if err != nil {
		return nil, err
	}
	candidates, err := f.candidates(a)
	if err != nil {
		return nil, err
	}
	choice, err := probe.Choose(a.ctx, f.Backend, candidates, false)
	if err != nil {
		return nil, err
	}
	a.note("Backend %s.", choice.Reason)
	f.Backend = choice.Name
	supervisor := service.NewSupervisor(service.SupervisorOptions{
		Command: f.evaluator,
		Died: func(d service.Death) {
			log.Warn("the evaluator died and is started again", "status", d.Status, "stderr", d.Stderr)
		},
	})
	s.close = append(s.close, supervisor.Close)
	return &models{supervisor: supervisor, library: library, bases: bases, precision: f.Precision}, nil
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
