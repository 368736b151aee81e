package collector_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// scene is a configuration and the API's answers. The series of a scrape are in testdata.
type scene struct {
	file    string // in testdata, without .prom
	entries []entry.Entry
	answers map[string]reply // by the name of the entry; "devices" is their list
	devices bool             // whether device metrics are on
}

// at returns a time on the race day.
func at(hour, minute, second int, fraction time.Duration) rufus.Option[time.Time] {
	return rufus.Some(time.Date(2026, 5, 10, hour, minute, second, int(fraction), time.UTC))
}

// labelled adds labels to an entry, as pairs of name and value.
func labelled(e entry.Entry, pairs ...string) entry.Entry {
	e.Labels = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		e.Labels[pairs[i]] = pairs[i+1]
	}
	return e
}

// silent adds a limit to an entry.
func silent(e entry.Entry, after time.Duration) entry.Entry {
	e.SilentAfter = after
	return e
}

// expected adds windows to an entry, as pairs of minutes from now. The clock of synctest starts at midnight, 2000-01-01
// UTC.
func expected(e entry.Entry, pairs ...int) entry.Entry {
	minute := func(n int) time.Time { return time.Date(2000, 1, 1, 0, n, 0, 0, time.UTC) }
	for i := 0; i < len(pairs); i += 2 {
		e.Expected = append(e.Expected, window.Window{From: minute(pairs[i]), Until: minute(pairs[i+1])})
	}
	return e
}

const quick = 50 * time.Millisecond // the usual duration of a request

