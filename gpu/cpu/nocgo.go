//go:build !cgo

package cpu

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// New reports that this program was built without the native backend.
func New(Options) (backend.Backend, error) {
	return nil, fault.New(fault.Unsupported, "", "the cpu backend needs a program built with a C compiler (CGO_ENABLED=1)")
}

// Features names the instruction set in use; here there is none.
func Features() string { return "not built: needs a C compiler" }
