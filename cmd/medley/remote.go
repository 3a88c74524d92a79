package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/fault"
)

// serverFlags name a server that does the work.
type serverFlags struct {
	Server    string `env:"MEDLEY_SERVER" placeholder:"URL" help:"Do it on a medley server; --base and --modules are then its names, and folders among the modules are uploaded."`
	Token     string `env:"MEDLEY_TOKEN" placeholder:"TOKEN" help:"Access token or API key for --server; better in the environment, where others do not see it."`
	TokenFile string `placeholder:"FILE" help:"File with the token."`
}

// server is a medley server as the command line uses it.
type server struct {
	*api.ClientWithResponses
	http *http.Client
	url  string
	auth string
}

// connect makes a client; an API key is exchanged for a token first.
func (f serverFlags) connect(ctx context.Context) (*server, error) {
	u, err := url.Parse(f.Server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fault.New(fault.Invalid, "--server", "%q is no address; expected one like http://127.0.0.1:8080", f.Server)
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	s := &server{url: strings.TrimSuffix(f.Server, "/"), http: &http.Client{CheckRedirect: sameHost}}
	s.ClientWithResponses, err = api.NewClientWithResponses(s.url, api.WithHTTPClient(s.http), api.WithRequestEditorFn(s.authorize))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--server", "%q is no address: %v", f.Server, err)
	}
	if strings.HasPrefix(token, "mdl_") {
		r, err := s.ExchangeKeyWithResponse(ctx, api.Exchange{Key: token})
		if err != nil {
			return nil, s.unreachable(ctx, err)
		}
		if r.JSON200 == nil {
			return nil, refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
		}
		token = r.JSON200.Token
	}
	s.auth = "Bearer " + token
	return s, nil
}

// sameHost keeps a token from following a redirect to another host.
func sameHost(next *http.Request, via []*http.Request) error {
	if len(via) > 5 || next.URL.Host != via[0].URL.Host || next.URL.Scheme != via[0].URL.Scheme {
		return errors.New("it redirects elsewhere")
	}
	return nil
}

func (f serverFlags) token() (string, error) {
	if f.TokenFile == "" {
		if f.Token == "" {
			return "", fault.New(fault.Invalid, "--token-file", "or MEDLEY_TOKEN is missing: the server wants a token (medley token create makes one)")
		}
		return strings.TrimSpace(f.Token), nil
	}
	data, err := os.ReadFile(f.TokenFile)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "--token-file", "%s cannot be read: %v", f.TokenFile, errorWithoutPath(err))
	}
	return strings.TrimSpace(string(data)), nil
}

func (s *server) authorize(_ context.Context, r *http.Request) error {
	if s.auth != "" {
		r.Header.Set("Authorization", s.auth)
	}
	return nil
}

// unreachable is the error of a request that got no answer.
func (s *server) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(ctx.Err(), fault.Canceled, "", "%v", ctx.Err())
	}
	return fault.Wrap(err, fault.Internal, "--server "+s.url, "does not answer: %v", innermost(err))
}

// refused is the error that an answer carries, in the server's words.
func refused(r *http.Response, p *api.Problem) error {
	if p == nil || p.Code == "" {
		return fault.New(fault.Internal, "--server", "answered with status %d, which no medley server does", r.StatusCode)
	}
	code := fault.Code(p.Code)
	switch r.StatusCode / 100 {
	case 4:
		if code != fault.NotFound && code != fault.TooLarge && code != fault.Unsupported {
			code = fault.Invalid
		}
	default:
		code = fault.Internal
	}
	detail := p.Detail
	if detail == "" {
		detail = p.Title
	}
	if code == fault.Internal {
		detail += " (request " + p.RequestID + ")"
	}
	field := "the server"
	if p.Field != "" {
		field += ": " + p.Field
	}
	return fault.New(code, field, "%s", detail)
}

// follow hears a composition's events until the last, and comes back to where it was when the connection breaks.
func (s *server) follow(ctx context.Context, composition string, hear func(kind string, data []byte) error) error {
	last, failures := "", 0
	for {
		ended, heard, err := s.listenTo(ctx, composition, &last, hear)
		switch {
		case ended || ctx.Err() != nil:
			return err
		case fault.CodeOf(err) != fault.Internal && err != nil:
			return err
		case heard:
			failures = 0
		}
		if failures++; failures > 20 {
			return err
		}
		select {
		case <-time.After(min(5*time.Second, time.Duration(failures)*300*time.Millisecond)):
		case <-ctx.Done():
		}
	}
}

// maxEventLine bounds a line of the events, bytes.
const maxEventLine = 16 << 20

// listenTo hears events of one connection.
func (s *server) listenTo(ctx context.Context, composition string, last *string, hear func(kind string, data []byte) error) (ended, heard bool, err error) {
	r, err := s.FollowComposition(ctx, composition, &api.FollowCompositionParams{LastEventID: *last})
	if err != nil {
		return false, false, s.unreachable(ctx, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		var p api.Problem
		if json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&p) != nil {
			return false, false, refused(r, nil)
		}
		return false, false, refused(r, &p)
	}
	kind, id := "", *last
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, maxEventLine)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			heard = true
			if err := hear(kind, []byte(value)); err != nil {
				return false, heard, err
			}
			*last = id
			if kind == "end" {
				return true, heard, nil
			}
		}
	}
	if err = lines.Err(); err == nil {
		err = io.ErrUnexpectedEOF
	}
	return false, heard, s.unreachable(ctx, err)
}

// once is a key for a create that may have to be sent again.
func once() string { return rand.Text() }
