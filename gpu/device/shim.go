//go:build cgo && !js

package device

/*
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Functions of wgpu-native, which the wgpu package links in, as its webgpu.h and wgpu.h declare them: handles are pointers, and enums
// are ints.
typedef void (*medley_callback)(int status, void *userdata);
typedef void (*medley_error_callback)(int type, char const *message, void *userdata);
extern void *wgpuCreateInstance(void const *descriptor);
extern void wgpuBufferMapAsync(void *buffer, uint32_t mode, size_t offset, size_t size, medley_callback callback, void *userdata);
extern void wgpuQueueOnSubmittedWorkDone(void *queue, medley_callback callback, void *userdata);
extern void wgpuDevicePushErrorScope(void *device, int filter);
extern void wgpuDevicePopErrorScope(void *device, medley_error_callback callback, void *userdata);

// Mesa's Vulkan layer that puts the desktop's own adapter first looks for a desktop where there is none, and says so on standard error:
// without a session it is left out.
static void *medley_instance(uint32_t backends) {
#ifdef __linux__
	int headless = !getenv("XDG_RUNTIME_DIR") && !getenv("NODEVICE_SELECT");
	if (headless) setenv("NODEVICE_SELECT", "1", 1);
#endif
	struct {
		struct { void const *next; int type; } chain;
		uint32_t backends, flags;
		int dx12_compiler, gles_minor;
		char const *dxil, *dxc;
	} extras = {{NULL, 0x00030006}, backends}; // WGPUInstanceExtras
	struct { void const *next; } descriptor = {&extras};
	void *instance = wgpuCreateInstance(&descriptor);
#ifdef __linux__
	if (headless) unsetenv("NODEVICE_SELECT");
#endif
	return instance;
}

typedef struct { int done, status, abandoned; } medley_signal;

static void medley_fire(int status, void *userdata) {
	medley_signal *s = userdata;
	if (s->abandoned) { free(s); return; }
	s->status = status;
	s->done = 1;
}

static medley_signal *medley_new_signal(void) {
	medley_signal *s = calloc(1, sizeof *s);
	if (!s) abort();
	return s;
}

static medley_signal *medley_map(void *buffer, size_t bytes) {
	medley_signal *s = medley_new_signal();
	wgpuBufferMapAsync(buffer, 1, 0, bytes, medley_fire, s); // 1: to read
	return s;
}

static medley_signal *medley_work_done(void *queue) {
	medley_signal *s = medley_new_signal();
	wgpuQueueOnSubmittedWorkDone(queue, medley_fire, s);
	return s;
}

// Gives the signal up: whoever is last to hold it frees it.
static void medley_drop(medley_signal *s) {
	if (s->done) free(s); else s->abandoned = 1;
}

typedef struct { int type; char text[2000]; } medley_error;

static void medley_keep(int type, char const *message, void *userdata) {
	medley_error *e = userdata;
	if (type == 0 || e->type != 0) return; // 0: no error
	e->type = type;
	if (message) strncpy(e->text, message, sizeof e->text - 1);
}

static void medley_watch(void *device) {
	wgpuDevicePushErrorScope(device, 1); // out of memory; this version knows no scope for internal errors
	wgpuDevicePushErrorScope(device, 0); // validation
}

static void medley_watched(void *device, medley_error *e) {
	memset(e, 0, sizeof *e);
	for (int i = 0; i < 2; i++) wgpuDevicePopErrorScope(device, medley_keep, e);
}

static void medley_sleep(long microseconds) {
	struct timespec t = {0, microseconds * 1000};
	nanosleep(&t, NULL);
}
*/
import "C"

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/cogentcore/webgpu/wgpu"

	"github.com/medley-lora/medley/shared/fault"
)

// newInstance is wgpu.CreateInstance, which leaves the flags to whatever the memory held before.
func newInstance(backends wgpu.InstanceBackend) *wgpu.Instance {
	i := new(wgpu.Instance)
	*(*unsafe.Pointer)(unsafe.Pointer(i)) = C.medley_instance(C.uint32_t(backends))
	return i
}

// The wgpu package hands C a pointer to Go memory as the user data of a mapping and keeps none of it alive, so a garbage collection
// before the callback ends the process. Here the callback is C, and so is what it writes.

// Handles are read out of the wgpu package's structs, whose fields it does not export; these lines stop compiling when it adds one.
var (
	_ [1 * unsafe.Sizeof(uintptr(0))]struct{} = [unsafe.Sizeof(wgpu.Instance{})]struct{}{} // {ref}
	_ [1 * unsafe.Sizeof(uintptr(0))]struct{} = [unsafe.Sizeof(wgpu.Device{})]struct{}{}   // {ref}
	_ [2 * unsafe.Sizeof(uintptr(0))]struct{} = [unsafe.Sizeof(wgpu.Buffer{})]struct{}{}   // {deviceRef, ref}
	_ [2 * unsafe.Sizeof(uintptr(0))]struct{} = [unsafe.Sizeof(wgpu.Queue{})]struct{}{}    // {deviceRef, ref}
)

func deviceRef(d *wgpu.Device) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(d)) }
func bufferRef(b *wgpu.Buffer) unsafe.Pointer { return (*[2]unsafe.Pointer)(unsafe.Pointer(b))[1] }
func queueRef(q *wgpu.Queue) unsafe.Pointer   { return (*[2]unsafe.Pointer)(unsafe.Pointer(q))[1] }

// signal is a callback that has fired or not. Callbacks fire inside other calls of the library, so the device's lock guards it.
type signal struct{ c *C.medley_signal }

// mapForReading starts to map the first bytes of b.
func mapForReading(b *wgpu.Buffer, bytes int64) signal {
	return signal{C.medley_map(bufferRef(b), C.size_t(bytes))}
}

// workDone fires when everything submitted so far has ended.
func workDone(q *wgpu.Queue) signal { return signal{C.medley_work_done(queueRef(q))} }

func (s signal) done() bool  { return s.c.done != 0 }
func (s signal) status() int { return int(s.c.status) }
func (s signal) drop()       { C.medley_drop(s.c) }
func sleep(microseconds int) { C.medley_sleep(C.long(microseconds)) }

// watched runs f and returns its error, or else one that the library reported beside it: running out of memory, say, which would
// otherwise end the process. The caller holds the device's lock: the library keeps one stack of error scopes for all threads.
func watched(d *wgpu.Device, f func() error) error {
	C.medley_watch(deviceRef(d))
	err := f()
	var e C.medley_error
	C.medley_watched(deviceRef(d), &e)
	text := C.GoString(&e.text[0])
	var ours *fault.Error
	switch {
	case errors.As(err, &ours):
		return err
	case err != nil && strings.Contains(err.Error(), "Not enough memory left"): // reported as a mistake of the caller's
		return fault.Wrap(err, fault.TooLarge, "", "WebGPU: out of memory: %v", err)
	case err != nil:
		return fault.Wrap(err, fault.Internal, "", "WebGPU: %v", err)
	case e._type == 0:
		return nil
	case e._type == 2: // out of memory
		return fault.New(fault.TooLarge, "", "WebGPU: out of memory: %s", text)
	}
	return fault.New(fault.Internal, "", "WebGPU: %s", text)
}
