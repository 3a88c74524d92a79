package redis

import (
	"context"
	_ "embed"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/medley-lora/medley/shared/fault"
)

//go:embed lua/publish.lua
var publishText string

var publish = goredis.NewScript(publishText)

const (
	maxEvent  = 16 << 10 // bytes
	progress  = Prefix + "progress:"
	eventName = "event" // the field of a stream's entry that holds the event
)

// ProgressOptions bound what is kept of each composition; the zero value is a good one.
type ProgressOptions struct {
	MaxEvents int           // of a composition, the last ones; default 1,000
	TTL       time.Duration // how long they are kept after the last; default 1 h
	Probe     time.Duration // how often the connection for news is tried; it is given up after three without an answer. Default 10 s
}

// Progress carries the events of compositions from those that run them to those that follow them. Each composition has a capped stream,
// from which followers resume, and a channel on which news arrive. All followers of a process share one connection for news, and those
// of one composition share its latest events in memory; a follower that is idle costs some hundred bytes here.
//
// Events are hints: a follower that missed some is told, and reads the composition's record.
type Progress struct {
	client  *Client
	options ProgressOptions

	mu     sync.Mutex
	topics map[string]*topic
	stale  map[string]struct{} // topics that the connection for news may not know, or need not any more
	kick   chan struct{}       // stale has something
	run    sync.Once
	stop   context.CancelFunc
	done   sync.WaitGroup
	ctx    context.Context
}

// NewProgress makes progress in c. It connects when somebody follows.
func NewProgress(c *Client, options ProgressOptions) *Progress {
	options.MaxEvents = or(options.MaxEvents, 1000)
	options.TTL = or(options.TTL, time.Hour)
	options.Probe = or(options.Probe, 10*time.Second)
	ctx, stop := context.WithCancel(context.Background())
	return &Progress{
		client: c, options: options, topics: map[string]*topic{}, stale: map[string]struct{}{}, kick: make(chan struct{}, 1), ctx: ctx, stop: stop,
	}
}

// Close ends the connection for news. Followers wait in vain afterwards.
func (p *Progress) Close() {
	p.stop()
	p.done.Wait()
}

// Publish appends an event of at most 16 KiB to those of a composition and returns its id, by which a follower can resume. The errors
// are fault.TooLarge and those of Failed; the event is then lost, and its publisher goes on.
func (p *Progress) Publish(ctx context.Context, composition string, event []byte) (id string, err error) {
	if len(event) > maxEvent {
		return "", fault.New(fault.TooLarge, "event", "must be at most %d bytes", maxEvent)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := progress + composition
	err = p.client.mended(ctx, func() error {
		id, err = publish.Run(ctx, p.client.pool, []string{key}, key, event, p.options.MaxEvents, p.options.TTL.Milliseconds()).Text()
		return err
	}, key)
	return id, Failed(err, "publishing progress")
}

// Event is one thing that happened to a composition.
type Event struct {
	ID   string // "milliseconds-number", ascending; empty if only Gap is meant
	Data []byte // shared with other followers: not to be changed
	Gap  bool   // events before this one may be missing: the composition's record has what they led to
}

// ValidEventID says whether id has the form of an event's: two decimal numbers of at most 64 bits with a dash between them.
func ValidEventID(id string) bool {
	ms, number, ok := strings.Cut(id, "-")
	return ok && decimal(ms) && decimal(number)
}

func decimal(s string) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && strconv.FormatUint(n, 10) == s // in the one form, for ids are compared as text
}

// Follow begins to follow a composition after the event called from ("" for the first that is kept). The error is fault.Invalid about
// Last-Event-ID. The follower must be closed.
func (p *Progress) Follow(composition, from string) (*Follower, error) {
	if from == "" {
		from = beginning
	}
	if !ValidEventID(from) {
		return nil, fault.New(fault.Invalid, "Last-Event-ID", "must be the id of an event")
	}
	p.run.Do(func() { p.done.Go(p.listen) })
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[composition]
	if t == nil {
		t = &topic{news: make(chan struct{})}
		p.topics[composition] = t
		p.changed(composition)
	}
	t.followers++
	return &Follower{progress: p, composition: composition, topic: t, last: from}, nil
}

// changed has the connection for news look at a topic. The caller holds the lock.
func (p *Progress) changed(composition string) {
	p.stale[composition] = struct{}{}
	select {
	case p.kick <- struct{}{}:
	default:
	}
}
