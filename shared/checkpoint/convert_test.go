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
		got := FromF16(h)
		if math.Float32bits(got) != math.Float32bits(float32(want)) && !(math.IsNaN(want) && got != got) {
			t.Fatalf("FromF16(%#04x) = %v; want %v", h, got, want)
		}
		if back := ToF16(got); back != h && got == got {
			t.Fatalf("ToF16(%v) = %#04x; want %#04x", got, back, h)
		}
		wide := math.Float32frombits(uint32(h) << 16)
		if back := toBF16(wide); back != h && wide == wide {
			t.Fatalf("toBF16(%v) = %#04x; want %#04x", wide, back, h)
		}
	}
	nan := math.Float32frombits(0x7f800001)
	if f := FromF16(ToF16(nan)); f == f {
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
		"F16":  {ToF16, FromF16, 0x7bff},
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
		if got := ToF16(v); got != want {
			t.Errorf("ToF16(%v) = %#04x; want %#04x", v, got, want)
		}
	}
}

func TestToF16(t *testing.T) {
	for _, c := range []struct {
		f    float32
		want uint16
	}{
		{0, 0}, {float32(math.Copysign(0, -1)), 0x8000}, {1, 0x3c00}, {-2, 0xc000}, {65504, 0x7bff}, {65519, 0x7bff}, {65520, 0x7c00}, {1e30, 0x7c00},
		{0x1p-14, 0x0400}, {0x1p-24, 1}, {0x1p-25, 0}, {0x1.8p-24, 2}, {0x1.002p0, 0x3c00}, {0x1.006p0, 0x3c02}, {0x1.ffep0, 0x4000},
		{0x1.ff8p-15, 0x03ff}, {0x1.fffp-15, 0x0400}, {float32(math.Inf(-1)), 0xfc00}, {float32(math.NaN()), 0x7e00},
	} {
		if got := ToF16(c.f); got != c.want {
			t.Errorf("%g becomes %#04x, want %#04x", c.f, got, c.want)
		}
	}
}
