package webgpu

import (
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
)

// openDevice opens an adapter, one that computes on the processor if there is no other.
func openDevice(t testing.TB) device.Device {
	t.Helper()
	d, err := device.Open(t.Context(), device.Options{Software: true})
	if err != nil {
		t.Fatalf("no adapter to test on (go tool -modfile=tools/go.mod task setup): %v", err)
	}
	return d
}

func open(t testing.TB, d device.Device, opt Options) *webgpu {
	t.Helper()
	b, err := New(d, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.(*webgpu)
}

// tiles are one shape of each form, and the one that is largest.
var tiles = []kernel.Tile{kernel.Tiles[0], kernel.Tiles[2], kernel.Tiles[5]}

func TestContract(t *testing.T) {
	for _, tile := range tiles {
		t.Run(tile.String(), func(t *testing.T) {
			backendtest.Run(t, func() (backend.Backend, error) { return New(openDevice(t), Options{Tile: tile}) }, backendtest.Tolerance{})
		})
	}
}

// TestContractStorage: an f16 weight is off by up to 2^-11 of itself, an int8 one by up to 1/254 of the largest of its row (here 3 to
// 4 times the root mean square), and a sum of many by as much relative to its own size, since the errors are independent.
func TestContractStorage(t *testing.T) {
	for storage, tolerance := range map[kernel.Storage]backendtest.Tolerance{
		kernel.F16:  {Linear: 2e-3, Update: 2e-3, LogProbs: 2e-3},
		kernel.Int8: {Linear: 0.05, Update: 0.05, LogProbs: 0.05},
	} {
		t.Run(string(storage), func(t *testing.T) {
			backendtest.Run(t, func() (backend.Backend, error) { return New(openDevice(t), Options{Storage: storage}) }, tolerance)
		})
	}
}
