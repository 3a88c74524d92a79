package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/gpu/webgpu"
	"github.com/medley-lora/medley/shared/fault"
)

// openBackend opens a backend; library "" is cpu. A device that emulates a graphics processor will do.
func openBackend(ctx context.Context, library, weights string) (backend.Backend, error) {
	switch library {
	case "", "cpu":
		return cpu.New(cpu.Options{Weights: weights})
	case "webgpu":
		d, err := device.Open(ctx, device.Options{Software: true})
		if err != nil {
			return nil, err
		}
		return webgpu.New(d, webgpu.Options{Storage: kernel.Storage(weights)})
	}
	return nil, fault.New(fault.Invalid, "library", "%q is not known", library)
}

// field reads one "name: value" of a file in /proc, the first of that name; "" where there is no such file, as outside Linux.
func field(path, name string) string {
	data, _ := os.ReadFile(path) // no file, no field
	for line := range bytes.Lines(data) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// mebibytes reads a size that the kernel gives in KiB; 0 where it gives none.
func mebibytes(path, name string) float64 {
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(field(path, name), " kB"), 64) // 0 is the answer where it fails
	return kib / 1024
}

// resident is the memory of this process in MiB.
func resident() float64 { return mebibytes("/proc/self/status", "VmRSS") }

// features are the processor's abilities that matrix products are made of.
var features = []string{"avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"}

// machine describes where a run took place.
func machine(threads int) []fact {
	model := field("/proc/cpuinfo", "model name")
	if model == "" {
		model = "not known"
	}
	flags := strings.Fields(field("/proc/cpuinfo", "flags"))
	has := slices.DeleteFunc(slices.Clone(features), func(f string) bool { return !slices.Contains(flags, f) })
	load, _ := os.ReadFile("/proc/loadavg") // not there on every system
	first, _, _ := strings.Cut(string(load), " ")
	return []fact{
		{"processor", fmt.Sprintf("%s, %d processors, %d threads used by every system", model, runtime.NumCPU(), threads)},
		{"features", strings.Join(has, " ")},
		{"memory", fmt.Sprintf("%.0f GiB", mebibytes("/proc/meminfo", "MemTotal")/1024)},
		{"system", runtime.GOOS + "/" + runtime.GOARCH},
		{"load at the start", first},
		{"Go", runtime.Version()},
		{"revision", revision()},
	}
}

// revision is the commit that this program was built from.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "not known"
	}
	text := "not known"
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			text += " with changes"
		}
	}
	return text
}
