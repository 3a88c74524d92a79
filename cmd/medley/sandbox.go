package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"

	"github.com/medley-lora/medley/wasm/host"
)

type sandboxCommand struct{}

// Help is what kong prints above the flags.
func (*sandboxCommand) Help() string {
	return "Run one plugin for another medley, which starts this, and end when its standard input does."
}

func (*sandboxCommand) Run(a *app) error {
	signal.Ignore(os.Interrupt) // a terminal's Ctrl-C reaches every program of the command; the one that started this one decides
	return host.Sandbox(a.stdin, a.stdout)
}

// sandbox is a fresh command of a process that runs one plugin; package host gives it no environment and ends it.
func sandbox() *exec.Cmd { return self(context.Background(), "sandbox") }
