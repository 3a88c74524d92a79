package service_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

const secret = "correct horse"

// listening is a server on TCP that can be stopped and followed by another at its address.
type listening struct {
	address string
	stop    func() // and wait
}

func listen(t *testing.T, h http.Handler, address string) listening {
	t.Helper()
	var l net.Listener
	var err error
	for range 100 { // the address of one that has just stopped may take a moment
		if l, err = net.Listen("tcp", address); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.ServeTCP(ctx, h, l, secret) }()
	stopped := false
	s := listening{address: l.Addr().String(), stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(s.stop)
	return s
}

func remote(t *testing.T, address string, patience time.Duration) *service.Remote {
	t.Helper()
	r, err := service.NewRemote(service.RemoteOptions{URL: "http://" + address, Secret: secret, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// A remote session lives on when its evaluator is restarted, with the same numbers, and fails when what comes back computes otherwise.
func TestRemoteSurvivesRestart(t *testing.T) {
	z := newZoo(t)
	q := z.request(lora.Delta, "plural", "french")
	_, m := z.mixer(t, q)
	weights := [][]float64{{1, 0}, {0.3, -0.7}}
	want, err := m.Score(t.Context(), berries, weights)
	if err != nil {
		t.Fatal(err)
	}
	first := newServer()
	defer first.Close()
	l := listen(t, first, "127.0.0.1:0")
	r := remote(t, l.address, 20*time.Second)
	s := openSession(t, r, q)
	check := func(what string) {
		t.Helper()
		got, err := s.Score(t.Context(), berries, weights)
		if err != nil || !sameScores(got, want) {
			t.Fatalf("%s: %v, error %v, want %v", what, got, err, want)
		}
	}
	check("at first")
	l.stop()
	next := newServer() // which knows no session
	defer next.Close()
	restarted := make(chan listening)
	go func() {
		time.Sleep(200 * time.Millisecond)
		restarted <- listen(t, next, l.address)
	}()
	check("out of reach and back")
	l = <-restarted
	wantAnswers, err := m.Generate(t.Context(), []string{"one berry , several"}, []float64{2, 0}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Generate(t.Context(), []string{"one berry , several"}, []float64{2, 0}, func(int) {}); err != nil || !slices.Equal(got, wantAnswers) {
		t.Errorf("answers %q, error %v, want %q", got, err, wantAnswers)
	}
	l.stop()
	other := serverOf(func(context.Context) (backend.Backend, string, error) {
		b, err := cpu.New(cpu.Options{})
		return b, "", err
	}, service.HostOptions{})
	defer other.Close()
	listen(t, other, l.address)
	if _, err := s.Score(t.Context(), berries, weights); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "which gives other numbers") {
		t.Errorf("another backend: error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Score(t.Context(), berries, weights); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("closed: error %v", err)
	}
}

func TestRemoteGivesUp(t *testing.T) {
	server := newServer()
	defer server.Close()
	l := listen(t, server, "127.0.0.1:0")
	r := remote(t, l.address, 300*time.Millisecond)
	if _, err := r.Backend(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.stop()
	start := time.Now()
	_, err := r.Backend(t.Context())
	if f := faultOf(err); f.Code != fault.Internal || f.Field != "evaluator" || !strings.Contains(f.Message, "out of reach for 300ms") {
		t.Errorf("error %+v", f)
	}
	if took := time.Since(start); took < 300*time.Millisecond || took > 10*time.Second {
		t.Errorf("gave up after %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Backend(ctx); fault.CodeOf(err) != fault.Canceled {
		t.Errorf("canceled: error %v", err)
	}
	requests := 0
	hangsUp := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		requests++
		panic(http.ErrAbortHandler)
	}), "127.0.0.1:0")
	if _, err := remote(t, hangsUp.address, time.Hour).Backend(t.Context()); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "lost 3 times") {
		t.Errorf("hangs up: error %v after %d requests", err, requests)
	}
}

func TestSecret(t *testing.T) {
	server := newServer()
	defer server.Close()
	l := listen(t, server, "127.0.0.1:0")
	for header, status := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer correct": 401, "Bearer correct horses": 401, "Basic " + secret: 401, secret: 401,
		"Bearer " + secret: 200, "bearer " + secret: 200,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.address+"/v1/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", header)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%q: status %d, want %d", header, response.StatusCode, status)
		}
	}
	r, err := service.NewRemote(service.RemoteOptions{URL: "http://" + l.address, Secret: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Backend(t.Context()); faultOf(err) != (fault.Error{Code: fault.Internal, Field: "evaluator", Message: "refuses the secret that it was given"}) {
		t.Errorf("error %v", err)
	}
	for _, o := range []service.RemoteOptions{
		{Secret: "s"}, {URL: "ftp://a", Secret: "s"}, {URL: "http://", Secret: "s"}, {URL: "http://u:p@a", Secret: "s"}, {URL: "10.0.0.1:9", Secret: "s"}, {URL: "http://a"},
	} {
		if _, err := service.NewRemote(o); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%+v: error %v", o, err)
		}
	}
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := service.ServeTCP(t.Context(), server, open, ""); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("no secret: error %v", err)
	}
}

