package optimizer

import "github.com/medley-lora/medley/shared/search"

func newAuto(p search.Problem) (search.Optimizer, error) {
	if len(p.Groups) > 0 {
		return newGNTR(p)
	}
	return newClimbingGNTR(p)
}
