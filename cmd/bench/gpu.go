package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// peaks are the f32 rates in GFLOP/s that NVIDIA's data sheets state for these (without tensor cores); --gpu-peak says it for others.
var peaks = []struct {
	name   string
	gflops float64
}{{"H200", 67_000}, {"H100", 67_000}, {"A100", 19_500}, {"L40S", 91_600}, {"L4", 30_300}, {"T4", 8_100}}

func peakOf(device string, stated float64) float64 {
	for _, p := range peaks {
		if stated == 0 && strings.Contains(device, p.name) {
			return p.gflops
		}
	}
	return stated
}

// gpu repeats products and evaluations on the webgpu backend if medley doctor trusts one here.
func (m *run) gpu() error {
	g, err := m.findGPU()
	if err != nil {
		return err
	}
	m.results.GPU = g
	if g.Device == "" {
		return nil
	}
	systems := []system{{name: medley("webgpu"), worker: m.ours, library: "webgpu", weights: "f32"}}
	if g.Software { // a figure for information, not a comparison
		g.Products, err = m.productOf(systems)
		return err
	}
	g.Peak = peakOf(g.Device, m.c.GPUPeak)
	if g.Products, err = m.productsOf(systems, 5); err != nil {
		return err
	}
	g.Evaluations, err = m.evaluationsOf(systems, nil)
	return err
}

// productOf measures one product, small enough for an emulation.
func (m *run) productOf(systems []system) ([]productResult, error) {
	l := linearMaps[0]
	p := productResult{Model: l.model, Map: l.name, Rows: 100, Out: l.out, In: l.in}
	err := m.turns(systems, m.rounds(3), request{Op: "product", Rows: p.Rows, Out: p.Out, In: p.In, For: 0.1}, &p.Timings, nil)
	return []productResult{p}, err
}

// findGPU asks medley doctor.
func (m *run) findGPU() (*gpuResult, error) {
	out, err := exec.CommandContext(m.ctx, m.c.Medley, "doctor", "--json").Output()
	if err != nil {
		return nil, fmt.Errorf("medley doctor: %w", err)
	}
	var found struct {
		Backends []struct {
			Name, Device, Error string
			Passed              bool
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("medley doctor: %w", err)
	}
	for _, b := range found.Backends {
		switch {
		case b.Name != "webgpu":
		case b.Passed:
			return &gpuResult{Device: b.Device, Software: strings.HasSuffix(b.Device, "(software)")}, nil // as gpu/webgpu names it
		default:
			return &gpuResult{Why: b.Error}, nil
		}
	}
	return &gpuResult{Why: "medley doctor lists no webgpu backend"}, nil
}