func scenes(t *testing.T) []scene {
	t.Helper()
	running := rufus.Session{
		Alias: "FINISH-10K", Active: true, Passings: rufus.Some[int64](31),
		Created:  at(7, 8, 12, 0),
		Duration: at(9, 8, 12, 0),
		First:    at(8, 8, 18, 263*time.Millisecond),
		Last:     at(9, 20, 25, 130*time.Millisecond),
	}
	closed := running
	closed.Active = false
	return []scene{
		{
			// Every kind of entry and state. Labels of one entry are empty on the others, and sort before and after session.
			file: "sessions",
			entries: []entry.Entry{
				labelled(silent(token("running"), 10*time.Minute), "race", "10k", "zone", "east"),
				labelled(token("closed"), "race", "10k"),
				labelled(silent(token("waiting"), 90*time.Second), "area", "start"),
				device("followed"),
				device("idle"),
				device("unused"),
				token("of another century"),
			},
			answers: map[string]reply{
				"running": {after: quick, session: running},
				"closed":  {after: 3 * quick, session: closed},
				"waiting": {after: quick, session: rufus.Session{
					Alias: "TURN-10K", Active: true, Passings: rufus.Some[int64](0), Created: at(7, 0, 0, 0),
				}},
				"followed": {after: 1500 * time.Millisecond, session: running},
				"idle": {after: quick, session: rufus.Session{
					Alias: "KIDS RUN", Passings: rufus.Some[int64](84), Created: at(6, 0, 0, 0),
				}},
				"unused": {after: quick},
				"of another century": {after: quick, session: rufus.Session{
					Active: true, Passings: rufus.Some[int64](1 << 53),
					Created: rufus.Some(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)),
					Last:    rufus.Some(time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)),
				}},
			},
		}, {
			// A session that cannot be read has no values: neither old ones nor zeros.
			file: "reasons",
			entries: []entry.Entry{
				token("unauthorized"), token("not_found"), token("rate_limited"), token("server_error"),
				token("unexpected_status"), token("timeout"), token("network"), token("invalid_response"),
				labelled(silent(device("beyond the deadline"), 5*time.Minute), "race", "10k"),
				token("well"),
			},
			answers: map[string]reply{
				"unauthorized":        {after: quick, err: failure(rufus.Unauthorized)},
				"not_found":           {after: quick, err: failure(rufus.NotFound)},
				"rate_limited":        {after: quick, err: failure(rufus.RateLimited)},
				"server_error":        {after: quick, err: failure(rufus.ServerError)},
				"unexpected_status":   {after: quick, err: failure(rufus.UnexpectedStatus)},
				"timeout":             {after: 5 * time.Second, err: failure(rufus.Timeout)},
				"network":             {after: quick, err: failure(rufus.Network)},
				"invalid_response":    {after: quick, err: failure(rufus.InvalidResponse)},
				"beyond the deadline": {after: time.Minute, session: running},
				"well":                {after: quick, session: running},
			},
		}, {
			// The API asked to wait before this scrape, so there was no request and there is no duration.
			file:    "waiting",
			entries: []entry.Entry{silent(token("finish"), 10*time.Minute), device("turn")},
			answers: map[string]reply{"finish": {err: wait(time.Minute)}, "turn": {err: wait(time.Minute)}},
		}, {
			// Windows do not depend on the state of the session: the open one, else the next, else the last, else none.
			file: "windows",
			entries: []entry.Entry{
				expected(silent(labelled(token("open"), "race", "5k"), 5*time.Minute), -30, -20, -10, 10, 20, 30),
				expected(token("next"), -20, -10, 14, 100),
				expected(device("last"), -40, -30, -20, -10),
				expected(token("unreadable, open"), -10, 10),
				expected(token("beyond the deadline, next"), 14, 100),
				expected(token("closed, last"), -100, -14),
				token("undeclared"),
			},
			answers: map[string]reply{
				"open":                      {after: quick, session: running},
				"next":                      {after: quick, session: running},
				"last":                      {after: quick},
				"unreadable, open":          {after: quick, err: failure(rufus.NotFound)},
				"beyond the deadline, next": {after: time.Minute, session: running},
				"closed, last":              {after: quick, session: closed},
				"undeclared":                {after: quick, session: running},
			},
		}, {
			// Device metrics, only of followed devices. Null values and unlisted devices are absent.
			file:    "devices",
			devices: true,
			entries: []entry.Entry{
				labelled(device("full"), "race", "10k"), device("silent"), device("strange"), device("active but unlisted"),
				device("mistyped"), device("failing"), token("token"),
			},
			answers: map[string]reply{
				"full": {session: running}, "silent": {}, "strange": {session: closed}, "active but unlisted": {session: running},
				"mistyped": {}, "failing": {err: failure(rufus.ServerError)}, "token": {session: closed},
				"devices": {list: devices(t, true,
					listed("full", `,"model":"CloudBox 5","firmware":"1.0.1","device_status":"ONLINE","battery_percentage":58,`+
						`"charging":false,"last_telemetry_at":"2026-05-10T09:20:00.500Z","last_login":"2026-05-10T06:00:00Z"`),
					listed("silent", `,"model":null,"battery_percentage":null,"charging":null,"last_telemetry_at":null`),
					listed("strange", `,"model":"a\nb\"c\\","firmware":"\ud800","device_status":"`+strings.Repeat("s", 300)+
						`","battery_percentage":0,"charging":true`),
					listed("failing", `,"battery_percentage":100`),
					listed("not followed", `,"battery_percentage":1`),
				)},
			},
		}, {
			file:    "devices_down",
			devices: true,
			entries: []entry.Entry{device("followed")},
			answers: map[string]reply{"followed": {session: running}, "devices": {err: failure(rufus.Unauthorized)}},
		}, {
			// An alias can be any text; package rufus makes it valid UTF-8.
			file:    "aliases",
			entries: tokens("empty", "quotes", "emoji"),
			answers: aliases(map[string]string{
				"empty":  "",
				"quotes": `FINISH "10K" \ {session="finish"} 1`,
				"emoji":  strings.Repeat("🏁", 200),
			}),
		},
	}
}

func aliases(of map[string]string) map[string]reply {
	answers := map[string]reply{}
	for name, alias := range of {
		answers[name] = reply{session: rufus.Session{Alias: alias, Passings: rufus.Some[int64](1)}}
	}
	return answers
}

// stage returns the sessions of the scene, with an API that answers as in the scene.
func (s scene) stage() *collector.Sessions {
	options := []func(*collector.Options){width(100)}
	if s.devices {
		options = append(options, deviceMetrics)
	}
	stand := newStand(func(r request) reply { return s.answers[r.name] }, options...)
	sessions := stand.Sessions(s.entries)
	if s.file == "waiting" {
		stand.fetch(sessions, time.Second)
	}
	return sessions
}

// gatherer returns a registry with c that performs all checks.
func gatherer(t *testing.T, c prometheus.Collector) prometheus.Gatherer {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	return registry
}

// registered is a Collector of gathered series, so that a registry checks them.
type registered struct{ prometheus.Gatherer }

// Describe implements prometheus.Collector.
func (registered) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r registered) Collect(metrics chan<- prometheus.Metric) {
	families, err := r.Gather()
	for _, family := range families {
		desc := prometheus.NewDesc(family.GetName(), family.GetHelp(), nil, nil)
		if err != nil {
			metrics <- prometheus.NewInvalidMetric(desc, err)
		}
		for _, metric := range family.GetMetric() {
			metrics <- series{desc, metric}
		}
	}
}

