package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"rufus_exporter/rufus"
)

// scheduler decides when each request is sent: first come, first served, at most limit at a time in the whole process.
// Its lock guards its own fields and those marked so in the types below and in Fetcher.
type scheduler struct {
	mu       sync.Mutex
	limit    int
	inFlight int
	queue    []*request
	fetches  int     // in progress
	events   []event // not yet logged
}

// resource is something that a Fetcher can ask for.
type resource struct {
	fetcher *Fetcher
	target  rufus.Target // whose session this is; zero: the list of devices

	// Guarded by the scheduler's lock.
	name       string       // of the entry, for the log; empty: no longer configured
	request    *request     // queued or in flight; nil: none
	latest     *request     // that was answered, also with a failure; nil: none
	missed     bool         // its turn did not come before the deadline of the last fetch
	wait       wait         // that the API asked for in the last answer, if it did
	reported   rufus.Reason // why it fails, according to the log
	unreadable string       // in its last answer that had something unreadable, according to the log

	list *rufus.DeviceList // the last that could be read; nil for a session
}

func (r *resource) isList() bool { return r.target == (rufus.Target{}) }

// request is one request for a resource, from the queue to its answer.
type request struct {
	resource *resource

	// Guarded by the scheduler's lock until sent, and from then on not changed.
	sent time.Time // zero: still queued
	name string    // of the resource when it was sent

	// Guarded by the scheduler's lock.
	waiters  []waiter
	detached bool // it is sent also if nobody waits for it

	// Of execute; guarded by the scheduler's lock when it has ended.
	answer Status // without what the entry adds
	reason rufus.Reason
	wait   wait // that the API asked for in its answer
}

// wait is a time without requests, as the API asked.
type wait struct {
	until time.Time
	err   error // for requests that are not sent until then
}

// waiter is one place in a fetch.
type waiter struct {
	fetch *fetch
	index int
}

// fetch is a scrape, a probe or a page in progress. It is guarded by the scheduler's lock.
type fetch struct {
	ctx      context.Context // tells whether it is too late for a second try
	begun    time.Time
	statuses []Status
	waiting  []*request    // for each of statuses; nil: answered
	open     int           // number of those that are not
	done     chan struct{} // closed when all are
}

var (
	errNotSent  = &rufus.Error{Reason: rufus.Timeout, Detail: "no request could be sent in time"}
	errNoAnswer = &rufus.Error{Reason: rufus.Timeout, Detail: "no answer before the scrape's deadline"}
	errPanic    = &rufus.Error{Reason: rufus.InvalidResponse, Detail: "the answer could not be processed"}
)

// accountWithin is the time in which two resources that are told to wait mean the account.
const accountWithin = time.Minute

// do gives each of statuses an answer about its resource that is not older than maxAge. A failure of a request that was
// sent before does not count: it may be older than the question. What is not answered when ctx ends is a Timeout. With
// allowStale it is the older answer instead, if there is one.
func (s *scheduler) do(ctx context.Context, f *Fetcher, resources []*resource, statuses []Status,
	maxAge time.Duration, allowStale bool,
) {
	w := &fetch{ctx: ctx, statuses: statuses, waiting: make([]*request, len(resources)), done: make(chan struct{})}
	order := rand.Perm(len(resources)) //nolint:gosec // no secret

	s.mu.Lock()
	s.fetches++
	w.begun = f.now()
	for turn := range lastTurn + 1 {
		for _, i := range order {
			if resources[i].turnLocked() == turn {
				s.answerLocked(w, i, resources[i], maxAge)
			}
		}
	}
	s.dispatchLocked()
	open := w.open
	s.mu.Unlock()

	if open > 0 {
		select {
		case <-w.done:
		case <-ctx.Done():
		}
	}

	now := f.now()
	s.mu.Lock()
	s.fetches--
	s.leaveLocked(w, f, now, allowStale)
	events := s.takeEventsLocked(now)
	s.mu.Unlock()
	log(events)
}

const lastTurn = 2

// turnLocked returns when in a fetch a resource is asked for. Within a turn the order is random. A fixed order, even
// one that rotates, would let the deadline cut off the same ones again and again; so those that missed the last one
// come first. While one request tries, what was told to wait comes last: it could be the only one that has to.
func (r *resource) turnLocked() int {
	switch {
	case r.fetcher.probing && r.wait.err != nil:
		return lastTurn
	case r.missed:
		return 0
	default:
		return 1
	}
}

// answerLocked answers w with what is known of r if that is young enough, else joins it to a request.
func (s *scheduler) answerLocked(w *fetch, i int, r *resource, maxAge time.Duration) {
	if r.isList() {
		s.answerListLocked(w, i, r, maxAge)
		return
	}
	if known := r.latest; known != nil && known.answer.Err == nil && Age(w.begun, known.answer.At) < maxAge {
		w.deliver(i, known.answer)
		return
	}
	s.joinLocked(w, i, r, w.begun)
}

