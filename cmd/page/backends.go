//go:build js

package main

import (
	"context"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/gpu/simd"
	"github.com/medley-lora/medley/gpu/webgpu"
)

// candidates are the backends of a browser. An adapter that computes on the processor is slower than simd and is only taken by name.
func candidates(ctx context.Context, asked string) []probe.Candidate {
	return []probe.Candidate{
		{Name: "webgpu", Open: func() (backend.Backend, error) {
			d, err := device.Open(ctx, device.Options{Software: asked == "webgpu"})
			if err != nil {
				return nil, err
			}
			return webgpu.New(d, webgpu.Options{})
		}},
		{Name: "simd", Open: func() (backend.Backend, error) { return simd.New(ctx) }},
		{Name: "reference", Open: func() (backend.Backend, error) { return reference.New(), nil }, LastResort: true},
	}
}
