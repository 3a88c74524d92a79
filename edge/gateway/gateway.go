// Package gateway is the door of the platform: an Echo server that answers the API of edge/openapi.yaml.
//
// A request is paced, authorized, counted and checked against the specification before a handler sees it. Handlers bind, call a service
// and return; services return faults, and one place makes problem documents of them.
package gateway

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/fault"
)

// Options are what a gateway stands in front of. The services and Auth are required.
type Options struct {
	Bases        Bases
	Modules      Modules
	Compositions Compositions
	Evaluations  Evaluations
	Generations  Generations
	Completions  Completions
	Plugins      Plugins
	Tokens       Tokens
	Health       Health
	Metrics      Metrics
	Auth         Authorizer

	Limits  Limits                                                 // nil: no rate limits
	Observe func(operation string, status int, took time.Duration) // told of every answer, if not nil; operation "" is none of the API's
	Log     *slog.Logger                                           // default: slog.Default()

	Page       http.Handler    // answers GET for what is none of the API's; it sets its own headers
	Origins    []string        // whose pages may call the API (CORS); default: none but its own
	Closing    context.Context // when it ends, so do event streams, which would otherwise hold up http.Server.Shutdown
	Heartbeat  time.Duration   // between signs of life in an event stream; default 15 s
	MaxStreams int             // event streams at once; default 10000
	Grace      time.Duration   // for a body, and every write of an answer (twice that), to get through, beside what its size takes; default 30 s
}

// gateway implements api.StrictServerInterface.
type gateway struct {
	Options
	streams chan struct{} // holds one for every event stream
	large   chan struct{} // holds one for every large body that is being checked
}

// maxLarge is how many large bodies are checked at once.
const maxLarge = 4

// New makes the server. It is to be served by Server.
func New(o Options) (*echo.Echo, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, err
	}
	operations, err := operationsOf(spec)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Closing == nil {
		o.Closing = context.Background()
	}
	o.Heartbeat = cmp.Or(o.Heartbeat, 15*time.Second)
	o.MaxStreams = cmp.Or(o.MaxStreams, 10000)
	o.Grace = cmp.Or(o.Grace, 30*time.Second)
	g := &gateway{Options: o, streams: make(chan struct{}, o.MaxStreams), large: make(chan struct{}, maxLarge)}

	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect() // headers that name another address can be made up
	e.HTTPErrorHandler = g.refuse
	e.JSONSerializer = serializer{}
	e.Pre(modelNames)
	e.Use(identify, secure, know(operations), g.answer, g.pace, concreteFirst(operations))
	if len(o.Origins) > 0 {
		e.Use(allowOrigins(o.Origins))
	}
	e.Use(g.authorize, g.limit, g.check, conditional)
	api.RegisterHandlers(e, api.NewStrictHandler(g, nil))
	if o.Page != nil {
		page := g.pageBeside(operations)
		e.GET("/*", page)
		e.HEAD("/*", page)
	}
	return e, g.serveSpec(e, spec)
}

// pageBeside answers what is none of the API's. Its paths have the methods that they have without a page.
func (g *gateway) pageBeside(operations []Operation) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		if methods := methodsAt(operations, path); methods != nil {
			return allowing(methods)(c)
		}
		if strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/.well-known/") {
			return echo.ErrNotFound
		}
		h := c.Response().Header()
		h.Del(policyHeader)
		h.Del("Cache-Control")
		g.Page.ServeHTTP(c.Response(), c.Request())
		return nil
	}
}

func allowOrigins(origins []string) echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOrigins:  origins,
		AllowMethods:  []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowHeaders:  []string{"Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", requestIDHeader},
		ExposeHeaders: []string{"ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", requestIDHeader},
		MaxAge:        600,
	})
}

// serveSpec serves the specification, as JSON for programs and as a page for people.
func (g *gateway) serveSpec(e *echo.Echo, spec *openapi3.T) error {
	document, err := publicSpec(spec)
	if err != nil {
		return fmt.Errorf("the specification as JSON: %w", err)
	}
	page, err := renderPage(spec)
	if err != nil {
		return fmt.Errorf("the specification as a page: %w", err)
	}
	e.GET("/openapi.json", func(c echo.Context) error { return c.Blob(http.StatusOK, jsonType, document) })
	e.GET("/docs", func(c echo.Context) error {
		c.Response().Header().Set(policyHeader, pagePolicy)
		return c.HTMLBlob(http.StatusOK, page)
	})
	return nil
}

// limit counts a request and says how many are left.
func (g *gateway) limit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op := operationOf(c)
		if op == nil || op.unlimited || g.Limits == nil {
			return next(c)
		}
		who := principalOf(c.Request().Context()).ID
		if op.Scope == "" {
			who = "address " + c.RealIP()
		}
		a, err := g.Limits.Allow(c.Request().Context(), who, op.ID)
		if err != nil {
			g.Log.WarnContext(c.Request().Context(), "rate unknown, request allowed", "operation", op.ID, "cause", err)
			return next(c)
		}
		h := c.Response().Header()
		h.Set("RateLimit-Policy", rateField(";q=", a.Limit, ";w=", seconds(a.Window)))
		h.Set("RateLimit", rateField(";r=", a.Remaining, ";t=", seconds(a.Reset)))
		if !a.Allowed {
			return &waitError{fault.New(RateLimited, "", "there were too many requests"), a.Retry}
		}
		return next(c)
	}
}

// rateField is a rate as header fields have it, with two of its parameters.
func rateField(name string, value int64, second string, secondValue int64) string {
	text := append(make([]byte, 0, 48), `"default"`...)
	text = strconv.AppendInt(append(text, name...), value, 10)
	return string(strconv.AppendInt(append(text, second...), secondValue, 10))
}

// seconds rounds up, so that who waits so long has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
