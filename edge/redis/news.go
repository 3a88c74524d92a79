package redis

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// maxRecent bounds the events of a composition in memory; a follower that is further behind reads from the stream.
const maxRecent = 32

// topic is what the followers of one composition share. Progress guards it.
type topic struct {
	followers int
	news      chan struct{} // closed when there may be something new, and made anew
	before    string        // id of the event before the first of recent
	recent    []Event       // the latest events, without a gap; a new slice whenever it changes other than by growing
}

// after returns the events after id, and whether the topic knows them.
func (t *topic) after(id string) (events []Event, known bool) {
	if len(t.recent) == 0 {
		return nil, false
	}
	if id == t.before {
		return t.recent, true
	}
	for i := len(t.recent) - 1; i >= 0; i-- {
		if t.recent[i].ID == id {
			return t.recent[i+1:], true
		}
	}
	return nil, false
}

// add takes a message: the id of the event before, its own, and its data. What does not continue the latest events replaces them.
func (t *topic) add(message string) {
	before, rest, _ := strings.Cut(message, " ")
	id, data, ok := strings.Cut(rest, " ")
	if !ok || !ValidEventID(id) {
		return
	}
	switch n := len(t.recent); {
	case n == 0 || t.recent[n-1].ID != before:
		t.before, t.recent = before, nil
	case n == maxRecent:
		t.before, t.recent = t.recent[n/2-1].ID, append([]Event(nil), t.recent[n/2:]...)
	}
	t.recent = append(t.recent, Event{ID: id, Data: []byte(data)})
	t.wake()
}

// doubt forgets the latest events: some may have been missed, and the followers look into the stream.
func (t *topic) doubt() {
	t.before, t.recent = "", nil
	t.wake()
}

func (t *topic) wake() {
	close(t.news)
	t.news = make(chan struct{})
}

// listen keeps the connection for news until Close.
func (p *Progress) listen() {
	pause := newBackOff()
	for p.ctx.Err() == nil {
		if p.session() {
			pause = newBackOff()
		}
		pause.wait(p.ctx)
	}
}

// session is one connection's life. It returns whether Redis said anything.
func (p *Progress) session() (heard bool) {
	subscription := p.client.pool.Subscribe(p.ctx)
	defer func() { _ = subscription.Close() }()
	p.mu.Lock()
	for composition := range p.topics {
		p.changed(composition)
	}
	p.mu.Unlock()

	var silent atomic.Int32 // probes since Redis last said something
	ctx, end := context.WithCancel(p.ctx)
	defer end()
	p.done.Go(func() {
		defer func() { _ = subscription.Close() }() // ends the Receive below
		p.speak(ctx, subscription, &silent)
	})
	for {
		message, err := subscription.Receive(p.ctx)
		if err != nil {
			return heard
		}
		heard = true
		silent.Store(0)
		p.hear(message)
	}
}

// hear passes on what the connection for news says.
func (p *Progress) hear(message any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := message.(type) {
	case *goredis.Subscription: // from here on nothing is missed, but before it something may have been
		if t := p.topics[strings.TrimPrefix(m.Channel, progress)]; t != nil && m.Kind == "subscribe" {
			t.doubt()
		}
	case *goredis.Message:
		if t := p.topics[strings.TrimPrefix(m.Channel, progress)]; t != nil {
			t.add(m.Payload)
		}
	}
}

// speak tells the connection which topics have followers, and probes it: a machine that vanishes says no goodbye. It returns when the
// connection is of no use.
func (p *Progress) speak(ctx context.Context, subscription *goredis.PubSub, silent *atomic.Int32) {
	probe := time.NewTicker(p.options.Probe)
	defer probe.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
			err = p.subscribe(ctx, subscription)
		case <-probe.C:
			if silent.Add(1) > 3 {
				return
			}
			err = subscription.Ping(ctx)
		}
		if err != nil {
			return
		}
	}
}

// subscribe brings the subscriptions of all stale topics in line with whether somebody follows them. One goroutine alone does, so that
// the last word about a topic is the true one.
func (p *Progress) subscribe(ctx context.Context, subscription *goredis.PubSub) error {
	var wanted, unwanted []string
	p.mu.Lock()
	for composition := range p.stale {
		if p.topics[composition] != nil {
			wanted = append(wanted, progress+composition)
		} else {
			unwanted = append(unwanted, progress+composition)
		}
	}
	clear(p.stale)
	p.mu.Unlock()
	if len(unwanted) > 0 {
		if err := subscription.Unsubscribe(ctx, unwanted...); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		return subscription.Subscribe(ctx, wanted...)
	}
	return nil
}
