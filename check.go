package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"rufus_exporter/config"
	"rufus_exporter/discovery"
	"rufus_exporter/preflight"
	"rufus_exporter/rufus"
)

// check loads the configuration, prints whether it is valid, and returns the exit code. name is the path to print.
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

// exitCode returns the exit code for a configuration that cannot be loaded. With exitUsage, a restart does not help.
func exitCode(err error) int {
	var wrong *config.Error
	if errors.As(err, &wrong) || errors.Is(err, errNoKey) {
		return exitUsage
	}
	return exitFailed
}

// scrapeTimeout is Prometheus' default scrape timeout.
const scrapeTimeout = 10 * time.Second

// preflightOf fetches every session once, as a scrape would, prints the report, and returns the exit code.
func preflightOf(f flags, load func() (*config.Config, error)) (code int) {
	cfg, err := load()
	if err == nil && cfg.API.Key.Reveal() == "" {
		err = errNoKey
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitCode(err)
	}
	plan := cfg.Discovery
	if plan == nil { // an empty plan follows no device, but the report then lists all devices
		plan = &discovery.Plan{Secrets: []rufus.Secret{cfg.API.Key}}
	}
	fetcher, transport := connect(cfg.API, nil, nil, slog.New(slog.DiscardHandler))
	defer transport.Close()
	ctx, cancel := context.WithTimeout(context.Background(), max(scrapeTimeout-f.timeoutOffset, scrapeTimeout/2))
	defer cancel()
	report := preflight.Look(ctx, fetcher.Roster(cfg.Sessions, plan, nil), cfg.Discovery != nil, cfg.Warnings, time.Now)
	write := report.Text
	if f.preflightFormat == "json" {
		write = report.JSON
	}
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rufus_exporter:", err)
		return exitFailed
	}
	if !report.Readable {
		return exitFailed
	}
	return exitStopped
}
