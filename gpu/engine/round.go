package engine

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Tokens of sources that a step takes in: at most, and beside sequences that are being continued, as many as these can wait for. No number
// depends on how sources are cut.
const (
	sourceRows    = 512
	leastBusyRows = 8 // fewer would take hardly less time
	mostBusyRows  = 128
	busyTime      = 200 * time.Millisecond // that a sequence waits for its next token
)

// sequence is a request that is under way.
type sequence struct {
	call    *call
	request int
	stream  *rand.Rand

	source, target model.Sequence // see decoding
	pending        []int32        // tokens to feed
	needs          int            // pages that it may come to have
	made           int            // tokens
}

// context is what a sequence follows from beside its tokens.
func (s *sequence) context(known *modules) string {
	r := s.call.requests[s.request]
	return string(binary.AppendUvarint(nil, uint64(len(r.Salt)))) + r.Salt + r.Composition.context(known)
}

func (s *sequence) composition() *Composition { return s.call.requests[s.request].Composition }

// future is how many pages a sequence may still ask for.
func (s *sequence) future() int { return s.needs - s.source.Pages() - s.target.Pages() }

// feed is what a sequence is fed in a step.
type feed struct {
	*sequence
	ids, rows []int32
	last      bool // nothing is pending behind it: the next token's logits are wanted
}

// round is a pass of a generator.
type round struct {
	*generator
	p           backend.Pass
	decoding    decoding
	active      []*sequence
	rows        int           // most tokens of sources in a step
	perRow      time.Duration // that the latest step with sources took for a token; 0 before
	perSequence int64         // bytes, its pages apart
	room        int64         // bytes for sequences, their pages apart
}

func newRound(g *generator, p backend.Pass) *round {
	memory := g.engine.options.Memory
	perToken, perSequence := g.engine.model.stepBytes()
	rows := min(max(1, memory/2/perToken), sourceRows)
	r := &round{
		generator: g, p: p, decoding: g.engine.model.decode(), rows: int(rows), perSequence: perToken + perSequence, room: memory - rows*perToken,
	}
	r.decoding.cache().Keep(int(memory / r.decoding.cache().PageBytes()))
	return r
}

// keep is how long a pass without sequences stays, for the sake of the pages that later ones may share.
func (r *round) keep() time.Duration {
	if r.decoding.cache().Knows() {
		return r.engine.options.KeepCache
	}
	return 0
}

// sweep drops sequences that nobody waits for, and ends calls that have nothing left.
func (r *round) sweep() {
	r.mu.Lock()
	calls := slices.Clone(r.calls)
	r.mu.Unlock()
	for _, s := range slices.Clone(r.active) {
		if s.call.ctx.Err() != nil || s.call.stopped[s.request].Load() {
			r.drop(s)
		}
	}
	for _, c := range calls {
		if c.ctx.Err() != nil {
			c.next = len(c.requests)
		}
		if c.open == 0 && c.next == len(c.requests) {
			r.end(c, nil)
		}
	}
}

// drop ends a sequence and gives its pages back.
func (r *round) drop(s *sequence) {
	r.decoding.cache().Drop(&s.source)
	r.decoding.cache().Drop(&s.target)
	r.active = slices.DeleteFunc(r.active, func(other *sequence) bool { return other == s })
	s.call.open--
}

// plan chooses what to feed: the token before to sequences that are being continued, and of the sources of others as much as a step takes.
func (r *round) plan(ctx context.Context) []feed {
	var feeds []feed
	for _, s := range r.active {
		if s.made > 0 {
			feeds = append(feeds, r.feed(s, 1))
		}
	}
	whole := r.rows
	if len(feeds) > 0 {
		whole = min(whole, busyRows(r.perRow))
	}
	left := whole
	for _, s := range r.active {
		if s.made == 0 && left > 0 {
			f := r.feed(s, left)
			feeds, left = append(feeds, f), left-len(f.ids)
		}
	}
	for left > 0 {
		s := r.admit(ctx, left, left == whole)
		if s == nil {
			break
		}
		f := r.feed(s, left)
		feeds, left = append(feeds, f), left-max(len(f.ids), r.decoding.atOnce(s))
	}
	// Those under the same composition share a segment.
	slices.SortStableFunc(feeds, func(a, b feed) int { return strings.Compare(a.target.Context, b.target.Context) })
	return feeds
}