// series is a prometheus.Metric.
type series struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

// Desc implements prometheus.Metric.
func (s series) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s series) Write(out *dto.Metric) error {
	out.Label, out.Gauge = s.metric.GetLabel(), s.metric.GetGauge()
	return nil
}

// scrape gathers the sessions with a deadline of 9.5 s.
func scrape(t *testing.T, sessions *collector.Sessions) []*dto.MetricFamily {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 9500*time.Millisecond)
	defer cancel()
	families, err := gatherer(t, registered{sessions.Gatherer(ctx)}).Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestExposition(t *testing.T) {
	for _, s := range scenes(t) {
		t.Run(s.file, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { golden(t, s.file, text(t, scrape(t, s.stage()))) })
		})
	}
}

// The series are the same as those of a registry that performs all checks, except for their order.
func TestGatherIsWhatARegistryGathers(t *testing.T) {
	sorted := func(text string) []string { return slices.Sorted(strings.SplitSeq(text, "\n")) }
	for _, s := range scenes(t) {
		t.Run(s.file, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
				defer cancel()
				families, err := s.stage().Gatherer(ctx).Gather()
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "lines", sorted(text(t, families)), sorted(text(t, scrape(t, s.stage()))))
			})
		})
	}
}

// text formats families in Prometheus' text format, and checks that it can be parsed.
func text(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&b, family); err != nil {
			t.Fatal(err)
		}
	}
	written := b.String()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(&b); err != nil {
		t.Error("what is exposed cannot be parsed:", err)
	}
	return written
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file+".prom")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for _, line := range gotLines {
		if !slices.Contains(wantLines, line) {
			t.Errorf("not in %s: %s", path, line)
		}
	}
	for _, line := range wantLines {
		if !slices.Contains(gotLines, line) {
			t.Errorf("missing, in %s: %s", path, line)
		}
	}
	if !t.Failed() && got != string(want) {
		t.Errorf("%s has the same lines in another order; go test ./collector -update writes it anew", path)
	}
}

func TestSeriesComeInTheOrderOfTheFile(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			return reply{after: time.Duration(10-r.nth) * time.Second, session: counting(1)}
		})
		sessions := s.Sessions(append(tokens("z", "m", "a"), device("k")))
		var want []string
		for _, metric := range []string{"up", "fetch_duration_seconds", "info", "active", "passings"} {
			for _, name := range []string{"z", "m", "a", "k"} {
				want = append(want, "rufus_session_"+metric+" "+name)
			}
		}
		families, err := sessions.Gatherer(t.Context()).Gather()
		equal(t, "error", err, nil)
		var got []string
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					if label.GetName() == "session" {
						got = append(got, family.GetName()+" "+label.GetValue())
					}
				}
			}
		}
		equal(t, "series", got, want)
	})
}

// Every metric appears in a scene.
func TestEveryMetricIsExposedSomewhere(t *testing.T) {
	exposed := map[string]bool{}
	for _, s := range scenes(t) {
		inFakeTime(t, func(t *testing.T) {
			for _, family := range scrape(t, s.stage()) {
				exposed[family.GetName()] = true
			}
		})
	}
	equal(t, "number of metrics", len(exposed), 20)
}

// Both ends of a window belong to the same window, which each scrape selects again. A window includes its start but not
// its end, when the next one takes its place.
func TestWindowsFollowTheClock(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		began := time.Now()
		s := newStand(every(reply{after: 5 * time.Second, err: failure(rufus.Network)})) // the start of the scrape counts
		sessions := s.Sessions([]entry.Entry{expected(token("finish"), 10, 20, 30, 40)})
		for _, test := range []struct {
			at          time.Duration
			from, until float64 // minutes
		}{
			{0, 10, 20},
			{10 * time.Minute, 10, 20},
			{20*time.Minute - 6*time.Second, 10, 20},
			{20*time.Minute - 1, 10, 20},
			{20*time.Minute + 6*time.Second, 30, 40},
			{30 * time.Minute, 30, 40},
			{40*time.Minute - 1, 30, 40},
			{41 * time.Minute, 30, 40},
			{48 * time.Hour, 30, 40},
		} {
			time.Sleep(time.Until(began.Add(test.at)))
			minutes := map[string]float64{}
			for _, family := range scrape(t, sessions) {
				for _, m := range family.GetMetric() {
					minutes[family.GetName()] = (m.GetGauge().GetValue() - float64(began.Unix())) / 60
				}
			}
			equal(t, fmt.Sprint("from at ", test.at), minutes["rufus_session_expected_from_timestamp"], test.from)
			equal(t, fmt.Sprint("until at ", test.at), minutes["rufus_session_expected_until_timestamp"], test.until)
		}
	})
}

