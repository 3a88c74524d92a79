package check

import "strings"

// advices say what to do about an error that holds the words, whichever check met it; the first that fits. The words are those of package
// host and of this one.
var advices = []struct{ words, change string }{
	{"the check took longer", "Make opt_ask and opt_tell cheaper: a check asks for some hundred candidates, with up to 200 weights."},
	{"its process took longer", "Look for recursion that does not end. If it was in open, let it compile sooner: with smaller and flatter functions."},
	{"took longer than", "Return in time: opt_ask and opt_tell have 2 s each, the start and opt_create too. Look for a loop or recursion that does not end."},
	{"ended itself", "Do not exit: return a code below 0, and the reason from opt_last_error. What a runtime writes before it exits is quoted above."},
	{"failed in", "Find the trap: an index out of range, a division by 0, an unreachable or a panic. What it wrote to stderr before that, if anything, is quoted above."},
	{"guest interface", "Return 65536, which is version 1.0 (1<<16), from opt_abi_version."},
	{"describes itself", `Return where JSON like {"name":"mine","version":"1"} lies from opt_info, as pointer<<32 | length.`},
	{"opt_info", `Return where JSON like {"name":"mine","version":"1"} lies from opt_info, as pointer<<32 | length.`},
	{"opt_last_error", "Return where a sentence in UTF-8 lies from opt_last_error, as pointer<<32 | length, after every refusal."},
	{"uses a feature", "Build for WebAssembly 2.0 without threads, tail calls and exceptions."},
	{"uses threads", "Build for WebAssembly 2.0 without threads, tail calls and exceptions."},
	{"memory than it may have", "Use less memory: 16 MiB in all. Deep recursion takes much of it."},
	{"no memory for", "Give memory back in opt_free, and take less in between: 16 MiB is what there is."},
	{"opt_alloc returned", "Return memory that is divisible by 8, whole inside memory, and nobody else's until opt_free."},
	{"wrote beyond", "Write candidate i to x[i*dim] to x[i*dim+dim-1], for at most k of them; opt_best writes dim numbers to x and one to f."},
	{"not a finite number", "Write finite numbers. A NaN often comes from a failed evaluation (a score that is NaN) or from 0/0: leave such scores out."},
	{"outside its bounds", "Clip every weight to lower and upper before it is written: x = min(max(x, lower), upper)."},
	{"outside [", "Clip every weight to lower and upper before it is written: x = min(max(x, lower), upper)."},
	{"refuses opt_create", "Take every problem of up to max_dim weights. If it was an option that it refused: those are given with --optimizer-option."},
}

// changes are what to do about a check that failed, where the error is not among advices.
var changes = map[string]string{
	checkFile:         "Give the .wasm file that the compiler wrote: a core module, no component, no text, of at most 16 MiB.",
	checkImports:      "Build without what needs them: files, network, threads, time, or an environment of JavaScript's (for wasm32-unknown-unknown or wasip1).",
	checkExports:      "Export these from the module, with exactly these types.",
	checkMemory:       "Set the initial memory to at most 16 MiB.",
	checkStart:        "Make the module smaller, if a limit is named. Otherwise build it anew: what is there no engine takes.",
	"refusals":        "Refuse with the code, and leave the state as it was: -1 for an argument, -2 for what is not supported, -3 for a call out of turn.",
	"configuration":   "Read the JSON by its members' names, skip those that are not known, and take seed as an unsigned 64-bit number in text.",
	"buffers":         "Write candidate i to x[i*dim] to x[i*dim+dim-1], row by row, for as many rows as are returned, at most k.",
	"choice":          "Return 0 from opt_best before the first finite score; then write a told candidate and its objective and return 1, or a predicted one and return 2.",
	"bounds":          "Ask for at least one candidate and at most k in a round, whatever the dimension and the batch.",
	"budget":          "Return at most k candidates.",
	"same seed":       "Draw all randomness from seed, and let nothing depend on addresses, on the order of a hash map or on what is left in memory.",
	"interpreter":     "Let nothing depend on the bits of a NaN or on memory that was never written.",
	"warm start":      "Take any candidate in opt_tell: keep the best of what is told, and do not count on having asked for it.",
	"failed scores":   "Leave out what is NaN or infinite: compare so that a NaN never wins, and keep it out of sums.",
	"order of scores": "Match scores to candidates by the x told with them, not by the order of the last round.",
	"replay":          "Let the next candidates depend on the configuration and on what was told, on nothing else.",
}

// advice says what to do about the failure of a check.
func advice(name string, err error) string {
	text := err.Error()
	for _, a := range advices {
		if strings.Contains(text, a.words) {
			return a.change
		}
	}
	return changes[name]
}
