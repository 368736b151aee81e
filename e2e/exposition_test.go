package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"rufus_exporter/simulator"
)

// raceDay is when the races of these tests start, and midRace when most mats have passings and most runners are out.
var (
	raceDay = time.Date(2026, 5, 17, 9, 0, 0, 0, time.UTC)
	midRace = raceDay.Add(40*time.Minute + 250*time.Millisecond)
)

// hostile is a race whose names, aliases and answers are as bad as they can be, and whose every session is another
// case. It returns the API, the sessions.yml that watches it, and the passings that it shows.
func hostile(t *testing.T) (s *simulated, sessions string, passings func() map[string]float64) {
	t.Helper()
	day := simulator.NewDay(simulator.FiveK(raceDay, 300), simulator.TenK(raceDay, 300))
	aliases := []string{
		"quo\"te back\\slash new\nline tab\t nul\x00 {le=\"1\"} # HELP \u2028 \U0001F3C1",
		strings.Repeat("é💥", 5000),
		" ",
		"<script>alert(1)</script>",
		"# EOF",
		"",
	}
	entries := make([]fileEntry, 0, 2*len(aliases))
	for i := range day.Devices {
		day.Devices[i].Sessions[0].Alias = aliases[i]
		entries = append(entries,
			fileEntry{token: day.Devices[i].Sessions[0].Token, name: fmt.Sprintf("token %d", i)},
			fileEntry{device: day.Devices[i].ID, name: fmt.Sprintf("device %d", i), more: "silent_after: 3m"})
	}
	entries[0].name = `"quo'te\n{le="+Inf"} 1` + " # \\ 🏁 é"
	entries[1].more = `labels: {race: "\"5\\K\" {é} # 🏁", Point_2: ","}`
	day.Device("TURN-5K").Unbind(midRace.Add(-time.Minute))
	day.Device("FINISH-10K").Close(midRace.Add(-time.Minute))
	day.Device("START-10K").Battery = simulator.Battery{}
	day.Device("START-10K").Firmware = ""
	day.Device("TURN-10K").Skew(raceDay, 200*365*24*time.Hour)

	// Every session here fails in its own way.
	failing := func(name string) string {
		token := simulator.ID(name)
		entries = append(entries, fileEntry{token: token, name: name, more: "silent_after: 10m"})
		return token
	}
	failing("not_found")
	for status, name := range map[int]string{
		http.StatusForbidden:           "unauthorized",
		http.StatusBadRequest:          "unexpected_status",
		http.StatusInternalServerError: "server_error",
	} {
		day.Faults = append(day.Faults, simulator.Fault{
			From: raceDay, To: raceDay.Add(time.Hour), Only: failing(name), Status: status,
		})
	}
	day.Faults = append(day.Faults, simulator.Fault{
		From: raceDay, To: raceDay.Add(time.Hour), Only: failing("network"), Drop: true,
	})
	raw := map[string]string{
		failing("invalid_response"): "<html>",
		failing("invalid UTF-8"): `{"result": [{"token_session": "` + simulator.ID("invalid UTF-8") +
			`", "alias": "` + "\xff\xc3\x28\xed\xa0\x80" + `", "active": true, "passings": 31}]}`,
		failing("no instants"): `{"result": [{"token_session": "` + simulator.ID("no instants") +
			`", "active": false, "passings": 0, "first": null, "last": "", "creation_date": null}]}`,
	}
	s = simulate(t, day, midRace, func(api http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, ok := raw[strings.TrimPrefix(r.URL.Path, "/v0/sessions/")]; ok {
				_, _ = io.WriteString(w, body)
				return
			}
			api.ServeHTTP(w, r)
		})
	})
	return s, s.sessionsFile(entries, "device_metrics: true"), func() map[string]float64 {
		counts := s.served(entries)
		counts["invalid UTF-8"], counts["no instants"] = 31, 0
		return counts
	}
}

