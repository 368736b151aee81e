package simulator

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server answers requests like the RUFUS Cloud API, under the path /v0. It is an http.Handler without goroutines or
// timers, and safe for concurrent use.
type Server struct {
	// Now is the API's clock. Sleep delays a slow answer by d. If the client leaves first, ctx is done, Sleep returns an
	// error, and the connection is dropped. New sets both to the real ones. They may be replaced before the first request.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error

	index atomic.Pointer[index]

	mu       sync.Mutex
	inFlight int
	requests Requests
	served   map[string]Answer
}

// Requests counts the requests to a Server.
type Requests struct {
	Session   int            // GET /v0/sessions/{token}
	Active    int            // GET /v0/sessions/device/{id}/active
	History   int            // GET /v0/sessions/device/{id}
	Devices   int            // GET /v0/devices
	Other     int            // any other path
	Refused   int            // not a GET; not counted above
	Throttled int            // answered with 429; also counted above
	Peak      int            // maximum number of concurrent requests
	By        map[string]int // by token or device id, in upper case, also for unknown ones
}

// Total returns the number of requests.
func (r Requests) Total() int {
	return r.Session + r.Active + r.History + r.Devices + r.Other + r.Refused
}

// Answer is the content of an answer about a session.
type Answer struct {
	At       time.Time // of the request
	Token    string
	Active   bool
	Passings int
}

// New returns a server for day that uses the real clock. It panics if two sessions or two devices of day have the same
// id.
func New(day Day) *Server {
	s := &Server{Now: time.Now, Sleep: sleep, served: make(map[string]Answer)}
	s.requests.By = make(map[string]int)
	s.index.Store(newIndex(day.clone()))
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Set calls change to edit a copy of the day, which is used from the next request on. It does not reset the counts of
// requests. change may replace a list of passings but must not modify it, because concurrent requests read it.
func (s *Server) Set(change func(day *Day)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	day := s.index.Load().source.clone()
	change(&day)
	s.index.Store(newIndex(day))
}

// Requests returns the counts so far.
func (s *Server) Requests() Requests {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	r.By = maps.Clone(r.By)
	return r
}

// Served returns the last successful answer about a token or device id, ignoring case. If a device has no active
// session, the answer is about its newest one.
func (s *Server) Served(id string) (answer Answer, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok = s.served[strings.ToUpper(id)]
	return answer, ok
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now, q := s.Now(), parse(r)
	reply := s.index.Load().reply(now, q)
	s.arrived(q, reply)
	defer s.left()

	if reply.latency > 0 {
		if err := s.Sleep(r.Context(), reply.latency); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if reply.drop {
		panic(http.ErrAbortHandler)
	}
	if reply.about.Token != "" {
		s.mu.Lock()
		s.served[q.id] = reply.about
		s.mu.Unlock()
	}
	header := w.Header()
	header.Set("Date", now.UTC().Format(http.TimeFormat))
	header.Set("Content-Type", "application/json")
	if reply.retryAfter != "" {
		header.Set("Retry-After", reply.retryAfter)
	}
	if reply.status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodGet)
	}
	w.WriteHeader(reply.status)
	_, _ = w.Write(reply.body) // an error means that the client has left
}

func (s *Server) arrived(q query, a reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
	count := &s.requests
	count.Peak = max(count.Peak, s.inFlight)
	if a.status == http.StatusTooManyRequests {
		count.Throttled++
	}
	if !q.get {
		count.Refused++
		return
	}
	switch q.call {
	case callSession:
		count.Session++
	case callActive:
		count.Active++
	case callHistory:
		count.History++
	case callDevices:
		count.Devices++
	default:
		count.Other++
	}
	if q.id != "" {
		count.By[q.id]++
	}
}

func (s *Server) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
}
