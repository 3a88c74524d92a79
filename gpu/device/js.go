//go:build js

package device

import (
	"context"
	"strings"
	"sync"
	"syscall/js"

	"github.com/medley-lora/medley/shared/fault"
)

// browser is a Device on the WebGPU of a web page or of a worker. What it calls goes through syscall/js alone. Errors of WebGPU are
// promises there: making a buffer or a program waits for them, while writing and running go on and leave them to a later call.
type browser struct {
	info   Info
	budget float64 // of a submission, in floating-point operations

	mu         sync.Mutex // held while JavaScript is called in a row that must not be mixed with another
	device     js.Value
	queue      js.Value
	parameters js.Value            // uniform buffer of the steps of a submission
	failed     error               // what every call returns from now on
	queued     []js.Value          // a promise for each thing written or submitted and not yet known to be right; the oldest first
	made       uint64              // buffers and programs so far, for their numbers
	groups     map[string]js.Value // bind groups by what they bind: making one costs ten times what dispatching does
	key        []byte              // of a bind group, to be looked up
}

const (
	// As native's: a submission on a processor may take much of a second if its programs are bad.
	softwareBudget, hardwareBudget = 5e7, 4e9
	// depth bounds what is queued, so that it can be cancelled and the browser's own queues stay short.
	depth = 8
)

// Numbers of GPUBufferUsage, GPUMapMode and GPUShaderStage in the WebGPU specification.
const (
	usageMapRead, usageCopySrc, usageCopyDst, usageUniform, usageStorage = 0x1, 0x4, 0x8, 0x40, 0x80

	mapRead      = 0x1
	stageCompute = 0x4
)

// object is a JavaScript object.
type object = map[string]any

// Open opens the adapter that the browser thinks fastest. Without WebGPU, or with an adapter of the wrong kind only, it is
// fault.Unsupported. Like every wait for the browser, it must not be called from within a JavaScript callback.
func Open(ctx context.Context, options Options) (Device, error) {
	gpu := js.Global().Get("navigator").Get("gpu")
	if gpu.IsUndefined() {
		return nil, fault.New(fault.Unsupported, "", "this browser has no WebGPU, or the page is not served by https or localhost")
	}
	adapter, err := call(ctx, gpu, "requestAdapter", object{"powerPreference": "high-performance"})
	if err == nil && adapter.IsNull() && options.Software {
		adapter, err = call(ctx, gpu, "requestAdapter", object{"forceFallbackAdapter": true})
	}
	if err != nil {
		return nil, err
	}
	if adapter.IsNull() {
		return nil, fault.New(fault.Unsupported, "", "the browser offers no graphics adapter")
	}
	d := &browser{budget: hardwareBudget, groups: map[string]js.Value{}}
	d.describe(adapter)
	if d.info.Software {
		d.budget = softwareBudget
		if !options.Software {
			return nil, fault.New(fault.Unsupported, "",
				"no graphics processor was found, only %s, which computes on the processor and is taken when it is asked for", d.info.Adapter)
		}
	}
	if d.device, err = call(ctx, adapter, "requestDevice", object{"requiredLimits": raised(adapter.Get("limits"))}); err != nil {
		return nil, fault.In(d.info.Adapter, err)
	}
	d.queue = d.device.Get("queue")
	d.measure(d.device.Get("limits"))
	if d.parameters, err = d.allocate(ctx, stepsPerSubmission*maxParameters, usageUniform|usageCopyDst); err != nil {
		return nil, err
	}
	go d.watchLoss(d.device.Get("lost"))
	return d, nil
}

// describe fills in what the adapter says of itself, which browsers keep vague.
func (d *browser) describe(adapter js.Value) {
	about := adapter.Get("info")
	text := func(field string) string {
		if v := about.Get(field); v.Type() == js.TypeString {
			return v.String()
		}
		return ""
	}
	d.info.API, d.info.Driver = "browser", text("vendor")
	d.info.Adapter = text("description")
	if d.info.Adapter == "" {
		d.info.Adapter = strings.TrimSpace(text("vendor") + " " + text("architecture"))
	}
	if d.info.Adapter == "" {
		d.info.Adapter = "WebGPU"
	}
	name := strings.ToLower(d.info.Adapter)
	d.info.Software = about.Get("isFallbackAdapter").Truthy() || adapter.Get("isFallbackAdapter").Truthy() ||
		strings.Contains(name, "swiftshader") || strings.Contains(name, "llvmpipe")
	if strings.Contains(name, "llvmpipe") {
		d.info.LoopIterations = llvmpipeIterations
	}
}

// llvmpipeIterations is as native's.
const llvmpipeIterations = 60000

// raised asks for the adapter's own limits where they matter here: without that a device has the default ones.
func raised(adapter js.Value) object {
	limits := object{}
	for _, name := range []string{
		"maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize",
		"maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY",
	} {
		if v := adapter.Get(name); v.Type() == js.TypeNumber {
			limits[name] = v
		}
	}
	return limits
}

func (d *browser) measure(limits js.Value) {
	bytes := func(name string) int64 { return int64(limits.Get(name).Float()) &^ 3 }
	d.info.BufferBytes = bytes("maxBufferSize")
	d.info.BindingBytes = min(bytes("maxStorageBufferBindingSize"), d.info.BufferBytes)
	d.info.WorkgroupBytes = limits.Get("maxComputeWorkgroupStorageSize").Int()
	d.info.WorkgroupInvocations = limits.Get("maxComputeInvocationsPerWorkgroup").Int()
	d.info.Groups = limits.Get("maxComputeWorkgroupsPerDimension").Int()
	d.info.StorageBuffers = limits.Get("maxStorageBuffersPerShaderStage").Int()
	d.info.OffsetAlignment = limits.Get("minStorageBufferOffsetAlignment").Int()
}

// watchLoss waits for the device's end, which Close also brings about.
func (d *browser) watchLoss(lost js.Value) {
	if why, err := await(context.Background(), lost); err == nil {
		d.fail(fault.New(fault.Internal, d.info.Adapter, "WebGPU: the device was lost: %s", why.Get("message").String()))
	}
}

func (d *browser) Info() Info { return d.info }

// fail makes err what every call returns, unless there is one already.
func (d *browser) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = err
	}
}

// Close leaves it to the browser to free everything.
func (d *browser) Close() error {
	d.fail(wrong("", "the device is closed"))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.device.Call("destroy")
	return nil
}
