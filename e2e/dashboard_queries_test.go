package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// noon is when the tests of single queries ask. Their series have a sample every 15 s until then.
const noon = 12 * time.Hour

// answer returns what Prometheus answers to a query at noon, in its order: each value after its labels but the metric's
// name. The series are in the notation of Prometheus' own tests: labels, and their value or values.
func answer(t *testing.T, series, promQL string) []string {
	t.Helper()
	storage := promqltest.LoadedStorage(t, series)
	defer func() { _ = storage.Close() }()
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	query, err := engine.NewInstantQuery(t.Context(), storage, nil, promQL, time.Unix(0, 0).Add(noon))
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	vector, err := result.Vector()
	if err != nil || len(result.Warnings) > 0 {
		t.Fatalf("%s: %v, %v", promQL, err, result.Warnings)
	}
	return formatted(vector)
}

func formatted(vector promql.Vector) []string {
	var lines []string
	for _, sample := range vector {
		metric := sample.Metric.DropReserved(func(name string) bool { return name == model.MetricNameLabel })
		lines = append(lines, fmt.Sprint(metric, " ", sample.F))
	}
	return lines
}

// lastHour notes series that have these values at noon, and have had them for an hour.
func lastHour(notation ...string) string {
	text := "load 15s\n"
	for pair := range slices.Chunk(notation, 2) {
		text += fmt.Sprintf("  %s _x2640 %s\n", pair[0], pair[1]+"x240")
	}
	return text
}

// The series that every case below has: the rules run, and the mats of two races and one without a race can be read.
func calm(more ...string) string {
	return lastHour(append([]string{
		`ALERTS{alertname="RufusWatchdog", alertstate="firing", severity="none"}`, "1",
		`up{job="rufus", instance="a"}`, "1",
		`rufus_session_up{job="rufus", instance="a", race="5k", session="start-5k"}`, "1",
		`rufus_session_up{job="rufus", instance="a", race="5k", session="finish-5k"}`, "1",
		`rufus_session_up{job="rufus", instance="a", session="spare"}`, "1",
	}, more...)...)
}

// alerting notes an alert that fires, and that its cause began so many seconds before noon.
func alerting(name, severity, mat string, seconds int) []string {
	of := fmt.Sprintf(`alertname="%s", severity="%s", job="rufus"%s`, name, severity, mat)
	return []string{
		"ALERTS{" + of + `, alertstate="firing"}`, "1",
		"ALERTS_FOR_STATE{" + of + "}", fmt.Sprint(int(noon.Seconds()) - seconds),
	}
}

const (
	red, amber, green, blue, grey = "#b3170f", "#8a4b00", "#0a6638", "#27518c", "#535c6b" // of the status page

	startMat  = `, race="5k", session="start-5k"`
	finishMat = `, race="5k", session="finish-5k"`
)

