package collector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"rufus_exporter/rufus"
)

// answer is what came of asking for one key.
type answer[V any] struct {
	value    V
	err      error         // an *rufus.Error; nil: value is valid
	at       time.Time     // when it came; zero when no request was made
	duration time.Duration // of the request, without queueing
}

// failedEarlier says whether this is the failure of a request that was sent before that instant.
func (a answer[V]) failedEarlier(than time.Time) bool {
	return a.err != nil && !a.at.IsZero() && a.at.Add(-a.duration).Before(than)
}

// cache is the one way to the API: want. Those who want the same key at the same time share one request, and a young
// enough success is reused. A request belongs to none of them: once sent it runs to its end, and one whose turn comes
// when nobody waits for it any more is not sent.
type cache[K comparable, V any] struct {
	pool  *pool
	fetch func(context.Context, K) (V, error)
	// keepFailures reuses failures like successes, and asks no second time after one.
	keepFailures bool
	// settled is told of every answer to a request, with pool.mu held.
	settled func(K, answer[V])

	calls  map[K]*call[K, V]
	latest map[K]answer[V] // of each key, failures too: a success is not reused when it is no longer true
	missed map[K]bool      // whose turn did not come before the deadline of the last who wanted them
}

// call is one request for a key, from the queue to its answer.
type call[K comparable, V any] struct {
	cache   *cache[K, V]
	key     K
	waiters []*waiter[K, V]
	sent    time.Time // zero while queued
	done    bool
	value   V // of execute, until end
	answer  answer[V]
}

// waiter is one place in one want, waiting for a call.
type waiter[K comparable, V any] struct {
	index int
	call  *call[K, V]
	ready chan<- *waiter[K, V]
}

func newCache[K comparable, V any](p *pool, fetch func(context.Context, K) (V, error)) *cache[K, V] {
	return &cache[K, V]{
		pool:    p,
		fetch:   fetch,
		settled: func(K, answer[V]) {},
		calls:   make(map[K]*call[K, V]),
		latest:  make(map[K]answer[V]),
		missed:  make(map[K]bool),
	}
}

// want returns an answer for each key, in their order, none older than maxAge. A failure of a request that was on its
// way before is not one of them: it may be older than the question. Keys not answered when ctx ends are Timeout; with
// orOlder only where there is no older answer either.
func (c *cache[K, V]) want(ctx context.Context, keys []K, maxAge time.Duration, orOlder bool) []answer[V] {
	answers := make([]answer[V], len(keys))
	waiting := make([]*waiter[K, V], len(keys))
	ready := make(chan *waiter[K, V], len(keys)) // each waits for one call at a time, so that nobody blocks on it
	open := 0

	c.pool.mu.Lock()
	begin := c.pool.now()
	for _, i := range c.order(keys) {
		latest, ok := c.latest[keys[i]]
		if ok && (latest.err == nil || c.keepFailures) && Age(begin, latest.at) < maxAge {
			answers[i] = latest
			continue
		}
		waiting[i] = c.join(keys[i], i, ready)
		open++
	}
	c.pool.mu.Unlock()

	for open > 0 {
		select {
		case w := <-ready:
			got := w.call.answer
			if got.failedEarlier(begin) && !c.keepFailures && ctx.Err() == nil {
				c.pool.mu.Lock()
				// What another has asked for since then will do.
				latest, ok := c.latest[keys[w.index]]
				if !ok || latest.failedEarlier(begin) {
					waiting[w.index] = c.join(keys[w.index], w.index, ready)
					c.pool.mu.Unlock()
					continue
				}
				c.pool.mu.Unlock()
				got = latest
			}
			answers[w.index] = got
			waiting[w.index] = nil
			open--
		case <-ctx.Done():
			c.leave(ctx, waiting, answers, orOlder)
			return answers
		}
	}
	return answers
}

