package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"
)

const (
	beginning = "0-0" // before all events
	page      = 64    // events read from a stream at once
)

// Follower reads the events of one composition, in order and each once. It holds no events that others have not: one that falls behind
// costs nothing, and is told of a gap when it comes back later than the stream remembers. It is for one goroutine.
type Follower struct {
	progress    *Progress
	composition string
	topic       *topic
	last        string  // id of the event returned last
	read        []Event // events after it, known already
	gap         bool    // a gap that has been told, and nothing since
}

// Last is the id to resume from: that of the event returned last, or what Follow was given.
func (f *Follower) Last() string { return f.last }

// Next waits for the next event. The only error is ctx's, after which Next may be called again and misses nothing: while Redis is away
// it tries again, with back-off, for as long as ctx allows. An event without ID says only that events may be missing.
func (f *Follower) Next(ctx context.Context) (Event, error) {
	for pause := newBackOff(); ; {
		if len(f.read) > 0 {
			e := f.read[0]
			f.read, f.last, f.gap = f.read[1:], e.ID, false
			return e, nil
		}
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		news, known := f.recent()
		if len(f.read) > 0 {
			continue
		}
		if !known {
			gap, err := f.catchUp(ctx)
			switch {
			case err != nil:
				pause.wait(ctx)
				continue
			case gap && !f.gap && len(f.read) == 0:
				f.gap = true
				return Event{Gap: true}, nil
			case len(f.read) > 0:
				continue
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
		}
	}
}

// recent takes what the topic knows after the last event, and the channel that is closed when there is more. It is asked before the
// stream, so that what comes in between is not missed.
func (f *Follower) recent() (news <-chan struct{}, known bool) {
	f.progress.mu.Lock()
	defer f.progress.mu.Unlock()
	f.read, known = f.topic.after(f.last)
	return f.topic.news, known
}

// catchUp reads the stream from the last event on. When that is not there any more, events after it may be gone as well: that is a gap,
// and everything that is there follows.
func (f *Follower) catchUp(ctx context.Context) (gap bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := progress + f.composition
	var entries []goredis.XMessage
	err = f.progress.client.mended(ctx, func() error {
		entries, err = f.progress.client.pool.XRangeN(ctx, key, f.last, "+", page).Result()
		return err
	}, key)
	if err != nil {
		return false, err
	}
	if len(entries) > 0 && entries[0].ID == f.last {
		f.take(entries[1:], false)
		return false, nil
	}
	if f.last == beginning {
		f.take(entries, false)
		return false, nil
	}
	if entries, err = f.progress.client.pool.XRangeN(ctx, key, "-", "+", page).Result(); err != nil {
		return false, err
	}
	f.take(entries, !f.gap)
	return true, nil
}

func (f *Follower) take(entries []goredis.XMessage, gap bool) {
	f.read = make([]Event, 0, len(entries))
	for i, entry := range entries {
		data, _ := entry.Values[eventName].(string)
		f.read = append(f.read, Event{ID: entry.ID, Data: []byte(data), Gap: gap && i == 0})
	}
}

// Close ends the follower; the connection for news forgets its composition when nobody else follows it.
func (f *Follower) Close() {
	p := f.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.topic == nil {
		return
	}
	if f.topic.followers--; f.topic.followers == 0 {
		delete(p.topics, f.composition)
		p.changed(f.composition)
	}
	f.topic = nil
}