// The large tile: a number of mats, or of alerts that are of no mat, and the severity of the worst.
func TestDashboardNow(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	for _, c := range []struct {
		name, series string
		race         string // that is chosen, else all
		want         string
	}{
		{"all well", calm(), "", `{says="all well"} 0`},
		{
			"nothing at all", "load 15s\n  up 1\n", "",
			`{alertname="RufusWatchdog", alertstate="firing", says="alert rules are not running"} -1`,
		},
		{
			"no mats", lastHour(`ALERTS{alertname="RufusWatchdog", alertstate="firing"}`, "1"), "",
			`{says="no mats"} -2`,
		},
		{
			"the exporter is down, the rules remember the mats",
			lastHour(`ALERTS{alertname="RufusWatchdog", alertstate="firing"}`, "1",
				`rufus:session_seen:timestamp{job="rufus", session="spare"}`, "1"), "",
			`{says="all well"} 0`,
		},
		{
			"one mat, two alerts, the worse counts",
			calm(append(alerting("RufusSessionClosed", "critical", startMat, 60),
				alerting("RufusBatteryLow", "warning", startMat, 60)...)...), "",
			`{n="1", says="1 in trouble"} 2`,
		},
		{
			"warnings of two mats, one of them without a race",
			calm(append(alerting("RufusBatteryLow", "warning", startMat, 60),
				alerting("RufusSessionSilent", "warning", `, session="spare"`, 60)...)...), "",
			`{n="2", says="2 in trouble"} 1`,
		},
		{
			"a pending alert is no trouble",
			calm(`ALERTS{alertname="RufusBatteryLow", alertstate="pending", severity="warning", session="spare"}`, "1"), "",
			`{says="all well"} 0`,
		},
		{
			"a mat that cannot be read has no alert yet",
			calm(`rufus_session_up{job="rufus", instance="a", race="5k", session="split-5k"}`, "0"), "",
			`{n="1", says="1 in trouble"} 1`,
		},
		{
			"another exporter can read it",
			calm(`rufus_session_up{job="rufus", instance="b", race="5k", session="start-5k"}`, "0"), "",
			`{says="all well"} 0`,
		},
		{
			"an alert of no mat",
			calm(alerting("RufusExporterDown", "critical", "", 60)...), "",
			`{n="1", says="1 in trouble"} 2`,
		},
		{
			"mats count, not what is said of their race besides",
			calm(append(alerting("RufusRaceStopped", "critical", `, race="5k"`, 60),
				append(alerting("RufusSessionClosed", "critical", startMat, 60),
					alerting("RufusSessionClosed", "critical", finishMat, 60)...)...)...), "",
			`{n="2", says="2 in trouble"} 2`,
		},
		{
			"another race is chosen",
			calm(append(alerting("RufusSessionClosed", "critical", startMat, 60),
				`rufus_session_up{job="rufus", race="10k", session="start-10k"}`, "1")...), "10k",
			`{says="all well"} 0`,
		},
		{
			"an alert of all races counts whatever is chosen",
			calm(alerting("RufusAPIFailing", "warning", "", 60)...), "5k",
			`{n="1", says="1 in trouble"} 1`,
		},
		{
			"target labels hide ours",
			calm(append(alerting("RufusLabelCollision", "warning", "", 60),
				`rufus_session_up{job="rufus", session="x", exported_session="one"}`, "1",
				`rufus_session_up{job="rufus", session="x", exported_session="two"}`, "0")...), "",
			`{n="1", says="1 in trouble"} 1`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := answer(t, c.series, d.query(t, "Now", "A").chosen(t, c.race))
			if !slices.Equal(got, []string{c.want}) {
				t.Errorf("%q, want %s", got, c.want)
			}
		})
	}
}

// The tile has the colour of the worst, and the alerts that of their severity.
func TestDashboardColours(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	for title, want := range map[string]map[string]string{
		"Now":    {"-2": grey, "-1": red, "0": green, "1": amber, "2": red},
		"Alerts": {"critical": red, "warning": amber},
	} {
		for value, colour := range want {
			if got := mapped(d.panel(t, title).FieldConfig.Defaults.Mappings, value).Color; got != colour {
				t.Errorf("%s: %s is shown in %q, want %s", title, value, got, colour)
			}
		}
	}
}

