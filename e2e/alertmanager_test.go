package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// The tests of the Alertmanager example, with Alertmanager's own packages. Their names begin with TestAlertmanager:
// mutants runs them.

func loadAlertmanager(t *testing.T) *amconfig.Config {
	t.Helper()
	cfg, err := amconfig.LoadFile(delivered.alertmanager)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// labelsOfAlert returns the labels of an alert, such as "critical RufusSessionClosed", of a session, a race or a job.
func labelsOfAlert(alert string) model.LabelSet {
	severity, name, _ := strings.Cut(alert, " ")
	set := model.LabelSet{"alertname": model.LabelValue(name), "severity": model.LabelValue(severity), "job": "rufus"}
	for _, ofJob := range []string{"Watchdog", "Exporter", "AllSessions", "Devices", "Reload", "Scrape", "API"} {
		if strings.HasPrefix(name, "Rufus"+ofJob) {
			return set
		}
	}
	set["race"] = "5k"
	if !strings.HasPrefix(name, "RufusRace") {
		set["session"] = "finish"
	}
	return set
}

// Whom an alert reaches, in which group, after which times.
func TestAlertmanagerRoutes(t *testing.T) {
	const (
		phone = " after 10s, changes after 1m0s, again after 15m0s"
		chat  = " after 55s, changes after 2m0s, again after 4h0m0s"
	)
	root := dispatch.NewRoute(loadAlertmanager(t).Route, nil)
	for alert, want := range map[string][]string{
		"critical RufusSessionClosed": {
			`phone {job="rufus", race="5k"}` + phone,
			`chat {alertname="RufusSessionClosed", job="rufus", race="5k"}` + chat,
		},
		"critical RufusRaceFailing": {
			`phone {job="rufus", race="5k"}` + phone,
			`chat {alertname="RufusRaceFailing", job="rufus", race="5k"}` + chat,
		},
		"critical RufusExporterDown": {
			`phone {job="rufus"}` + phone,
			`chat {alertname="RufusExporterDown", job="rufus"}` + chat,
		},
		"warning RufusClockAhead":   {`chat {alertname="RufusClockAhead", job="rufus", race="5k"}` + chat},
		"warning RufusReloadFailed": {`chat {alertname="RufusReloadFailed", job="rufus"}` + chat},
		"none RufusWatchdog": {
			`watchdog {alertname="RufusWatchdog", job="rufus"} after 0s, changes after 30s, again after 50s`,
		},
	} {
		set := labelsOfAlert(alert)
		var got []string
		for _, r := range root.Match(set) {
			group := model.LabelSet{}
			for name, value := range set {
				if _, ok := r.RouteOpts.GroupBy[name]; ok || r.RouteOpts.GroupByAll {
					group[name] = value
				}
			}
			got = append(got, fmt.Sprintf("%s %s after %v, changes after %v, again after %v",
				r.RouteOpts.Receiver, group, r.RouteOpts.GroupWait, r.RouteOpts.GroupInterval, r.RouteOpts.RepeatInterval))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", alert, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

// A group is not flushed in the instant of an evaluation: what inhibits its alerts may end a moment before they do. The
// first flush is group_wait after an evaluation, the others are multiples of group_interval later.
func TestAlertmanagerTimesFallBetweenEvaluations(t *testing.T) {
	const evaluation = 15 * time.Second
	dispatch.NewRoute(loadAlertmanager(t).Route, nil).Walk(func(r *dispatch.Route) {
		if r.RouteOpts.Receiver == "watchdog" {
			return
		}
		if wait := r.RouteOpts.GroupWait; wait%evaluation == 0 {
			t.Errorf("%s: group_wait %v is a multiple of %v", r.RouteOpts.Receiver, wait, evaluation)
		}
		if interval := r.RouteOpts.GroupInterval; interval%evaluation != 0 {
			t.Errorf("%s: group_interval %v is not a multiple of %v", r.RouteOpts.Receiver, interval, evaluation)
		}
	})
}

// The dead man's switch is fed once a minute, at every second flush: a repeat_interval that is a multiple of
// group_interval is missed by a moment each second time, and Alertmanager warns of one that is less.
func TestAlertmanagerFeedsTheDeadMansSwitch(t *testing.T) {
	dispatch.NewRoute(loadAlertmanager(t).Route, nil).Walk(func(r *dispatch.Route) {
		o := r.RouteOpts
		if o.Receiver != "watchdog" {
			return
		}
		if o.GroupInterval != 30*time.Second || o.RepeatInterval <= o.GroupInterval || o.RepeatInterval >= time.Minute {
			t.Errorf("group_interval %v, repeat_interval %v", o.GroupInterval, o.RepeatInterval)
		}
	})
}

// Every receiver has a service, which is told of the end too unless it is the dead man's switch.
func TestAlertmanagerReceivers(t *testing.T) {
	got := map[string]string{}
	for _, r := range loadAlertmanager(t).Receivers {
		for _, service := range r.WebhookConfigs {
			got[r.Name] += fmt.Sprintf("%s resolved: %t", string(service.URL), service.SendResolved())
		}
	}
	want := map[string]string{
		"phone":    "http://127.0.0.1:9095/phone resolved: true",
		"chat":     "http://127.0.0.1:9095/chat resolved: true",
		"watchdog": "http://127.0.0.1:9095/watchdog resolved: false",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The texts are in the file next to the example, whose receivers use its templates when they are uncommented.
func TestAlertmanagerTemplates(t *testing.T) {
	var got []string
	for _, path := range loadAlertmanager(t).Templates {
		got = append(got, filepath.Base(path))
	}
	if want := []string{filepath.Base(notificationsFile)}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What each alert inhibits when it has the same job, race and session as far as both have them. It inhibits nothing
// else, and nothing of another job, race or session.
func TestAlertmanagerInhibition(t *testing.T) {
	ofSession := []string{
		"warning RufusSessionClosed", "warning RufusSessionSilent", "warning RufusSessionFailing",
		"warning RufusClockAhead", "warning RufusBatteryLow", "warning RufusTelemetryStale",
	}
	ofJob := []string{"warning RufusExporterDown", "warning RufusAllSessionsFailing", "warning RufusScrapeSlow"}
	stopped := []string{
		"critical RufusSessionClosed", "warning RufusSessionClosed", "critical RufusSessionSilent", "warning RufusSessionSilent",
	}
	sessionFailing := []string{"critical RufusSessionFailing", "warning RufusSessionFailing"}
	raceFailing := slices.Concat(sessionFailing, []string{"critical RufusRaceFailing", "warning RufusRaceFailing"})
	allFailing := slices.Concat(raceFailing, []string{"critical RufusAllSessionsFailing", "warning RufusAllSessionsFailing"})
	inhibited := map[string][]string{
		"critical RufusSessionClosed":      ofSession,
		"critical RufusSessionSilent":      ofSession,
		"critical RufusSessionNotStarted":  ofSession,
		"critical RufusSessionFailing":     ofSession,
		"warning RufusSessionClosed":       nil,
		"warning RufusSessionSilent":       nil,
		"warning RufusSessionFailing":      nil,
		"warning RufusClockAhead":          nil,
		"warning RufusBatteryLow":          {"warning RufusTelemetryStale"},
		"warning RufusTelemetryStale":      nil,
		"critical RufusRaceStopped":        slices.Concat(stopped, []string{"warning RufusRaceFailing"}),
		"critical RufusRaceFailing":        slices.Concat(sessionFailing, []string{"warning RufusRaceFailing"}),
		"warning RufusRaceFailing":         sessionFailing,
		"critical RufusAllSessionsFailing": slices.Concat(ofJob, raceFailing),
		"warning RufusAllSessionsFailing":  raceFailing,
		"critical RufusExporterDown":       slices.Concat(ofJob, allFailing),
		"warning RufusExporterDown": {
			"warning RufusSessionFailing", "warning RufusRaceFailing", "warning RufusAllSessionsFailing",
		},
		"warning RufusScrapeSlow": nil,
		"none RufusWatchdog":      nil,
	}
	for source, targets := range inhibited {
		inhibitor := inhibitorWith(t, labelsOfAlert(source))
		for target := range inhibited {
			if target == source {
				continue
			}
			if want := slices.Contains(targets, target); inhibitor.Mutes(t.Context(), labelsOfAlert(target)) != want {
				t.Errorf("%s inhibits %s: %t, want %t", source, target, !want, want)
			}
			for _, label := range []model.LabelName{"job", "race", "session"} {
				other := labelsOfAlert(target)
				if labelsOfAlert(source)[label] == "" || other[label] == "" {
					continue
				}
				if other[label] = "other"; inhibitor.Mutes(t.Context(), other) {
					t.Errorf("%s inhibits %s of another %s", source, target, label)
				}
			}
		}
	}
}

// inhibitorWith returns an inhibitor that knows that an alert fires.
func inhibitorWith(t *testing.T, firing model.LabelSet) *inhibit.Inhibitor {
	t.Helper()
	recorder, registry := eventrecorder.NopRecorder(), prometheus.NewRegistry()
	silences, err := silence.New(silence.Options{Logger: discard, Metrics: registry, EventRecorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := mem.NewAlerts(t.Context(), time.Hour, 0, silence.NewSilencer(silences, discard, recorder), discard, recorder,
		registry, featurecontrol.NoopFlags{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(alerts.Close)
	now := time.Now()
	err = alerts.Put(context.Background(), &amalert.Alert{
		Alert: model.Alert{Labels: firing, StartsAt: now, EndsAt: now.Add(time.Hour)}, UpdatedAt: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	inhibitor := inhibit.NewInhibitor(alerts, loadAlertmanager(t).InhibitRules, discard, recorder)
	go inhibitor.Run()
	t.Cleanup(inhibitor.Stop)
	inhibitor.WaitForLoading()
	return inhibitor
}

// Every matcher fits an alert, by its name and severity: a renamed alert must not lose its route.
func TestAlertmanagerMatchersFitAlerts(t *testing.T) {
	groups, errs := rulefmt.ParseFile(delivered.rules, false, model.UTF8Validation, parser.NewParser(parser.Options{}), discard)
	if errs != nil {
		t.Fatal(errs)
	}
	fits := func(matchers labels.Matchers) bool {
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				set := model.LabelSet{
					"alertname": model.LabelValue(rule.Alert), "severity": model.LabelValue(rule.Labels["severity"]),
				}
				if rule.Alert != "" && matchers.Matches(set) {
					return true
				}
			}
		}
		return false
	}
	cfg := loadAlertmanager(t)
	var all []labels.Matchers
	dispatch.NewRoute(cfg.Route, nil).Walk(func(r *dispatch.Route) { all = append(all, r.Matchers) })
	for _, rule := range cfg.InhibitRules {
		all = append(all, labels.Matchers(rule.SourceMatchers), labels.Matchers(rule.TargetMatchers))
	}
	for _, matchers := range all {
		if !fits(matchers) {
			t.Errorf("%s fits no alert", matchers)
		}
	}
}
