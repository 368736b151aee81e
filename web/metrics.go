package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"rufus_exporter/collector"
)

// metrics serves all sessions and the exporter's own metrics, or with collect[] only those parts.
func (h *handler) metrics(w http.ResponseWriter, r *http.Request) {
	parts := r.URL.Query()["collect[]"]
	if i := slices.IndexFunc(parts, func(p string) bool { return p != "sessions" && p != "exporter" }); i >= 0 {
		http.Error(w, "collect[] is sessions or exporter.", http.StatusBadRequest)
		return
	}
	exporter := len(parts) == 0 || slices.Contains(parts, "exporter")
	if len(parts) > 0 && !slices.Contains(parts, "sessions") {
		h.briefly(h.lists, func(w http.ResponseWriter, r *http.Request) { h.expose(w, r, h.Exporter) })(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.deadline(r))
	defer cancel()
	h.admitted(ctx, h.scrapes, w, r, func() {
		gatherers := []prometheus.Gatherer{h.Sessions(ctx).Gatherer(ctx)}
		if exporter {
			gatherers = append(gatherers, h.Exporter) // last, so that it counts the requests of this scrape
		}
		h.expose(w, r, gatherers...)
	})
}

// noList is said instead of which sessions there are.
const noList = "The devices to follow are not known yet: the list of devices could not be read."

// probe serves one session by its name: Prometheus' multi-target pattern.
func (h *handler) probe(w http.ResponseWriter, r *http.Request) {
	names := r.URL.Query()["target"]
	if len(names) != 1 || names[0] == "" {
		http.Error(w, "Say which session: /probe?target=NAME. /sd lists the names.", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.deadline(r))
	defer cancel()
	h.admitted(ctx, h.probes, w, r, func() {
		sessions := h.Sessions(ctx)
		session, ok := sessions.Only(names[0])
		switch {
		case ok:
			h.expose(w, r, session.Gatherer(ctx))
		case errors.Is(sessions.Err(), collector.ErrNoList):
			http.Error(w, noList, http.StatusServiceUnavailable)
		default:
			http.Error(w, "There is no session of that name. /sd lists the names.", http.StatusNotFound)
		}
	})
}

// discovery serves the names of all sessions with their labels, for Prometheus' http_sd_configs.
func (h *handler) discovery(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.deadline(r))
	defer cancel()
	sessions := h.Sessions(ctx)
	if errors.Is(sessions.Err(), collector.ErrNoList) { // Prometheus then keeps the targets that it has
		http.Error(w, noList, http.StatusServiceUnavailable)
		return
	}
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels,omitempty"`
	}
	groups := []group{}
	for _, entry := range sessions.Entries() {
		labels := make(map[string]string, len(entry.Labels))
		for name, value := range entry.Labels {
			labels["__meta_rufus_label_"+name] = value
		}
		groups = append(groups, group{Targets: []string{entry.Name}, Labels: labels})
	}
	w.Header().Set("Content-Type", "application/json")
	limitWrite(w)
	if err := json.NewEncoder(w).Encode(groups); err != nil {
		h.Logger.Debug("cannot write discovery", "err", err)
	}
}

// newCompressor returns what compresses with gzip for clients that accept it, in place of promhttp. The standard
// library's gzip, which promhttp uses, takes twice as much CPU: 6 to 18 % of a scrape. See docs/performance.md.
func newCompressor() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.EnableZstd(false))
	if err != nil {
		panic(err) // these options are wrong
	}
	return wrap
}

// expose writes what the gatherers give, in the format and compression that the client asks for.
func (h *handler) expose(w http.ResponseWriter, r *http.Request, gatherers ...prometheus.Gatherer) {
	h.compress(promhttp.HandlerFor(h.union(gatherers, func() { limitWrite(w) }), promhttp.HandlerOpts{
		DisableCompression: true,
		EnableOpenMetrics:  true,
		ErrorHandling:      promhttp.ContinueOnError,
		ErrorLog:           slog.NewLogLogger(h.Logger.Handler(), slog.LevelDebug),
		Registry:           h.Exporter,
	})).ServeHTTP(w, r)
}

// union gathers from all, whose families differ by name; prometheus.Gatherers would check all over again that they
// do. Then it calls gathered. An error is logged here and replaced, because that of a panic holds a stack and would be
// sent to the client.
func (h *handler) union(gatherers []prometheus.Gatherer, gathered func()) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		defer gathered()
		var all []*dto.MetricFamily
		var failed error
		for _, g := range gatherers {
			families, err := g.Gather()
			if err != nil {
				h.Logger.Error("metrics are missing from an answer", "err", err)
				failed = errors.New("some metrics could not be gathered: see the exporter's log")
			}
			all = append(all, families...)
		}
		slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
		return all, failed
	})
}

// How long a scrape may take.
const (
	defaultScrapeTimeout = 10 * time.Second // Prometheus' default, when it does not say
	maxScrape            = 2 * time.Minute
)

func (h *handler) deadline(r *http.Request) time.Duration {
	return deadline(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), h.TimeoutOffset)
}

// deadline returns how long a scrape may take: what Prometheus' header says, in seconds, less the offset that the way
// back needs, but at least half of it. Nonsense counts as a missing header, and so does what is too short to ask.
func deadline(header string, offset time.Duration) time.Duration {
	timeout := defaultScrapeTimeout
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && seconds >= 0.01 {
		timeout = time.Duration(min(seconds, 2*maxScrape.Seconds()) * float64(time.Second))
	}
	return min(max(timeout-offset, timeout/2), maxScrape)
}
