package optimizer

import (
	"testing"

	"github.com/medley-lora/medley/wasm/optimizer/synthetic"
)

// BenchmarkGNTR is one search of 40 evaluations in batches of 8 over 20 weights and 15 tokens: divide by 40 for a candidate.
func BenchmarkGNTR(b *testing.B) {
	s := synthetic.Skills(1, 20, 15, 3)
	for b.Loop() {
		solve(b, "gntr", s, 40, 8, 1)
	}
}
