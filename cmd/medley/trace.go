package main

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// traceFile records a search in a file, or goes on with the one that the file already holds.
type traceFile struct {
	path   string
	file   *os.File
	writer *search.TraceWriter
}

// begin opens the file: a new one gets header; one that holds the beginning of the very same search is cut to its last whole round and
// continued. A trace of another search is refused, never overwritten.
func (t *traceFile) begin(header search.TraceHeader) ([]search.Evaluation, error) {
	trace, err := t.read()
	if err != nil {
		return nil, err
	}
	if trace == nil {
		if t.file, err = os.OpenFile(t.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err == nil {
			t.writer, err = search.NewTraceWriter(t, header)
			return nil, fault.In("--trace "+t.path, err)
		}
		return nil, t.unwritten(err)
	}
	if err := same(trace.TraceHeader, header); err != nil {
		return nil, fault.In("--trace "+t.path, err)
	}
	if t.file, err = os.OpenFile(t.path, os.O_RDWR, 0); err != nil {
		return nil, t.unwritten(err)
	}
	if err := t.file.Truncate(trace.Size); err != nil {
		return nil, t.unwritten(err)
	}
	if _, err := t.file.Seek(trace.Size, io.SeekStart); err != nil {
		return nil, t.unwritten(err)
	}
	t.writer = search.ContinueTrace(t)
	return trace.Evaluations, nil
}

// read returns the trace that the file holds, or nil if there is none yet.
func (t *traceFile) read() (*search.Trace, error) {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--trace", "%s cannot be read: %v", t.path, errorWithoutPath(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		return nil, nil
	}
	trace, err := search.ReadTrace(f)
	if err != nil {
		return nil, fault.In("--trace "+t.path, err)
	}
	return &trace, nil
}

// same refuses a header of another search, naming what differs.
func same(got, want search.TraceHeader) error {
	refuse := func(what string) error {
		return fault.New(fault.Invalid, "", "holds another search (%s differs); name another file, or remove this one to start anew", what)
	}
	if got.Optimizer != want.Optimizer {
		return refuse("the optimizer")
	}
	all := maps.Clone(want.Labels)
	maps.Copy(all, got.Labels)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if got.Labels[name] != want.Labels[name] {
			return refuse(name)
		}
	}
	if !reflect.DeepEqual(got.Problem, want.Problem) {
		return refuse("the seed, budget, batch or another setting")
	}
	return nil
}

func (t *traceFile) unwritten(err error) error {
	return fault.In("--trace "+t.path, checkpoint.IOFault(err, "written"))
}

// Write is for the writer of the trace, which writes whole rounds.
func (t *traceFile) Write(round []byte) (int, error) {
	n, err := t.file.Write(round)
	if err != nil {
		err = checkpoint.IOFault(err, "written")
	}
	return n, err
}

// observe records one evaluation; a failure is told by close.
func (t *traceFile) observe(e search.Evaluation) { t.writer.Observe(e) }

// close flushes the file and returns the first failure to record.
func (t *traceFile) close() error {
	if t.file == nil {
		return nil
	}
	err := t.writer.Err()
	if closing := t.file.Close(); err == nil && closing != nil {
		err = checkpoint.IOFault(closing, "written")
	}
	return fault.In("--trace "+t.path, err)
}
