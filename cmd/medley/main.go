// Command medley composes shared LoRA modules into an adapter for a new task, from a few examples and without gradients.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

type commands struct {
	Compose   composeCommand   `cmd:"" help:"Find weights that compose modules for a new task, and write the composed adapter."`
	Score     scoreCommand     `cmd:"" help:"Objective, losses and per-token log-probabilities of given weights."`
	Generate  generateCommand  `cmd:"" help:"Answer prompts with the base, one module or a composition."`
	Merge     mergeCommand     `cmd:"" help:"Merge modules with given weights, to an adapter or into the base."`
	Inspect   inspectCommand   `cmd:"" help:"Say what a folder is, and what of it would be refused and why."`
	Pull      pullCommand      `cmd:"" help:"Fetch models and adapters from the Hugging Face Hub, into the cache shared with Python."`
	Push      pushCommand      `cmd:"" help:"Publish a composed adapter on the Hub, with a model card; private by default."`
	Doctor    doctorCommand    `cmd:"" help:"Test and measure the backends of this machine."`
	Demo      demoCommand      `cmd:"" help:"Compose for the unseen tasks of the built-in zoo."`
	Bench     benchCommand     `cmd:"" help:"Rank optimizers on the built-in zoo's public tasks and on synthetic problems."`
	Plugin    pluginCommand    `cmd:"" help:"Hold a plugin to the interface and the contract, and say what to change."`
	Serve     serveCommand     `cmd:"" help:"Run the platform on this machine: API, jobs, evaluator."`
	Token     tokenCommand     `cmd:"" help:"Make an access token with the keys of a server on this machine."`
	Gateway   gatewayCommand   `cmd:"" help:"Answer the API, as a part of a cluster."`
	Worker    workerCommand    `cmd:"" help:"Run compositions, as a part of a cluster."`
	Evaluator evaluatorCommand `cmd:"" help:"Run models, as a part of a cluster."`
	Sandbox   sandboxCommand   `cmd:"" hidden:""`

	Version kong.VersionFlag `help:"Print the version."`
}

// Exit codes. A usage error is the caller's to mend before anything runs; 130 is what shells give a program ended by Ctrl-C.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitCanceled = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // a second Ctrl-C ends the program at once
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program, in terms that a test can give.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var exit *int
	var c commands
	parser, err := kong.New(&c,
		kong.Name("medley"),
		kong.Description("Compose shared LoRA modules into an adapter for a new task: a few examples, no gradients, no new parameters."),
		kong.Vars{"version": version(), "optimizers": optimizerHelp(), "data": defaultData(), "scopes": scopeHelp()},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = &code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
	)
	if err != nil {
		panic(err) // the command structs are wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(joinNegative(args))
	if exit != nil { // --help or --version
		return *exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "medley: %v\n", err)
		var wrong *kong.ParseError
		if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Selected() != nil {
			fmt.Fprintf(stderr, "See: %s --help\n", wrong.Context.Selected().FullPath())
		}
		return exitUsage
	}
	out := &output{Writer: stdout}
	a := &app{ctx: ctx, stdin: stdin, stdout: out, stderr: stderr, args: args}
	err = parsed.Run(a)
	if err == nil && out.err != nil {
		err = fault.In("standard output", checkpoint.IOFault(out.err, "written"))
	}
	return a.exitCode(err)
}

// joinNegative writes "--weights -1,0.5" as "--weights=-1,0.5": a value that begins like a flag would be taken for one.
func joinNegative(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		if args[i] == "--weights" && len(next) > 1 && next[0] == '-' && strings.ContainsRune("0123456789.", rune(next[1])) {
			joined = append(joined, args[i]+"="+next)
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}

// exitCode prints an error as a person should see it.
func (a *app) exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) || fault.CodeOf(err) == fault.Canceled:
		fmt.Fprintf(a.stderr, "medley: canceled\n")
		return exitCanceled
	}
	fmt.Fprintf(a.stderr, "medley: %v\n", err)
	if fault.CodeOf(err) != fault.Internal {
		return exitUsage
	}
	return exitFailed
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}
