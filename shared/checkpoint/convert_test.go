package checkpoint

import (
	"math"
	"testing"
)

func TestHalfTypes(t *testing.T) {
	for bits := range 1 << 16 {
		h := uint16(bits)
		// Widened by the definition of the formats, in float64.
		exponent, mantissa := float64(h>>10&31), float64(h&1023)
		want := math.Ldexp(1+mantissa/1024, int(exponent)-15)
		switch {
		case exponent == 0:
			want = math.Ldexp(mantissa, -24)
		case exponent == 31 && mantissa == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		}
		if h>>15 == 1 {
			want = -want
		}
		got := fromF16(h)
		if math.Float32bits(got) != math.Float32bits(float32(want)) && !(math.IsNaN(want) && got != got) {
			t.Fatalf("fromF16(%#04x) = %v; want %v", h, got, want)
		}
		if back := toF16(got); back != h && got == got {
			t.Fatalf("toF16(%v) = %#04x; want %#04x", got, back, h)
		}
		wide := math.Float32frombits(uint32(h) << 16)
		if back := toBF16(wide); back != h && wide == wide {
			t.Fatalf("toBF16(%v) = %#04x; want %#04x", wide, back, h)
		}
	}
	nan := math.Float32frombits(0x7f800001)
	if f := fromF16(toF16(nan)); f == f {
		t.Error("NaN became a number in F16")
	}
	if toBF16(nan)&0x7f == 0 {
		t.Error("NaN became infinite in BF16")
	}
}

// Halfway cases go to the even neighbour, others to the nearer one.
func TestHalfRounding(t *testing.T) {
	widenBF16 := func(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
	for name, c := range map[string]struct {
		to   func(float32) uint16
		from func(uint16) float32
		last uint16 // the largest finite
	}{
		"F16":  {toF16, fromF16, 0x7bff},
		"BF16": {toBF16, widenBF16, 0x7f7f},
	} {
		for h := range c.last {
			low, high := float64(c.from(h)), float64(c.from(h+1))
			middle := float32((low + high) / 2)
			even := h + h&1
			for _, f := range []struct {
				value float32
				want  uint16
			}{{middle, even}, {math.Nextafter32(middle, 0), h}, {math.Nextafter32(middle, math.MaxFloat32), h + 1}} {
				if float64(f.value) <= low || float64(f.value) >= high {
					continue // the smallest denormals of BF16 are those of F32: there is nothing between
				}
				if got := c.to(f.value); got != f.want {
					t.Fatalf("%s of %v = %#04x; want %#04x", name, f.value, got, f.want)
				}
			}
		}
	}
	for v, want := range map[float32]uint16{65504: 0x7bff, 65519: 0x7bff, 65520: 0x7c00, 1e38: 0x7c00, -65520: 0xfc00} {
		if got := toF16(v); got != want {
			t.Errorf("toF16(%v) = %#04x; want %#04x", v, got, want)
		}
	}
}
