package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/fault"
)

// Codes of problems that only a server has; the others are fault's.
const (
	Unauthenticated fault.Code = "unauthenticated" // no token, or none that is good
	Forbidden       fault.Code = "forbidden"       // a good token without the scope
	Conflict        fault.Code = "conflict"        // the state of the resource, or an Idempotency-Key used before, is in the way
	RateLimited     fault.Code = "rate_limited"
	Unavailable     fault.Code = "unavailable" // a part that is needed does not answer; trying again may help
	timeout         fault.Code = "timeout"
	notAllowed      fault.Code = "method_not_allowed"
	mediaType       fault.Code = "unsupported_media_type"
)

// statuses is the one table from codes to HTTP. 499 is what proxies log for a request whose client has gone.
var statuses = map[fault.Code]int{
	fault.Invalid:     http.StatusBadRequest,
	Unauthenticated:   http.StatusUnauthorized,
	Forbidden:         http.StatusForbidden,
	fault.NotFound:    http.StatusNotFound,
	notAllowed:        http.StatusMethodNotAllowed,
	timeout:           http.StatusRequestTimeout,
	Conflict:          http.StatusConflict,
	fault.TooLarge:    http.StatusRequestEntityTooLarge,
	mediaType:         http.StatusUnsupportedMediaType,
	fault.Unsupported: http.StatusUnprocessableEntity,
	RateLimited:       http.StatusTooManyRequests,
	fault.Canceled:    499,
	fault.Internal:    http.StatusInternalServerError,
	Unavailable:       http.StatusServiceUnavailable,
}

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
)

// newProblem is what a client may know of err: the code, field and sentence of a fault, and of other errors nothing but the code.
func newProblem(err error, requestID string) api.Problem {
	f := asFault(err)
	p := api.Problem{Type: "about:blank", Code: string(f.Code), Status: statuses[f.Code], RequestID: requestID}
	if p.Status == 0 {
		p.Code, p.Status = string(fault.Internal), http.StatusInternalServerError
	}
	if p.Title = http.StatusText(p.Status); p.Title == "" {
		p.Title = "Canceled"
	}
	if p.Status != http.StatusInternalServerError {
		p.Detail, p.Field = f.Message, f.Field
	}
	return p
}

// asFault finds what went wrong with a request. What befell its body comes first, because services see that as a failing reader.
func asFault(err error) *fault.Error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &fault.Error{Code: fault.TooLarge, Message: "the body is longer than " + strconv.FormatInt(tooLong.Limit, 10) + " bytes"}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &fault.Error{Code: timeout, Message: "the body did not arrive in time"}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return &fault.Error{Code: Unavailable, Message: "the server has no room left on a disk"}
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return &fault.Error{Code: fault.Canceled, Message: "the request was canceled"}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &fault.Error{Code: Unavailable, Message: "no answer in time"}
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok { // of Echo's router and of generated code
		switch e.Code {
		case http.StatusNotFound:
			return &fault.Error{Code: fault.NotFound, Message: "there is nothing at this path"}
		case http.StatusMethodNotAllowed:
			return &fault.Error{Code: notAllowed, Message: "the path has no such method"}
		case http.StatusBadRequest:
			return &fault.Error{Code: fault.Invalid, Message: "a parameter or the body cannot be read"}
		}
	}
	return &fault.Error{Code: fault.Internal, Cause: err}
}

// ofClient says whether an error is one of the connection that a request came by: nobody is there to answer.
func ofClient(ctx context.Context, err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	at, known := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	return ok && known && e.Op == "write" && e.Source != nil && e.Source.String() == at.String()
}

// problem is newProblem, told to the log with its cause.
func (g *gateway) problem(ctx context.Context, err error) api.Problem {
	if ofClient(ctx, err) {
		err = fault.Wrap(err, fault.Canceled, "", "the client has gone")
	}
	p := newProblem(err, requestIDOf(ctx))
	level := slog.LevelInfo
	if p.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	cause := err
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Cause != nil {
		cause = f.Cause
	}
	g.Log.Log(ctx, level, "refused", "request", p.RequestID, "status", p.Status, "code", p.Code, "field", p.Field, "cause", cause)
	return p
}

// refuse answers with the problem that err is. An answer that has begun cannot become one: its connection is cut, so that nobody takes
// the part for the whole.
func (g *gateway) refuse(err error, c echo.Context) {
	p := g.problem(c.Request().Context(), err)
	if c.Response().Committed {
		panic(http.ErrAbortHandler)
	}
	g.writeProblem(c, p, err)
}

func (g *gateway) writeProblem(c echo.Context, p api.Problem, err error) {
	h := c.Response().Header()
	for _, name := range []string{"ETag", "Location", "Content-Length", "Content-Disposition"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set(echo.HeaderContentType, problemType)
	challenge(h, c, p)
	if wait, ok := errors.AsType[*waitError](err); ok {
		h.Set("Retry-After", strconv.FormatInt(max(1, seconds(wait.after)), 10))
	}
	status, body := p.Status, any(p)
	if op := operationOf(c); op != nil && op.openAI {
		h.Set(echo.HeaderContentType, jsonType)
		status, body = openAIError(p)
	}
	if err := c.JSON(status, body); err != nil {
		g.Log.InfoContext(c.Request().Context(), "problem not sent", "request", p.RequestID, "cause", err)
	}
}

// challenge says how to get in (RFC 6750, section 3), unless whoever refused said it.
func challenge(h http.Header, c echo.Context, p api.Problem) {
	if h.Get(echo.HeaderWWWAuthenticate) != "" {
		return
	}
	switch p.Status {
	case http.StatusUnauthorized:
		value := "Bearer"
		if c.Request().Header.Get(echo.HeaderAuthorization) != "" {
			value += ` error="invalid_token"`
		}
		h.Set(echo.HeaderWWWAuthenticate, value)
	case http.StatusForbidden:
		value := `Bearer error="insufficient_scope"`
		if op := operationOf(c); op != nil && op.Scope != "" {
			value += `, scope="` + strings.ReplaceAll(op.Scope, `"`, "") + `"`
		}
		h.Set(echo.HeaderWWWAuthenticate, value)
	}
}

// waitError is a refusal with the time after which it may go better.
type waitError struct {
	error
	after time.Duration
}

func (e *waitError) Unwrap() error { return e.error }
