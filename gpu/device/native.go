//go:build cgo && !js

package device

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cogentcore/webgpu/wgpu"

	"github.com/medley-lora/medley/shared/fault"
)

// native is a Device on wgpu-native. It validates before the library does, for two reasons: the library ends the process on some
// mistakes, and it keeps its error scopes in one stack for all threads, so that its errors are right only under one lock.
type native struct {
	info   Info
	budget float64 // of a submission, in floating-point operations
	depth  int     // most submissions in flight
	// patience is how long a submission may take before the device counts as failed. Nothing is lost by waiting, so it is long: other
	// programs may keep the processor busy.
	patience time.Duration

	closing sync.Once
	reading sync.RWMutex // held for reading by Read, whose mapped memory must not go under it

	mu         sync.Mutex // round every call of the library
	device     *wgpu.Device
	queue      *wgpu.Queue
	failed     error // what every call returns from now on
	buffers    map[*buffer]struct{}
	programs   map[*program]struct{}
	parameters *wgpu.Buffer // of the steps of a submission
	scratch    []byte       // what is written to parameters
	flights    []signal     // one for each submission not known to have ended, the oldest first
	progress   time.Time    // when one ended last, or was submitted into an empty queue
	written    int64        // bytes written since the last submission
	submitted  int          // submissions ever
}

const (
	// A submission on a processor may take most of its budget in seconds at the speed of a bad program (0.2 GFLOP/s). On a graphics
	// processor the budget is some milliseconds, enough to hide what submitting costs.
	softwareBudget, hardwareBudget = 5e7, 4e9
	softwareDepth, hardwareDepth   = 1, 8
	// llvmpipe stops a loop silently when one invocation has gone round 65535 times, the tests that end its loops included.
	llvmpipeIterations = 60000
)

// Open opens the best adapter of the machine's own graphics API (Vulkan, on macOS Metal): a discrete one if there is one. With none it
// is fault.Unsupported, saying what was found and what to install.
func Open(ctx context.Context, options Options) (Device, error) {
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	wgpu.SetLogLevel(wgpu.LogLevelOff) // errors come back as errors
	// OpenGL is left out: probing it takes a quarter of a second and writes to standard error.
	instance := newInstance(wgpu.InstanceBackendVulkan | wgpu.InstanceBackendMetal | wgpu.InstanceBackendDX12)
	defer instance.Release()
	adapters := instance.EnumerateAdapters(nil)
	defer func() {
		for _, a := range adapters {
			a.Release()
		}
	}()
	adapter, err := choose(adapters, options)
	if err != nil {
		return nil, err
	}
	device, err := request(adapter)
	if err != nil {
		return nil, err
	}
	return newNative(adapter.GetInfo(), device)
}

// choose takes the adapter of the best kind; the first of several.
func choose(adapters []*wgpu.Adapter, options Options) (*wgpu.Adapter, error) {
	rank := []wgpu.AdapterType{wgpu.AdapterTypeDiscreteGPU, wgpu.AdapterTypeIntegratedGPU, wgpu.AdapterTypeUnknown}
	if options.Software {
		rank = append(rank, wgpu.AdapterTypeCPU)
	}
	for _, kind := range rank {
		for _, a := range adapters {
			if a.GetInfo().AdapterType == kind {
				return a, nil
			}
		}
	}
	if len(adapters) == 0 {
		return nil, fault.New(fault.Unsupported, "", "no graphics adapter was found: %s", installHint())
	}
	var found []string
	for _, a := range adapters {
		found = append(found, adapterName(a.GetInfo()))
	}
	return nil, fault.New(fault.Unsupported, "",
		"no graphics processor was found, only %s, which computes on the processor and is taken when it is asked for", strings.Join(found, ", "))
}

func installHint() string {
	if runtime.GOOS == "linux" {
		return "install the Vulkan driver of your graphics processor, or mesa-vulkan-drivers, which computes on the processor"
	}
	return "install the driver of your graphics processor"
}

// adapterName is the name that a person knows the adapter by.
func adapterName(a wgpu.AdapterInfo) string {
	if a.DriverDescription != "" {
		return a.DriverDescription
	}
	return a.Name
}

