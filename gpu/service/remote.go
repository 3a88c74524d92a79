package service

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// RemoteOptions says where an evaluator is. URL and Secret must be set.
type RemoteOptions struct {
	URL    string // "http://10.0.0.7:9000", or https
	Secret string // what ServeTCP was given there
	// Patience is how long the evaluator may be out of reach within one call before it fails. Default 30 s.
	Patience time.Duration
	// Transport, if set, replaces the default one, for certificates of one's own.
	Transport http.RoundTripper
}

// Remote is an evaluator on another machine (see ServeTCP). Its sessions outlive the evaluator's restarts: a call whose connection fails,
// or whose session the evaluator does not know any more, is made again, with the session opened again, after pauses that grow. A call
// fails with fault.Internal when the evaluator is out of reach for too long, is lost three times under it, or comes back with a backend
// that gives other numbers. It is safe for concurrent use.
type Remote struct {
	client   *Client
	patience time.Duration
}

// NewRemote makes a client of an evaluator; nothing is sent yet.
func NewRemote(o RemoteOptions) (*Remote, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "evaluator", "the address is not of the form http://HOST:PORT or https://HOST:PORT")
	}
	if o.Secret == "" {
		return nil, errNoSecret
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Transport == nil {
		dialer := &net.Dialer{
			Timeout:         5 * time.Second, // and a machine that vanishes is noticed within half a minute:
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4},
		}
		o.Transport = &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: idleTime / 2, MaxIdleConnsPerHost: 64, DisableCompression: true,
		}
	}
	return &Remote{
		client:   &Client{http: &http.Client{Transport: o.Transport}, base: strings.TrimSuffix(u.String(), "/") + "/v1/", secret: o.Secret},
		patience: o.Patience,
	}, nil
}

// Close gives idle connections up. Sessions are closed by themselves.
func (r *Remote) Close() { r.client.Close() }

// Health asks whether the evaluator answers, once.
func (r *Remote) Health(ctx context.Context) (Health, error) { return r.client.Health(ctx) }

// Ready says what keeps the evaluator from opening models, asking once; nil if nothing does.
func (r *Remote) Ready(ctx context.Context) error { return r.client.Ready(ctx) }

// Backend returns what the evaluator runs on, and opens it if it is not open yet.
func (r *Remote) Backend(ctx context.Context) (b Backend, err error) {
	err = r.do(ctx, func() error {
		b, err = r.client.Backend(ctx)
		return err
	})
	return b, err
}

// Bases lists the bases that the evaluator has.
func (r *Remote) Bases(ctx context.Context) (bases []Base, err error) {
	err = r.do(ctx, func() error {
		bases, err = r.client.Bases(ctx)
		return err
	})
	return bases, err
}

// Open opens a session on a base by its name, with modules by their digests. ctx is its life: when it ends, calls that take no context
// fail. The caller closes the session.
func (r *Remote) Open(ctx context.Context, q OpenRequest) (*Session, error) {
	k := &kept{request: q, opening: newGate()}
	with := func(ctx context.Context, send func(*Client, string) error) error {
		return r.do(ctx, func() error {
			id, err := k.openOn(ctx, r.client)
			if err != nil {
				return err
			}
			err = send(r.client, id)
			switch {
			case unknownSession(err):
				if err := k.lose(ctx, id); err != nil {
					return err
				}
				return lostSession{err}
			case fault.CodeOf(err) == fault.Canceled && ctx.Err() == nil && !k.closed.Load(): // not by us: the evaluator is ending
				return lostSession{err}
			}
			return err
		})
	}
	if err := with(ctx, func(*Client, string) error { return nil }); err != nil {
		return nil, err
	}
	end := func(ctx context.Context) error {
		if err := k.close(ctx); !unknownSession(err) {
			return err
		}
		return nil // the evaluator has closed it
	}
	return &Session{life: ctx, opened: k.opened, with: with, end: end}, nil
}

// lostSession is the error of a session that the evaluator does not know any more, or is about to end.
type lostSession struct{ error }

func (l lostSession) Unwrap() error { return l.error }

func unknownSession(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Code == fault.NotFound && f.Field == errSessionField
}

// do calls send, again while the evaluator is out of reach or has lost the session.
func (r *Remote) do(ctx context.Context, send func() error) error {
	var trouble time.Time // since when there is some
	losses := 0           // of what was sent and not answered
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		begun := time.Now()
		err := send()
		if !errors.As(err, new(broken)) && !errors.As(err, new(lostSession)) {
			return err
		}
		if trouble.IsZero() || time.Since(begun) > r.patience {
			trouble = time.Now() // until now it worked
		}
		if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
			losses++
		}
		switch {
		case ctx.Err() != nil:
			return canceled(ctx)
		case losses == maxDeaths:
			return fault.Wrap(err, fault.Internal, "evaluator", "was lost %d times in a row under this request", losses)
		case time.Since(trouble) > r.patience:
			return fault.Wrap(err, fault.Internal, "evaluator", "was out of reach for %v", r.patience)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// sleep waits, but not beyond the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	}
}
