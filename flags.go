package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	toolkitflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"rufus_exporter/web"
)

// flags holds the values of the command-line flags.
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
		version.Version = "devel" // built without -ldflags
	}
	f := flags{log: &promslog.Config{}}
	app := kingpin.New("rufus_exporter", about)
	addHelp(app)
	var fileGiven, formatGiven bool
	var timeZone string
	app.Flag("config.file", "Path to the session list.").Default("sessions.yml").IsSetByUser(&fileGiven).
		StringVar(&f.configFile)
	app.Flag("config.check", "Check the configuration and exit.").BoolVar(&f.check)
	app.Flag("config.auto-reload-interval",
		"Interval at which to check whether the configuration has changed; 0 disables it.").
		Default("30s").DurationVar(&f.reloadInterval)
	app.Flag("preflight", "Fetch every session once, print its state and what to fix before the race, and exit: with 0 "+
		"if all sessions can be read, else with 1.").BoolVar(&f.preflight)
	app.Flag("preflight.format", "Output format of --preflight. One of: [text, json]").Default("text").
		IsSetByUser(&formatGiven).EnumVar(&f.preflightFormat, "text", "json")
	app.Flag("demo", "Serve a simulated race; needs neither configuration nor API key.").BoolVar(&f.demo)
	app.Flag("health-check", "Check whether the exporter on this machine is alive and exit: with 0 if it is, else with "+
		"1.").BoolVar(&f.healthCheck)
	app.Flag("scrape.timeout-offset", "Time to subtract from Prometheus' scrape timeout.").
		Default("0.5s").DurationVar(&f.timeoutOffset)
	app.Flag("web.telemetry-path", "Path under which to expose metrics.").Default("/metrics").StringVar(&f.telemetryPath)
	app.Flag("web.max-requests", "Maximum number of concurrent scrapes, and separately of page views. Further requests "+
		"wait, scrapes until their deadline and page views for 5s, and then get 503.").Default("40").IntVar(&f.maxRequests)
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
		err = errors.New("--demo uses a built-in configuration: leave out --config.check")
	case f.demo && fileGiven:
		err = errors.New("--demo uses a built-in configuration: leave out --config.file")
	case f.check && f.preflight:
		err = errors.New("--preflight also checks the configuration: leave out --config.check")
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
		err = errors.New("--web.telemetry-path must be a path such as /metrics that has no other use")
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

// unusable reports whether address is not a valid TCP address to listen on. It accepts every other kind of address,
// such as vsock://, because the toolkit checks those.
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

// hosts returns the host names that requests to /-/reload may use: those of the listen addresses, and this machine's.
func hosts(addresses []string) (names []string) {
	for _, address := range addresses {
		host, _, _ := net.SplitHostPort(address)
		if _, err := netip.ParseAddr(host); err != nil && host != "" { // IP addresses are always allowed
			names = append(names, host)
		}
	}
	if name, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(name, ".")
		names = append(names, name, short, short+".local") // .local is multicast DNS
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reachable returns the address to connect to on this machine for a server that listens on address.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && strings.Trim(host, "0:.") == "" {
		return net.JoinHostPort("localhost", port)
	}
	return address
}
