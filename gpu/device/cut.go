package device

const (
	// stepsPerSubmission bounds the uniform buffer that holds the parameters of a submission's steps.
	stepsPerSubmission = 1024
	// leastCost stands for what a step costs beyond its arithmetic.
	leastCost = 1e5
)

// cut returns how many of the steps to put into the next submission: at least one, and no more than cost the budget, in
// floating-point operations.
func cut(steps []Step, budget float64) int {
	total := 0.0
	for i := range steps {
		cost := max(steps[i].Cost, leastCost)
		if c := steps[i].Copy; c != nil {
			cost = max(cost, float64(c.Bytes))
		}
		if total += cost; i > 0 && (total > budget || i == stepsPerSubmission) {
			return i
		}
	}
	return len(steps)
}