// answerListLocked is answerLocked for the list of devices. One answer serves all devices: there is at most one request
// in listMaxAge, even if it fails. Nobody waits for a request if the answer before it is not too old.
func (s *scheduler) answerListLocked(w *fetch, i int, list *resource, maxAge time.Duration) {
	maxAge = max(maxAge, listMaxAge)
	paused := s.refreshLocked(list, w.begun, maxAge)
	known := list.latest
	switch {
	case paused != nil:
		w.deliver(i, Status{Err: paused})
	case known != nil && Age(w.begun, known.answer.At) < maxAge,
		known != nil && list.list != nil && Age(w.begun, known.answer.At) < 2*maxAge:
		w.deliver(i, known.answer)
	default:
		s.joinLocked(w, i, list, w.begun)
	}
}

// refreshLocked sends for the list unless there is an answer younger than maxAge. The error says that the API asked to
// wait.
func (s *scheduler) refreshLocked(list *resource, now time.Time, maxAge time.Duration) error {
	if list.latest != nil && Age(now, list.latest.answer.At) < maxAge {
		return nil
	}
	request, paused := s.requestLocked(list, now)
	if paused == nil {
		request.detached = true
	}
	return paused
}

// refreshList sends for the list of devices if that is due. If none could ever be read, it waits for this one, but not
// longer than half of the time until ctx ends.
func (f *Fetcher) refreshList(ctx context.Context) {
	s := f.scheduler
	s.mu.Lock()
	known := f.devices.list != nil
	if known {
		_ = s.refreshLocked(f.devices, f.now(), max(f.minInterval, listMaxAge))
		s.dispatchLocked()
	}
	s.mu.Unlock()
	if known {
		return
	}
	if deadline, limited := ctx.Deadline(); limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	s.do(ctx, f, []*resource{f.devices}, make([]Status, 1), f.minInterval, true)
}

// lastList returns the last list of devices that could be read; nil if none could.
func (f *Fetcher) lastList() *rufus.DeviceList {
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	return f.devices.list
}

// joinLocked makes w wait for the request for r, unless the API asked to wait.
func (s *scheduler) joinLocked(w *fetch, i int, r *resource, now time.Time) {
	request, paused := s.requestLocked(r, now)
	if paused != nil {
		w.deliver(i, Status{Err: paused})
		return
	}
	request.waiters = append(request.waiters, waiter{w, i})
	if w.waiting[i] == nil {
		w.open++
	}
	w.waiting[i] = request
}

// requestLocked returns the request for r, which it queues if there is none, or an error while the API asked to wait.
func (s *scheduler) requestLocked(r *resource, now time.Time) (*request, error) {
	for _, wait := range []*wait{&r.fetcher.backoff, &r.wait} {
		if now.Before(wait.until) {
			return nil, wait.err
		}
	}
	if r.request == nil {
		r.request = &request{resource: r}
		s.queue = append(s.queue, r.request)
	}
	return r.request, nil
}

