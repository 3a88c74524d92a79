package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
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

	pulled map[string]string // where names on the Hub lie that were asked for already
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
func (a *app) onTerminal() bool { return isTerminal(a.stderr) }

func isTerminal(w io.Writer) bool {
	if out, ok := w.(*output); ok {
		w = out.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// output is a writer that remembers its first failure, so that what nobody got is no success.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// progress shows one long step: a bar on a terminal, plain lines a few seconds apart elsewhere. The zero total means unknown.
type progress struct {
	app    *app
	title  string
	total  int
	unit   func(int64) string
	bars   *mpb.Progress
	bar    *mpb.Bar
	remark atomic.Pointer[string] // drawn by another goroutine
	last   time.Time
}

// plainInterval keeps logs short.
const plainInterval = 5 * time.Second

func (a *app) startProgress(title string, total int) *progress {
	return a.start(title, total, func(n int64) string { return strconv.FormatInt(n, 10) })
}

// startTransfer is startProgress of bytes, whose total is not known yet.
func (a *app) startTransfer(title string) *progress { return a.start(title, 0, sized) }

func (a *app) start(title string, total int, unit func(int64) string) *progress {
	p := &progress{app: a, title: title, total: total, unit: unit, last: time.Now()}
	p.remark.Store(new(string))
	if a.onTerminal() {
		p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
		p.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name(title+" ")),
			mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
				return unit(s.Current) + " of " + unit(s.Total) + " " + *p.remark.Load()
			})),
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
		p.app.note("%s %s of %s %s", p.title, p.unit(int64(done)), p.unit(int64(p.total)), remark)
	}
}

// grow tells a total that has become known, or larger.
func (p *progress) grow(total int64) {
	p.total = int(total)
	if p.bar != nil {
		p.bar.SetTotal(total, false)
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
