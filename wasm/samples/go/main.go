//go:build wasip1

// A plugin optimizer for Medley: the guest interface, version 1, over the algorithm in es.go. To make a plugin of your own, replace that
// file and the text of opt_info.
//
// One instance of the module is one optimizer. Candidates are rows of dim numbers, f64, little-endian. The host promises that a pointer
// leads to as much memory as the call needs and that it comes from opt_alloc, 8-aligned.
package main

import "unsafe"

func main() {} // never called: the host calls the functions below

var (
	optimizer *es
	lastError string                           // of the last refused call
	lent      = map[unsafe.Pointer][]float64{} // what the host holds, so that it is not collected; Go does not move it
)

// info says what the plugin is. Change the version with every change of the candidates: a recorded search resumes only with the one that
// began it. More weights than max_dim, 64 candidates at a time, would not fit into the 16 MiB that a host gives to an upload. A
// preferred_batch of 0 is no preference.
const info = `{"name":"es","version":"1","wants_aux":false,"max_dim":4000,"preferred_batch":0}`

// The results that refuse a call.
const (
	badArgument = -1
	unsupported = -2
	badState    = -3
)

// refusal is why a call is refused: the result that tells the host, and a sentence for people.
type refusal struct {
	code int32
	why  string
}

const maxBlock = 1 << 30 // bytes; asking Go's runtime for more than there can be would end the instance

// refuse keeps why for opt_last_error.
func refuse(r *refusal) int32 {
	lastError = r.why
	return r.code
}

var notCreated = &refusal{badState, "there is no optimizer yet: create one"}

// text is a string as the host reads it: pointer in the high half, length in the low one.
func text(s string) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.StringData(s))))<<32 | uint64(len(s))
}

// version is that of the interface, major<<16 | minor.
//
//go:wasmexport opt_abi_version
func version() int32 { return 1 << 16 }

//go:wasmexport opt_info
func describe() uint64 { return text(info) }

//go:wasmexport opt_last_error
func explain() uint64 { return text(lastError) }

// alloc gives the host n bytes to write to, 8-aligned; nil if there cannot be so many.
//
//go:wasmexport opt_alloc
func alloc(n uint32) unsafe.Pointer {
	if n > maxBlock {
		return nil
	}
	block := make([]float64, n/8+1)
	lent[unsafe.Pointer(&block[0])] = block
	return unsafe.Pointer(&block[0])
}

//go:wasmexport opt_free
func free(p unsafe.Pointer, _ uint32) { delete(lent, p) }

// create makes the optimizer for the problem in n bytes of JSON. After a refusal it may be called again.
//
//go:wasmexport opt_create
func create(json unsafe.Pointer, n uint32) int32 {
	if optimizer != nil {
		return refuse(&refusal{badState, "there is an optimizer already: an instance holds one"})
	}
	c, err := readConfig(unsafe.Slice((*byte)(json), n))
	if err != nil {
		return refuse(err)
	}
	optimizer = newES(c)
	return 0
}

// ask writes at most k candidates to x [k·dim] and returns how many; 0 ends the search.
//
//go:wasmexport opt_ask
func ask(x unsafe.Pointer, k int32) int32 {
	if optimizer == nil {
		return refuse(notCreated)
	}
	if k < 1 {
		return refuse(&refusal{badArgument, "k must be at least 1"})
	}
	n, err := optimizer.room(int(k))
	if err != nil {
		return refuse(err)
	}
	optimizer.ask(unsafe.Slice((*float64)(x), n*optimizer.Dim))
	return int32(n)
}

// tell takes the objectives f [k] of candidates x [k·dim], asked ones or others; NaN is a failed evaluation. With wants_aux in opt_info, aux
// would be m log-probabilities of target tokens for each candidate, NaN where they are unknown.
//
//go:wasmexport opt_tell
func tell(x, f unsafe.Pointer, k int32, aux unsafe.Pointer, m int32) int32 {
	if optimizer == nil {
		return refuse(notCreated)
	}
	if k < 0 {
		return refuse(&refusal{badArgument, "k must be at least 0"})
	}
	if k == 0 {
		return 0
	}
	if err := optimizer.tell(unsafe.Slice((*float64)(x), int(k)*optimizer.Dim), unsafe.Slice((*float64)(f), k)); err != nil {
		return refuse(err)
	}
	return 0
}

// best writes the candidate to use to x [dim] and its objective to f: 1 if it was observed, 2 if it is predicted, 0 if there is none yet.
//
//go:wasmexport opt_best
func best(x, f unsafe.Pointer) int32 {
	if optimizer == nil {
		return refuse(notCreated)
	}
	if optimizer.best == nil {
		return 0
	}
	copy(unsafe.Slice((*float64)(x), optimizer.Dim), optimizer.best)
	*(*float64)(f) = optimizer.bestF
	return 1
}
