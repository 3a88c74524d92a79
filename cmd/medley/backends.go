package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/gpu/webgpu"
	"github.com/medley-lora/medley/shared/fault"
)

// backendFlag chooses what the forward passes run on.
type backendFlag struct {
	Backend   string `default:"auto" help:"auto, cpu, webgpu or reference. auto tests each and takes the fastest that is right."`
	Precision string `default:"f32" help:"How the base's weights are kept: f32; bf16 or int8 (cpu), f16 or int8 (webgpu). Less memory, faster where the processor has the instructions, and a slightly different loss: see score."`
	Quantize  string `placeholder:"q8|q4" help:"Turn the base's weights into integers of 8 or 4 bits, in blocks of 32, as they are loaded (cpu, webgpu), and say how far each layer is off."`
	Chat      bool   `help:"Take inputs for a user's messages and put the base's chat template around them."`
}

// suits refuses what the backend that was taken cannot do.
func (f backendFlag) suits(backend string) error {
	if f.Quantize != "" && backend != "cpu" && backend != "webgpu" {
		return fault.New(fault.Unsupported, "--quantize", "is for --backend cpu or webgpu; %s was taken", backend)
	}
	return nil
}

// variant is what of the flags changes numbers, beside the backend; empty if nothing does.
func (f backendFlag) variant() string {
	var parts []string
	if f.Precision != f32 {
		parts = append(parts, f.Precision)
	}
	if f.Quantize != "" {
		parts = append(parts, f.Quantize)
	}
	if f.Chat {
		parts = append(parts, "chat")
	}
	return strings.Join(parts, " ")
}

const (
	f32    = "f32"
	webGPU = "webgpu"
)

// precisions are the storages of each backend, and the tolerance of its self-test: rounding a weight to 8 bits of fraction moves a
// product by some thousandths of the largest, to a scale of 127 steps by some hundredths.
var precisions = map[string]map[string]float64{
	"cpu":       {f32: 0, "bf16": 0.02, "int8": 0.05},
	webGPU:      {f32: 0, "f16": 0.02, "int8": 0.05},
	"reference": {f32: 0},
}

// candidates lists the backends that can be asked for. WebGPU is examined in a process of its own, since a graphics driver that fails
// takes the process with it.
func (f backendFlag) candidates(a *app) ([]probe.Candidate, error) {
	all, err := f.inProcess(a.ctx)
	for i := range all {
		if all[i].Name == webGPU {
			all[i].Examine = f.examineElsewhere
		}
	}
	return all, err
}

// inProcess lists the backends of this build that keep weights as the flag says.
func (f backendFlag) inProcess(ctx context.Context) ([]probe.Candidate, error) {
	all := []probe.Candidate{
		{Name: "cpu", Open: func() (backend.Backend, error) { return cpu.New(cpu.Options{Weights: f.Precision}) }},
		{Name: webGPU, Open: func() (backend.Backend, error) { return f.openDevice(ctx) }},
		{Name: "reference", Open: func() (backend.Backend, error) { return reference.New(), nil }, LastResort: true},
	}
	var known []string
	for _, c := range all {
		for p := range precisions[c.Name] {
			known = append(known, p)
		}
	}
	if slices.Sort(known); !slices.Contains(known, f.Precision) {
		return nil, fault.New(fault.Invalid, "--precision", "%q is not known; expected one of %s", f.Precision, strings.Join(slices.Compact(known), ", "))
	}
	if offered, ok := precisions[f.Backend]; ok {
		if _, ok := offered[f.Precision]; !ok {
			return nil, fault.New(fault.Unsupported, "--precision", "%s is not offered by backend %s", f.Precision, f.Backend)
		}
	}
	all = slices.DeleteFunc(all, func(c probe.Candidate) bool { _, ok := precisions[c.Name][f.Precision]; return !ok })
	for i := range all {
		all[i].Tolerance = precisions[all[i].Name][f.Precision]
	}
	return all, nil
}

// openDevice starts the WebGPU backend. An emulation is as good as none unless WebGPU was asked for by name.
func (f backendFlag) openDevice(ctx context.Context) (backend.Backend, error) {
	d, err := device.Open(ctx, device.Options{Software: f.Backend == webGPU})
	if err != nil {
		return nil, err
	}
	opt := webgpu.Options{Storage: kernel.Storage(f.Precision)}
	if dir, err := os.UserCacheDir(); err == nil {
		opt.Cache = filepath.Join(dir, "medley", "webgpu.json")
	}
	return webgpu.New(d, opt)
}

// open returns the chosen backend, opened in this process, and the reason for the choice.
func (f backendFlag) open(a *app) (backend.Backend, string, error) {
	candidates, err := f.inProcess(a.ctx)
	if err != nil {
		return nil, "", err
	}
	b, choice, err := probe.Open(a.ctx, f.Backend, candidates)
	return b, choice.Reason, err
}

// openNamed opens one of the candidates.
func openNamed(name string, candidates []probe.Candidate) (backend.Backend, error) {
	i := slices.IndexFunc(candidates, func(c probe.Candidate) bool { return c.Name == name })
	return candidates[i].Open()
}

// self is a command of this program. The evaluator and the examination of a device are processes of their own.
func self(ctx context.Context, args ...string) *exec.Cmd {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return exec.CommandContext(ctx, program, args...)
}

// examineElsewhere is probe.Candidate.Examine for WebGPU: medley doctor in a child process.
func (f backendFlag) examineElsewhere(ctx context.Context, measure bool) (probe.Report, error) {
	report := probe.Report{Name: webGPU}
	command := self(ctx, "doctor", "--json", "--only", webGPU, "--precision", f.Precision)
	if f.Backend == webGPU {
		command.Args = append(command.Args, "--backend", webGPU)
	}
	if !measure {
		command.Args = append(command.Args, "--unmeasured")
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if ctx.Err() != nil {
		return report, fault.Wrap(ctx.Err(), fault.Canceled, "", "%v", ctx.Err())
	}
	var found doctorOutput
	if json.Unmarshal(out, &found) == nil && len(found.Backends) == 1 {
		report = found.Backends[0]
		report.Chosen = false // the child had nothing to choose among
		return report, nil
	}
	report.Error = "the test of the device did not end properly"
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		report.Error += " (" + exit.String() + ")"
	}
	if lines := strings.TrimSpace(stderr.String()); lines != "" {
		report.Error += ": " + lines[strings.LastIndex(lines, "\n")+1:]
	}
	return report, nil
}
