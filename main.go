// Command rufus_exporter exposes the state of race timing sessions of the RUFUS Cloud API to Prometheus.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // for --web.time-zone where the machine has no zones, as in the image

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	toolkitflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"
	"golang.org/x/sync/errgroup"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/monitoring"
	"rufus_exporter/rufus"
	"rufus_exporter/web"
)

// Exit codes.
const (
	exitStopped = 0 // asked to stop
	exitFailed  = 1
	exitUsage   = 78 // EX_CONFIG: wrong usage or configuration. 2 is what the Go runtime exits with after a crash.
)

const (
	// drainTimeout is how long scrapes in flight may take to end after a signal, within the 30 s after which
	// Kubernetes kills.
	drainTimeout = 25 * time.Second
	// writeTimeout must not cut the longest scrape there can be, of 2 minutes.
	writeTimeout = 150 * time.Second
	// maxIdleConnections is far above what Prometheus and a crew keep open, and takes some 15 MiB.
	maxIdleConnections = 1000
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run is the program: it returns the exit code.
func run(args []string) int {
	// Before anything else: SIGHUP ends a process that has not asked for it, SIGPIPE one whose log nobody reads any more.
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	signal.Ignore(syscall.SIGPIPE)

	f, err := parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rufus_exporter:", err, "(see --help)")
		return exitUsage
	}
	if f.healthCheck {
		if err := healthCheck(*f.web.WebListenAddresses); err != nil {
			fmt.Fprintln(os.Stderr, "rufus_exporter:", err)
			return exitFailed
		}
		return exitStopped
	}
	out := newLogWriter(os.Stderr)
	defer out.close()
	f.log.Writer = out
	logger := promslog.New(f.log)
	// net/http prints there what a server sends unasked, which may be the rest of an answer: see rufus.NewTransport.
	log.SetOutput(io.Discard)

	load := func() (*config.Config, error) { return config.Load(f.configFile) }
	if f.demo {
		var stop func()
		if load, stop, err = startDemo(); err != nil {
			logger.Error("cannot start the demo", "err", err)
			return exitFailed
		}
		defer stop()
		f.reloadInterval = 0 // there is no file to watch
	}
	switch {
	case f.check:
		return check(f.configFile, load)
	case f.preflight:
		return preflightOf(f, load)
	}

	// configuration → reloader → sessions → web; what the sessions are fetched with is wired in connect.
	registry := prometheus.NewRegistry()
	r := newReloader(config.NewSource(load), registry, logger)
	exporter := collector.NewExporter(r.current)
	r.connect = func(api config.API, before *collector.Fetcher) (*collector.Fetcher, *rufus.Transport) {
		return connect(api, before, exporter.Observe, logger)
	}
	if err := r.reload(context.Background()); err != nil {
		return exitCode(err)
	}
	if f.demo {
		announceDemo(f, logger)
	}
	registry.MustRegister(
		exporter,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("rufus_exporter"),
	)
	handler := web.NewHandler(web.Options{
		Sessions:        r.sessions,
		Exporter:        registry,
		Reload:          func() error { return r.reload(context.Background()) },
		ReloadError:     r.lastError,
		TelemetryPath:   f.telemetryPath,
		TimeoutOffset:   f.timeoutOffset,
		MaxRequests:     f.maxRequests,
		EnableLifecycle: f.enableLifecycle,
		Hosts:           hosts(*f.web.WebListenAddresses),
		EnablePprof:     f.enablePprof,
		Version:         version.Version,
		TimeZone:        f.timeZone,
		Runbook:         monitoring.Runbook,
		RunbookURL:      f.runbookURL,
		Now:             time.Now,
		Logger:          logger,
	})
	if err := serve(handler, f, r, hangUp, logger); err != nil {
		logger.Error("stopped", "err", err)
		return exitFailed
	}
	logger.Info("stopped")
	return exitStopped
}

