package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"rufus_exporter/config"
	"rufus_exporter/discovery"
	"rufus_exporter/preflight"
	"rufus_exporter/rufus"
)

// scrapeTimeout is Prometheus' default.
const scrapeTimeout = 10 * time.Second

// preflightOf asks the API once, as a scrape would, prints what it says, and returns the exit code.
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
	if plan == nil { // then no device is followed, but all that are not can be told
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