// request opens the adapter with its own limits where they matter here, or else with the default ones.
func request(a *wgpu.Adapter) (*wgpu.Device, error) {
	defaults := wgpu.DefaultLimits()
	defaults.MaxPushConstantSize = 0 // of a feature that is not asked for
	raised := defaults
	has := a.GetLimits().Limits
	raised.MaxBufferSize = has.MaxBufferSize
	raised.MaxStorageBufferBindingSize = has.MaxStorageBufferBindingSize
	raised.MaxStorageBuffersPerShaderStage = has.MaxStorageBuffersPerShaderStage
	raised.MaxComputeWorkgroupStorageSize = has.MaxComputeWorkgroupStorageSize
	raised.MaxComputeInvocationsPerWorkgroup = has.MaxComputeInvocationsPerWorkgroup
	raised.MaxComputeWorkgroupSizeX = has.MaxComputeWorkgroupSizeX
	raised.MaxComputeWorkgroupSizeY = has.MaxComputeWorkgroupSizeY
	var err error
	for _, limits := range []wgpu.Limits{raised, defaults} {
		var d *wgpu.Device
		if d, err = a.RequestDevice(&wgpu.DeviceDescriptor{RequiredLimits: &wgpu.RequiredLimits{Limits: limits}}); err == nil {
			return d, nil
		}
	}
	return nil, fault.Wrap(err, fault.Internal, adapterName(a.GetInfo()), "the adapter does not open: %v", err)
}

func newNative(a wgpu.AdapterInfo, device *wgpu.Device) (*native, error) {
	limits := device.GetLimits().Limits
	software := a.AdapterType == wgpu.AdapterTypeCPU
	d := &native{
		info: Info{
			Adapter:              adapterName(a),
			Driver:               fmt.Sprintf("vendor %s, device %s", a.VendorName, a.Name),
			API:                  strings.ToLower(a.BackendType.String()),
			Software:             software,
			BindingBytes:         wholeWords(min(limits.MaxStorageBufferBindingSize, limits.MaxBufferSize)),
			BufferBytes:          wholeWords(limits.MaxBufferSize),
			WorkgroupBytes:       int(limits.MaxComputeWorkgroupStorageSize),
			WorkgroupInvocations: int(limits.MaxComputeInvocationsPerWorkgroup),
			Groups:               int(limits.MaxComputeWorkgroupsPerDimension),
			StorageBuffers:       int(limits.MaxStorageBuffersPerShaderStage),
			OffsetAlignment:      int(limits.MinStorageBufferOffsetAlignment),
		},
		budget: hardwareBudget, depth: hardwareDepth, patience: time.Minute,
		device: device, queue: device.GetQueue(),
		buffers: map[*buffer]struct{}{}, programs: map[*program]struct{}{},
	}
	if software {
		d.budget, d.depth = softwareBudget, softwareDepth
	}
	if strings.Contains(d.info.Adapter, "llvmpipe") {
		d.info.LoopIterations = llvmpipeIterations
	}
	err := d.with(func() (err error) {
		d.parameters, err = device.CreateBuffer(&wgpu.BufferDescriptor{
			Size: stepsPerSubmission * maxParameters, Usage: wgpu.BufferUsageUniform | wgpu.BufferUsageCopyDst,
		})
		return err
	})
	if err != nil {
		d.queue.Release()
		device.Release()
		return nil, err
	}
	return d, nil
}

// wholeWords rounds a limit down to words of four bytes.
func wholeWords(limit uint64) int64 { return int64(min(limit, math.MaxInt64)) &^ 3 }

func (d *native) Info() Info { return d.info }

// with runs f under the lock, unless the device is closed or has failed.
func (d *native) with(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return d.failed
	}
	return watched(d.device, f)
}

// Close waits for what was submitted, since freeing a device at work ends the process; one that does not end is left as it is.
func (d *native) Close() error {
	d.closing.Do(func() {
		d.mu.Lock()
		lost := d.failed != nil
		if !lost {
			d.failed = wrong("", "the device is closed")
		}
		d.mu.Unlock()
		d.reading.Lock() // every Read has seen that
		defer d.reading.Unlock()
		if lost || !d.settle() {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for b := range d.buffers {
			b.release()
		}
		for p := range d.programs {
			p.release()
		}
		d.parameters.Release()
		d.queue.Release()
		d.device.Release()
	})
	return nil
}
