package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/version"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/rufus"
)

var errNoKey = errors.New("no API key: set api.key_file, or " + config.KeyVariable + " in the environment")

// reloader holds the configuration in use and replaces it, as a whole or not at all. Scrapes in flight keep the one
// they began with.
type reloader struct {
	load     func() (*config.Config, error)
	logger   *slog.Logger
	exporter *collector.Exporter
	success  prometheus.Gauge
	at       prometheus.Gauge

	current atomic.Pointer[collector.Sessions]
	failure atomic.Pointer[error]

	mu      sync.Mutex // one reload at a time; guards what follows
	cfg     *config.Config
	closing func() // closes the idle connections of the client in use
	files   []string
	loaded  fingerprint // of files, as the last reload found them
	seen    fingerprint // of files, as the last look found them
}

func newReloader(load func() (*config.Config, error), registry *prometheus.Registry, logger *slog.Logger) *reloader {
	r := &reloader{
		load:   load,
		logger: logger,
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rufus_exporter_config_last_reload_successful",
			Help: "Whether the last attempt to load the configuration succeeded (1) or not (0).",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rufus_exporter_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration was last loaded with success, in Unix seconds.",
		}),
	}
	r.exporter = collector.NewExporter(r.sessions)
	registry.MustRegister(r.exporter, r.success, r.at)
	return r
}

// sessions returns the sessions in use.
func (r *reloader) sessions() *collector.Sessions { return r.current.Load() }

// lastError returns why the last reload failed; nil when it did not.
func (r *reloader) lastError() error {
	if failure := r.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// reload loads the configuration and puts it to use; when that fails, the one before stays in use.
func (r *reloader) reload() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if err != nil {
			r.success.Set(0)
			r.failure.Store(&err)
			for line := range strings.SplitSeq(err.Error(), "\n") {
				r.logger.Error("configuration cannot be used", "err", line)
			}
			return
		}
		r.success.Set(1)
		r.at.SetToCurrentTime()
		r.failure.Store(nil)
	}()

	cfg, err := r.read()
	if err == nil && cfg.API.Key.Reveal() == "" {
		err = errNoKey
	}
	if err != nil {
		return err
	}
	r.use(cfg)
	return nil
}

// read loads the configuration and notes the state of its files from before they were read: what changes from then
// on is seen as a change. Which files they are, only reading tells, so it reads again where that is news.
func (r *reloader) read() (*config.Config, error) {
	for {
		r.loaded = fingerprintOf(r.files)
		cfg, err := r.load()
		files := filesOf(cfg, err)
		if files == nil || slices.Equal(files, r.files) {
			return cfg, err
		}
		r.files = files
	}
}

// filesOf returns the files that cfg was read from or that err says could not be.
func filesOf(cfg *config.Config, err error) []string {
	var failed *config.Error
	switch {
	case cfg != nil:
		return cfg.Files
	case errors.As(err, &failed):
		return failed.Files
	default:
		return nil
	}
}

// use replaces the sessions. Connections and answers are kept while the API section is the same.
func (r *reloader) use(cfg *config.Config) {
	var fetcher *collector.Fetcher
	if r.cfg != nil && r.cfg.API.Equal(cfg.API) {
		fetcher = r.sessions().Fetcher()
	} else {
		if r.closing != nil {
			defer r.closing()
		}
		fetcher, r.closing = r.newFetcher(cfg.API)
	}
	if host := cfg.API.URL.Hostname(); cfg.API.URL.Scheme == "http" && !loopback(host) {
		r.logger.Warn("the API key and the tokens go over the network in clear: api.url is not https", "host", host)
	}
	came, went := changes(r.cfg, cfg)
	r.logger.Info("configuration loaded", "sessions", len(cfg.Sessions), "came", came, "went", went)
	r.current.Store(fetcher.Sessions(sessionsOf(cfg)))
	r.cfg = cfg
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// newFetcher wires config → transport → client → fetcher.
func (r *reloader) newFetcher(api config.API) (fetcher *collector.Fetcher, closeIdle func()) {
	transport := rufus.NewTransport(rufus.TransportOptions{
		TLS:      api.TLS,
		Proxy:    api.Proxy,
		MaxConns: api.MaxConcurrentRequests,
		Timeout:  api.Timeout,
	})
	client := rufus.NewClient(rufus.Options{
		URL:       api.URL,
		Key:       api.Key,
		KeyHeader: api.KeyHeader,
		UserAgent: "rufus_exporter/" + version.Version,
		Timeout:   api.Timeout,
		Transport: transport,
		Observe:   r.exporter.Observe,
		Mask:      func() rufus.Mask { return fetcher.Mask() },
		Paused: func() bool {
			_, paused := fetcher.BackoffUntil().Get()
			return paused
		},
	})
	fetcher = collector.NewFetcher(collector.Options{
		Source:                client,
		Replaces:              r.sessions().Fetcher(),
		MaxConcurrentRequests: api.MaxConcurrentRequests,
		MinInterval:           api.MinInterval,
		DeviceMetrics:         api.DeviceMetrics,
		Now:                   time.Now,
		Logger:                r.logger,
	})
	return fetcher, transport.Close
}

// changes returns the names that a reload brings and takes; nothing for the first configuration.
func changes(before, after *config.Config) (came, went []string) {
	if before == nil {
		return nil, nil
	}
	names := func(cfg *config.Config) map[string]bool {
		set := make(map[string]bool, len(cfg.Sessions))
		for _, s := range cfg.Sessions {
			set[s.Name] = true
		}
		return set
	}
	missing := func(from *config.Config, in map[string]bool) (list []string) {
		for _, s := range from.Sessions {
			if !in[s.Name] {
				list = append(list, s.Name)
			}
		}
		return list
	}
	return missing(after, names(before)), missing(before, names(after))
}

// watch reloads on every hangUp, and after every interval if the files have changed, until ctx ends.
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
			_ = r.reload() // logged, and in the metrics
		case <-tick:
			r.look()
		}
	}
}

// look reloads when the files are not as they were loaded and two looks in a row saw the same: a list that an editor
// has half written can be valid.
func (r *reloader) look() {
	r.mu.Lock()
	now := fingerprintOf(r.files)
	settled := now != r.loaded && now == r.seen
	r.seen = now
	r.mu.Unlock()
	if settled {
		_ = r.reload() // logged, and in the metrics
	}
}

// fingerprint is a hash over the contents of files: saving in place, renaming over and swapping a link all change it.
type fingerprint [sha256.Size]byte

// maxHashed bounds what is read of a file, in bytes. It is above what a configuration takes from any.
const maxHashed = 32 << 20

func fingerprintOf(files []string) (sum fingerprint) {
	all := sha256.New()
	for _, file := range files {
		one := sha256.New()
		if err := hash(one, file); err != nil {
			_, _ = io.WriteString(one, err.Error())
		}
		all.Write(one.Sum(nil))
	}
	all.Sum(sum[:0])
	return sum
}

// hash writes the content of a file to sum, if it is one that a configuration can be read from.
func hash(sum io.Writer, path string) error {
	file, err := config.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.Copy(sum, io.LimitReader(file, maxHashed))
	return err
}