// Age returns how old at is now, by whichever clock says more: that of Go stands still while a machine sleeps, and that
// on the wall can be put back.
func Age(now, at time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// order returns the indices of keys as they shall be asked, so that over successive wants each gets its turn when time
// is short: first who missed the last, each part in random order. A fixed order, even one that goes round, would let
// the deadline cut off the same ones again and again. The caller holds pool.mu.
func (c *cache[K, V]) order(keys []K) []int {
	order := rand.Perm(len(keys)) //nolint:gosec // no secret
	if len(c.missed) == 0 {
		return order
	}
	var first, rest []int
	for _, i := range order {
		if c.missed[keys[i]] {
			first = append(first, i)
		} else {
			rest = append(rest, i)
		}
	}
	return append(first, rest...)
}

// join waits for the call of key, and makes one if there is none. The caller holds pool.mu.
func (c *cache[K, V]) join(key K, index int, ready chan<- *waiter[K, V]) *waiter[K, V] {
	shared, ok := c.calls[key]
	if !ok {
		shared = &call[K, V]{cache: c, key: key}
		c.calls[key] = shared
	}
	w := &waiter[K, V]{index: index, call: shared, ready: ready}
	shared.waiters = append(shared.waiters, w)
	if !ok {
		c.pool.submit(shared)
	}
	return w
}

// leave takes the waiters that are left out of their calls and answers for them.
func (c *cache[K, V]) leave(ctx context.Context, waiting []*waiter[K, V], answers []answer[V], orOlder bool) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	now, unsent := c.pool.now(), 0
	missed := !orOlder && !errors.Is(ctx.Err(), context.Canceled) // rather than content, or gone
	for i, w := range waiting {
		if w == nil {
			continue
		}
		latest, known := c.latest[w.call.key]
		switch shared := w.call; {
		case shared.done:
			answers[i] = shared.answer
			continue
		case orOlder && known:
			answers[i] = latest
		case shared.sent.IsZero():
			unsent++
			if missed {
				c.missed[shared.key] = true
			}
			answers[i].err = &rufus.Error{Reason: rufus.Timeout, Detail: "no request could be sent in time"}
		default:
			answers[i].err = &rufus.Error{Reason: rufus.Timeout, Detail: "no answer before the scrape's deadline"}
			answers[i].at, answers[i].duration = now, now.Sub(shared.sent)
		}
		w.call.remove(w)
	}
	if unsent > 0 && missed {
		c.pool.tooNarrow(unsent)
	}
}

// remove takes w out of the call.
func (t *call[K, V]) remove(w *waiter[K, V]) {
	i := slices.Index(t.waiters, w)
	t.waiters = slices.Delete(t.waiters, i, i+1)
}

// begin implements task. A call that nobody waits for keeps its place in the queue until its turn, for those who may
// come: so the queue cannot outgrow the keys.
func (t *call[K, V]) begin(now time.Time) bool {
	if len(t.waiters) == 0 {
		delete(t.cache.calls, t.key)
		return false
	}
	delete(t.cache.missed, t.key)
	t.sent = now
	return true
}

// execute implements task. What an answer makes the decoder do must not end the process.
func (t *call[K, V]) execute() (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			t.cache.pool.logger.Error("panic while fetching",
				"type", fmt.Sprintf("%T", panicked), "stack", string(debug.Stack()))
			err = &rufus.Error{Reason: rufus.InvalidResponse, Detail: "the answer could not be processed"}
		}
	}()
	t.value, err = t.cache.fetch(context.Background(), t.key)
	return err
}

// end implements task.
func (t *call[K, V]) end(now time.Time, err error) {
	t.answer = answer[V]{value: t.value, err: err, at: now, duration: now.Sub(t.sent)}
	t.cache.latest[t.key] = t.answer
	t.cache.settled(t.key, t.answer)
	t.finish()
}

// refuse implements task.
func (t *call[K, V]) refuse(err error) {
	t.answer = answer[V]{err: err}
	t.finish()
}

func (t *call[K, V]) finish() {
	t.done = true
	delete(t.cache.calls, t.key)
	for _, w := range t.waiters {
		w.ready <- w
	}
	t.waiters = nil
}
