package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"rufus_exporter/simulator"
)

// Every configuration of Prometheus in the documentation is one.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range append(files, "../README.md") {
		for _, block := range yamlBlocks(t, path, "scrape_configs:") {
			checkConfig(t, file(t, "prometheus.yml", block))
			checked++
		}
	}
	if checked < 2 {
		t.Errorf("only %d configurations found", checked)
	}
}

// documented returns the configuration of Prometheus in a file of the documentation, with the exporter at address and
// with global settings where the file leaves Prometheus its defaults.
func documented(t *testing.T, path, address, global string) string {
	t.Helper()
	blocks := yamlBlocks(t, path, "scrape_configs:")
	if len(blocks) != 1 {
		t.Fatalf("%d configurations of Prometheus in %s", len(blocks), path)
	}
	return "global: {" + global + "}\n" + replaced(t, blocks[0], "localhost:10210", address)
}

// A real Prometheus takes all that the exporter says, in every format, and gives it back unchanged.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, global string
		requests     string // to the API, by the histogram
	}{
		{"by default", "", "rufus_api_request_duration_seconds_count"},
		{"text", "scrape_protocols: [PrometheusText0.0.4]", "rufus_api_request_duration_seconds_count"},
		{"native histograms", "scrape_native_histograms: true", "histogram_count(rufus_api_request_duration_seconds)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, sessions, passings := hostile(t)
			e := startExporter(t, sessions)
			p := startPrometheus(t, replaced(t, documented(t, "../README.md", e.address, test.global),
				"scrape_interval: 15s", "scrape_interval: 3s", "scrape_timeout: 10s", "scrape_timeout: 3s"))
			eventually(t, "two scrapes", func() error {
				return atLeast(2, p.number(t, "count_over_time(up[10m])"))
			})
			if up := p.number(t, "min_over_time(up[10m])"); up != 1 {
				t.Errorf("up was %v", up)
			}
			p.checkTargets(t, 1)

			want := scrape(t, e, config.PrometheusText0_0_4, "").values
			const histogram = "rufus_api_request_duration_seconds"
			maps.DeleteFunc(want, func(series string, _ float64) bool { return strings.Contains(series, histogram) })
			got := map[string]float64{}
			for _, sample := range p.query(t, `{job="rufus",__name__!~"up|scrape_.+|`+histogram+`.*"}`) {
				series := labels.NewBuilder(labels.EmptyLabels())
				for name, value := range sample.Metric {
					series.Set(string(name), string(value))
				}
				l := series.Del("job", "instance").Labels()
				got[l.String()] = steady(l, float64(sample.Value))
			}
			compare(t, "value in Prometheus", want, got)
			compare(t, "passings", passings(), p.bySession(t, "rufus_session_passings"))
			if requests := p.number(t, test.requests); !(requests > 1) {
				t.Errorf("%s: %v", test.requests, requests)
			}
			p.checkWarnings(t)
		})
	}
}

// checkTargets fails the test unless Prometheus has n targets and the last scrape of each went well.
func (s *server) checkTargets(t *testing.T, n int) {
	t.Helper()
	targets, err := s.api.Targets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(targets.Active) != n {
		t.Errorf("%d targets, want %d", len(targets.Active), n)
	}
	for _, target := range targets.Active {
		if target.Health != prom.HealthGood || target.LastError != "" {
			t.Errorf("target %s is %s: %s", target.ScrapeURL, target.Health, target.LastError)
		}
	}
}

func atLeast(want, got float64) error {
	if got >= want {
		return nil
	}
	return fmt.Errorf("%v, want at least %v", got, want)
}