// Prometheus' linter reports nothing.
func TestLint(t *testing.T) {
	for _, s := range scenes(t) {
		inFakeTime(t, func(t *testing.T) {
			problems, err := testutil.GatherAndLint(s.stage().Gatherer(t.Context()))
			if err != nil || len(problems) > 0 {
				t.Error(s.file, problems, err)
			}
		})
	}
}

// Every HELP is a sentence.
func TestHelp(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		for _, s := range scenes(t) {
			for _, family := range scrape(t, s.stage()) {
				help := family.GetHelp()
				if !strings.HasSuffix(help, ".") || strings.ToUpper(help[:1]) != help[:1] {
					t.Errorf("%s: %q is not a sentence", family.GetName(), help)
				}
				if strings.HasSuffix(family.GetName(), "_timestamp") && !strings.Contains(help, "Unix seconds") {
					t.Errorf("%s: %q does not say the unit", family.GetName(), help)
				}
			}
		}
	})
}

// A probe has the same series as a full scrape, including the label names of all entries.
func TestAProbeExposesTheSameSeries(t *testing.T) {
	for _, s := range scenes(t) {
		t.Run(s.file, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				all := strings.Split(text(t, scrape(t, s.stage())), "\n")
				var probed []string
				for _, entry := range s.entries {
					one, ok := s.stage().Only(entry.Name)
					if !ok {
						t.Fatal(entry.Name, "is not configured")
					}
					probed = append(probed, strings.Split(text(t, scrape(t, one)), "\n")...)
				}
				slices.Sort(all)
				slices.Sort(probed)
				equal(t, "series", slices.Compact(probed), slices.Compact(all))
			})
		})
	}
}

// A scrape whose context is cancelled has every entry, with the reason timeout.
func TestAScrapeWithoutTime(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, session: counting(1)}), deviceMetrics)
		sessions := s.Sessions([]entry.Entry{token("start"), device("finish")})
		ctx, cancel := context.WithDeadline(context.Background(), time.Now())
		defer cancel()
		scrape := s.fetchUntil(ctx, sessions)
		equal(t, "outcomes", scrape.outcomes(), "start timeout, finish timeout")
		equal(t, "devices up", scrape.DevicesUp, rufus.Some(false))
	})
}

// The metrics about the exporter: after one request of each outcome, with one in flight and a wait.
func TestExporter(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{err: wait(90 * time.Second)}))
		sessions := s.Sessions(tokens("start", "turn", "finish"))
		exporter := collector.NewExporter(func() *collector.Sessions { return sessions })
		golden(t, "exporter_new", text(t, exporterMetrics(t, exporter)))

		outcomes := []error{nil, fmt.Errorf("wrapped: %w", failure(rufus.ServerError))}
		for _, reason := range rufus.Reasons() {
			outcomes = append(outcomes, failure(reason))
		}
		for i, outcome := range outcomes {
			done := exporter.Observe()
			time.Sleep(time.Duration(i) * 30 * time.Millisecond)
			done(outcome)
		}
		exporter.Observe()
		s.fetch(sessions, time.Second)
		golden(t, "exporter", text(t, exporterMetrics(t, exporter)))

		time.Sleep(90 * time.Second)
		for _, family := range exporterMetrics(t, exporter) {
			if family.GetName() == "rufus_api_backoff_until_timestamp_seconds" {
				t.Error("the end of a wait is exposed after it")
			}
		}

		problems, err := testutil.CollectAndLint(exporter)
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

// The histogram has native buckets as well as classic ones.
func TestNativeHistogram(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{}))
		sessions := s.Sessions(tokens("finish"))
		exporter := collector.NewExporter(func() *collector.Sessions { return sessions })
		done := exporter.Observe()
		time.Sleep(100 * time.Millisecond)
		done(nil)
		for _, family := range exporterMetrics(t, exporter) {
			if family.GetName() != "rufus_api_request_duration_seconds" {
				continue
			}
			histogram := family.GetMetric()[0].GetHistogram()
			equal(t, "native spans", len(histogram.GetPositiveSpan()), 1)
			equal(t, "classic buckets", len(histogram.GetBucket()), 9)
			equal(t, "sum", histogram.GetSampleSum(), .1)
			return
		}
		t.Error("there is no histogram")
	})
}

func exporterMetrics(t *testing.T, e *collector.Exporter) []*dto.MetricFamily {
	t.Helper()
	families, err := gatherer(t, e).Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}
