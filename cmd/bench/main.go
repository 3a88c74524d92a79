// Command bench measures Medley beside OpenBLAS, PyTorch and PEFT in one run and writes docs/benchmarks.md with its figures. It is for
// developers and runs in the root of the repository: `go tool -modfile=tools/go.mod task bench` builds what it needs and starts it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Run      runCommand      `cmd:"" help:"Measure everything, in turns with the peers, and write the pages."`
	Draw     drawCommand     `cmd:"" help:"Write the pages again from results that are there."`
	Platform platformCommand `cmd:"" help:"Measure a gateway in front of an evaluator and a Redis of this machine, and write docs/platform-benchmarks.md."`
	Llama    llamaCommand    `cmd:"" help:"Measure prompts and generation beside llama.cpp on a GGUF file, and write docs/llama-benchmarks.md."`
	Bare     bareCommand     `cmd:"" hidden:""`

	Work workCommand `cmd:"" help:"Answer measurement requests on standard input, one JSON object a line; run starts this."`
}

type runCommand struct {
	Medley  string   `required:"" placeholder:"BINARY" help:"The medley program."`
	Python  string   `required:"" placeholder:"PROGRAM" help:"Python with what tools/peers/requirements.txt names."`
	Shape   string   `required:"" placeholder:"DIR" help:"What tools/peers/make_shape.py wrote for the size base."`
	Docs    string   `default:"docs" placeholder:"DIR" help:"Where benchmarks.md and the folder benchmarks go (${default})."`
	Scratch string   `default:"out/bench" placeholder:"DIR" help:"Where jobs write their adapters (${default})."`
	Threads int      `help:"Threads of every system; all processors by default."`
	GPUPeak float64  `name:"gpu-peak" placeholder:"GFLOPS" help:"Peak f32 rate of the GPU, for those that the program does not know."`
	Quick   bool     `help:"Few rounds, small sizes and the zoo alone: to try the machinery, not to believe the numbers."`
	Only    []string `enum:"jobs,products,evaluations,scaling,free,searches,gpu" default:"jobs,products,evaluations,scaling,free,searches,gpu" help:"Only these sections; others keep the results that are there."`
}

type drawCommand struct {
	Docs string `default:"docs" placeholder:"DIR" help:"Where benchmarks/results.json is and the pages go (${default})."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed := kong.Parse(new(commands),
		kong.Name("bench"),
		kong.Description("Measure Medley beside OpenBLAS, PyTorch and PEFT, and its platform, and write the pages of docs."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}))
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (c *drawCommand) Run() error {
	r, err := readResults(c.Docs)
	if err != nil {
		return err
	}
	return write(c.Docs, r)
}

func (c *runCommand) Run(ctx context.Context) error {
	if c.Threads == 0 {
		c.Threads = runtime.NumCPU()
	}
	r, err := readResults(c.Docs)
	if os.IsNotExist(err) {
		r, err = &results{}, nil
	}
	if err != nil {
		return err
	}
	if err := measure(ctx, c, r); err != nil {
		return err
	}
	fmt.Println(filepath.Join(c.Docs, page))
	return nil
}
