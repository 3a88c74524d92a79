package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	goredis "github.com/redis/go-redis/v9"

	"github.com/medley-lora/medley/shared/fault"
)

// bareCommand is what the gateway is compared with.
type bareCommand struct {
	Listen string `required:"" help:"Address to listen on."`
	Redis  string `required:"" help:"Address of Redis."`
}

// bareKey is what the bare handler reads.
const bareKey = "bench:bare"

// Run answers every request with one GET of Redis.
func (c *bareCommand) Run(ctx context.Context) error {
	client := goredis.NewClient(&goredis.Options{Addr: c.Redis})
	defer client.Close()
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/", func(c echo.Context) error {
		value, err := client.Get(c.Request().Context(), bareKey).Bytes()
		if err != nil {
			return err
		}
		return c.Blob(http.StatusOK, "application/json", value)
	})
	context.AfterFunc(ctx, func() { e.Close() })
	if err := e.Start(c.Listen); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// loaded is how a server did.
type loaded struct {
	rate float64 // requests/s
	cpu  float64 // µs of the server's process for each
}

// load sends the bytes of one request again and again over so many connections, each as soon as the answer before is there. Requests are
// written and answers read with as little as that takes, for the generator runs on the same processors.
func (p *process) load(ctx context.Context, request []byte, connections int, d time.Duration) (l loaded, err error) {
	var done atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, connections)
	used, begun := p.used(), time.Now()
	for range connections {
		all.Go(func() {
			n, err := p.repeat(ctx, request, begun.Add(d))
			done.Add(n)
			errs <- err
		})
	}
	all.Wait()
	took, cpu := time.Since(begun), p.used()-used
	for range connections {
		if err := <-errs; err != nil {
			return l, err
		}
	}
	return loaded{rate: float64(done.Load()) / took.Seconds(), cpu: float64(cpu.Microseconds()) / float64(done.Load())}, nil
}

func (p *process) repeat(ctx context.Context, request []byte, until time.Time) (n int64, err error) {
	connection, err := net.Dial("tcp", p.address)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	for ; time.Now().Before(until) && ctx.Err() == nil; n++ {
		if _, err := connection.Write(request); err != nil {
			return n, err
		}
		res, err := http.ReadResponse(answers, nil) //nolint:bodyclose // it is read to its end; closing does no more, for the connection is ours
		if err != nil {
			return n, err
		}
		if res.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(res.Body, 300)) // it is shown as far as it can be read
			return n, fault.New(fault.Internal, p.name, "answers %s: %s", res.Status, text)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return n, err
		}
	}
	return n, ctx.Err()
}

// requestBytes is a request as it goes over the wire.
func requestBytes(address, path, token string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, address, token, len(body), body)
}

// streams are clients that follow a composition and read what comes.
type streams struct {
	connections []net.Conn
	beats       []atomic.Int64 // when each heard something last
	all         sync.WaitGroup
}

// openStreams opens so many of them, each with a connection.
func openStreams(ctx context.Context, w *cluster, path string, count int) (*streams, error) {
	s := &streams{beats: make([]atomic.Int64, count)}
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, w.gateway.address, w.token)
	for i := range count {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.gateway.address)
		if err != nil {
			return s, err
		}
		s.connections = append(s.connections, connection)
		if _, err := connection.Write(request); err != nil {
			return s, err
		}
		head := make([]byte, 512)
		n, err := connection.Read(head)
		if err != nil || !bytes.HasPrefix(head[:n], []byte("HTTP/1.1 200 ")) {
			return s, fault.New(fault.Internal, "", "stream %d is refused: %.200s", i, head[:n])
		}
		s.all.Go(func() {
			for {
				if _, err := connection.Read(head); err != nil {
					return
				}
				s.beats[i].Store(time.Now().UnixNano())
			}
		})
	}
	return s, nil
}

// alive is how many heard something within a heartbeat and a bit.
func (s *streams) alive() (n int) {
	for i := range s.beats {
		if time.Since(time.Unix(0, s.beats[i].Load())) < 20*time.Second {
			n++
		}
	}
	return n
}

func (s *streams) close() {
	for _, c := range s.connections {
		c.Close()
	}
	s.all.Wait()
}
