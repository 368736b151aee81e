// Package web is the HTTP surface: metrics, probe, discovery, status page, health, reload. It serves what the
// collector fetched and knows nothing of the API or of YAML.
//
// NewHandler lists all paths. metrics.go serves what Prometheus reads, page.go what people read. Each kind of request
// has a gate (limit.go), which admits a number of them at a time; the others wait for their turn, scrapes and probes
// until their deadline. A request that gets no turn is answered with 503 and counted.
package web

import (
	"context"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rufus_exporter/collector"
)

// Options say what to serve.
type Options struct {
	// Sessions returns the sessions to ask for now. It may wait until ctx ends.
	Sessions        func(ctx context.Context) *collector.Sessions
	Exporter        *prometheus.Registry // the exporter's own metrics; those of this package are added
	Reload          func() error         // loads the configuration again
	ReloadError     func() error         // of the last reload, nil when it succeeded
	TelemetryPath   string               // of the metrics, such as /metrics
	TimeoutOffset   time.Duration        // what to leave of Prometheus' scrape timeout for the way back
	MaxRequests     int                  // scrapes at a time; others wait for their turn
	EnableLifecycle bool                 // whether HTTP may reload
	Hosts           []string             // names by which requests may reload, apart from addresses and localhost
	EnablePprof     bool                 // whether /debug/pprof/ is served
	Version         string               // shown on the status page
	TimeZone        *time.Location       // of the times on the status page; nil: UTC
	Runbook         string               // what to do about each alert, in Markdown
	RunbookURL      string               // where the runbook is, if not here
	Now             func() time.Time
	Logger          *slog.Logger
}

type handler struct {
	Options
	page          *template.Template // of the status page
	compress      func(http.Handler) http.HandlerFunc
	rejections    prometheus.Counter
	lastRejection atomic.Int64 // in Unix nanoseconds
	// Each kind of request has places of its own, so that none waits behind another.
	scrapes, probes, pages, lists *gate
}

// NewHandler returns the handler of all paths. TelemetryPath must not be one of the others: see Reserved.
func NewHandler(o Options) http.Handler {
	if o.TimeZone == nil {
		o.TimeZone = time.UTC
	}
	h := &handler{
		Options:  o,
		page:     template.Must(template.New("status").Parse(pageHTML)),
		compress: newCompressor(),
		rejections: promauto.With(o.Exporter).NewCounter(prometheus.CounterOpts{
			Name: "rufus_exporter_rejected_requests_total",
			Help: "Number of HTTP requests answered with 503 because too many others were in progress.",
		}),
		scrapes: newGate(o.MaxRequests, maxWaiting),
		probes:  newGate(maxWaiting, 0), // each waits in the collector's queue and costs little more than its connection
		pages:   newGate(o.MaxRequests, maxWaiting),
		lists:   newGate(o.MaxRequests, maxWaiting),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.briefly(h.pages, h.status))
	mux.HandleFunc("GET "+runbookPath, h.runbookPage())
	mux.Handle("GET "+o.TelemetryPath, promhttp.InstrumentMetricHandler(o.Exporter, http.HandlerFunc(h.metrics)))
	mux.HandleFunc("GET /probe", h.probe)
	mux.HandleFunc("GET /sd", h.briefly(h.lists, h.discovery))
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

// Reserved reports whether target is served by something other than the metrics, or is not a path that a request could
// have.
func Reserved(target string) bool {
	mux := http.NewServeMux()
	for _, pattern := range []string{"/{$}", "/probe", "/sd", runbookPath, "/-/", "/debug/"} {
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

// takeTimeout is how long a client may take to read an answer, once it is there: whoever does not read must not hold
// one of the few places.
const takeTimeout = 10 * time.Second

// limitWrite ends the connection of a client that has not read its answer within takeTimeout.
func limitWrite(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(takeTimeout)) // best effort: a recorder has none
}

func say(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text+"\n")
	}
}

// reload loads the configuration again, if the request came by a name that is ours. Any other may be that of a web page
// which has been made to lead here: DNS rebinding, which no check of the origin notices.
func (h *handler) reload(w http.ResponseWriter, r *http.Request) {
	if !h.ours(r.Host) {
		http.Error(w, "Reloading is refused under this host name. Use an IP address, or one of: "+
			strings.Join(append([]string{"localhost"}, h.Hosts...), ", ")+".", http.StatusForbidden)
		return
	}
	if err := h.Reload(); err != nil {
		http.Error(w, "The configuration before this reload stays in use: "+err.Error(), http.StatusInternalServerError)
		return
	}
	say(http.StatusOK, "Reloaded.")(w, nil)
}

// ours reports whether a Host header has an IP address, localhost or a configured name.
func (h *handler) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	return slices.ContainsFunc(h.Hosts, func(name string) bool { return strings.EqualFold(host, name) })
}
