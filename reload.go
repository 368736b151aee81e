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

// reloader holds the sessions in use and replaces them by those of the configuration, all of them or none. Scrapes in
// flight keep those they began with.
type reloader struct {
	source  *config.Source
	connect connector
	logger  *slog.Logger

	inUse   atomic.Pointer[collector.Roster]
	failure atomic.Pointer[error] // of the last reload; it points to nil when that succeeded
	success prometheus.Gauge
	at      prometheus.Gauge

	// Only use touches these, which the source calls one at a time.
	digest    rufus.Secret // of the API in use
	transport *rufus.Transport
}

// connector returns what asks an API in place of the Fetcher before, which may be nil, and its connections.
type connector func(api config.API, before *collector.Fetcher) (*collector.Fetcher, *rufus.Transport)

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

// sessions returns the sessions to ask for now: see Roster.Sessions.
func (r *reloader) sessions(ctx context.Context) *collector.Sessions {
	return r.inUse.Load().Sessions(ctx)
}

// current returns the sessions that were last asked for.
func (r *reloader) current() *collector.Sessions { return r.inUse.Load().Current() }

// lastError returns why the last reload failed; nil if it succeeded. There must have been one.
func (r *reloader) lastError() error { return *r.failure.Load() }

// reload loads the configuration and puts it to use. If that fails, the one before stays in use.
func (r *reloader) reload(ctx context.Context) error {
	err := r.source.Load(ctx, r.use)
	switch {
	case err == nil:
		r.success.Set(1)
		r.at.SetToCurrentTime()
		r.failure.Store(&err)
	case ctx.Err() == nil: // rather than shutting down
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

// use replaces the sessions. Answers and backoff are kept while the API is reached in the same way. Connections are
// not: they may be to an address that the API has left.
func (r *reloader) use(cfg *config.Config) error {
	if cfg.API.Key.Reveal() == "" {
		return errNoKey
	}
	before := r.inUse.Load()
	if before == nil {
		r.logger.Info("starting", append([]any{"version", version.Version, "api", cfg.API.URL.Host}, sizes(cfg)...)...)
	}
	for _, warning := range cfg.Warnings {
		r.logger.Warn("configuration", "warning", warning)
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

// tuneGC sets how much garbage may be made before it is collected, in percent of the live heap, unless $GOGC does. A
// small heap is collected several times in a scrape. With 200 instead of Go's 100 that is rarer, which saves a tenth to
// a fifth of a scrape's CPU for 5 MiB (see docs/performance.md). From 4,000 sessions, 75 keeps 10,000 of them below
// 100 MiB.
func tuneGC(sessions int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(min(max(300_000/max(sessions, 1), 75), 200))
	}
}

// sizes returns how much cfg lists, for the log.
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

// watch reloads on every hangUp, and when the files have changed at two intervals in a row, until ctx ends.
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
		_ = r.reload(ctx) // which logs it
	}
}
