package collector

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"rufus_exporter/rufus"
)

// pool decides when a request may be sent: first come, first served, at most limit at a time, and none while the
// API wants to be left alone. One pool stands before one API.
//
// After a wait has passed, a single request tries: until it comes back with anything but "wait", no other is sent.
type pool struct {
	limit  int
	now    func() time.Time
	logger *slog.Logger

	mu       sync.Mutex // also guards the caches that send through this pool
	queue    []task
	running  int
	until    time.Time // no request before this instant
	cautious bool      // the API asked to wait, and no request sent since then has come back with anything else
	narrow   bool      // it was logged that not all requests fit
}

// task is a request in the queue. Its methods are called with pool.mu held, execute apart.
type task interface {
	begin(now time.Time) bool // false: nobody wants it any more
	execute() error           // sends the request and waits for it
	end(now time.Time, err error)
	refuse(err error) // instead of begin, execute and end
}

// submit queues t, or refuses it at once while backing off. The caller holds p.mu.
func (p *pool) submit(t task) {
	if now := p.now(); now.Before(p.until) {
		t.refuse(p.backingOff(now))
		return
	}
	p.queue = append(p.queue, t)
	if p.running < p.width() {
		p.running++
		go p.work()
	}
}

// width is how many requests may be in flight now.
func (p *pool) width() int {
	if p.cautious {
		return 1
	}
	return p.limit
}

// work sends one request after another until the queue is empty or the width has shrunk.
func (p *pool) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running <= p.width() && len(p.queue) > 0 {
		t := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		sent := p.now()
		if !t.begin(sent) {
			continue
		}
		p.mu.Unlock()
		err := t.execute()
		p.mu.Lock()
		t.end(p.now(), err)
		p.heed(sent, err)
	}
	p.running--
}

// heed takes from the outcome of a request sent at that instant whether the API wants to be left alone.
func (p *pool) heed(sent time.Time, err error) {
	now := p.now()
	if failed := (*rufus.Error)(nil); errors.As(err, &failed) && failed.Wait > 0 {
		if until := now.Add(failed.Wait); until.After(p.until) {
			if !p.cautious {
				p.logger.Warn("the API asks to wait: no requests until then", "until", until)
			}
			p.until = until
		}
		p.cautious = true
		for _, t := range p.queue {
			t.refuse(p.backingOff(now))
		}
		p.queue = nil
		return
	}
	if p.cautious && !sent.Before(p.until) {
		p.cautious = false
		p.logger.Info("the wait that the API asked for is over")
		for range min(len(p.queue), p.limit-p.running) {
			p.running++
			go p.work()
		}
	}
}

// tooNarrow says once that requests were not even sent before the deadline of who wanted them. While a single one tries
// that says nothing about the settings. The caller holds p.mu.
func (p *pool) tooNarrow(unsent int) {
	if !p.narrow && !p.cautious {
		p.narrow = true
		p.logger.Warn("not all sessions can be asked before the scrape's deadline: raise the scrape timeout or "+
			"api.max_concurrent_requests, or spread the sessions over more targets", "missed", unsent)
	}
}

// hurry cuts a wait short to one try. Requests sent before still say nothing about whether the API goes on asking to
// wait. The caller holds p.mu.
func (p *pool) hurry() {
	if now := p.now(); now.Before(p.until) {
		p.until = now
	}
}

func (p *pool) backingOff(now time.Time) error {
	return &rufus.Error{
		Reason: rufus.RateLimited,
		Detail: "no request for another " + p.until.Sub(now).Round(time.Second).String() + ", as the API asked",
	}
}