// Whatever the API says, Prometheus' own parser reads every format to its end and finds the same in all.
func TestExposition(t *testing.T) {
	t.Parallel()
	hostile, sessions, _ := hostile(t)
	demo := simulate(t, simulator.Demo(raceDay, simulator.DemoSpeed), raceDay.Add(170*time.Second))
	demo.Sleep = func(context.Context, time.Duration) error { return nil }
	t.Cleanup(func() {
		if requests := hostile.Requests(); requests.Session == 0 || requests.Active == 0 || requests.Devices == 0 {
			t.Errorf("not everything was asked for: %+v", requests)
		}
	})
	for _, test := range []struct {
		name     string
		exporter *exporter
		series   int // at least so many
		still    bool
	}{
		{name: "hostile", exporter: startExporter(t, sessions), series: 200, still: true},
		{name: "demo", exporter: startExporter(t, string(simulator.DemoConfig(demo.URL, raceDay, simulator.DemoSpeed))), series: 200, still: true},
		{name: "moving demo", exporter: startProgram(t, "--demo"), series: 150},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			first := scrape(t, test.exporter, config.PrometheusText0_0_4, "")
			if len(first.values) < test.series {
				t.Errorf("only %d series", len(first.values))
			}
			for protocol := range config.ScrapeProtocolsHeaders {
				for _, encoding := range []string{"", "gzip"} {
					t.Run(string(protocol)+encoding, func(t *testing.T) {
						t.Parallel()
						got := scrape(t, test.exporter, protocol, encoding)
						compare(t, "type", first.types, got.types)
						compare(t, "help", first.help, got.help)
						if test.still {
							compare(t, "value", first.values, got.values)
						}
						native := got.native["rufus_api_request_duration_seconds"]
						if native != (protocol == config.PrometheusProto) {
							t.Errorf("native histogram: %t", native)
						}
					})
				}
			}
			body, _ := request(t, http.MethodGet, test.exporter.URL+"/metrics", nil)
			// Not a word, not even about the time stamps that do not end in _seconds, for those are the users' names.
			said := run(t, bytes.NewReader(body), tool(t, "promtool"), "check", "metrics")
			if said != "" {
				t.Errorf("promtool check metrics: %s", said)
			}
		})
	}
}

// exposition is what the parser found in an answer.
type exposition struct {
	values map[string]float64 // by series; 0 for what differs from scrape to scrape
	types  map[string]string  // by the name of the family
	help   map[string]string  // likewise
	native map[string]bool    // names of native histograms
}

// scrape fetches all metrics in one of the formats that Prometheus asks for and parses them with its parser.
func scrape(t *testing.T, e *exporter, protocol config.ScrapeProtocol, encoding string) exposition {
	t.Helper()
	body, resp := request(t, http.MethodGet, e.URL+"/metrics", http.Header{
		"Accept":          {config.ScrapeProtocolsHeaders[protocol]},
		"Accept-Encoding": {encoding},
	})
	if got := resp.Header.Get("Content-Encoding"); got != encoding {
		t.Errorf("encoding %q instead of %q", got, encoding)
	}
	if encoding == "gzip" {
		unpacked, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(unpacked); err != nil {
			t.Fatal(err)
		}
	}
	return parse(t, body, resp.Header.Get("Content-Type"))
}

func parse(t *testing.T, body []byte, contentType string) exposition {
	t.Helper()
	parser, err := textparse.New(body, contentType, nil, textparse.ParserOptions{
		KeepClassicOnClassicAndNativeHistograms: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	openMetrics := strings.HasPrefix(contentType, "application/openmetrics-text")
	x := exposition{
		values: map[string]float64{}, types: map[string]string{}, help: map[string]string{}, native: map[string]bool{},
	}
	var help string
	for {
		kind, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
		switch kind {
		case textparse.EntryHelp: // comes before the type
			_, text := parser.Help()
			help = string(text)
		case textparse.EntryType:
			name, kind := parser.Type()
			family := string(name)
			if openMetrics && kind == model.MetricTypeCounter {
				family += "_total" // which there is no part of the family's name
			}
			x.types[family], x.help[family] = string(kind), help
		case textparse.EntryHistogram:
			var l labels.Labels
			parser.Labels(&l)
			x.native[l.Get(model.MetricNameLabel)] = true
			parser.Histogram() // without this the parser forgets about the classic one
		case textparse.EntrySeries:
			var l labels.Labels
			parser.Labels(&l)
			series := l.WithoutEmpty().String()
			if _, twice := x.values[series]; twice {
				t.Errorf("%s is there twice", series)
			}
			_, _, value := parser.Series()
			x.values[series] = steady(l, value)
		default:
		}
	}
	return x
}

// steady returns the value of a series, or 0 when it changes even while the simulated race stands still.
func steady(l labels.Labels, value float64) float64 {
	name := l.Get(model.MetricNameLabel)
	if strings.HasPrefix(name, "rufus_device") || strings.HasPrefix(name, "rufus_exporter_") ||
		strings.HasPrefix(name, "rufus_session_") && name != "rufus_session_fetch_duration_seconds" {
		return value
	}
	return 0
}

// compare reports every difference.
func compare[V comparable](t *testing.T, what string, want, got map[string]V) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[key]; !ok || value != want[key] {
			t.Errorf("%s of %s: %v (present: %t), want %v", what, key, value, ok, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			t.Errorf("%s of %s: %v, want none", what, key, got[key])
		}
	}
}
