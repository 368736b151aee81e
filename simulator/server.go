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

// Server answers as the RUFUS Cloud API would, under the path /v0. It is an http.Handler without goroutines or timers
// of its own, for use by many clients at once.
type Server struct {
	// Now is the API's clock, and Sleep how a slow answer waits: until d has passed, or with an error, upon which the
	// connection is dropped, as soon as ctx ends because the client left. New sets both to the real ones; they may be
	// replaced before the first request.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error

	index atomic.Pointer[index]

	mu       sync.Mutex
	inFlight int
	requests Requests
	served   map[string]Answer
}

// Requests counts what a Server was asked.
type Requests struct {
	Session   int            // GET /v0/sessions/{token}
	Active    int            // GET /v0/sessions/device/{id}/active
	History   int            // GET /v0/sessions/device/{id}
	Devices   int            // GET /v0/devices
	Other     int            // any other path
	Refused   int            // not a GET; counted nowhere else
	Throttled int            // answered with 429; counted above as well
	Peak      int            // most at a time
	By        map[string]int // by token or device id, upper case, whether known or not
}

// Total returns how many requests there were.
func (r Requests) Total() int {
	return r.Session + r.Active + r.History + r.Devices + r.Other + r.Refused
}

// Answer is what was said about a session.
type Answer struct {
	At       time.Time // when it was asked for
	Token    string
	Active   bool
	Passings int
}

// New returns a server that plays day by the real clock. It panics when two sessions or two devices of day have the
// same id.
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

// Set lets change edit a copy of the day, which is played from the next request on. Requests are counted on. A list
// of passings may be replaced but not written into, since others read it meanwhile.
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

// Served returns the last successful answer to a question about a token or device id, whose case does not matter. For
// a device without an active session it is about the newest one.
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
	_, _ = w.Write(reply.body) // a client that left is none of the API's business
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
