package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	requestIDHeader = echo.HeaderXRequestID
	policyHeader    = echo.HeaderContentSecurityPolicy
)

// Policies of what an answer may do in a browser: data nothing, our pages show themselves.
const (
	dataPolicy = "default-src 'none'; frame-ancestors 'none'; sandbox"
	pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
)

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

type requestIDKey struct{}

// identify gives a request its id: its own, if that can be repeated as it is, or a new one.
func identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		id := r.Header.Get(requestIDHeader)
		if id == "" || !requestIDPattern.MatchString(id) {
			id = rand.Text()
		}
		c.Response().Header().Set(requestIDHeader, id)
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
		return next(c)
	}
}

func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// secure sets what keeps browsers from misreading and caches from keeping an answer. Handlers loosen it where they can.
func secure(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set(policyHeader, dataPolicy)
		h.Set("Cache-Control", "no-store")
		return next(c)
	}
}

const operationKey = "operation"

// know finds out which operation a request is for, if any.
func know(all []Operation) echo.MiddlewareFunc {
	type route struct{ method, path string }
	byRoute := map[route]*Operation{}
	for i := range all {
		byRoute[route{all[i].Method, all[i].Path}] = &all[i]
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Set(operationKey, byRoute[route{c.Request().Method, c.Path()}])
			return next(c)
		}
	}
}

// operationOf returns the operation that a request is for, nil if it is for none.
func operationOf(c echo.Context) *Operation {
	op, _ := c.Get(operationKey).(*Operation)
	return op
}

// answer makes a problem of every error and panic within, and tells of the answer.
func (g *gateway) answer(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		if g.Observe != nil {
			defer func() {
				name := ""
				if op := operationOf(c); op != nil {
					name = op.ID
				}
				g.Observe(name, c.Response().Status, time.Since(start))
			}()
		}
		if err := recovered(next, c); err != nil {
			g.refuse(err, c)
		}
		return nil
	}
}

func recovered(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		switch value := recover(); value {
		case nil:
		case http.ErrAbortHandler:
			panic(value) // net/http cuts the connection
		default:
			err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	return next(c)
}

type principalKey struct{}

// authorize lets nobody in without a token of the operation's scope.
func (g *gateway) authorize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op := operationOf(c)
		if op == nil || op.Scope == "" {
			return next(c)
		}
		p, err := g.Auth.Authorize(c, op.Scope)
		if err != nil {
			return err
		}
		r := c.Request()
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
		return next(c)
	}
}

// principalOf returns who a request comes from; of a public operation, nobody.
func principalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
