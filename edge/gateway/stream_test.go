package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/shared/fault"
)

// follow opens an event stream and returns its lines, which end when it does.
func (s *server) follow(id string, headers ...string) (lines <-chan string, leave func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/compositions/"+id+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer alice")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("status %d, %v", res.StatusCode, res.Header)
	}
	c := make(chan string)
	go func() {
		defer close(c)
		defer res.Body.Close()
		for scanner := bufio.NewScanner(res.Body); scanner.Scan(); {
			c <- scanner.Text()
		}
	}()
	return c, cancel
}

// expect reads lines until those that are wanted have come, in their order.
func expect(t *testing.T, lines <-chan string, want ...string) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for _, w := range want {
		for found := false; !found; {
			select {
			case line, more := <-lines:
				if !more {
					t.Fatalf("the stream ended before %q", w)
				}
				found = line == w
			case <-timeout:
				t.Fatalf("no %q came", w)
			}
		}
	}
}

// ended fails the test if a stream does not end, or has more than the lines that are allowed.
func ended(t *testing.T, lines <-chan string, allowed string) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case line, more := <-lines:
			if !more {
				return
			}
			if !strings.Contains(allowed, line) {
				t.Fatalf("%q came after the end", line)
			}
		case <-timeout:
			t.Fatal("the stream does not end")
		}
	}
}

func event(id, kind, data string) gateway.Event {
	return gateway.Event{ID: id, Kind: kind, Data: json.RawMessage(data)}
}

func TestEvents(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Heartbeat = 50 * time.Millisecond })
	id := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText).field("id")
	s.m.publish(id, event("1-0", "state", "{\n\"state\":\"running\"\r\n}"))
	lines, _ := s.follow(id)
	expect(t, lines, "retry: 2000", "", "id: 1-0", "event: state", "data: { \"state\":\"running\"  }", "")
	expect(t, lines, ":", "", ":", "") // nothing happens
	s.m.publish(id, event("", "gap", "{}"))
	s.m.publish(id, event("2-0", "evaluation", `{"loss":1}`))
	s.m.publish(id, event("3-0", "end", "{}"))
	expect(t, lines, "event: gap", "data: {}", "", "id: 2-0", "event: evaluation", `data: {"loss":1}`, "", "id: 3-0", "event: end", "data: {}", "")
	ended(t, lines, "")

	lines, _ = s.follow(id, "Last-Event-ID", "2-0")
	for line := range lines {
		if strings.Contains(line, "1-0") || strings.Contains(line, "2-0") {
			t.Errorf("resumed after 2-0, %q comes again", line)
		}
	}
	lines, _ = s.follow(id, "Last-Event-ID", "forgotten")
	expect(t, lines, "id: 1-0", "id: 3-0")
	ended(t, lines, "event: end\ndata: {}")

	path := "/v1/compositions/" + id + "/events"
	s.want(http.StatusNotFound, "GET", path, "", "Authorization", "Bearer bob")
	s.want(http.StatusBadRequest, "GET", path, "", "Last-Event-ID", "1\t0")
	s.want(http.StatusBadRequest, "GET", path, "", "Last-Event-ID", strings.Repeat("1", 65))
}

func TestEventsEndWithTheServer(t *testing.T) {
	closing, shut := context.WithCancel(context.Background())
	s := newServer(t, func(o *gateway.Options) { o.Closing = closing })
	id := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText).field("id")
	lines, _ := s.follow(id)
	expect(t, lines, "retry: 2000")
	shut()
	ended(t, lines, "")
}

func TestEventStreamsAreBounded(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.MaxStreams = 2 })
	id := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText).field("id")
	path := "/v1/compositions/" + id + "/events"
	s.want(http.StatusNotFound, "GET", path, "", "Authorization", "Bearer bob") // and takes no room
	_, leave := s.follow(id)
	s.follow(id)
	if a := s.want(http.StatusServiceUnavailable, "GET", path, ""); a.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	leave()
	for range 100 {
		if s.placeIsFree(path) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("who leaves makes no room")
}

