package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/service"
)

type evaluatorCommand struct {
	Socket string `required:"" placeholder:"PATH" help:"Unix socket to make, in a folder that only you can enter."`
	backendFlag
	hostFlags
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
		return self(context.Background(), "evaluator", "--socket", socket, "--backend", backend, "--precision", f.Precision,
			"--memory", fmt.Sprint(int64(h.Memory)), "--gather", h.Gather.String())
	}
}

// Help is what kong prints above the flags.
func (*evaluatorCommand) Help() string {
	return "Serve scores and generations to another medley, which starts this. It ends when its standard input does, removes the socket, " +
		"and removes the socket's folder if that is empty then."
}

func (c *evaluatorCommand) Run(a *app) error {
	signal.Ignore(os.Interrupt) // a terminal's Ctrl-C reaches every program of the command; the one that started this one decides
	debug.SetTraceback("none")  // the last lines of a crash are shown to people; GOTRACEBACK=all brings the stacks back
	host, err := service.NewHost(func(ctx context.Context) (backend.Backend, string, error) {
		within := *a
		within.ctx = ctx
		return c.open(&within)
	}, c.options())
	if err != nil {
		return err
	}
	return service.Serve(a.ctx, service.NewServer(host, service.ServerOptions{}), c.Socket, a.stdin, a.stdout)
}
