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
// Its lock guards its own fields, and fields of the types below and of Fetcher as their comments say.
type scheduler struct {
	mu       sync.Mutex
	limit    int
	inFlight int
	queue    []*request
	fetches  int     // in progress
	events   []event // not yet logged
}

// resource is something that a Fetcher can fetch.
type resource struct {
	fetcher *Fetcher
	target  rufus.Target // of the session; zero for the list of devices

	// Guarded by the scheduler's lock.
	name       string       // of the entry, for the log; empty if it is no longer configured
	request    *request     // queued or in flight; nil if there is none
	latest     *request     // the last one that has ended, even if it failed; nil if there was none
	missed     bool         // its request was not sent before the deadline of the last fetch
	wait       wait         // zero if the last answer did not ask for one
	reported   rufus.Reason // why it fails, as last logged
	unreadable string       // unreadable members of its answers, as last logged

	list *rufus.DeviceList // the last one that could be read; nil for a session
}

func (r *resource) isList() bool { return r.target == (rufus.Target{}) }

// request is one request for a resource, from the queue to its answer.
type request struct {
	resource *resource

	// Guarded by the scheduler's lock until the request is sent, and constant afterwards.
	sent time.Time // zero while it is queued
	name string    // of the resource when the request was sent

	// Guarded by the scheduler's lock.
	waiters  []waiter
	detached bool // send it even if nobody waits for it

	// Set by execute; guarded by the scheduler's lock once the request has ended.
	answer Status // without the fields that depend on the entry
	reason rufus.Reason
	wait   wait // zero if the answer did not ask for one
}

// wait is a time without requests, because the API asked for it.
type wait struct {
	until time.Time
	err   error // for requests that are not sent until then
}

// waiter is one status of a fetch, to be set to the answer of a request.
type waiter struct {
	fetch *fetch
	index int
}

// fetch is a scrape, a probe or a page in progress. It is guarded by the scheduler's lock.
type fetch struct {
	ctx      context.Context // if it is done, there is no second try
	begun    time.Time
	statuses []Status
	waiting  []*request    // for each of statuses; nil if it is answered
	open     int           // number of statuses that are not answered
	done     chan struct{} // closed when all are answered
}

var (
	errNotSent  = &rufus.Error{Reason: rufus.Timeout, Detail: "no request could be sent in time"}
	errNoAnswer = &rufus.Error{Reason: rufus.Timeout, Detail: "no answer before the scrape's deadline"}
	errPanic    = &rufus.Error{Reason: rufus.InvalidResponse, Detail: "the answer could not be processed"}
)

// accountWithin is the period in which waits for two resources mean that the whole account must wait.
const accountWithin = time.Minute

// do sets each of statuses to an answer about its resource that is not older than maxAge. It reuses only successes, and
// when a request that was sent before do was called fails, do sends another one. A status without an answer when ctx is
// done becomes a Timeout. With allowStale, it becomes the latest answer instead, if there is one.
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

// turnLocked returns the turn of a resource in a fetch, from 0 to lastTurn. Within a turn the order is random. In a
// fixed order, even a rotating one, the deadline could cut off the same resources each time. Resources that missed the
// last deadline come first. While a single request probes the API, resources that must wait come last, because the wait
// may apply only to them.
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

// answerLocked sets status i of w to the latest answer about r if that is recent enough, else makes it wait for a
// request.
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

// answerListLocked is answerLocked for the list of devices. There is at most one request per listMaxAge, even if it
// fails. If the previous answer is not too old, w does not wait for a request.
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

// refreshLocked requests the list unless there is an answer younger than maxAge. It returns an error if the API asked
// to wait.
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

// refreshList requests the list of devices if it is too old. If the list has never been read, it waits for the answer,
// but no longer than half of the time until ctx is done.
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

// lastList returns the last list of devices that could be read, nil if there is none.
func (f *Fetcher) lastList() *rufus.DeviceList {
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	return f.devices.list
}

// joinLocked makes status i of w wait for a request for r, unless the API asked to wait.
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

// requestLocked returns the request for r, or an error if the API asked to wait. If there is no request, it queues one.
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

// Age returns the time from at to now: the larger of the differences by the monotonic clock and by the wall clock. Go's
// monotonic clock stops while the machine sleeps, and the wall clock can be set back.
func Age(now, at time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// deliver sets status i of w.
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

// leaveLocked sets the statuses that still wait for an answer when w ends.
func (s *scheduler) leaveLocked(w *fetch, f *Fetcher, now time.Time, allowStale bool) {
	missed := 0
	for i, r := range w.waiting {
		if r == nil {
			continue
		}
		r.waiters = slices.DeleteFunc(r.waiters, func(other waiter) bool { return other == waiter{w, i} })
		switch known := r.resource.latest; {
		case allowStale && known != nil && !r.resource.isList(): // the page does not show how old a list is
			w.deliver(i, known.answer)
		case r.sent.IsZero():
			w.deliver(i, Status{Err: errNotSent})
			if !allowStale && !errors.Is(w.ctx.Err(), context.Canceled) { // not a page, and not a client that has left
				r.resource.missed = true
				missed++
			}
		default:
			w.deliver(i, Status{Err: errNoAnswer, At: now, Duration: now.Sub(r.sent)})
		}
	}
	if missed > 0 && !f.saturated && !f.probing { // probing takes time whatever the settings
		f.saturated = true
		s.events = append(s.events, event{at: now, kind: "saturated", write: func(slog.Attr) {
			f.logger.Warn("not all sessions can be fetched before the scrape's deadline: raise the scrape timeout or "+
				"api.max_concurrent_requests, or spread the sessions over more targets", "missed", missed)
		}})
	}
}

// dispatchLocked sends all requests that may be sent now.
func (s *scheduler) dispatchLocked() {
	for r := s.nextLocked(); r != nil; r = s.nextLocked() {
		go s.work(r)
	}
}

// nextLocked removes the next request to send from the queue, and returns it; nil if none may be sent. It drops
// requests that nobody waits for. Until their turn comes they can be joined, so the queue never has two for a resource.
func (s *scheduler) nextLocked() *request {
	for i := 0; s.inFlight < s.limit && i < len(s.queue); {
		r := s.queue[i]
		f := r.resource.fetcher
		if f.probing && f.inFlight > 0 {
			i++
			continue
		}
		copy(s.queue[1:i+1], s.queue[:i]) // i is 0, unless there are several APIs and one is probed
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

// work sends r and then further requests, until none may be sent.
func (s *scheduler) work(r *request) {
	for r != nil {
		f := r.resource.fetcher
		r.execute()
		s.mu.Lock()
		s.inFlight--
		f.inFlight--
		s.endLocked(r)
		r = s.nextLocked()
		s.dispatchLocked() // if r was the probe, more requests may be sent now
		var events []event
		if s.inFlight == 0 { // perhaps no fetch is left to log them
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

// ask fetches the resource. A panic while decoding the answer must not crash the exporter.
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

// endLocked delivers the answer of r. If r failed, the fetches that joined it after it was sent share another request.
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

// backoffLocked starts or ends a wait, depending on the answer of r.
func (s *scheduler) backoffLocked(r *request) {
	f := r.resource.fetcher
	r.resource.wait = r.wait
	if r.wait.err == nil {
		// A request sent before the end of the wait does not show that the API accepts requests again.
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