// Two servers share out the sessions as documented; when one of them fails, the other takes them all.
func TestSharding(t *testing.T) {
	t.Parallel()
	const sessions = 60
	day := simulator.Many(sessions, raceDay)
	api := simulate(t, day, raceDay.Add(30*time.Minute))
	entries := everySession(day)
	e := startExporter(t, api.sessionsFile(entries))

	first := replaced(t, documented(t, "../docs/prometheus.md", e.address, "scrape_interval: 2s, scrape_timeout: 2s"),
		"refresh_interval: 30s", "refresh_interval: 2s")
	second := replaced(t, first, `regex: "0"`, `regex: "1"`)
	servers := []*server{startPrometheus(t, first), startPrometheus(t, second)}

	got := make([]map[string]float64, len(servers))
	eventually(t, "three scrapes of every session", func() error {
		total := 0.
		for i, p := range servers {
			got[i] = p.bySession(t, "rufus_session_passings and count_over_time(rufus_session_passings[10m]) >= 3")
			total += float64(len(got[i]))
		}
		return atLeast(sessions, total)
	})
	want := api.served(entries)
	if len(want) != sessions {
		t.Fatalf("%d sessions served", len(want))
	}
	union := maps.Clone(got[0])
	for name, count := range got[1] {
		if _, both := union[name]; both {
			t.Errorf("%s is in both servers", name)
		}
		union[name] = count
	}
	compare(t, "passings", want, union)

	requests := api.Requests()
	for i, p := range servers {
		if len(got[i]) == 0 {
			t.Errorf("server %d has no session", i)
		}
		p.checkTargets(t, len(got[i])+1) // and the exporter itself
		scrapes := p.bySession(t, `label_replace(count_over_time(up{job="rufus"}[10m]), "session", "$1", "instance", "(.*)")`)
		for _, e := range entries {
			if n, ok := scrapes[e.name]; ok && float64(requests.By[e.token]) > n+1 { // one may be on its way
				t.Errorf("%s: %d requests in %v scrapes", e.name, requests.By[e.token], n)
			}
		}
		if n := p.number(t, `rufus_exporter_sessions{job="rufus-exporter"}`); n != sessions {
			t.Errorf("server %d: the exporter has %v sessions", i, n)
		}
		for _, unwanted := range []string{
			`rufus_session_up != 1`,
			`{__name__=~"rufus_session_.+",job!="rufus"}`,
			`{__name__!~"rufus_session_.+|up|scrape_.+",job="rufus"}`,
		} {
			if vector := p.query(t, unwanted); len(vector) > 0 {
				t.Errorf("server %d: %s: %s", i, unwanted, vector)
			}
		}
		for _, sample := range p.query(t, "rufus_session_up") {
			if sample.Metric["instance"] != sample.Metric["session"] {
				t.Errorf("server %d: %s", i, sample.Metric)
			}
		}
		p.checkWarnings(t)
	}

	servers[1].stop(t)
	api.clock.set(raceDay.Add(40 * time.Minute)) // so that no count is an old one
	servers[0].reload(t, replaced(t, first, `regex: "0"`, `regex: "0|1"`))
	eventually(t, "every session in the server that is left", func() error {
		got := servers[0].bySession(t, "rufus_session_passings")
		for name, count := range api.served(entries) {
			if value, ok := got[name]; !ok || value != count || count == want[name] {
				return fmt.Errorf("%s: %v, want %v", name, value, count)
			}
		}
		return nil
	})
	servers[0].checkTargets(t, sessions+1)
	servers[0].checkWarnings(t)
}

// Two servers that scrape the same sessions at the same time cost the API no more than one.
//
// They have the same configuration, labels and host, from which Prometheus takes the moments of its scrapes, and the
// API answers so late that scrapes which begin together overlap. Under load they may begin apart nevertheless, and one
// server starts before the other; therefore a gate before the exporter sees which scrapes found another one on its
// way. These must be free of charge.
func TestOverlappingScrapes(t *testing.T) {
	t.Parallel()
	const sessions, overlaps = 10, 5
	day := simulator.Many(sessions, raceDay)
	day.Faults = []simulator.Fault{{From: raceDay, To: raceDay.Add(24 * time.Hour), Latency: time.Second}}
	api := simulate(t, day, raceDay.Add(30*time.Minute))
	entries := everySession(day)
	e := startExporter(t, api.sessionsFile(entries))
	gate := newGate(t, e.URL)

	address := strings.TrimPrefix(serve(t, gate), "http://")
	configuration := replaced(t, documented(t, "../README.md", address, ""),
		"scrape_interval: 15s", "scrape_interval: 3s", "scrape_timeout: 10s", "scrape_timeout: 3s")
	servers := []*server{startPrometheus(t, configuration), startPrometheus(t, configuration)}
	eventually(t, "overlapping scrapes", func() error {
		if _, joined := gate.scrapes(); joined < overlaps {
			return fmt.Errorf("%d of %d", joined, overlaps)
		}
		return nil
	})
	for i, p := range servers {
		compare(t, fmt.Sprint("passings in server ", i), api.served(entries), p.bySession(t, "rufus_session_passings"))
	}
	gate.close()
	eventually(t, "the end of the last scrape", gate.idle)

	alone, joined := gate.scrapes()
	t.Logf("%d scrapes, %d of them overlapped with one before", alone+joined, joined)
	requests := api.Requests()
	for _, e := range entries {
		// One more than needed if a scrape came in the moment between the API's answer and the end of the scrape.
		if n := requests.By[e.token]; n < alone || n > alone+1 {
			t.Errorf("%s: %d requests for %d scrapes, of which %d overlapped with one before", e.name, n, alone+joined, joined)
		}
	}
	for _, p := range servers {
		p.checkWarnings(t)
	}
}

// gate passes scrapes on to an exporter, and counts those that come while another is on its way.
type gate struct {
	exporter *httputil.ReverseProxy

	mu            sync.Mutex
	closed        bool
	inFlight      int
	alone, joined int
}

func newGate(t *testing.T, exporter string) *gate {
	t.Helper()
	target, err := url.Parse(exporter)
	if err != nil {
		t.Fatal(err)
	}
	return &gate{exporter: httputil.NewSingleHostReverseProxy(target)}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer g.leave()
	g.exporter.ServeHTTP(w, r)
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.inFlight > 0 {
		g.joined++
	} else {
		g.alone++
	}
	g.inFlight++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *gate) scrapes() (alone, joined int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.alone, g.joined
}

func (g *gate) idle() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight > 0 {
		return errors.New("a scrape is on its way")
	}
	return nil
}
