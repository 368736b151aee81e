// Package monitoring_test checks that the alert rules, their tests and the runbook belong together. That the rules
// themselves are right is for promtool to say: see rufus.rules_test.yml.
package monitoring_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"gopkg.in/yaml.v3"
)

const (
	runbook  = "monitoring/runbook.md"
	watchdog = "RufusWatchdog"
)

type rule struct {
	Record      string
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

// alerts returns the alerting rules. An alert with two severities is two of them.
func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	parse(t, "rufus.rules.yml", &file)
	var alerts []rule
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			if r.Alert != "" {
				alerts = append(alerts, r)
			}
		}
	}
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	return alerts
}

func parse(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, file)), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A summary is common to all alerts of a group, and a title. A description begins with what to do: of a long message a
// phone shows the first sentence.
func TestAlertsAreComplete(t *testing.T) {
	action := regexp.MustCompile(`^(Ask|Bring|Check|Compare|Do|Fix|Go|Look|Raise|Read|Send|Set|Start) `)
	sentence := regexp.MustCompile(`[.?!]( |$)`)
	for _, a := range alerts(t) {
		want := []string{"critical", "warning"}
		if a.Alert == watchdog {
			want = []string{"none"}
		}
		if severity := a.Labels["severity"]; !slices.Contains(want, severity) {
			t.Errorf("%s: severity %q, want one of %q", a.Alert, severity, want)
		}
		if url := runbook + "#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != url {
			t.Errorf("%s: runbook_url %q, want %q", a.Alert, a.Annotations["runbook_url"], url)
		}
		for _, answers := range []bool{false, true} {
			summary := expand(t, a.Annotations["summary"], answers)
			if title := "CRITICAL: " + summary; len(title) > 80 || len(sentence.FindAllString(summary, -1)) != 1 {
				t.Errorf("%s: the summary is not one sentence, or too long for a title: %q", a.Alert, title)
			}
			if strings.Contains(summary, labels["session"]) {
				t.Errorf("%s: the summary is of one session: %q", a.Alert, summary)
			}
			description := expand(t, a.Annotations["description"], answers)
			if !action.MatchString(description) {
				t.Errorf("%s: the description does not begin with what to do: %q", a.Alert, description)
			}
			if end := sentence.FindStringIndex(description); end == nil || end[0] >= 120 {
				t.Errorf("%s: the first sentence is long: %q", a.Alert, description)
			}
			if !sentence.MatchString(description[len(description)-1:]) || strings.ContainsAny(description, "\n{") ||
				strings.Contains(description, "  ") {
				t.Errorf("%s: the description is no plain text: %q", a.Alert, description)
			}
		}
	}
}

// labels of an alert, as long as notifications.tmpl allows: 24 characters of a race, 32 of a session.
var labels = map[string]string{
	"job": "rufus", "instance": "monitoring.example.org:9090",
	"race": "half-marathon-and-relays", "session": "finish-half-marathon-relay-spare",
}

type sample struct{ Labels map[string]string }

