package web

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
)

const (
	// maxWaiting bounds the requests of a kind that wait, for a place or, as probes do, for the API: each takes some
	// 40 KiB with its connection.
	maxWaiting = 1000
	// placeTimeout is how long those wait for a place that have no deadline of their own.
	placeTimeout = 5 * time.Second
	// episode is how long nothing must have been rejected for the next rejection to be logged.
	episode = 5 * time.Minute
)

// gate admits a number of requests at a time. Others wait for their turn, if not too many do already.
type gate struct {
	places, waiting *semaphore.Weighted
}

func newGate(places, waiting int) *gate {
	return &gate{places: semaphore.NewWeighted(int64(places)), waiting: semaphore.NewWeighted(int64(waiting))}
}

// enter waits for a place until ctx ends and reports whether it got one; then leave must follow.
func (g *gate) enter(ctx context.Context) bool {
	if g.places.TryAcquire(1) {
		return true
	}
	if !g.waiting.TryAcquire(1) {
		return false
	}
	defer g.waiting.Release(1)
	return g.places.Acquire(ctx, 1) == nil
}

func (g *gate) leave() { g.places.Release(1) }

// rejections counts what is answered with 503 for want of a place, and logs the first of an episode.
type rejections struct {
	total  prometheus.Counter
	last   atomic.Int64 // Unix nanoseconds
	now    func() time.Time
	logger *slog.Logger
}

func newRejections(registry *prometheus.Registry, now func() time.Time, logger *slog.Logger) *rejections {
	r := &rejections{
		total: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rufus_exporter_rejected_requests_total",
			Help: "Number of HTTP requests answered with 503 because too many others were in progress.",
		}),
		now:    now,
		logger: logger,
	}
	registry.MustRegister(r.total)
	return r
}

// reject answers a request that got no place.
func (r *rejections) reject(w http.ResponseWriter, req *http.Request) {
	if req.Context().Err() != nil {
		return // the client has left
	}
	r.total.Inc()
	now := r.now().UnixNano()
	if before := r.last.Swap(now); time.Duration(now-before) > episode {
		r.logger.Warn("request rejected: too many in progress, see --web.max-requests", "path", req.URL.Path)
	}
	http.Error(w, "Too many requests in progress: see --web.max-requests.", http.StatusServiceUnavailable)
}

// admitted serves next in a place of g, which it waits for until ctx ends.
func (h *handler) admitted(ctx context.Context, g *gate, w http.ResponseWriter, r *http.Request, next func()) {
	if !g.enter(ctx) {
		h.rejections.reject(w, r)
		return
	}
	defer g.leave()
	next()
}

// briefly returns next admitted by g after placeTimeout at most.
func (h *handler) briefly(g *gate, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), placeTimeout)
		defer cancel()
		h.admitted(ctx, g, w, r, func() { next(w, r) })
	}
}

// LimitIdle returns a hook for http.Server.ConnState that closes the connection which has been without a request for
// longest when there are more than most. A server keeps them for minutes, at 12 KiB and more each; not to accept others
// in the meantime would make it blind.
func LimitIdle(most int) func(net.Conn, http.ConnState) {
	var mu sync.Mutex
	var oldest list.List
	idle := make(map[net.Conn]*list.Element)
	return func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		forget := func(element *list.Element) net.Conn {
			conn, _ := oldest.Remove(element).(net.Conn)
			delete(idle, conn)
			return conn
		}
		if element, was := idle[conn]; was {
			forget(element)
		}
		if state != http.StateNew && state != http.StateIdle {
			return
		}
		idle[conn] = oldest.PushBack(conn)
		if oldest.Len() > most {
			conn := forget(oldest.Front())
			go func() { _ = conn.Close() }() // TLS may wait for its peer
		}
	}
}
