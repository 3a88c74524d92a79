package service

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
)

// Client speaks to one evaluator. Its errors have the codes, fields and sentences that the evaluator's have in its own process; the end
// of a context is fault.Canceled; a connection that fails is fault.Internal. It is safe for concurrent use.
type Client struct {
	http   *http.Client
	base   string // of every address, ending in "/v1/"
	secret string // "" for none
}

// NewClient makes a client whose connections dial makes.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{base: "http://evaluator/v1/", http: &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConnsPerHost: 8,
		DisableCompression:  true,
	}}}
}

// dialSocket makes a client of the evaluator at a unix socket.
func dialSocket(path string) *Client {
	return NewClient(func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) })
}

// Close gives idle connections up.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// broken marks an error of the connection rather than of the evaluator.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

func brokenBy(err error) error {
	return broken{fault.Wrap(err, fault.Internal, "evaluator", "the connection failed: %v", cause(err))}
}

// send makes a request. The caller closes the body of the response, whose status is one of success.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "evaluator", "the request cannot be written: %v", err)
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.secret != "" {
		request.Header.Set("Authorization", "Bearer "+c.secret)
	}
	response, err := c.http.Do(request)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			response.Body.Close()
		}
		return nil, canceled(ctx)
	case err != nil:
		return nil, brokenBy(err)
	case response.StatusCode >= 300:
		defer response.Body.Close()
		return nil, refusal(ctx, response)
	}
	return response, nil
}

// refusal is the error that a response carries.
func refusal(ctx context.Context, r *http.Response) error {
	var p problem
	if r.StatusCode == http.StatusUnauthorized {
		return fault.New(fault.Internal, "evaluator", "refuses the secret that it was given")
	}
	if r.Header.Get("Content-Type") != problemType {
		return fault.New(fault.Internal, "evaluator", "answered with status %d, which it should not", r.StatusCode)
	}
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		return interrupted(ctx, err)
	}
	return p.fault()
}

// interrupted is the error of an answer that was not read to its end.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	return brokenBy(err)
}

// call makes a request and reads its answer into a T.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var v T
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return v, err
	}
	defer response.Body.Close()
	d := json.NewDecoder(response.Body)
	if err := d.Decode(&v); err != nil {
		return v, interrupted(ctx, err)
	}
	io.Copy(io.Discard, response.Body) //nolint:errcheck // so that the connection serves again
	return v, nil
}

// Health asks whether the evaluator answers.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, http.MethodGet, "health", nil)
}

// Backend returns what the evaluator runs on, and opens it if it is not open yet.
func (c *Client) Backend(ctx context.Context) (Backend, error) {
	return call[Backend](ctx, c, http.MethodGet, "backend", nil)
}

// Bases lists the bases that the evaluator has.
func (c *Client) Bases(ctx context.Context) ([]Base, error) {
	answer, err := call[basesReply](ctx, c, http.MethodGet, "bases", nil)
	return answer.Bases, err
}

// Ready says what keeps the evaluator from opening models; nil if nothing does.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[readyReply](ctx, c, http.MethodGet, "ready", nil)
	return err
}

// Open opens a session, whose life ctx is: when it ends, calls that take no context fail. The caller closes the session.
func (c *Client) Open(ctx context.Context, q OpenRequest) (*Session, error) {
	q, err := q.absolute()
	if err != nil {
		return nil, err
	}
	opened, err := c.open(ctx, q)
	if err != nil {
		return nil, err
	}
	return &Session{
		life: ctx, opened: opened,
		with: func(_ context.Context, send func(*Client, string) error) error { return send(c, opened.ID) },
		end:  func(ctx context.Context) error { return c.close(ctx, opened.ID) },
	}, nil
}

func (c *Client) open(ctx context.Context, q OpenRequest) (openReply, error) {
	return call[openReply](ctx, c, http.MethodPost, "sessions", q)
}

func (c *Client) close(ctx context.Context, id string) error {
	response, err := c.send(ctx, http.MethodDelete, "sessions/"+id, nil)
	if err == nil {
		response.Body.Close()
	}
	return err
}

// absolute makes folders mean the same in another process.
func (q OpenRequest) absolute() (OpenRequest, error) {
	q.Modules = slices.Clone(q.Modules)
	paths := []*string{&q.Base.Path}
	for i := range q.Modules {
		paths = append(paths, &q.Modules[i].Path)
	}
	for _, p := range paths {
		if *p == "" {
			continue // refused by the evaluator
		}
		absolute, err := filepath.Abs(*p)
		if err != nil {
			return q, fault.Wrap(err, fault.Internal, "", "the current folder is not known: %v", cause(err))
		}
		*p = absolute
	}
	return q, nil
}
