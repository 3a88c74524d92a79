//go:build cgo && !js

package device_test

import (
	"context"
	"testing"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/device/devicetest"
)

func TestContract(t *testing.T) {
	devicetest.Run(t, func() (device.Device, error) {
		return device.Open(context.Background(), device.Options{Software: true})
	})
}
