//go:build !cgo && !js

package device

import (
	"context"

	"github.com/medley-lora/medley/shared/fault"
)

// Open needs cgo outside a browser: the WebGPU library is native code.
func Open(context.Context, Options) (Device, error) {
	return nil, fault.New(fault.Unsupported, "", "this program was built without cgo, and so without WebGPU")
}