// An idle session is closed; a client that is patient opens it again.
func TestIdleSessions(t *testing.T) {
	z := newZoo(t)
	host, err := service.NewHost(func(context.Context) (backend.Backend, string, error) { return reference.New(), "", nil }, service.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const idle = 50 * time.Millisecond
	server := service.NewServer(host, service.ServerOptions{Idle: idle})
	defer server.Close()
	l := listen(t, server, "127.0.0.1:0")
	r := remote(t, l.address, 20*time.Second)
	s := openSession(t, r, z.request(lora.Delta, "plural"))
	closed := func() bool {
		h, err := r.Health(t.Context())
		return err == nil && h.Sessions == 0 && h.Stats.Bases == 0
	}
	for range 2 {
		if _, err := s.Score(t.Context(), berries, [][]float64{{1}}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); !closed(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the session stays")
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// failing is an opener whose models cannot be opened.
type failing struct {
	service.Opener
	err error
}

func (f failing) Open(context.Context, service.OpenRequest) (service.Model, error) { return nil, f.err }
func (f failing) Close() error                                                     { return nil }

// What crosses to other machines names no path; what is nobody's mistake is reported as it is.
func TestPublicErrors(t *testing.T) {
	for _, c := range []struct {
		err         error
		field, text string
		reported    bool
	}{
		{errors.New("open /home/ann/base/config.json: permission denied"), "", "open (path): permission denied", true},
		{fault.New(fault.Internal, "evaluator", "it ended\n  panic: /usr/lib/driver.so"), "evaluator", "it ended", true},
		{fault.In("--base /srv/my base", fault.New(fault.Invalid, "config.json", "is not JSON")), "--base (path) base: config.json", "is not JSON", false},
		{fault.New(fault.Invalid, "base", `"C:\models\x" and '\\host\share' and https://host/x and (/etc/y)`), "base", `"(path)" and '(path)' and https:(path) and (` + `(path))`, false},
		{fault.New(fault.Invalid, "rank", "3/4 of a/b, at most 2 tokens/s"), "rank", "3/4 of a/b, at most 2 tokens/s", false},
	} {
		var reported error
		server := service.NewServer(failing{err: c.err}, service.ServerOptions{Public: true, Report: func(err error) { reported = err }})
		client, _ := clientOf(t, server)
		_, err := client.Open(t.Context(), service.OpenRequest{})
		if f := faultOf(err); f.Field != c.field || f.Message != c.text || (reported != nil) != c.reported {
			t.Errorf("%v: %+v, reported %v", c.err, f, reported)
		}
		if c.reported && !errors.Is(reported, c.err) {
			t.Errorf("reported %v, want %v", reported, c.err)
		}
	}
}

// swapped is a handler that can be replaced.
type swapped struct{ atomic.Pointer[service.Server] }

func (s *swapped) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Load().ServeHTTP(w, r) }

// What an evaluator cancels because it ends is asked of the next; what its own client closes is canceled.
func TestRemoteOutlivesAnEnd(t *testing.T) {
	z := newZoo(t)
	q := z.request(lora.Delta, "plural")
	_, m := z.mixer(t, q)
	want, err := m.Score(t.Context(), berries, [][]float64{{1}})
	if err != nil {
		t.Fatal(err)
	}
	b := stuck{reference.New(), make(chan struct{})}
	ending, next := serverOn(b), newServer()
	defer next.Close()
	var h swapped
	h.Store(ending)
	s := openSession(t, remote(t, listen(t, &h, "127.0.0.1:0").address, 20*time.Second), q)
	failed := make(chan error)
	go func() {
		got, err := s.Score(t.Context(), berries, [][]float64{{1}})
		if err == nil && !sameScores(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		failed <- err
	}()
	<-b.begun
	h.Store(next)
	if err := ending.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err != nil {
		t.Errorf("the evaluator ended: %v", err)
	}
	again := serverOn(b)
	defer again.Close()
	h.Store(again)
	go func() {
		_, err := s.Score(t.Context(), berries, [][]float64{{1}})
		failed <- err
	}()
	<-b.begun
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; fault.CodeOf(err) != fault.Canceled {
		t.Errorf("the session was closed: %v", err)
	}
}
