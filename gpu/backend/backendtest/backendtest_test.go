package backendtest_test

import (
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/gpu/reference"
)

// The suite must be one that a correct backend passes.
func TestReference(t *testing.T) {
	backendtest.Run(t, func() (backend.Backend, error) { return reference.New(), nil }, backendtest.Tolerance{})
}
