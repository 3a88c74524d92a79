package gateway

import (
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// The pace that a client must keep, against those who hold connections by sending or reading a byte now and then.
const (
	headerTime = 10 * time.Second // for a request's header
	idleTime   = 2 * time.Minute  // between requests of a connection
	minRate    = 64 << 10         // bytes/s

	maxHeaderBytes = 32 << 10
)

// Server returns an HTTP server for handler with the timeouts that the gateway counts on.
func Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}

// pace bounds a request's body in size and time, and every write of its answer in time.
func (g *gateway) pace(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, w := c.Request(), c.Response()
		limit := int64(defaultMaxBytes)
		if op := operationOf(c); op != nil {
			limit = op.MaxBytes
		}
		p := pacer{http.NewResponseController(w.Writer), g.Grace}
		_ = p.controller.SetWriteDeadline(time.Time{}) // net/http keeps that of the request before
		if r.Body != http.NoBody {
			body := &pacedReader{ReadCloser: r.Body, pacer: p, start: time.Now()}
			body.extend() // now, for net/http reads what a refusal leaves, and would wait for ever
			r.Body = http.MaxBytesReader(w.Writer, body, limit)
		}
		w.Writer = &pacedWriter{ResponseWriter: w.Writer, pacer: p}
		return next(c)
	}
}

// pacer sets the deadlines of a connection. Its errors do not count: a writer without deadlines is one of a test, which is in no danger.
type pacer struct {
	controller *http.ResponseController
	grace      time.Duration
}

func (p pacer) allowance(bytes int64) time.Duration {
	return p.grace + time.Duration(bytes)*time.Second/minRate
}

// later says whether a deadline is enough after the last one that was set for it to be worth its price.
func (p pacer) later(until, last time.Time) bool { return until.Sub(last) > p.grace/16 }

// pacedReader gives a body the grace and the time that its bytes take at minRate.
type pacedReader struct {
	io.ReadCloser
	pacer
	start, until time.Time
	read         int64
}

func (p *pacedReader) extend() {
	if until := p.start.Add(p.allowance(p.read)); p.later(until, p.until) {
		p.until = until
		_ = p.controller.SetReadDeadline(until)
	}
}

func (p *pacedReader) Read(b []byte) (int, error) {
	p.extend()
	n, err := p.ReadCloser.Read(b)
	p.read += int64(n)
	if err == io.EOF {
		// The connection goes on to be watched for the client's leaving, which no deadline may end.
		_ = p.controller.SetReadDeadline(time.Time{})
	}
	return n, err
}

// pacedWriter gives every write the grace and the time that its bytes take at minRate.
type pacedWriter struct {
	http.ResponseWriter
	pacer
	until time.Time
}

// extend gives a grace more than its own, for net/http may first wait for the rest of a body that nobody has read.
func (p *pacedWriter) extend(bytes int) {
	if until := time.Now().Add(p.grace + p.allowance(int64(bytes))); p.later(until, p.until) {
		p.until = until
		_ = p.controller.SetWriteDeadline(until)
	}
}

func (p *pacedWriter) WriteHeader(status int) {
	p.extend(0) // an answer without content is written after the handler
	p.ResponseWriter.WriteHeader(status)
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	p.extend(len(b))
	return p.ResponseWriter.Write(b)
}

// FlushError is what http.ResponseController looks for; a flush writes what is buffered, so it has a deadline too.
func (p *pacedWriter) FlushError() error {
	p.extend(0)
	return p.controller.Flush()
}

func (p *pacedWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
