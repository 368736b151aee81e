package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"rufus_exporter/simulator"
)

// delivered are the files that users get, or those that the environment names instead.
var delivered = pack{
	rules:        cmp.Or(os.Getenv("RUFUS_RULES"), "../monitoring/rufus.rules.yml"),
	alertmanager: cmp.Or(os.Getenv("RUFUS_ALERTMANAGER"), "../monitoring/alertmanager.yml"),
	dashboard:    cmp.Or(os.Getenv("RUFUS_DASHBOARD"), dashboardFile),
}

// failFast lets the bench stop at the first day that fails, RUFUS_TRUTH_FAILFAST=1: for those who only want to know
// whether one does. The shortest days come first.
var failFast = os.Getenv("RUFUS_TRUTH_FAILFAST") == "1"

// full is whether there is time for what shows itself rarely.
var full = os.Getenv("CI_FULL") == "1"

// days are all scenarios, each without windows and with windows.
func days() []scenario {
	var days []scenario
	for _, s := range scenarios {
		if !s.long || full {
			days = append(days, s.variants()...)
		}
	}
	return days
}

// Every race day, with the rules and the routes as they are delivered.
func TestTruth(t *testing.T) { playAll(t, days()) }

func playAll(t *testing.T, days []scenario) {
	t.Helper()
	if failFast {
		slices.SortStableFunc(days, func(a, b scenario) int { return cmp.Compare(a.to-a.from, b.to-b.from) })
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // there is memory, but little time
	verdicts := make([]verdict, len(days))
	var failed atomic.Bool
	t.Run("day", func(t *testing.T) {
		for i, s := range days {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				if failFast && failed.Load() {
					t.Skip("another day failed")
				}
				verdicts[i] = s.judge(s.play(t, delivered))
				if !verdicts[i].well() {
					failed.Store(true)
					t.Error("\n" + table(verdicts[i:i+1]))
				}
			})
		}
	})
	if !t.Failed() {
		t.Log("\n" + table(verdicts))
	}
}

// A day ends in the same way at all phases of scrapes, evaluations and notifications: here one on which an alert that
// inhibits others ends together with them. It is played 4 times, or 200 times where $CI_FULL is 1.
func TestTruthIsSteady(t *testing.T) {
	plays := 4
	if full {
		plays = 200
	}
	for _, s := range days() {
		if s.name != "API down for 3 min" {
			continue
		}
		for range plays {
			t.Run("play", func(t *testing.T) {
				t.Parallel()
				if v := s.judge(s.play(t, delivered)); !v.well() {
					t.Error("\n" + table([]verdict{v}))
				}
			})
		}
		return
	}
	t.Fatal("no such day")
}

// There is no alert of which no day shows that it fires when it must.
func TestTruthOfEveryAlert(t *testing.T) {
	groups, errs := rulefmt.ParseFile(delivered.rules, false, model.UTF8Validation, parser.NewParser(parser.Options{}), discard)
	if errs != nil {
		t.Fatal(errs)
	}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			proven := rule.Alert == "" || rule.Alert == "RufusWatchdog" // fires on every day
			for _, s := range days() {
				for _, a := range s.alarms {
					proven = proven || a.alert == rule.Alert && a.severity == rule.Labels["severity"]
				}
			}
			if !proven {
				t.Errorf("%s, %s, fires on no day", rule.Alert, rule.Labels["severity"])
			}
		}
	}
}

// The bench finds what is wrong with rules and routes.
func TestTruthBenchCanFail(t *testing.T) {
	// A mat is closed two minutes after the gun, in the middle of a day of eight.
	day := scenario{
		name: "closed", from: -2 * minute, to: 6 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("START-5K").Close(at(2 * minute)) },
		mats: cityMats(0), lawless: true,
		alarms: []alarm{
			{alert: "Watching", severity: "warning", after: -2 * minute, within: minute, lasts: never},
			{
				alert: "Closed", session: "start-5k", severity: "critical", after: 2 * minute, within: minute,
				lasts: never, says: "closed",
			},
		},
	}
	const routes = `
route: {receiver: crew, group_by: [alertname], group_wait: 10s}
receivers: [{name: crew}]
`
	const rules = `
groups:
  - name: test
    rules:
      - record: was_active
        expr: rufus_session_active == 1 or last_over_time(was_active[1h])
      - alert: Closed
        expr: rufus_session_active == 0 and was_active
        for: 15s
        labels: {severity: critical}
        annotations: {summary: A mat does not count., description: "Go to {{ $labels.session }}. It is closed.", runbook_url: "#x"}
      - alert: Watching
        expr: up == 1
        labels: {severity: warning}
        annotations: {summary: It is watched., description: Do nothing., runbook_url: "#x"}
`
	for name, change := range map[string]struct {
		from, to string // what to replace, in rules and routes; with both empty nothing is wrong
		want     string // in the table
	}{
		"nothing":            {"", "", "s of 1m "},
		"rule removed":       {"alert: Closed", "alert: Else", "MISSED"},
		"too late":           {"for: 15s", "for: 2m", "MISSED: fired 2m"},
		"threshold too low":  {"== 0 and was_active", "<= 1", "FALSE ALARM: critical Closed of finish-10k"},
		"wrong severity":     {"severity: critical", "severity: warning", "FALSE ALARM: warning Closed of start-5k"},
		"ends too soon":      {"was_active\n        for", "changes(rufus_session_active[1m]) > 0\n        for", "ENDED TOO SOON"},
		"wrong text":         {"It is closed", "It was opened", "DOES NOT SAY"},
		"nameless":           {"{{ $labels.session }}. It", "it. It", "the description does not name start-5k"},
		"no action":          {"Do nothing", "Nothing is to be done", "does not begin with what to do"},
		"long summary":       {"A mat does not count", strings.Repeat("Long ", 17), "too long for a phone"},
		"broken text":        {"$labels.session }}. It", "$labels.session | humanizeTimestamp }}. It", "error expanding template"},
		"no runbook":         {"runbook_url", "book", "has no runbook_url"},
		"rule cannot be run": {"0 and was_active", "0 and on (job) (up * on () group_left () was_active)", "PROBLEM: Closed: "},
		"rings late":         {"group_wait: 10s", "group_wait: 2m", "DID NOT RING SOON"},
		"inhibited": {"receivers:", "inhibit_rules: [{source_matchers: [alertname=Watching], target_matchers: [alertname=Closed]}]\nreceivers:",
			"INHIBITED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			changed := delivered
			changed.rules, changed.alertmanager = filepath.Join(dir, "rules.yml"), filepath.Join(dir, "alertmanager.yml")
			for path, content := range map[string]string{changed.rules: rules, changed.alertmanager: routes} {
				if err := os.WriteFile(path, []byte(strings.Replace(content, change.from, change.to, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			v := day.judge(day.play(t, changed))
			if text := table([]verdict{v}); !strings.Contains(text, change.want) || v.well() != (name == "nothing") {
				t.Errorf("want %q in\n%s", change.want, text)
			}
		})
	}
}
