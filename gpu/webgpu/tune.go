package webgpu

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

// tuningTime bounds what measuring may take; the shapes that are not reached are not considered.
const tuningTime = 1500 * time.Millisecond

// measured is one line of the cache: the shape that was fastest on a device.
type measured struct {
	Tile   kernel.Tile `json:"tile"`
	GFLOPS float64     `json:"gflops"`
}

// chooseTile takes the shape that the options name, the one that the cache has for the device, or the fastest. A software device gets
// the first that fits: what is best there is known, and measuring would take long.
func (b *webgpu) chooseTile(opt Options) (kernel.Tile, error) {
	if opt.Tile != (kernel.Tile{}) {
		if !opt.Tile.Fits(b.info) {
			return kernel.Tile{}, fault.New(fault.Unsupported, "tile", "%s needs more than this device has", opt.Tile)
		}
		return opt.Tile, nil
	}
	var fitting []kernel.Tile
	for _, t := range kernel.Tiles {
		if t.Fits(b.info) {
			fitting = append(fitting, t)
		}
	}
	if len(fitting) == 0 {
		return kernel.Tile{}, fault.New(fault.Unsupported, "", "this device allows workgroups of %d invocations and %d bytes of memory, too small for any product",
			b.info.WorkgroupInvocations, b.info.WorkgroupBytes)
	}
	if b.info.Software {
		return fitting[0], nil
	}
	known := readCache(opt.Cache)
	key := b.cacheKey()
	if found, ok := known[key]; ok && slices.Contains(fitting, found.Tile) {
		return found.Tile, nil
	}
	best, err := b.fastest(fitting)
	if err != nil {
		return kernel.Tile{}, err
	}
	known[key] = best
	writeCache(opt.Cache, known)
	return best.Tile, nil
}

// cacheKey names the device and what else the speeds depend on.
func (b *webgpu) cacheKey() string {
	return fmt.Sprintf("%s|%s|%s|%s", b.info.Adapter, b.info.Driver, b.info.API, b.storage)
}

// fastest measures the shapes.
func (b *webgpu) fastest(tiles []kernel.Tile) (measured, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*tuningTime) // a device that does not answer
	defer cancel()
	best := measured{Tile: tiles[0]}
	start := time.Now()
	for _, t := range tiles {
		if time.Since(start) > tuningTime {
			break
		}
		gflops, err := b.measure(ctx, t, tuningTime-time.Since(start))
		if err != nil {
			return measured{}, fault.In("measuring "+t.String(), err)
		}
		if gflops > best.GFLOPS {
			best = measured{t, gflops}
		}
	}
	return best, nil
}

// measure times products of medium size, 512 x 1024 x 1024, in GFLOP/s. The first run is for the driver to compile; slow devices do one
// product at a time from then on, fast ones as many as outweigh the readback.
func (b *webgpu) measure(ctx context.Context, t kernel.Tile, within time.Duration) (float64, error) {
	const rows, width, fast = 512, 1024, 20 * time.Millisecond
	b.tile = t
	w, err := b.Matrix(make([]float32, width*width), width, width)
	if err != nil {
		return 0, err
	}
	defer w.Free()
	best, products, start := 0.0, 1, time.Now()
	for try := range 4 {
		took, err := b.timeProducts(ctx, w, rows, width, products)
		if err != nil {
			return 0, err
		}
		if try > 0 {
			best = max(best, 2*rows*width*width*float64(products)/took.Seconds()/1e9)
		}
		if time.Since(start) > within/2 {
			break
		}
		if try > 0 && took < fast {
			products = 16
		}
	}
	return best, nil
}

// timeProducts runs so many products one after the other, and waits for them alone.
func (b *webgpu) timeProducts(ctx context.Context, w backend.Resident, rows, width, products int) (time.Duration, error) {
	p := b.Begin(ctx)
	defer p.End()
	x := p.Zeros(rows, width)
	if _, err := p.Read(p.Gather(x, []int32{0})); err != nil {
		return 0, err
	}
	before := time.Now()
	for range products {
		x = p.Linear(x, w, backend.Linear{})
	}
	_, err := p.Read(p.Gather(x, []int32{0}))
	return time.Since(before), err
}

// readCache returns what the cache knows: nothing, if it is absent or damaged.
func readCache(path string) map[string]measured {
	known := map[string]measured{}
	if path == "" {
		return known
	}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &known) != nil || known == nil {
		return map[string]measured{}
	}
	return maps.Clone(known)
}

// writeCache replaces the cache. Failing to is no error: the next start measures again.
func writeCache(path string, known map[string]measured) {
	data, err := json.MarshalIndent(known, "", "  ")
	if err != nil || path == "" {
		return
	}
	if os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return
	}
	_, err = f.Write(append(data, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