// A client that never reads is cut off, so that it holds nothing for long.
func TestBadInput_53_EventsNobodyReads(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Grace, o.MaxStreams = 300*time.Millisecond, 1 })
	id := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText).field("id")
	some := `"` + strings.Repeat("x", 8<<10) + `"`
	for i := range 4096 { // more than the buffers of a connection hold
		s.m.publish(id, event(fmt.Sprint(i, "-0"), "evaluation", some))
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/compositions/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n", id)
	time.Sleep(100 * time.Millisecond) // it has the only place
	path := "/v1/compositions/" + id + "/events"
	s.want(http.StatusServiceUnavailable, "GET", path, "")
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		if s.placeIsFree(path) {
			return
		}
	}
	t.Error("the client is still served")
}

// placeIsFree says whether an event stream can be opened.
func (s *server) placeIsFree(path string) bool {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer alice")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func TestGenerations(t *testing.T) {
	s := newServer(t, nil)
	request := `{"base":"google/flan-t5-base","inputs":["x"]}`
	s.m.lines = []json.RawMessage{[]byte(`{"input":0,"text":"a\nb"}`), []byte(`{"input":0,"end":true}`)}
	if a := s.want(http.StatusOK, "POST", "/v1/generations", request); a.body != `{"input":0,"text":"a\nb"}`+"\n"+`{"end":true,"input":0}`+"\n" {
		t.Errorf("lines %q", a.body)
	}
	s.m.lines, s.m.generated = s.m.lines[:1], fault.New(fault.Internal, "", "secret detail")
	a := s.want(http.StatusOK, "POST", "/v1/generations", request)
	if !strings.Contains(a.body, `"problem":{"code":"internal"`) || strings.Contains(a.body, "secret") || !strings.Contains(s.log.String(), "secret detail") {
		t.Errorf("cut off: %q, log %s", a.body, s.log.String())
	}
	s.m.lines, s.m.generated = nil, fault.New(fault.NotFound, "base", "is not there")
	s.want(http.StatusNotFound, "POST", "/v1/generations", request)
	s.m.generated = nil
	s.want(http.StatusInternalServerError, "POST", "/v1/generations", request)
	for field, body := range map[string]string{
		"weights":  `{"base":"b","inputs":["x"],"modules":["mod_aaaaaaaaaaaaaaaaaaaaaaaaaa"]}`,
		"inputs":   `{"base":"b","inputs":[]}`,
		"inputs/0": `{"base":"b","inputs":["` + strings.Repeat("x", 32769) + `"]}`,
		"top_p":    `{"base":"b","inputs":["x"],"top_p":0}`,
	} {
		if a := s.want(http.StatusBadRequest, "POST", "/v1/generations", body); a.field("field") != field {
			t.Errorf("field %q, want %q: %s", a.field("field"), field, a.body)
		}
	}
}

// writing is a generation that goes on until its client has gone.
type writing struct {
	*memory
	ended chan error
}

func (w writing) Generate(ctx context.Context, _ string, _ api.GenerationRequest, write func(api.GenerationLine) error) error {
	var err error
	for err == nil && ctx.Err() == nil {
		err = write(api.GenerationLine{Text: strings.Repeat("x", 1000)})
	}
	w.ended <- ctx.Err()
	return err
}

func TestBadInput_55_ClientGoneInMidStream(t *testing.T) {
	ended := make(chan error, 1)
	s := newServer(t, func(o *gateway.Options) { o.Generations = writing{ended: ended} })
	r, err := http.NewRequest("POST", s.url+"/v1/generations", strings.NewReader(`{"base":"b","inputs":["x"]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer alice")
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	select {
	case err := <-ended:
		t.Log("the generation ended:", err)
	case <-time.After(5 * time.Second):
		t.Error("the generation goes on")
	}
}