// Each mat is among the alerts once.
func TestDashboardAlerts(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	lines := []string{}
	for _, of := range []struct {
		name, severity, mat string
		seconds             int
	}{
		{"RufusSessionClosed", "critical", startMat, 60},
		{"RufusBatteryLow", "warning", startMat, 600},
		{"RufusSessionSilent", "critical", startMat, 30},
		{"RufusClockAhead", "warning", finishMat, 60},
		{"RufusBatteryLow", "warning", finishMat, 600},
		{"RufusSessionSilent", "warning", `, session="spare"`, 30},
		{"RufusRaceStopped", "critical", `, race="5k"`, 90},
		{"RufusAPIFailing", "warning", "", 5},
	} {
		lines = append(lines, alerting(of.name, of.severity, of.mat, of.seconds)...)
	}
	for _, severity := range []string{"warning", "critical"} {
		of := `alertname="RufusSessionClosed", severity="` + severity + `", job="rufus", session="pending"`
		lines = append(lines, "ALERTS_FOR_STATE{"+of+"}", "1", "ALERTS{"+of+`, alertstate="pending"}`, "1")
	}
	lines = append(lines,
		`ALERTS_FOR_STATE{alertname="RufusWatchdog", severity="none"}`, "1",
		`ALERTS_FOR_STATE{alertname="DiskFull", severity="critical"}`, "1",
		`ALERTS{alertname="DiskFull", severity="critical", alertstate="firing"}`, "1")
	want := map[string][]string{
		"": {
			`{alertname="RufusAPIFailing", job="rufus", severity="warning"} 5`,
			`{alertname="RufusBatteryLow", job="rufus", race="5k", session="finish-5k", severity="warning"} 600`,
			`{alertname="RufusRaceStopped", job="rufus", race="5k", severity="critical"} 90`,
			`{alertname="RufusSessionClosed", job="rufus", race="5k", session="start-5k", severity="critical"} 60`,
			`{alertname="RufusSessionSilent", job="rufus", session="spare", severity="warning"} 30`,
		},
		"10k": {`{alertname="RufusAPIFailing", job="rufus", severity="warning"} 5`},
	}
	for race, want := range want {
		got := answer(t, calm(lines...), d.query(t, "Alerts", "A").chosen(t, race))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("race %q:\n%q, want\n%q", race, got, want)
		}
	}
	if got := answer(t, calm(), d.query(t, "Alerts", "A").chosen(t, "")); len(got) > 0 {
		t.Errorf("nothing fires, but there is %q", got)
	}
}