// Age returns how old at is now, by the clock that says more: Go's monotonic clock stands still while a machine sleeps,
// and the wall clock can be put back.
func Age(now, at time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// deliver gives w one of its answers.
func (w *fetch) deliver(i int, answer Status) {
	w.statuses[i] = answer
	if w.waiting[i] == nil {
		return
	}
	w.waiting[i] = nil
	if w.open--; w.open == 0 {
		close(w.done)
	}
}

// leaveLocked answers what w still waits for.
func (s *scheduler) leaveLocked(w *fetch, f *Fetcher, now time.Time, allowStale bool) {
	missed := 0
	for i, r := range w.waiting {
		if r == nil {
			continue
		}
		r.waiters = slices.DeleteFunc(r.waiters, func(other waiter) bool { return other == waiter{w, i} })
		switch known := r.resource.latest; {
		case allowStale && known != nil && !r.resource.isList(): // nobody sees how old a battery is
			w.deliver(i, known.answer)
		case r.sent.IsZero():
			w.deliver(i, Status{Err: errNotSent})
			if !allowStale && !errors.Is(w.ctx.Err(), context.Canceled) { // a page can do without; a client may have gone
				r.resource.missed = true
				missed++
			}
		default:
			w.deliver(i, Status{Err: errNoAnswer, At: now, Duration: now.Sub(r.sent)})
		}
	}
	if missed > 0 && !f.saturated && !f.probing { // probing says nothing about the settings
		f.saturated = true
		s.events = append(s.events, event{at: now, kind: "saturated", write: func(slog.Attr) {
			f.logger.Warn("not all sessions can be asked before the scrape's deadline: raise the scrape timeout or "+
				"api.max_concurrent_requests, or spread the sessions over more targets", "missed", missed)
		}})
	}
}

// dispatchLocked sends what may be sent now.
func (s *scheduler) dispatchLocked() {
	for r := s.nextLocked(); r != nil; r = s.nextLocked() {
		go s.work(r)
	}
}

// nextLocked takes the request that is to be sent now out of the queue; nil: none. A request that nobody waits for is
// dropped at its turn. Until then it can be joined, so the queue never holds two for a resource.
func (s *scheduler) nextLocked() *request {
	for i := 0; s.inFlight < s.limit && i < len(s.queue); {
		r := s.queue[i]
		f := r.resource.fetcher
		if f.probing && f.inFlight > 0 {
			i++
			continue
		}
		copy(s.queue[1:i+1], s.queue[:i]) // i is 0, unless one of several APIs backs off
		s.queue[0] = nil
		s.queue = s.queue[1:]
		if len(r.waiters) == 0 && !r.detached {
			r.resource.request = nil
			continue
		}
		r.resource.missed = false
		r.sent, r.name = f.now(), r.resource.name
		s.inFlight++
		f.inFlight++
		return r
	}
	return nil
}

// work sends r, and then the next request, until there is none to be sent.
func (s *scheduler) work(r *request) {
	for r != nil {
		f := r.resource.fetcher
		r.execute()
		s.mu.Lock()
		s.inFlight--
		f.inFlight--
		s.endLocked(r)
		r = s.nextLocked()
		s.dispatchLocked() // if r was the one that tried, more can be sent now
		var events []event
		if s.inFlight == 0 { // if no fetch is left to log them
			events = s.takeEventsLocked(time.Time{})
		}
		s.mu.Unlock()
		log(events)
	}
}

// execute sends the request and waits for its answer.
func (r *request) execute() {
	f := r.resource.fetcher
	r.answer = r.resource.ask()
	r.answer.At = f.now()
	r.answer.Duration = r.answer.At.Sub(r.sent)
	r.reason = rufus.ReasonOf(r.answer.Err)
	if failed, ok := errors.AsType[*rufus.Error](r.answer.Err); ok && failed.Wait > 0 {
		until := r.answer.At.Add(failed.Wait)
		r.wait = wait{until, &rufus.Error{
			Reason: rufus.RateLimited,
			Detail: "requests paused until " + until.UTC().Format(time.TimeOnly) + " UTC, as the API asked",
		}}
	}
	f.logAnswer(r)
}

// ask asks for the resource. A panic in decoding the answer must not end the process.
func (r *resource) ask() (answer Status) {
	f := r.fetcher
	defer func() {
		if panicked := recover(); panicked != nil {
			f.logger.Error("panic while fetching", "type", fmt.Sprintf("%T", panicked), "stack", string(debug.Stack()))
			answer = Status{Err: errPanic}
		}
	}()
	if r.isList() {
		answer.devices, answer.Err = f.source.Devices(context.Background())
		return answer
	}
	answer.Session, answer.Err = f.source.State(context.Background(), r.target)
	return answer
}

// endLocked delivers the answer of r. If it is a failure, those who joined r after it was sent share one more request.
func (s *scheduler) endLocked(r *request) {
	resource := r.resource
	resource.request, resource.latest = nil, r
	if resource.isList() && r.answer.Err == nil {
		resource.list = &r.answer.devices
	}
	s.backoffLocked(r)
	s.changeLocked(r)
	for _, w := range r.waiters {
		if r.answer.Err != nil && !resource.isList() && r.sent.Before(w.fetch.begun) && w.fetch.ctx.Err() == nil {
			s.joinLocked(w.fetch, w.index, resource, r.answer.At)
		} else {
			w.fetch.deliver(w.index, r.answer)
		}
	}
	r.waiters = nil
}

// backoffLocked starts or ends a wait according to the answer of r.
func (s *scheduler) backoffLocked(r *request) {
	f := r.resource.fetcher
	r.resource.wait = r.wait
	if r.wait.err == nil {
		// A request sent before the wait was over says nothing about now.
		if f.probing && !r.sent.Before(f.backoff.until) {
			f.probing, f.limited = false, nil
			s.events = append(s.events, event{at: r.answer.At, kind: "resumed", write: func(slog.Attr) {
				f.logger.Info("requests resumed")
			}})
		}
		return
	}
	before := f.limited
	f.limited = r
	started := !f.probing
	if started {
		if before == nil || before.resource == r.resource || r.answer.At.Sub(before.answer.At) > accountWithin {
			return
		}
		f.probing, f.backoff = true, before.resource.wait
	}
	if r.wait.until.After(f.backoff.until) {
		f.backoff = r.wait
	}
	if started {
		until := f.backoff.until
		s.events = append(s.events, event{at: r.answer.At, kind: "paused", write: func(slog.Attr) {
			f.logger.Warn("API asked to wait, requests paused", "until", until)
		}})
	}
	s.queue = slices.DeleteFunc(s.queue, func(queued *request) bool {
		if queued.resource.fetcher != f {
			return false
		}
		queued.resource.request = nil
		for _, w := range queued.waiters {
			w.fetch.deliver(w.index, Status{Err: f.backoff.err})
		}
		return true
	})
}
