package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
)

// check refuses what the process would, before it is started.
func (f hostFlags) check() error {
	if f.Gather < 0 || f.Gather > service.MaxGather {
		return fault.New(fault.Invalid, "--gather", "%v is outside [0, %v]", f.Gather, service.MaxGather)
	}
	return nil
}

type evaluatorCommand struct {
	Socket string `hidden:"" help:"Unix socket to make for the medley that starts this, in a folder that only you can enter."`
	Listen string `default:"127.0.0.1:9090" help:"Address to listen on."`
	secretFlag
	Data  string `placeholder:"DIR" help:"Folder of this machine's own files (default: ${data})."`
	Blobs string `env:"MEDLEY_BLOBS" placeholder:"URL" help:"Where modules are: s3://BUCKET?region=… or file:///DIR, the cluster's."`
	baseFlags
	logFlags
}

// hostFlags bound what an evaluator keeps and how long it gathers.
type hostFlags struct {
	Memory byteSize      `default:"0" placeholder:"SIZE" help:"Memory for bases and modules that are loaded, such as 6GB or 512MiB; the work of a request comes on top. What nothing uses makes room, the least recently used first. 0: half of the machine's."`
	Gather time.Duration `default:"2ms" help:"How long scores wait for others on the same base, to be computed together; at most 100ms. 0: they do not."`
}

func (f hostFlags) options() service.HostOptions {
	o := service.HostOptions{Memory: int64(f.Memory), Gather: f.Gather}
	if f.Gather == 0 {
		o.Gather = time.Nanosecond // the zero value means the default
	}
	return o
}

// byteSize is a number of bytes, read with a unit.
type byteSize int64

// UnmarshalText is encoding.TextUnmarshaler's.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size; expected one such as 6GB or 512MiB", text)
	}
	*b = byteSize(n)
	return nil
}

// process is the command of an evaluator process on a backend.
func (f backendFlag) process(backend string, h hostFlags) func(socket string) *exec.Cmd {
	return func(socket string) *exec.Cmd {
		args := []string{
			"evaluator", "--socket", socket, "--backend", backend, "--precision", f.Precision,
			"--memory", fmt.Sprint(int64(h.Memory)), "--gather", h.Gather.String(),
		}
		if f.Quantize != "" {
			args = append(args, "--quantize", f.Quantize)
		}
		if f.Chat {
			args = append(args, "--chat")
		}
		return self(context.Background(), args...)
	}
}

// Help is what kong prints above the flags.
func (*evaluatorCommand) Help() string {
	return "Serve scores and generations to a cluster's gateways and workers. The device belongs to a process of its own, which is " +
		"started again when it dies."
}

func (c *evaluatorCommand) Run(a *app) error {
	if err := c.hostFlags.check(); err != nil {
		return err
	}
	if c.Socket != "" {
		return c.own(a)
	}
	secret, err := c.read()
	if err != nil {
		return err
	}
	listener, err := listen(c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	log := c.logger(a)
	s, err := stateFlags{Data: c.Data, Blobs: c.Blobs}.openBlobs(a.ctx)
	if err != nil {
		return err
	}
	defer s.end()
	relay, warm, err := c.relay(a, s, log)
	if err != nil {
		return err
	}
	go func() {
		if err := warm(a.ctx); err != nil && a.ctx.Err() == nil {
			log.Error("the evaluator cannot get ready", "error", err)
		}
	}()
	a.note("Evaluating at %s.", listener.Addr())
	server := service.NewServer(relay, service.ServerOptions{
		Idle: service.DefaultIdle, Public: true, Report: func(err error) { log.Warn("evaluating", "error", err) },
	})
	return service.ServeTCP(a.ctx, server, listener, secret)
}

// own is the process that owns the device.
func (c *evaluatorCommand) own(a *app) error {
	signal.Ignore(os.Interrupt) // a terminal's Ctrl-C reaches every program of the command; the one that started this one decides
	debug.SetTraceback("none")  // the last lines of a crash are shown to people; GOTRACEBACK=all brings the stacks back
	options := c.options()
	options.Quantise, options.Chat = c.Quantize, c.Chat
	host, err := service.NewHost(func(ctx context.Context) (backend.Backend, string, error) {
		within := *a
		within.ctx = ctx
		return c.open(&within)
	}, options)
	if err != nil {
		return err
	}
	return service.Serve(a.ctx, service.NewServer(host, service.ServerOptions{}), c.Socket, a.stdin, a.stdout)
}

// secretFlag is what the roles of a cluster show each other.
type secretFlag struct {
	SecretFile string `placeholder:"FILE" help:"File with the secret that evaluators want of who asks them: at least 16 characters in one line."`
}

const minSecret = 16

func (f secretFlag) read() (string, error) {
	const flag = "--secret-file"
	if f.SecretFile == "" {
		return "", fault.New(fault.Invalid, flag, "is missing: without it anybody could use the evaluator")
	}
	data, err := os.ReadFile(f.SecretFile)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, flag, "%s cannot be read: %v", f.SecretFile, errorWithoutPath(err))
	}
	secret := strings.TrimSpace(string(data))
	if len(secret) < minSecret || strings.ContainsAny(secret, " \t\r\n") {
		return "", fault.New(fault.Invalid, flag, "must hold one line of at least %d characters without spaces", minSecret)
	}
	return secret, nil
}

// listen opens an address.
func listen(address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fault.New(fault.Invalid, "--listen", "%q is no address; expected HOST:PORT", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--listen", "%s cannot be listened on: %v", address, innermost(err))
	}
	return listener, nil
}
