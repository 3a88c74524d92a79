package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/lora"
)

type mergeCommand struct {
	modulesFlag
	Weights      string   `required:"" placeholder:"LIST|FILE" help:"One weight per module, '0.5,-0.25,1', in the order of --modules; or a file with one JSON list."`
	Out          string   `required:"" placeholder:"DIR" help:"Folder for the adapter or, with --into-base, for the model."`
	Method       string   `default:"delta" help:"delta, product, linear, cat, svd, ties, dare_linear, dare_ties, magnitude_prune, or ties_svd, dare_linear_svd, dare_ties_svd, magnitude_prune_svd; all but the first two as PEFT defines them."`
	Rank         int      `placeholder:"R" help:"Rank of the result, for delta and the methods that end in svd (default: exact; for those methods, the modules' largest)."`
	Density      *float64 `placeholder:"D" help:"Share of the entries that ties, dare and magnitude_prune keep, above 0 and up to 1."`
	MajoritySign string   `placeholder:"RULE" help:"How ties elects signs: total (by the sum of the values; the default) or frequency (by the number of modules)."`
	Seed         uint64   `default:"42" help:"Seed of dare's random choice."`
	Base         string   `placeholder:"DIR" help:"Base model, a folder or ORG/NAME on the Hub: the result is checked against it."`
	IntoBase     bool     `help:"Write a copy of the base with the update in its weights instead of an adapter."`
	JSON         bool     `help:"Print the result as one JSON object."`
}

// mergeOutput is what merge prints with --json.
type mergeOutput struct {
	Method     lora.Method        `json:"method"`
	Weights    map[string]float64 `json:"weights"` // by module
	Out        string             `json:"out"`
	IntoBase   bool               `json:"into_base"`
	Base       string             `json:"base,omitempty"`
	Rank       int                `json:"rank"` // the largest of the update's layers
	Layers     int                `json:"layers"`
	Difference compose.Difference `json:"difference"` // of the update from the method's definition
	Model      *mergedModel       `json:"model,omitempty"`
	Command    string             `json:"command"` // to repeat the run
}

func (c *mergeCommand) Run(a *app) error {
	modules, weights, options, err := c.read(a)
	if err != nil {
		return err
	}
	all, err := readAll(a, modules)
	if err != nil {
		return err
	}
	var base *baseFolder
	if c.Base != "" {
		dir, err := a.place("--base", c.Base, hub.Base)
		if err != nil {
			return err
		}
		if base, err = openBaseFolder(dir); err != nil {
			return fault.In("--base "+c.Base, err)
		}
		defer base.Store.Close()
		if c.IntoBase && base.GGUF {
			return fault.New(fault.Unsupported, "--base "+c.Base, "is a GGUF file, which adapters are not merged into; --base must be a folder for --into-base")
		}
		for _, m := range all {
			if err := engine.Fits(base.maps, m); err != nil {
				return err
			}
		}
	}
	out := mergeOutput{
		Method: lora.Method(c.Method), Weights: map[string]float64{}, Out: c.Out, IntoBase: c.IntoBase, Base: c.Base, Command: commandLine(a.args),
	}
	for i, m := range modules {
		out.Weights[m.name] = weights[i]
	}
	if c.IntoBase {
		err = c.mergeIntoBase(a, &out, base, all, weights, options)
	} else {
		err = c.mergeToAdapter(&out, all, weights, options)
	}
	if err != nil {
		return asFlag(err)
	}
	if c.JSON {
		return a.printJSON(out)
	}
	out.print(a, c.truncates())
	return nil
}

