package web

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"

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

// enter waits for a place until ctx ends and reports whether it got one, which must be released.
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

// reject answers a request that got no place with 503, counts it, and logs the first of an episode.
func (h *handler) reject(w http.ResponseWriter, r *http.Request) {
	if r.Context().Err() != nil {
		return // the client has left
	}
	h.rejections.Inc()
	now := h.Now().UnixNano()
	if before := h.lastRejection.Swap(now); time.Duration(now-before) > episode {
		h.Logger.Warn("request rejected: too many in progress, see --web.max-requests", "path", r.URL.Path)
	}
	http.Error(w, "Too many requests in progress: see --web.max-requests.", http.StatusServiceUnavailable)
}

// admitted serves next in a place of g, which it waits for until ctx ends.
func (h *handler) admitted(ctx context.Context, g *gate, w http.ResponseWriter, r *http.Request, next func()) {
	if !g.enter(ctx) {
		h.reject(w, r)
		return
	}
	defer g.places.Release(1)
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
		if element, was := idle[conn]; was {
			oldest.Remove(element)
			delete(idle, conn)
		}
		if state != http.StateNew && state != http.StateIdle {
			return
		}
		idle[conn] = oldest.PushBack(conn)
		if oldest.Len() > most {
			first, _ := oldest.Remove(oldest.Front()).(net.Conn)
			delete(idle, first)
			go func() { _ = first.Close() }() // TLS may wait for its peer
		}
	}
}
