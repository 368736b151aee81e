package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/common/version"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

var errNoKey = errors.New("no API key: set api.key_file, or $" + config.KeyVariable + " or $" + config.KeyFileVariable +
	" in the environment")

// reloader holds the sessions in use and replaces them when the configuration changes, all of them or none. Scrapes in
// flight keep the sessions they started with.
type reloader struct {
	source *config.Source
	// connect returns a Fetcher for an API, and its transport. before is the Fetcher that it replaces, or nil.
	connect func(api config.API, before *collector.Fetcher) (*collector.Fetcher, *rufus.Transport)
	logger  *slog.Logger

	inUse   atomic.Pointer[collector.Roster]
	failure atomic.Pointer[error] // of the last reload; points to nil if it succeeded
	success prometheus.Gauge
	at      prometheus.Gauge

	// Only use accesses these. The source never calls it concurrently.
	digest    rufus.Secret // of the API in use
	transport *rufus.Transport
}

func newReloader(source *config.Source, registry *prometheus.Registry, logger *slog.Logger) *reloader {
	metrics := promauto.With(registry)
	return &reloader{
		source: source,
		logger: logger,
		success: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "rufus_exporter_config_last_reload_successful",
			Help: "1 if the last attempt to load the configuration succeeded, 0 if it failed.",
		}),
		at: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "rufus_exporter_config_last_reload_success_timestamp_seconds",
			Help: "Time of the last successful load of the configuration, in Unix seconds.",
		}),
	}
}

// sessions returns the sessions to fetch now: see Roster.Sessions.
func (r *reloader) sessions(ctx context.Context) *collector.Sessions {
	return r.inUse.Load().Sessions(ctx)
}

// current returns the sessions as of the last call of sessions: see Roster.Current.
func (r *reloader) current() *collector.Sessions { return r.inUse.Load().Current() }

// lastError returns why the last reload failed, nil if it succeeded. It must not be called before the first reload.
func (r *reloader) lastError() error { return *r.failure.Load() }

// reload loads and applies the configuration. If that fails, the previous one stays in use.
func (r *reloader) reload(ctx context.Context) error {
	err := r.source.Load(ctx, r.use)
	switch {
	case err == nil:
		r.success.Set(1)
		r.at.SetToCurrentTime()
		r.failure.Store(&err)
	case ctx.Err() == nil: // not shutting down
		r.success.Set(0)
		r.failure.Store(&err)
		for line := range strings.SplitSeq(err.Error(), "\n") {
			r.logger.Error("cannot load configuration", "err", line)
		}
		if r.inUse.Load() != nil {
			r.logger.Warn("configuration not reloaded, the previous one stays in use")
		}
	}
	return err
}

// use replaces the sessions. If the api section has not changed, answers and backoff are kept. Connections are not: the
// API may have moved to another address.
func (r *reloader) use(cfg *config.Config) error {
	if cfg.API.Key.Reveal() == "" {
		return errNoKey
	}
	before := r.inUse.Load()
	if before == nil {
		r.logger.Info("starting", append([]any{"version", version.Version, "api", cfg.API.URL.Host}, sizes(cfg)...)...)
	}
	for _, warning := range cfg.Warnings {
		r.logger.Warn("configuration warning", "warning", warning)
	}
	if host := cfg.API.URL.Hostname(); cfg.API.URL.Scheme == "http" && !loopback(host) {
		r.logger.Warn("API key and tokens are sent unencrypted: api.url is not https", "host", host)
	}
	var fetcher *collector.Fetcher
	switch {
	case before == nil:
		fetcher, r.transport = r.connect(cfg.API, nil)
	case r.digest == cfg.API.Digest():
		fetcher = before.Current().Fetcher()
		r.transport.CloseIdleConnections()
	default:
		defer r.transport.Close()
		fetcher, r.transport = r.connect(cfg.API, before.Current().Fetcher())
	}
	roster := fetcher.Roster(cfg.Sessions, cfg.Discovery, before)
	if before != nil {
		added, removed, changed := entry.Compare(before.Current().Entries(), roster.Current().Entries())
		r.logger.Info("configuration reloaded",
			append(sizes(cfg), "added", added, "removed", removed, "changed", changed)...)
	}
	r.inUse.Store(roster)
	r.digest = cfg.API.Digest()
	tuneGC(len(roster.Current().Entries()))
	return nil
}

// tuneGC sets the garbage collection target percentage, unless $GOGC is set. With Go's default of 100, a small heap is
// collected several times per scrape. With 200, a scrape takes 10 to 20 % less CPU and 5 MiB more memory (see
// docs/performance.md). From 4,000 sessions on the percentage is 75, which keeps 10,000 sessions below 100 MiB.
func tuneGC(sessions int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(min(max(300_000/max(sessions, 1), 75), 200))
	}
}

// sizes returns log attributes with the number of sessions and of rules in cfg.
func sizes(cfg *config.Config) []any {
	sizes := []any{"sessions", len(cfg.Sessions)}
	if cfg.Discovery != nil {
		sizes = append(sizes, "device_rules", len(cfg.Discovery.Rules))
	}
	return sizes
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// watch reloads on every hangUp until ctx is done. It also checks the files at each interval, and reloads once they
// have changed and then stayed the same for one interval.
func (r *reloader) watch(ctx context.Context, hangUp <-chan os.Signal, interval time.Duration) {
	var tick <-chan time.Time
	if interval > 0 {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUp:
		case <-tick:
			if !r.source.Changed(ctx) {
				continue
			}
		}
		_ = r.reload(ctx) // reload logs its error
	}
}