// read checks everything that the flags say before a module is loaded.
func (c *mergeCommand) read(a *app) ([]module, []float64, lora.Options, error) {
	options := lora.Options{Rank: c.Rank, MajoritySign: c.MajoritySign, Seed: c.Seed}
	refuse := func(err error) ([]module, []float64, lora.Options, error) { return nil, nil, options, err }
	if _, err := lora.ParseMethod(c.Method); err != nil {
		return refuse(asFlag(err))
	}
	if c.Density != nil {
		if options.Density = *c.Density; options.Density == 0 { // which means "not given" to lora
			return refuse(fault.New(fault.Invalid, "--density", "is 0; expected a number above 0 and up to 1"))
		}
	}
	modules, err := c.findSome(a)
	if err != nil {
		return refuse(err)
	}
	vectors, err := readWeights(c.Weights, len(modules))
	if err != nil {
		return refuse(err)
	}
	if len(vectors) != 1 {
		return refuse(fault.New(fault.Invalid, "--weights", "holds %d vectors; expected one", len(vectors)))
	}
	if c.IntoBase {
		if c.Base == "" {
			return refuse(fault.New(fault.Invalid, "--into-base", "needs --base, the folder of the base model"))
		}
		err = checkNew(c.Out)
	} else {
		err = checkOut(c.Out, modules)
	}
	return modules, vectors[0], options, err
}

// asFlag turns the name of an option of package lora into the flag that sets it.
func asFlag(err error) error {
	for _, name := range []string{"method", "rank", "density", "majority sign"} {
		if f, ok := err.(*fault.Error); ok && f.Field == name { //nolint:errorlint // a wrapped one has a longer field
			return &fault.Error{Code: f.Code, Field: "--" + strings.ReplaceAll(name, " ", "-"), Message: f.Message, Cause: f}
		}
	}
	return err
}

// notAmong refuses to write over a module that is read.
func notAmong(out string, modules []module) error {
	info, err := os.Stat(out)
	if err != nil {
		return nil // new
	}
	for _, m := range modules {
		if other, err := os.Stat(m.folder); err == nil && os.SameFile(info, other) {
			return fault.New(fault.Invalid, "--out", "%s is one of --modules; expected another folder", out)
		}
	}
	return nil
}

// readAll reads modules into memory, in order.
func readAll(a *app, modules []module) ([]*lora.Adapter, error) {
	shown := a.startProgress("reading modules", len(modules))
	defer shown.end()
	load := adapters.Loader(folders(modules))
	all := make([]*lora.Adapter, len(modules))
	for i, m := range modules {
		if err := a.ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if all[i], err = load(m.name); err != nil {
			return nil, err
		}
		shown.set(i+1, "")
	}
	return all, nil
}

func (c *mergeCommand) mergeToAdapter(out *mergeOutput, all []*lora.Adapter, weights []float64, o lora.Options) error {
	written, difference, err := adapters.Write(c.Out, "--out "+c.Out, out.Method, all, weights, o, c.Base)
	if err != nil {
		return err
	}
	out.Difference, out.Rank = difference, adapters.Rank(written)
	out.Layers = len(written.Layers)
	return nil
}

// truncates tells whether the result is only the closest update of its rank.
func (c *mergeCommand) truncates() bool { return c.Rank > 0 || strings.HasSuffix(c.Method, "svd") }

func (o *mergeOutput) print(a *app, truncated bool) {
	what := "Adapter"
	if o.IntoBase {
		what = "Model"
	}
	fmt.Fprintf(a.stdout, "%s in %s: %s of %d modules, an update of rank %d in %d layers.\n",
		what, o.Out, o.Method, len(o.Weights), o.Rank, o.Layers)
	if truncated {
		fmt.Fprintf(a.stdout, "It differs from the method's update of full rank by %.2g %% (Frobenius norm): that is what the rank leaves out.\n",
			100*float64(o.Difference.Relative))
	} else {
		fmt.Fprintf(a.stdout, "It differs from the method's definition by %.1e (relative, Frobenius norm).\n", float64(o.Difference.Relative))
	}
	if o.IntoBase {
		fmt.Fprintln(a.stdout, o.Model.inWords())
	}
}

// checkNew refuses, before any work, a folder that holds something: a model is never written over another.
func checkNew(out string) error {
	entries, err := os.ReadDir(out)
	switch {
	case err == nil && len(entries) > 0:
		return fault.New(fault.Invalid, "--out", "%s is not empty; expected a new or empty folder", out)
	case err != nil && !os.IsNotExist(err):
		return fault.Wrap(err, fault.Invalid, "--out", "%s cannot be used: %v; expected a new or empty folder", out, errorWithoutPath(err))
	}
	return nil
}