// connect wires configuration → transport → client → fetcher.
func connect(api config.API, before *collector.Fetcher, observe func() func(error), logger *slog.Logger) (
	fetcher *collector.Fetcher, transport *rufus.Transport,
) {
	transport = rufus.NewTransport(rufus.TransportOptions{
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
		Observe:   observe,
		Mask:      func() rufus.Mask { return fetcher.Mask() },
		Paused: func() bool {
			_, paused := fetcher.BackoffUntil().Get()
			return paused
		},
	})
	fetcher = collector.NewFetcher(collector.Options{
		Source:                client,
		Replaces:              before,
		MaxConcurrentRequests: api.MaxConcurrentRequests,
		MinInterval:           api.MinInterval,
		DeviceMetrics:         api.DeviceMetrics,
		Now:                   time.Now,
		Logger:                logger,
	})
	return fetcher, transport
}

// serve serves and reloads until a signal asks to stop, then waits for the scrapes in flight. A second signal ends the
// process at once.
func serve(handler http.Handler, f flags, r *reloader, hangUp <-chan os.Signal, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnState:         web.LimitIdle(maxIdleConnections),
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	stopped, restore := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer restore()
	group, ctx := errgroup.WithContext(stopped)
	group.Go(func() error {
		err := toolkit.ListenAndServe(server, f.web, logger)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	group.Go(func() error {
		r.watch(ctx, hangUp, f.reloadInterval)
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		restore()
		if stopped.Err() != nil { // rather than that nothing could be served
			logger.Info("shutting down, waiting for scrapes in flight", "timeout", drainTimeout)
		}
		drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if server.Shutdown(drain) != nil {
			logger.Warn("some clients did not read their answers")
			return server.Close()
		}
		return nil
	})
	return group.Wait()
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

// check reports whether the configuration is valid.
func check(name string, load func() (*config.Config, error)) (code int) {
	cfg, err := load()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	if cfg.API.Key.Reveal() == "" {
		fmt.Fprintln(os.Stderr, "warning:", errNoKey)
	}
	for _, warning := range cfg.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", warning)
	}
	rules := ""
	if cfg.Discovery != nil {
		rules = fmt.Sprintf(", rules for devices: %d", len(cfg.Discovery.Rules))
	}
	_, _ = fmt.Fprintf(os.Stdout, "%s is valid, sessions: %d%s\n", name, len(cfg.Sessions), rules)
	return exitStopped
}

// exitCode returns the one for a configuration that cannot be loaded. A supervisor may try again unless its content is
// wrong.
func exitCode(err error) int {
	var wrong *config.Error
	if errors.As(err, &wrong) || errors.Is(err, errNoKey) {
		return exitUsage
	}
	return exitFailed
}

// flags are the command line's.
type flags struct {
	configFile      string
	check           bool
	preflight       bool
	preflightFormat string
	reloadInterval  time.Duration
	demo            bool
	healthCheck     bool
	timeoutOffset   time.Duration
	telemetryPath   string
	maxRequests     int
	enableLifecycle bool
	enablePprof     bool
	timeZone        *time.Location
	runbookURL      string
	web             *toolkit.FlagConfig
	log             *promslog.Config
}

func parse(args []string) (flags, error) {
	if version.Version == "" {
		version.Version = "devel" // a build that stamps none
	}
	f := flags{log: &promslog.Config{}}
	app := kingpin.New("rufus_exporter", "Prometheus exporter for race timing sessions of the RUFUS Cloud API.")
	var fileGiven, formatGiven bool
	var timeZone string
	app.Flag("config.file", "Path to the session list.").Default("sessions.yml").IsSetByUser(&fileGiven).
		StringVar(&f.configFile)
	app.Flag("config.check", "Check the configuration and exit.").BoolVar(&f.check)
	app.Flag("config.auto-reload-interval",
		"Interval at which to check whether the configuration has changed; 0 disables it.").
		Default("30s").DurationVar(&f.reloadInterval)
	app.Flag("preflight", "Ask the API once, print what can be read and what to do before the start, and exit: 0 if all "+
		"sessions can be read, else 1.").BoolVar(&f.preflight)
	app.Flag("preflight.format", "Output format of --preflight. One of: [text, json]").Default("text").
		IsSetByUser(&formatGiven).EnumVar(&f.preflightFormat, "text", "json")
	app.Flag("demo", "Serve a simulated race; needs neither configuration nor API key.").BoolVar(&f.demo)
	app.Flag("health-check", "Check whether the exporter on this machine is alive and exit: 0 if it is, else 1.").
		BoolVar(&f.healthCheck)
	app.Flag("scrape.timeout-offset", "Time to subtract from Prometheus' scrape timeout.").
		Default("0.5s").DurationVar(&f.timeoutOffset)
	app.Flag("web.telemetry-path", "Path under which to expose metrics.").Default("/metrics").StringVar(&f.telemetryPath)
	app.Flag("web.max-requests", "Maximum number of concurrent scrapes, and of pages; others wait, scrapes until their "+
		"deadline, then get 503.").Default("40").IntVar(&f.maxRequests)
	app.Flag("web.enable-lifecycle", "Enable reload by POST or PUT to /-/reload.").BoolVar(&f.enableLifecycle)
	app.Flag("web.enable-pprof", "Enable profiling under /debug/pprof/.").BoolVar(&f.enablePprof)
	app.Flag("web.time-zone", "Time zone of the status page, such as America/Sao_Paulo; Local is the machine's.").
		Default("Local").StringVar(&timeZone)
	app.Flag("web.runbook-url", "URL of your copy of the runbook, for the links of the status page; by default the "+
		"exporter serves the runbook itself.").StringVar(&f.runbookURL)
	f.web = toolkitflag.AddFlags(app, ":10210")
	promslogflag.AddFlags(app, f.log)
	app.Version(version.Print("rufus_exporter"))
	app.HelpFlag.Short('h')
	app.UsageWriter(os.Stdout)

	_, err := app.Parse(args)
	var zoneErr error
	f.timeZone, zoneErr = time.LoadLocation(timeZone)
	switch {
	case err != nil:
	case zoneErr != nil || timeZone == "":
		err = fmt.Errorf("--web.time-zone must be Local, UTC or a name such as America/Sao_Paulo, not %q", timeZone)
	case !runbookUsable(f.runbookURL):
		err = errors.New("--web.runbook-url must be a http or https URL without # at its end")
	case f.demo && f.check:
		err = errors.New("--demo has a configuration of its own: there is nothing for --config.check to check")
	case f.demo && fileGiven:
		err = errors.New("--demo has a configuration of its own: leave out --config.file")
	case f.check && f.preflight:
		err = errors.New("--preflight checks the configuration as well: leave out --config.check")
	case formatGiven && !f.preflight:
		err = errors.New("--preflight.format needs --preflight")
	case f.maxRequests < 1:
		err = errors.New("--web.max-requests must be at least 1")
	case f.timeoutOffset < 0:
		err = errors.New("--scrape.timeout-offset must not be negative")
	case f.reloadInterval < 0:
		err = errors.New("--config.auto-reload-interval must not be negative")
	case slices.ContainsFunc(*f.web.WebListenAddresses, unusable):
		err = errors.New("--web.listen-address must be host:port or :port, with a port up to 65535")
	case web.Reserved(f.telemetryPath):
		err = errors.New("--web.telemetry-path must be a path that nothing else is served on, such as /metrics")
	default:
		err = toolkit.Validate(*f.web.WebConfigFile)
	}
	return f, err
}

// runbookUsable reports whether the status page can link to sections of what is at address; empty: of its own.
func runbookUsable(address string) bool {
	u, err := url.Parse(address)
	return address == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		!strings.Contains(address, "#")
}

// unusable reports whether nobody can listen on address. What the toolkit knows beyond TCP is left to it.
func unusable(address string) bool {
	if strings.Contains(address, "://") {
		return false
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return true
	}
	_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port)
	return err != nil
}

// hosts returns the names of this machine, by which requests may reload: those that it listens on, and its own.
func hosts(addresses []string) (names []string) {
	for _, address := range addresses {
		host, _, _ := net.SplitHostPort(address)
		if _, err := netip.ParseAddr(host); err != nil && host != "" { // addresses may reload anyway
			names = append(names, host)
		}
	}
	if name, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(name, ".")
		names = append(names, name, short, short+".local") // the last by multicast DNS
	}
	slices.Sort(names)
	return slices.Compact(names)
}
