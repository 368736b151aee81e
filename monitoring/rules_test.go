// Package monitoring_test checks that the alert rules, their tests and the runbook belong together. That the rules
// themselves are right is for promtool to say: see rufus.rules_test.yml.
package monitoring_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const runbook = "monitoring/runbook.md"

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

func TestAlertsAreComplete(t *testing.T) {
	template := regexp.MustCompile(`\{\{.*?\}\}`)
	for _, a := range alerts(t) {
		if severity := a.Labels["severity"]; severity != "warning" && severity != "critical" {
			t.Errorf("%s: severity %q", a.Alert, severity)
		}
		sentence := template.ReplaceAllString(a.Annotations["summary"], "X")
		if !strings.HasSuffix(sentence, ".") || strings.Contains(sentence, ". ") {
			t.Errorf("%s: the summary is not one sentence: %q", a.Alert, sentence)
		}
		if strings.Contains(a.Expr, "rufus:session_info") != strings.Contains(a.Annotations["summary"], "$labels.alias") {
			t.Errorf("%s: an alert of a session names it by its alias too", a.Alert)
		}
		if a.Annotations["description"] == "" {
			t.Errorf("%s: no description", a.Alert)
		}
		if want := runbook + "#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
	}
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
// fires at that time; and its texts are.
func TestEveryAlertIsTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Promql []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
			Alerts []struct {
				Name     string     `yaml:"alertname"`
				Expected []struct{} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	parse(t, "rufus.rules_test.yml", &file)
	for _, a := range alerts(t) {
		fires := regexp.MustCompile(`alertname="` + a.Alert + `",severity="` + a.Labels["severity"] + `"`)
		quiet, fired, resolved, text := false, false, false, false
		for _, test := range file.Tests {
			wasQuiet, wasFiring := false, false
			for _, moment := range test.Promql {
				if !strings.Contains(moment.Expr, `ALERTS{alertstate="firing"}`) {
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
				text = text || moment.Name == a.Alert && len(moment.Expected) > 0
			}
		}
		if !quiet || !fired || !resolved || !text {
			t.Errorf("%s, %s: tested to be quiet before: %t, to fire: %t, to resolve: %t, its texts: %t",
				a.Alert, a.Labels["severity"], quiet, fired, resolved, text)
		}
	}
}

// The rules and their tests use no metric that does not exist: the README's tables are those of the program.
func TestMetricsExist(t *testing.T) {
	documented := read(t, "../README.md")
	comment := regexp.MustCompile(`(?m)^\s*#.*$`)
	metric := regexp.MustCompile(`\brufus_(?:session|device|devices|api|exporter)_[a-z_]+`)
	for _, file := range []string{"rufus.rules.yml", "rufus.rules_test.yml"} {
		for _, name := range metric.FindAllString(comment.ReplaceAllString(read(t, file), ""), -1) {
			if !strings.Contains(documented, "`"+name) {
				t.Errorf("%s: %s is not among the metrics in the README", file, name)
			}
		}
	}
}