// expand returns a text of an alert as Prometheus would. Its queries find one series each, or nothing.
func expand(t *testing.T, text string, answers bool) string {
	t.Helper()
	const head = `{{ $labels := .Labels }}{{ $value := .Value }}`
	parsed, err := template.New("").Funcs(template.FuncMap{
		"query": func(string) []sample {
			if !answers {
				return nil
			}
			return []sample{{map[string]string{"session": labels["session"], "state": "not started", "reason": "not_found"}}}
		},
		"sortByLabel":        func(_ string, samples []sample) []sample { return samples },
		"first":              func(samples []sample) sample { return samples[0] },
		"value":              func(sample) float64 { return 12 },
		"humanizeDuration":   func(any) string { return "1h 12m 30s" },
		"humanizePercentage": func(float64) string { return "12.34%" },
	}).Parse(head + text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	var expanded strings.Builder
	if err := parsed.Execute(&expanded, map[string]any{"Labels": labels, "Value": 12.0}); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return expanded.String()
}

// A section of the runbook is an alert's, in the order of the rules, and says the same four things.
func TestRunbook(t *testing.T) {
	var names []string
	for _, a := range alerts(t) {
		if !slices.Contains(names, a.Alert) {
			names = append(names, a.Alert)
		}
	}
	part := regexp.MustCompile(`(?m)^- \*\*(Check|Do|Ignore when)`)
	_, content, _ := strings.Cut(read(t, "runbook.md"), "\n## ")
	var titles []string
	for section := range strings.SplitSeq(content, "\n## ") {
		title, text, _ := strings.Cut(section, "\n")
		titles = append(titles, title)
		parts := part.FindAllStringSubmatch(text, -1)
		if len(parts) != 3 || parts[0][1] != "Check" || parts[1][1] != "Do" || parts[2][1] != "Ignore when" {
			t.Errorf("%s: not what to check, to do and when to ignore it, in this order: %q", title, parts)
		}
		if strings.HasPrefix(strings.TrimSpace(text), "-") {
			t.Errorf("%s: does not say what it means", title)
		}
	}
	if !slices.Equal(titles, names) {
		t.Errorf("sections:\n%q\nalerts:\n%q", titles, names)
	}
}

// Every alert of either severity is tested to be quiet, then to fire, then to be quiet again, with all else that
// fires at that time; and its texts are, which name the session where there is one. The watchdog always fires.
func TestEveryAlertIsTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Name   string
			Promql []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
			Alerts []struct {
				Name     string `yaml:"alertname"`
				Expected []struct {
					Labels      map[string]string `yaml:"exp_labels"`
					Annotations map[string]string `yaml:"exp_annotations"`
				} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	parse(t, "rufus.rules_test.yml", &file)
	for _, test := range file.Tests {
		if len(test.Promql)+len(test.Alerts) == 0 {
			t.Errorf("%s: expects nothing", test.Name)
		}
	}
	for _, a := range alerts(t) {
		fires := regexp.MustCompile(`alertname="` + a.Alert + `",severity="` + a.Labels["severity"] + `"`)
		quiet, fired, resolved, text := false, false, false, false
		for _, test := range file.Tests {
			wasQuiet, wasFiring := false, false
			for _, moment := range test.Promql {
				if !strings.Contains(moment.Expr, `(ALERTS{alertstate="firing",severity!="none"})`) {
					continue
				}
				now := false
				for _, sample := range moment.Samples {
					now = now || fires.MatchString(sample.Labels)
				}
				quiet = quiet || now && wasQuiet
				fired = fired || now
				resolved = resolved || !now && wasFiring
				wasQuiet, wasFiring = !now, now
			}
			for _, moment := range test.Alerts {
				if moment.Name != a.Alert {
					continue
				}
				for _, expected := range moment.Expected {
					text = text || expected.Labels["severity"] == a.Labels["severity"]
					if !strings.Contains(expected.Annotations["description"], expected.Labels["session"]) {
						t.Errorf("%s: does not name %s", a.Alert, expected.Labels["session"])
					}
				}
			}
		}
		if a.Alert == watchdog {
			quiet, fired, resolved = true, true, true
		}
		if !quiet || !fired || !resolved || !text {
			t.Errorf("%s, %s: tested to be quiet before: %t, to fire: %t, to resolve: %t, its texts: %t",
				a.Alert, a.Labels["severity"], quiet, fired, resolved, text)
		}
	}
}

// The rules and their tests use no metric that does not exist: the tables of docs/metrics.md are those of the program.
func TestMetricsExist(t *testing.T) {
	documented := read(t, "../docs/metrics.md")
	comment := regexp.MustCompile(`(?m)^\s*#.*$`)
	metric := regexp.MustCompile(`\brufus_(?:session|device|devices|api|exporter)_[a-z_]+`)
	for _, file := range []string{"rufus.rules.yml", "rufus.rules_test.yml"} {
		for _, name := range metric.FindAllString(comment.ReplaceAllString(read(t, file), ""), -1) {
			if !strings.Contains(documented, "`"+name) {
				t.Errorf("%s: %s is not among the metrics in docs/metrics.md", file, name)
			}
		}
	}
}
