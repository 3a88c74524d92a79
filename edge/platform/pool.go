package platform

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/shared/fault"
)

const (
	maxIdle  = 32               // models that are open and not used
	idleTime = 10 * time.Minute // then they are closed
)

// pool keeps models open between requests: opening one asks an evaluator, which reads modules.
type pool struct {
	models compute.Models

	mu     sync.Mutex
	open   map[string]*pooled
	stop   chan struct{}
	closed bool
}

// pooled is a model of a pool.
type pooled struct {
	model compute.Model
	err   error
	ready chan struct{}
	users int
	used  time.Time
}

func newPool(models compute.Models) *pool {
	p := &pool{models: models, open: map[string]*pooled{}, stop: make(chan struct{})}
	go p.tidy()
	return p
}

// tidy closes what nobody uses any more.
func (p *pool) tidy() {
	ticker := time.NewTicker(idleTime / 4)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		p.trim(time.Now().Add(-idleTime), maxIdle)
		p.mu.Unlock()
	}
}

// take returns the model of a spec; leave gives it back.
func (p *pool) take(ctx context.Context, spec compute.Spec) (model compute.Model, leave func(), err error) {
	key, err := json.Marshal(spec)
	if err != nil {
		return nil, nil, err
	}
	m, mine, err := p.find(string(key))
	if err != nil {
		return nil, nil, err
	}
	giveBack := sync.OnceFunc(func() { p.leave(string(key), m) })
	if mine {
		// Whoever waits too must not lose it when this request is canceled.
		go func() {
			m.model, m.err = p.models.Open(context.WithoutCancel(ctx), spec)
			close(m.ready)
		}()
	}
	select {
	case <-m.ready:
	case <-ctx.Done():
		go func() { <-m.ready; giveBack() }()
		return nil, nil, ctx.Err()
	}
	if m.err != nil {
		giveBack()
		return nil, nil, m.err
	}
	return m.model, giveBack, nil
}

// find counts a user of the model called key; one that is not there is the caller's to open.
func (p *pool) find(key string) (m *pooled, mine bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, fault.New(fault.Canceled, "", "the server is closing")
	}
	if m = p.open[key]; m == nil {
		m, mine = &pooled{ready: make(chan struct{})}, true
		p.open[key] = m
	}
	m.users++
	return m, mine, nil
}

// leave takes a user away. A model that could not be opened is forgotten, so that the next who asks tries again.
func (p *pool) leave(key string, m *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.users--
	m.used = time.Now()
	if m.err != nil && p.open[key] == m {
		delete(p.open, key)
	}
	if p.closed {
		p.trim(time.Now(), 0)
		return
	}
	p.trim(time.Time{}, maxIdle)
}

// trim closes models that nobody uses: those not used since before, and the ones not used for longest beyond most.
func (p *pool) trim(before time.Time, most int) {
	for {
		idle, oldest := 0, ""
		for key, m := range p.open {
			if m.users > 0 {
				continue
			}
			idle++
			if oldest == "" || m.used.Before(p.open[oldest].used) {
				oldest = key
			}
		}
		if idle == 0 || idle <= most && !p.open[oldest].used.Before(before) {
			return
		}
		closeModel(p.open[oldest])
		delete(p.open, oldest)
	}
}

// closeModel does not wait for the evaluator.
func closeModel(m *pooled) {
	if m.model != nil {
		go m.model.Close() // an evaluator that cannot be told forgets it by itself
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.stop)
	p.trim(time.Now().Add(time.Hour), 0)
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}
