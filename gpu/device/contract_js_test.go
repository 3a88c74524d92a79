package device_test

import (
	"context"
	"testing"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/device/devicetest"
)

// It runs in a browser: cmd/page's tests take it there.
func TestContract(t *testing.T) {
	devicetest.Run(t, func() (device.Device, error) {
		return device.Open(context.Background(), device.Options{Software: true})
	})
}