// The state of a mat: its word and colour are those of the status page.
func TestDashboardState(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	const (
		mat = `job="rufus", instance="a", race="5k", session="m"`
		up  = "rufus_session_up{" + mat + "}"
	)
	read := func(active, passings string) []string {
		return []string{up, "1", "rufus_session_active{" + mat + "}", active, "rufus_session_passings{" + mat + "}", passings}
	}
	window := func(from, until time.Duration) []string {
		return []string{
			"rufus_session_expected_from_timestamp{" + mat + "}", fmt.Sprint((noon + from).Seconds()),
			"rufus_session_expected_until_timestamp{" + mat + "}", fmt.Sprint((noon + until).Seconds()),
		}
	}
	seen := []string{`rufus:session_seen:timestamp{job="rufus", race="5k", session="m"}`, "1"}
	fires := func(name, severity string) []string { return alerting(name, severity, `, race="5k", session="m"`, 60) }
	for _, c := range []struct {
		name         string
		series       []string
		word, colour string
	}{
		{
			"failing, passings are due",
			slices.Concat(read("1", "5"), fires("RufusSessionFailing", "critical")),
			"failing", red,
		},
		{"failing", slices.Concat(read("1", "5"), fires("RufusSessionFailing", "warning")), "failing", amber},
		{"the newest reading failed", []string{up, "0"}, "failing", amber},
		{"of a mat in its window too", slices.Concat([]string{up, "0"}, window(-time.Hour, time.Hour)), "failing", amber},
		{"closed, passings are due", slices.Concat(read("0", "5"), fires("RufusSessionClosed", "critical")), "closed", red},
		{"closed", slices.Concat(read("0", "5"), fires("RufusSessionClosed", "warning")), "closed", amber},
		{
			"closed, and cannot be read now",
			slices.Concat([]string{up, "0"}, fires("RufusSessionClosed", "critical")),
			"closed", red,
		},
		{
			"closed without a window, and cannot be read now",
			slices.Concat([]string{up, "0"}, fires("RufusSessionClosed", "warning")),
			"failing", amber,
		},
		{"silent, passings are due", slices.Concat(read("1", "5"), fires("RufusSessionSilent", "critical")), "silent", red},
		{"silent", slices.Concat(read("1", "5"), fires("RufusSessionSilent", "warning")), "silent", amber},
		{
			"not started, passings are due",
			slices.Concat(read("0", "0"), fires("RufusSessionNotStarted", "critical")),
			"not started", red,
		},
		{"not started", slices.Concat(read("0", "0"), fires("RufusSessionNotStarted", "warning")), "not started", amber},
		{
			"two alerts",
			slices.Concat(read("1", "5"), fires("RufusSessionFailing", "warning"), fires("RufusSessionSilent", "critical")),
			"silent", red,
		},
		{
			"another alert of the mat is no state",
			slices.Concat(read("1", "5"), fires("RufusBatteryLow", "warning")),
			"ok", green,
		},
		{"before its window", slices.Concat(read("1", "5"), window(time.Hour, 2*time.Hour)), "waiting", blue},
		{
			"before its window and not active yet",
			slices.Concat(read("0", "0"), window(time.Hour, 2*time.Hour)),
			"waiting", blue,
		},
		{"in its window", slices.Concat(read("1", "5"), window(-time.Hour, time.Hour)), "ok", green},
		{"after its window", slices.Concat(read("0", "5"), window(-2*time.Hour, -time.Hour)), "finished", grey},
		{
			"after its window, still active",
			slices.Concat(read("1", "5"), window(-2*time.Hour, -time.Hour)),
			"finished", grey,
		},
		{"active without a window", read("1", "0"), "ok", green},
		{"closed in peace", read("0", "5"), "finished", grey},
		{"closed a moment ago, as between two sessions", slices.Concat(read("0", "5"), []string{
			`rufus:session_inactive:timestamp{job="rufus", race="5k", session="m"}`, fmt.Sprint(noon.Seconds() - 45),
		}), "ok", green},
		{"closed for longer", slices.Concat(read("0", "5"), []string{
			`rufus:session_inactive:timestamp{job="rufus", race="5k", session="m"}`, fmt.Sprint(noon.Seconds() - 75),
		}), "finished", grey},
		{"a device without a session", []string{up, "1", "rufus_session_active{" + mat + "}", "0"}, "waiting", blue},
		{"the exporter is down", slices.Concat(seen, fires("RufusSessionClosed", "warning")), "closed", amber},
		{"the exporter is down and nothing else is known", seen, "failing", amber},
		{
			"the exporter is down while passings are due",
			slices.Concat(seen, alerting("RufusExporterDown", "critical", "", 60)), "failing", red,
		},
		{
			"two exporters, one of which cannot read it",
			slices.Concat(read("1", "5"), []string{`rufus_session_up{job="rufus", instance="b", race="5k", session="m"}`, "0"}),
			"ok", green,
		},
		{
			"target labels hide ours",
			slices.Concat(read("1", "5"), []string{
				`rufus_session_up{job="rufus", instance="a", race="5k", session="m", exported_session="n"}`, "1",
				`rufus_session_active{job="rufus", instance="a", race="5k", session="m", exported_session="n"}`, "0",
			}), "ok", green,
		},
		{"without a race", []string{
			`rufus_session_up{job="rufus", session="m"}`, "1", `rufus_session_active{job="rufus", session="m"}`, "1",
		}, "ok", green},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tile := d.panel(t, "$session")
			got := answer(t, lastHour(c.series...), d.query(t, "$session", "A").chosen(t, ""))
			if len(got) != 1 {
				t.Fatalf("%q", got)
			}
			var code string
			if _, err := fmt.Sscanf(got[0], `{session="m"} %s`, &code); err != nil {
				t.Fatalf("%q: %v", got[0], err)
			}
			if shown := tile.mapping("A", code); shown.Text != c.word || shown.Color != c.colour {
				t.Errorf("%+v, want %s in %s", shown, c.word, c.colour)
			}
		})
	}
}

// The other lines of a tile are there, with a dash, while nothing is known.
func TestDashboardTile(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	const mat = `{job="rufus", race="5k", session="m"}`
	for _, c := range []struct {
		name   string
		series []string
		want   [3]string // passings, since the last, battery
	}{
		{"everything", []string{
			"rufus_session_up" + mat, "1", "rufus_session_passings" + mat, "692",
			"rufus:session_passings:last" + mat, "691",
			"rufus_session_last_passing_timestamp" + mat, fmt.Sprint(noon.Seconds() - 29.6),
			"rufus_device_battery_ratio" + mat, "0.13",
		}, [3]string{"692", "30", "0.13"}},
		{"just not read", []string{
			"rufus_session_up" + mat, "0", "rufus:session_passings:last" + mat, "691",
		}, [3]string{"691", "NaN", "NaN"}},
		{"never read", []string{"rufus_session_up" + mat, "0"}, [3]string{"NaN", "NaN", "NaN"}},
		{"the exporter is down", []string{"rufus:session_seen:timestamp" + mat, "1"}, [3]string{"NaN", "NaN", "NaN"}},
	} {
		for i, ref := range []string{"B", "C", "D"} {
			got := answer(t, lastHour(c.series...), d.query(t, "$session", ref).chosen(t, ""))
			if want := []string{`{session="m"} ` + c.want[i]}; !slices.Equal(got, want) {
				t.Errorf("%s: %s is %q, want %q", c.name, ref, got, want)
			}
		}
	}
}

