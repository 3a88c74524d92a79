package jobs

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/medley-lora/medley/edge/redis"
)

// Hint is what a worker publishes of a composition, and redis.Progress carries. It may be lost: the record and the journal have it all.
// A hint without a line says that the record has changed.
type Hint struct {
	Number int             `json:"number"` // of the evaluation, from 0
	Line   json.RawMessage `json:"line,omitempty"`
	// Long says that the line is in the journal alone, being too long for an event.
	Long bool `json:"long,omitempty"`
}

const (
	maxHint   = 12 << 10 // bytes of a line, which progress takes with what is around it
	maxHints  = 256      // that wait for Redis; what comes then is lost
	lastHints = 2 * time.Second
)

// teller publishes the hints of one composition without ever holding up its search.
type teller struct {
	hints chan Hint
	done  sync.WaitGroup
	stop  context.CancelFunc
}

func newTeller(progress *redis.Progress, composition string, log *slog.Logger) *teller {
	ctx, stop := context.WithCancel(context.Background())
	t := &teller{hints: make(chan Hint, maxHints), stop: stop}
	t.done.Go(func() {
		for h := range t.hints {
			event, err := json.Marshal(h)
			if err == nil && ctx.Err() == nil {
				_, err = progress.Publish(ctx, composition, event)
			}
			if err != nil {
				log.DebugContext(ctx, "progress was not told", "error", err)
			}
		}
	})
	return t
}

// tell puts a hint on its way, unless too many wait.
func (t *teller) tell(h Hint) {
	if len(h.Line) > maxHint {
		h = Hint{Number: h.Number, Long: true}
	}
	select {
	case t.hints <- h:
	default:
	}
}

// close waits a little for hints on their way.
func (t *teller) close() {
	close(t.hints)
	defer time.AfterFunc(lastHints, t.stop).Stop()
	t.done.Wait()
	t.stop()
}
