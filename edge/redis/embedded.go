package redis

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how late the embedded Redis may let a key expire. Its own clock for that walks over all keys at every command.
const tick = time.Second

// embedded is a Redis in this process. It is reached by pipes, so that nobody else on the machine can.
type embedded struct {
	redis *miniredis.Miniredis
	stop  chan struct{}
	done  sync.WaitGroup
}

func startEmbedded() *embedded {
	e := &embedded{redis: miniredis.NewMiniRedis(), stop: make(chan struct{})}
	e.done.Go(e.drive)
	return e
}

// drive lets time pass for keys that expire, by what really passed: a machine may sleep.
func (e *embedded) drive() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-e.stop:
			return
		case now := <-ticker.C:
			e.redis.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (e *embedded) dial(context.Context, string, string) (net.Conn, error) { return e.redis.Dial() }

func (e *embedded) close() {
	close(e.stop)
	e.done.Wait()
	e.redis.Close()
}