// Races and mats stand in the order of the course.
func TestDashboardOrder(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	at := func(d time.Duration) string { return fmt.Sprint((noon + d).Seconds()) }
	up := func(race, session string) []string {
		return []string{fmt.Sprintf(`rufus_session_up{job="rufus", race="%s", session="%s"}`, race, session), "1"}
	}
	from := func(race, session string, d time.Duration) []string {
		name := fmt.Sprintf(`rufus_session_expected_from_timestamp{job="rufus", race="%s", session="%s"}`, race, session)
		return append(up(race, session), name, at(d))
	}
	first := func(race, session string, d time.Duration) []string {
		name := fmt.Sprintf(`rufus_session_first_passing_timestamp{job="rufus", race="%s", session="%s"}`, race, session)
		return append(up(race, session), name, at(d))
	}
	declared := lastHour(slices.Concat(
		from("5k", "finish-5k", 20*time.Minute), from("5k", "turn-5k", 10*time.Minute),
		from("10k", "finish-10k", 40*time.Minute), from("10k", "start-10k", 5*time.Minute), from("5k", "start-5k", 0),
		// It was tried with a chip in the morning.
		[]string{`rufus_session_first_passing_timestamp{job="rufus", race="5k", session="finish-5k"}`, at(-3 * time.Hour)},
		from("half", "start-half", 7*24*time.Hour), up("10k", "mistyped"), up("", "spare"),
	)...)
	undeclared := lastHour(slices.Concat(
		first("", "finish", -10*time.Minute), up("", "backup"),
		first("", "start", -40*time.Minute), first("", "turn", -30*time.Minute),
		[]string{`rufus:session_seen:timestamp{job="rufus", session="remembered"}`, "1"},
	)...)
	// Waves: the start's window is the second wave's by now. START was pressed again at the turn.
	waves := fmt.Sprintf(`load 15s
  rufus_session_up{race="5k", session="start-5k"} 1x2880
  rufus_session_up{race="5k", session="finish-5k"} 1x2880
  rufus_session_up{race="1k", session="start-1k"} 1x2880
  rufus_session_up{race="1k", session="turn-1k"} 1x2880
  rufus_session_expected_from_timestamp{race="5k", session="start-5k"} %[1]sx2800 %[4]sx79
  rufus_session_expected_from_timestamp{race="5k", session="finish-5k"} %[2]sx2880
  rufus_session_first_passing_timestamp{race="1k", session="start-1k"} _x2000 %[3]sx879
  rufus_session_first_passing_timestamp{race="1k", session="turn-1k"} _x2100 %[2]sx500 %[4]sx278
  rufus_session_first_passing_timestamp{race="1k", session="gone"} %[3]sx2800
`, at(-time.Hour), at(-30*time.Minute), at(-2*time.Hour), at(time.Hour))
	for _, c := range []struct {
		name, series, race string
		races, sessions    []string
	}{
		{
			"declared", declared, "",
			[]string{"5k", "10k", "half"},
			[]string{"start-5k", "turn-5k", "finish-5k", "start-10k", "finish-10k", "mistyped", "start-half", "spare"},
		},
		{"one race", declared, "10k", []string{"5k", "10k", "half"}, []string{"start-10k", "finish-10k", "mistyped"}},
		{"undeclared", undeclared, "", nil, []string{"start", "turn", "finish", "backup", "remembered"}},
		{"waves", waves, "", []string{"1k", "5k"}, []string{"start-1k", "turn-1k", "start-5k", "finish-5k"}},
		{"nothing", "load 15s\n  up 1\n", "", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, want := range map[string][]string{"race": c.races, "session": c.sessions} {
				v := d.variable(t, name)
				var got []string
				for _, line := range answer(t, c.series, v.chosen(t, c.race)) {
					got = append(got, v.option(line)...)
				}
				if name == "session" && len(got) > len(want) {
					t.Errorf("%d sessions, want %d", len(got), len(want))
				}
				// Of those that never counted, any may come first.
				if name == "session" && c.name == "undeclared" && len(got) == len(want) {
					slices.Sort(got[3:])
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

// Start against finish, race by race.
func TestDashboardStillOut(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	count := func(race, session, n string) []string {
		return []string{fmt.Sprintf(`rufus:session_passings:last{job="rufus", race="%s", session="%s"}`, race, session), n}
	}
	const title = "Start against finish: raw detections, not participants"
	for _, c := range []struct {
		name, race            string
		series                []string
		start, finish, andOut []string
	}{
		{
			"two races, a backup, one without a race", "",
			slices.Concat(count("5k", "start-5k", "692"), count("5k", "FINISH 5k", "681"), count("5k", "finish-5k-backup", "17"),
				count("10k", "start-10k", "1033"), count("10k", "finish-10k", "0"),
				count("", "Start", "5"), count("", "finish", "6"), count("5k", "turn-5k", "689")),
			[]string{`{race="10k"} 1033`, `{race="5k"} 692`, `{} 5`},
			[]string{`{race="10k"} 0`, `{race="5k"} 681`, `{} 6`},
			[]string{`{race="10k"} 1033`, `{race="5k"} 11`, `{} -1`},
		},
		{
			"another race is chosen", "10k",
			slices.Concat(count("5k", "start-5k", "692"), count("10k", "start-10k", "1033"), count("10k", "finish-10k", "3")),
			[]string{`{race="10k"} 1033`},
			[]string{`{race="10k"} 3`},
			[]string{`{race="10k"} 1030`},
		},
		{
			"no finish mat", "", count("5k", "start-5k", "692"),
			[]string{`{race="5k"} 692`}, []string{`{race="5k"} NaN`}, []string{`{race="5k"} NaN`},
		},
		{"no start mat", "", count("", "finish", "692"), []string{"{} NaN"}, []string{"{} 692"}, []string{"{} NaN"}},
		{"nothing", "", []string{"up", "1"}, nil, nil, nil},
	} {
		for ref, want := range map[string][]string{"A": c.start, "B": c.finish, "C": c.andOut} {
			got := answer(t, lastHour(c.series...), d.query(t, title, ref).chosen(t, c.race))
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: %q, want %q", c.name, ref, got, want)
			}
		}
	}
}

// The duration of requests is shown whichever histogram Prometheus scrapes.
func TestDashboardDuration(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t, dashboardFile)
	const (
		four    = "{{schema:0 count:4 sum:4 buckets:[4]}}" // requests, of more than half a second and at most one
		native  = "  rufus_api_request_duration_seconds _x2640 " + four + "+" + four + "x240\n"
		classic = `  rufus_api_request_duration_seconds_bucket{le="0.1"} _x2640 0+4x240
  rufus_api_request_duration_seconds_bucket{le="0.3"} _x2640 0+8x240
  rufus_api_request_duration_seconds_bucket{le="+Inf"} _x2640 0+8x240
`
	)
	for name, c := range map[string]struct{ series, median string }{
		"native":  {native, "{} 0.7071067811865475"}, // the middle, as buckets grow exponentially
		"classic": {classic, "{} 0.1"},
		"both":    {native + classic, "{} 0.7071067811865475"},
	} {
		got := answer(t, "load 15s\n"+c.series, d.query(t, "Duration of requests", "A").chosen(t, ""))
		if !slices.Equal(got, []string{c.median}) {
			t.Errorf("%s: the median is %q, want %s", name, got, c.median)
		}
	}
	if got := answer(t, "load 15s\n  up 1\n", d.query(t, "Duration of requests", "B").chosen(t, "")); len(got) > 0 {
		t.Errorf("without requests there is %q", got)
	}
}
