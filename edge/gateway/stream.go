package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/fault"
)

// eventStream is an answer of server-sent events (HTML standard, section 9.2).
type eventStream struct {
	ctx     context.Context // of the request
	closing context.Context // of the server
	events  Events
	beat    time.Duration // after so long without an event comes a comment, which shows whether the client is there
	leave   func()        // makes room for another stream
}

// reconnectTime is what clients wait before they come back.
const reconnectTime = 2 * time.Second

// VisitFollowCompositionResponse writes until the events end, the client has gone or does not read, or the server closes.
func (s eventStream) VisitFollowCompositionResponse(w http.ResponseWriter) error {
	defer s.leave()
	defer s.events.Close()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	err := send(w, fmt.Appendf(nil, "retry: %d\n\n", reconnectTime.Milliseconds()))
	for err == nil {
		var frame []byte
		if frame, err = s.next(ctx); err == nil {
			err = send(w, frame)
		}
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}

// next is what to write next: an event, or a comment if none comes for a while.
func (s eventStream) next(ctx context.Context) ([]byte, error) {
	wait, cancel := context.WithTimeout(ctx, s.beat)
	defer cancel()
	e, err := s.events.Next(wait)
	switch {
	case err != nil && wait.Err() != nil && ctx.Err() == nil:
		return []byte(":\n\n"), nil
	case err != nil:
		return nil, err
	case e.ID == "": // without the line, clients keep the id before
		return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", e.Kind, oneLine(e.Data)), nil
	}
	return fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, oneLine(e.Data)), nil
}

// send writes b through to the client.
func send(w http.ResponseWriter, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// oneLine puts JSON on one line: outside of strings a line's end is space, and inside it cannot be.
func oneLine(data json.RawMessage) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, data)
}

// lineStream is an answer of JSON lines.
type lineStream struct {
	problem func(error) api.Problem
	run     func(write func(api.GenerationLine) error) error
}

// VisitGenerateResponse returns an error only if nothing was written: later ones are a line.
func (s lineStream) VisitGenerateResponse(w http.ResponseWriter) error {
	begun, broken := false, false
	write := func(line api.GenerationLine) error {
		data, err := json.Marshal(line)
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
		}
		err = send(w, append(data, '\n'))
		broken = broken || err != nil
		return err
	}
	err := s.run(write)
	switch {
	case err == nil && !begun:
		return fault.New(fault.Internal, "", "an answer without lines")
	case err == nil || broken || !begun:
		return err
	}
	p := s.problem(err)
	return write(api.GenerationLine{Problem: &p})
}

// archive is an answer that is an adapter's zip archive.
type archive struct {
	Content
	name string // of the file, of letters that need no quoting
}

// reportPage is an answer that is a report.
type reportPage struct {
	api.GetReport200TextHTMLResponse
}

// VisitGetReportResponse lets the page show itself and nothing else.
func (p reportPage) VisitGetReportResponse(w http.ResponseWriter) error {
	w.Header().Set(policyHeader, pagePolicy)
	return p.GetReport200TextHTMLResponse.VisitGetReportResponse(w)
}

// VisitDownloadModuleResponse writes the archive.
func (a archive) VisitDownloadModuleResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitDownloadAdapterResponse writes the archive.
func (a archive) VisitDownloadAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

func (a archive) write(w http.ResponseWriter) error {
	defer a.Close()
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Length", fmt.Sprint(a.Size))
	h.Set("Content-Disposition", `attachment; filename="`+a.name+`.zip"`)
	h.Set("ETag", `"`+a.Digest+`"`)
	w.WriteHeader(http.StatusOK)
	_, err := io.Copy(w, a.Content)
	return err
}
