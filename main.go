// Command rufus_exporter exposes the state of race timing sessions of the RUFUS Cloud API to Prometheus.
//
// Package config reads sessions.yml. The reloader passes its entries to a collector.Fetcher, at startup and whenever
// the file changes. The fetcher asks the API through a rufus.Client, and package web serves the results. main.go wires
// these together and serves until it receives a signal to stop. The other files of this package hold flags, reload,
// check and preflight, health check, demo and log.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // for --web.time-zone where the machine has no zones, as in the image

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/monitoring"
	"rufus_exporter/rufus"
	"rufus_exporter/web"
)

// Exit codes.
const (
	exitStopped = 0 // stopped by a signal, or the check passed
	exitFailed  = 1
	exitUsage   = 78 // EX_CONFIG: wrong usage or configuration. 2 is what the Go runtime exits with after a crash.
)

const (
	// drainTimeout is how long a shutdown waits for scrapes in flight. Kubernetes kills the process after 30 s.
	drainTimeout = 25 * time.Second
	// writeTimeout is above the maximum scrape timeout of 2 minutes.
	writeTimeout = 150 * time.Second
	// maxIdleConnections is far above what Prometheus and a crew keep open. They use about 15 MiB.
	maxIdleConnections = 1000
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run runs the program and returns its exit code.
func run(args []string) int {
	// This comes first. By default, SIGHUP ends the process, and so does SIGPIPE once nobody reads its log.
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
	logger := newLogger(f.log)
	// net/http logs unsolicited bytes from a server there, which may contain tokens: see rufus.Transport.
	log.SetOutput(io.Discard)

	load := func() (*config.Config, error) { return config.Load(f.configFile) }
	demoAPI := ""
	if f.demo {
		var stop func()
		if demoAPI, load, stop, err = startDemo(); err != nil {
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

	// configuration → reloader → sessions → web. connect wires what fetches the sessions.
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
		announceDemo(f, demoAPI, logger)
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

// serve serves and reloads until SIGINT or SIGTERM, then waits for the scrapes in flight. A second signal ends the
// process immediately.
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
		if stopped.Err() != nil { // otherwise the server failed
			logger.Info("shutting down, waiting for scrapes in flight", "timeout", drainTimeout)
		}
		drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if server.Shutdown(drain) != nil {
			logger.Warn("shutdown timed out, closing the remaining connections", "timeout", drainTimeout)
			return server.Close()
		}
		return nil
	})
	return group.Wait()
}
