package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/service"
)

type evaluatorCommand struct {
	Socket string `required:"" placeholder:"PATH" help:"Unix socket to make, in a folder that only you can enter."`
	backendFlag
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
	}, service.HostOptions{})
	if err != nil {
		return err
	}
	return service.Serve(a.ctx, service.NewServer(host, service.ServerOptions{}), c.Socket, a.stdin, a.stdout)
}
