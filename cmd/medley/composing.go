package main

import (
	"fmt"

	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
)

// composing is one search under way.
type composing struct {
	app     *app
	flags   searchFlags
	base    *base
	job     compose.Job
	modules []module
	title   string // put before the names of the stages

	optimizer *proposer
	failure   error // what the optimizer ended the search with, if it did
	untraced  error // why the trace is not whole, if it is not

	baseDigest func() (string, error) // of the base's folder, read when first asked for
}

// search runs the job, recording it in the file called trace unless that is empty. labels names what the trace depends on. An optimizer that
// fails after some candidate was scored ends the search, not the job: s.failure says why. Nor does a trace that cannot be written: s.untraced.
func (s *composing) search(labels func(modules []string) (map[string]string, error), trace string) (result compose.Result, err error) {
	model, err := s.base.open(lora.Method(s.flags.Method), s.modules)
	if err != nil {
		return result, err
	}
	defer model.Close()
	counts, err := model.Count(s.app.ctx, s.job.Examples)
	if err != nil {
		return result, err
	}
	if trace != "" {
		file := &traceFile{path: trace}
		defer func() { s.untraced = file.close() }()
		s.job.Begin = func(p search.Problem, modules []string) ([]search.Evaluation, func(search.Evaluation), error) {
			found, err := labels(modules)
			if err != nil {
				return nil, nil, err
			}
			replay, err := file.begin(search.TraceHeader{Problem: p, Optimizer: s.optimizer.name, Labels: found})
			if err != nil {
				return nil, nil, err
			}
			if len(replay) > 0 {
				s.app.note("%s holds %d evaluations of this search: going on from there", trace, len(replay))
			}
			return replay, file.observe, nil
		}
	}
	var proposing *lasting
	s.job.NewOptimizer = func(p search.Problem) (search.Optimizer, error) {
		var err error
		proposing, err = s.optimizer.new(s.app.ctx, p)
		return proposing, err
	}
	s.job.Sketch = adapters.Sketcher(folders(s.modules))
	watch := &watcher{app: s.app, title: s.title}
	s.job.Observe = watch.observe
	result, err = compose.Run(s.app.ctx, model, s.job)
	watch.end()
	if proposing != nil {
		s.failure = proposing.end()
	}
	if s.failure != nil {
		if err != nil { // which follows from the failure
			return result, s.failure
		}
		result.Stopped = search.StoppedFailed
		counts.Warnings = append(counts.Warnings, fmt.Sprintf("The optimizer failed after %d of %d evaluations.", result.Evaluations, s.job.Budget))
	}
	result.Warnings = append(counts.Warnings, result.Warnings...)
	return result, err
}

// watcher shows the stages of a job, one after the other.
type watcher struct {
	app   *app
	title string // put before the stage's name
	stage compose.Stage
	shown *progress
}

func (w *watcher) observe(p compose.Progress) {
	if w.shown == nil || p.Stage != w.stage {
		w.end()
		w.stage = p.Stage
		w.shown = w.app.startProgress(w.title+string(p.Stage), p.Total)
	}
	remark := ""
	if p.Evaluation != nil {
		remark = fmt.Sprintf("best objective %.4f", p.Evaluation.Best)
	}
	w.shown.set(p.Done, remark)
}

func (w *watcher) end() {
	if w.shown != nil {
		w.shown.end()
		w.shown = nil
	}
}
