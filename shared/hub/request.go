package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// request is one question to a server.
type request struct {
	place  string // the field of errors: "ORG/NAME" or "ORG/NAME: FILE"
	method string
	url    *url.URL
	header http.Header
	body   func() (io.ReadCloser, int64, error) // made anew for each attempt; nil for none
}

// response is an answer that is not a redirect, with what the endpoint said on the way to it. The caller closes the body.
type response struct {
	*http.Response
	etag string // of the file's content: the endpoint's X-Linked-Etag, else its ETag; empty if it gave none
}

// ask sends a request until there is an answer that is worth having: redirects are followed, and a server that is busy or gone is asked
// again, a bounded number of times, each after a bounded wait.
func (c *Client) ask(ctx context.Context, r request) (*response, error) {
	if c.config.Offline {
		return nil, fault.Wrap(ErrUnreachable, fault.NotFound, r.place, "would have to be asked for, but the Hub is set to offline (HF_HUB_OFFLINE)")
	}
	for attempt := 1; ; attempt++ {
		answer, err := c.send(ctx, r)
		if ctx.Err() != nil {
			if err == nil {
				answer.Body.Close()
			}
			return nil, canceled(ctx)
		}
		var after time.Duration
		switch {
		case err != nil:
			if !errors.Is(err, ErrUnreachable) || attempt == c.limits.attempts {
				return nil, err
			}
		case !isBusy(answer.StatusCode):
			return answer, nil
		default:
			after = retryAfter(answer.Header, time.Now())
			err = c.refusal(answer, r.place)
			answer.Body.Close()
			if after > c.limits.wait {
				return nil, fault.Wrap(ErrUnreachable, fault.Internal, r.place, "the Hub is busy (status %d) and asks to wait %s; that is longer than the %s waited for at most",
					answer.StatusCode, inWords(after), inWords(c.limits.wait))
			}
			if attempt == c.limits.attempts {
				return nil, err
			}
		}
		if err := sleep(ctx, max(after, c.limits.backoff<<(attempt-1))); err != nil {
			return nil, err
		}
	}
}

func isBusy(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the wait that a server asks for, in seconds or as a date; what cannot be read is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		const most = 100 * 365 * 24 * time.Hour
		if !(seconds > 0) {
			return 0
		}
		return time.Duration(min(seconds, most.Seconds()) * float64(time.Second))
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

func inWords(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
	return d.Round(time.Millisecond).String()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return canceled(ctx)
	case <-t.C:
		return nil
	}
}

func canceled(ctx context.Context) error {
	return fault.Wrap(context.Cause(ctx), fault.Canceled, "", "canceled")
}

// send sends a request once and follows redirects. The token goes to the endpoint's own origin and nowhere else; a question that changes
// something is not carried to another host at all.
func (c *Client) send(ctx context.Context, r request) (*response, error) {
	u, etag := r.url, ""
	for hop := 0; ; hop++ {
		answer, err := c.sendOnce(ctx, r, u) //nolint:bodyclose // drained below, or handed to the caller
		if err != nil {
			return nil, c.unreachable(r.place, err)
		}
		if sameOrigin(u, c.endpoint) && etag == "" {
			etag = contentTag(answer.Header)
		}
		switch answer.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return &response{Response: answer, etag: etag}, nil
		}
		drain(answer.Body)
		next, err := answer.Location()
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, r.place, "the server redirects to nowhere")
		}
		if hop == c.limits.redirects {
			return nil, fault.New(fault.Invalid, r.place, "the server redirects more than %d times", c.limits.redirects)
		}
		if err := c.mayFollow(r, u, next); err != nil {
			return nil, err
		}
		u = next
	}
}

// mayFollow refuses redirects that leave HTTP, that leave encryption, or that carry a change to another host.
func (c *Client) mayFollow(r request, from, to *url.URL) error {
	switch {
	case to.Scheme != "https" && to.Scheme != "http" || to.User != nil:
		return fault.New(fault.Invalid, r.place, "the server redirects to something that is no http or https URL")
	case from.Scheme == "https" && to.Scheme == "http":
		return fault.New(fault.Invalid, r.place, "the server redirects from https to http, where anyone can read and change what is sent")
	case r.method != http.MethodGet && r.method != http.MethodHead && !sameOrigin(from, to):
		return fault.New(fault.Invalid, r.place, "the server redirects an upload to another host")
	case !c.inside && namesPrivate(to.Hostname()) && !sameOrigin(to, c.endpoint): // a proxy would connect there for us
		return fault.Wrap(errPrivate, fault.Invalid, r.place, "the server redirects to a private address")
	}
	return nil
}

func (c *Client) sendOnce(ctx context.Context, r request, u *url.URL) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		q.Header[name] = values
	}
	q.Header.Set("User-Agent", c.config.UserAgent)
	q.Header.Del("Authorization")
	if c.config.Token != "" && sameOrigin(u, c.endpoint) {
		q.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	if r.body != nil {
		if q.Body, q.ContentLength, err = r.body(); err != nil {
			return nil, err
		}
	}
	return c.http.RoundTrip(q)
}

// contentTag is the name of a file's content in the answer of an endpoint.
func contentTag(h http.Header) string {
	tag := h.Get("X-Linked-Etag")
	if tag == "" {
		tag = h.Get("ETag")
	}
	if len(tag) > 2 && tag[:2] == "W/" {
		tag = tag[2:]
	}
	if n := len(tag); n >= 2 && tag[0] == '"' && tag[n-1] == '"' {
		tag = tag[1 : n-1]
	}
	return tag
}

// drain lets a connection be used again, if little is left to read.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4<<10) // whatever is wrong with it, it is not needed
	body.Close()
}

// askJSON sends body, if it is not nil, and reads the answer into v, if that is not nil. It returns the answer's header.
func (c *Client) askJSON(ctx context.Context, r request, body, v any) (http.Header, error) {
	if r.header == nil {
		r.header = http.Header{}
	}
	if r.header.Get("Accept") == "" {
		r.header.Set("Accept", "application/json")
	}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		if r.header.Get("Content-Type") == "" {
			r.header.Set("Content-Type", "application/json")
		}
		r.body = fromBytes(data)
	}
	return c.readJSON(ctx, r, v)
}

func fromBytes(data []byte) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
	}
}

func (c *Client) readJSON(ctx context.Context, r request, v any) (http.Header, error) {
	answer, err := c.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return nil, c.refusal(answer, r.place)
	}
	if v == nil {
		return answer.Header, nil
	}
	// A listing is small: the whole of it must come within the time of a few windows, however it trickles.
	watched, stop := context.WithTimeout(ctx, 2*c.limits.window)
	defer stop()
	release := context.AfterFunc(watched, func() { answer.Body.Close() })
	defer release()
	data, err := io.ReadAll(io.LimitReader(answer.Body, c.limits.json+1))
	switch {
	case ctx.Err() != nil:
		return nil, canceled(ctx)
	case watched.Err() != nil:
		return nil, fault.Wrap(ErrUnreachable, fault.Internal, r.place, "the Hub's answer did not end in time")
	case err != nil:
		return nil, c.unreachable(r.place, err)
	case int64(len(data)) > c.limits.json:
		return nil, fault.New(fault.TooLarge, r.place, "the Hub's answer has more than %d bytes", c.limits.json)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, r.place, "the server's answer is not what a Hub gives; is the endpoint (HF_ENDPOINT) one?")
	}
	return answer.Header, nil
}