// busyRows is how many tokens of sources take about busyTime, each so long.
func busyRows(perRow time.Duration) int {
	return min(max(leastBusyRows, int(busyTime/max(1, perRow))), mostBusyRows)
}

// feed takes what a sequence is fed next, at most so many tokens.
func (r *round) feed(s *sequence, most int) feed {
	cache := r.decoding.cache()
	if s.made == 0 {
		s.pending = s.pending[cache.Share(&s.target, s.pending[:len(s.pending)-1]):]
	}
	n := min(len(s.pending), most)
	f := feed{s, s.pending[:n], cache.Extend(&s.target, s.pending[:n]), n == len(s.pending)}
	s.pending = s.pending[n:]
	return f
}

// admit makes the next request a sequence, or is nil: there is none, there is no room, or the source does not fit into what is left of the
// step, unless it is the first. Calls take turns.
func (r *round) admit(ctx context.Context, left int, first bool) *sequence {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.calls, func(c *call) bool { return c.next < len(c.requests) })
	if i < 0 || ctx.Err() != nil { // after a cancellation whoever came wants another pass
		return nil
	}
	c := r.calls[i]
	s := &sequence{call: c, request: c.next, stream: rand.New(rand.NewPCG(c.sampling.Seed, uint64(c.next)))}
	s.target.Context = s.context(r.engine.snapshot())
	r.decoding.prepare(s)
	if (len(r.active) > 0 && !r.fits(s)) || (!first && r.decoding.atOnce(s) > left) {
		return nil
	}
	r.active = append(r.active, s)
	c.next++
	c.open++
	r.calls = append(slices.Delete(r.calls, i, i+1), c)
	return s
}

// fits says whether there is memory for what the sequences and one more may come to need.
func (r *round) fits(s *sequence) bool {
	cache := r.decoding.cache()
	pages := cache.Used() + s.needs - cache.Shared(&s.target, s.pending[:len(s.pending)-1])
	for _, other := range r.active {
		pages += other.future()
	}
	return int64(pages)*cache.PageBytes() <= r.engine.options.Cache && int64(len(r.active)+1)*r.perSequence <= r.room
}

// step feeds sequences, and passes on the tokens that come of it.
func (r *round) step(feeds []feed) error {
	known := r.engine.snapshot()
	ahead := r.ahead()
	r.decoding.take(r.p, feeds, known, ahead)
	r.decoding.cache().Fit(r.p, ahead) // here, as its tensors outlive the step
	var rows segments
	n := 0
	for _, f := range feeds {
		n += len(f.ids)
		rows.extend(f.composition(), n)
	}
	var logits []float32
	var err error
	start := time.Now()
	r.p.Scope(func() backend.Tensor {
		var t backend.Tensor
		if t, err = r.decoding.step(r.p, feeds, rows.updates(known)); t != nil && err == nil {
			logits, err = r.p.Read(t)
		}
		return nil
	})
	if n > len(feeds) {
		r.perRow = time.Since(start) / time.Duration(n)
	}
	if err == nil {
		r.advance(feeds, logits)
		runtime.Gosched() // where there is one thread, callers hear of their tokens now
	}
	return err
}

// aheadPages is how many pages are made for what follows a source before it asks for them, at most.
const aheadPages = 8

// ahead is how many pages the sequences will probably ask for.
func (r *round) ahead() (pages int) {
	for _, s := range r.active {
		pages += min(s.future(), backend.PagesOf(len(s.pending))+aheadPages)
	}
	return pages
}

// advance chooses a token for each sequence that has been fed everything.
func (r *round) advance(feeds []feed, logits []float32) {
	vocabulary := r.engine.model.vocabulary()
	for _, f := range feeds {
		if !f.last {
			continue
		}
		token := choose(logits[:vocabulary], f.call.sampling, f.stream)
		logits = logits[vocabulary:]
		ended := r.engine.model.ends(token)
		if !ended {
			f.made++
			f.pending = []int32{token}
			f.call.tell(news{request: f.request, token: token})
			ended = f.made >= f.call.limit(f.request)
		}
		if ended {
			f.call.tell(news{request: f.request, end: true})
			r.drop(f.sequence)
		}
	}
}

// fail ends the calls whose sequences were in a pass that has failed.
func (r *round) fail(err error) {
	for _, s := range r.active {
		if s.call.open > 0 {
			s.call.open = 0
			r.end(s.call, err)
		}
	}
}
