package task

import "strings"

// Correct reports whether an answer counts as the target, as the original LoraHub evaluation compares them: after trimming
// space, lower-casing and deleting every full stop.
func Correct(answer, target string) bool { return normalize(answer) == normalize(target) }

func normalize(s string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(s)), ".", "")
}

// Accuracy returns the share of answers (0 to 100) that are correct; answers[i] belongs to examples[i]. It is 0 for no examples.
func Accuracy(answers []string, examples []Example) float64 {
	if len(examples) == 0 {
		return 0
	}
	right := 0
	for i, e := range examples {
		if Correct(answers[i], e.Output) {
			right++
		}
	}
	return 100 * float64(right) / float64(len(examples))
}
