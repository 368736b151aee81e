// Package web is the HTTP surface: metrics, probe, discovery, status page, health, reload. It serves what the
// collector fetched and knows nothing of the API or of YAML.
package web

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rufus_exporter/collector"
)

// Options say what to serve.
type Options struct {
	Sessions        func() *collector.Sessions // the sessions configured now
	Exporter        *prometheus.Registry       // the exporter's own metrics; those of this package are added
	Reload          func() error               // loads the configuration again
	ReloadError     func() error               // of the last reload, nil when it succeeded
	TelemetryPath   string                     // of the metrics, such as /metrics
	TimeoutOffset   time.Duration              // what to leave of Prometheus' scrape timeout for the way back
	MaxRequests     int                        // scrapes, probes, lists and pages at a time; above it 503
	EnableLifecycle bool                       // whether HTTP may reload
	EnablePprof     bool                       // whether /debug/pprof/ is served
	Version         string                     // shown on the status page
	Now             func() time.Time
	Logger          *slog.Logger
}

type handler struct {
	Options
	page *page
}

// NewHandler returns the handler of all paths. TelemetryPath must not be one of the others: see Reserved.
func NewHandler(o Options) http.Handler {
	h := &handler{Options: o, page: newPage()}
	limited := limit(o.MaxRequests)
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", limited(http.HandlerFunc(h.status)))
	mux.Handle("GET "+o.TelemetryPath, limited(
		promhttp.InstrumentMetricHandler(o.Exporter, http.HandlerFunc(h.metrics))))
	mux.Handle("GET /probe", limited(http.HandlerFunc(h.probe)))
	mux.Handle("GET /sd", limited(http.HandlerFunc(h.discovery)))
	mux.HandleFunc("GET /-/healthy", say(http.StatusOK, "Healthy."))
	mux.HandleFunc("GET /-/ready", say(http.StatusOK, "Ready."))
	reload := say(http.StatusForbidden, "Reloading over HTTP is off: see --web.enable-lifecycle.")
	if o.EnableLifecycle {
		reload = h.reload
	}
	mux.HandleFunc("POST /-/reload", reload)
	mux.HandleFunc("PUT /-/reload", reload)
	if o.EnablePprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	// No form on another web site may reload.
	return secure(http.NewCrossOriginProtection().Handler(mux))
}

// Reserved says whether target is served by something other than the metrics, or is no path that a request could have.
func Reserved(target string) bool {
	mux := http.NewServeMux()
	for _, pattern := range []string{"/{$}", "/probe", "/sd", "/-/", "/debug/"} {
		mux.HandleFunc(pattern, http.NotFound)
	}
	address, err := url.ParseRequestURI(target)
	if err != nil || address.Path != target || !strings.HasPrefix(target, "/") || path.Clean(target) != target ||
		strings.ContainsAny(target, "{}#") {
		return true
	}
	_, pattern := mux.Handler(&http.Request{Method: http.MethodGet, URL: address})
	return pattern != ""
}

// limit returns a middleware that serves at most n requests at a time, over all handlers it is put before: more would
// only pile up behind the same API.
func limit(n int) func(http.Handler) http.Handler {
	free := make(chan struct{}, n)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case free <- struct{}{}:
				defer func() { <-free }()
				next.ServeHTTP(w, r)
			default:
				http.Error(w, fmt.Sprintf("More than %d requests at a time: see --web.max-requests.", n),
					http.StatusServiceUnavailable)
			}
		})
	}
}

// secure forbids browsers everything that no page here needs; the status page allows itself its own style.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// takeTimeout is how long a client may take to take an answer, once it is there: whoever does not read must not hold
// one of the few places that limit gives.
const takeTimeout = 10 * time.Second

// hurry ends the connection of a client that has not taken its answer within takeTimeout.
func hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(takeTimeout)) // best effort: a recorder has none
}

func say(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text+"\n")
	}
}

func (h *handler) reload(w http.ResponseWriter, _ *http.Request) {
	if err := h.Reload(); err != nil {
		http.Error(w, "The configuration before this reload stays in use: "+err.Error(), http.StatusInternalServerError)
		return
	}
	say(http.StatusOK, "Reloaded.")(w, nil)
}
