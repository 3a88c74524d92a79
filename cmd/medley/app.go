package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// app is what every command runs in. Results go to stdout, progress and remarks to stderr.
type app struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	args           []string // as typed, to say how to repeat a run
}

// note prints a remark for people.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

// printJSON writes the one object of a --json run.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// onTerminal says whether progress can be drawn over itself.
func (a *app) onTerminal() bool {
	f, ok := a.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress shows one long step: a bar on a terminal, plain lines a few seconds apart elsewhere. The zero total means unknown.
type progress struct {
	app    *app
	title  string
	total  int
	bars   *mpb.Progress
	bar    *mpb.Bar
	remark atomic.Pointer[string] // drawn by another goroutine
	last   time.Time
}

// plainInterval keeps logs short.
const plainInterval = 5 * time.Second

func (a *app) startProgress(title string, total int) *progress {
	p := &progress{app: a, title: title, total: total, last: time.Now()}
	p.remark.Store(new(string))
	if a.onTerminal() {
		p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
		p.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name(title+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d "), decor.Any(func(decor.Statistics) string { return *p.remark.Load() })),
			mpb.BarRemoveOnComplete())
	}
	return p
}

// set reports done out of the total, with a remark such as the best objective so far.
func (p *progress) set(done int, remark string) {
	if p.bar != nil {
		p.remark.Store(&remark)
		p.bar.SetCurrent(int64(done))
		return
	}
	if time.Since(p.last) >= plainInterval {
		p.last = time.Now()
		p.app.note("%s %d of %d %s", p.title, done, p.total, remark)
	}
}

// end takes the bar off the screen.
func (p *progress) end() {
	if p.bars == nil {
		return
	}
	p.bar.Abort(true)
	p.bars.Wait()
}
