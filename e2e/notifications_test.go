package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amalert "github.com/prometheus/alertmanager/alert"
	amtemplate "github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	promtemplate "github.com/prometheus/prometheus/template"
)

const (
	notificationsFile = "../monitoring/notifications.tmpl"
	readme            = "../README.md"
)

// The notifications of a mat that was closed, of several mats, of the same when one counts again, of a battery, and
// of the end of the first, as they arrive.
const (
	closedMessage = `CRITICAL: 5k: a mat was closed.
Go to split-3k: press START if the box is not recording.
It was closed 1m 0s ago, its last passing was 2m 15s ago.
Since Sun 09:41 UTC.
Runbook: https://timing.example.org/runbook#rufussessionclosed
Status page: https://timing.example.org/`

	severalMessage = `CRITICAL (3): 10k: finish-10k closed, turn-10k not started, split-7k silent
Go to finish-10k: press START if the box is not recording.
Since Sun 09:41 UTC.
Go to turn-10k: press START.
Since Sun 09:41 UTC.
Go to split-7k: hold a chip over the mat.
Since Sun 09:41 UTC.
Runbook: https://timing.example.org/runbook
Status page: https://timing.example.org/`

	fewerMessage = `CRITICAL (2): 10k: turn-10k not started, split-7k silent
Go to turn-10k: press START.
Since Sun 09:41 UTC.
Go to split-7k: hold a chip over the mat.
Since Sun 09:41 UTC.
Resolved: finish-10k: Sun 09:41 to 09:52 UTC.
Runbook: https://timing.example.org/runbook
Status page: https://timing.example.org/`

	batteryMessage = `WARNING: half: a battery is low.
Bring power to start-half: its battery is at 13% and not charging.
An empty box records nothing.
Since Sun 09:41 UTC.
Runbook: https://timing.example.org/runbook#rufusbatterylow
Status page: https://timing.example.org/`

	resolvedMessage = `RESOLVED: 5k: a mat was closed.
split-3k: Sun 09:41 to 09:52 UTC.
Status page: https://timing.example.org/`
)

// The notifications as they arrive, sent by the real Alertmanager, the pinned one and Debian's, to each of the services
// that the example has ready.
func TestNotifications(t *testing.T) {
	t.Parallel()
	for _, path := range []string{tool(t, "alertmanager"), tool(t, "prometheus-alertmanager")} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			s := startServices(t)
			manager := startManager(t, path, s.configuration(t))

			began := time.Now().UTC()
			closed := ruleAlert(t, "critical RufusSessionClosed", "5k", "split-3k", 60)
			finish := ruleAlert(t, "critical RufusSessionClosed", "10k", "finish-10k", 60)
			manager.post(t, began, began.Add(time.Hour),
				closed,
				finish,
				ruleAlert(t, "critical RufusSessionNotStarted", "10k", "turn-10k", 0),
				ruleAlert(t, "critical RufusSessionSilent", "10k", "split-7k", 300),
				ruleAlert(t, "warning RufusBatteryLow", "half", "start-half", 0.13))
			since := func(text string) string { return strings.ReplaceAll(text, began.Format("Mon 15:04"), "Sun 09:41") }
			s.expect(t, since, closedMessage, "Telegram", "Telegram, silent", "e-mail", "Pushover, priority 2")
			s.expect(t, since, severalMessage, "Telegram", "e-mail", "Pushover, priority 2")
			s.expect(t, since, batteryMessage, "Telegram, silent")
			s.expect(t, since, "firing: 5k: a mat was closed.\n"+closed.Annotations["description"], "ntfy")

			ended := time.Now().UTC()
			manager.post(t, began, ended, closed, finish)
			until := func(text string) string {
				return strings.ReplaceAll(since(text), ended.Format("to 15:04"), "to 09:52")
			}
			s.expect(t, until, resolvedMessage, "Telegram", "Telegram, silent", "e-mail", "Pushover, priority 0")
			s.expect(t, until, fewerMessage, "Telegram", "e-mail", "Pushover, priority 2")
			s.expect(t, until, "resolved: 5k: a mat was closed.\nsplit-3k", "ntfy")
			manager.checkWarnings(t)
		})
	}
}

// The documents show notifications as they arrive.
func TestNotificationsInDocuments(t *testing.T) {
	for message, path := range map[string]string{
		closedMessage: readme, severalMessage: "../docs/race-day.md", resolvedMessage: "../docs/race-day.md",
	} {
		block := "```text\n" + message + "\n```\n"
		if !strings.Contains(readFile(t, path), block) {
			t.Errorf("%s does not show this notification:\n%s", path, block)
		}
	}
}

// Every alert fits the lock screen of a phone: one alone, and ten of them.
func TestNotificationsFitLockScreen(t *testing.T) {
	const (
		race    = "half-marathon-and-relays"         // 24 characters
		session = "finish-half-marathon-relay-spare" // 32 characters, as the template says
	)
	tmpl := templates(t)
	for _, rule := range alertRules(t) {
		for _, answers := range []bool{false, true} {
			one := expand(t, rule, labelsOf(rule, race, session), 4321, longAnswer(session, answers))
			for _, n := range []int{1, 5, 6, 10} {
				alerts := one.alerts(n)
				title, body := execute(t, tmpl, "rufus.title", alerts...), execute(t, tmpl, "rufus.body", alerts...)
				if length := utf8.RuneCountInString(title); length > 80 || n == 1 && !strings.HasSuffix(title, ".") {
					t.Errorf("%s: the title has %d characters or is cut: %s", rule.Alert, length, title)
				}
				first, _, _ := strings.Cut(body, "\n")
				if length := utf8.RuneCountInString(first); length > 120 || !strings.HasPrefix(one.Annotations["description"], first) {
					t.Errorf("%s: the first line has %d characters: %s", rule.Alert, length, first)
				}
				if more := strings.Contains(body, "\nThere are more: see the status page.\n"); more != (n > 5) {
					t.Errorf("%s: says of %d alerts that there are more: %t", rule.Alert, n, more)
				}
				if length := utf8.RuneCountInString(body); length > 1024 && n > 1 {
					t.Errorf("%s: the body of %d alerts has %d characters, and Pushover takes 1024", rule.Alert, n, length)
				}
				for _, link := range []string{"https://timing.example.org/runbook", "https://timing.example.org/"} {
					if !strings.Contains(body, link) {
						t.Errorf("%s: no link to %s:\n%s", rule.Alert, link, body)
					}
				}
			}
		}
	}
}

// Of many resolved alerts, the first are told.
func TestNotificationOfManyResolved(t *testing.T) {
	tmpl := templates(t)
	for n, more := range map[int]string{1: "", 5: "", 6: "More are resolved: see the status page.\n"} {
		alerts := ruleAlert(t, "critical RufusSessionClosed", "5k", "finish", 60).alerts(n)
		began := time.Now().Add(-time.Hour)
		line := "finish: " + began.Format("Mon 15:04") + " to " + began.Add(time.Minute).Format("15:04 MST") + ".\n"
		for _, alert := range alerts {
			alert.StartsAt, alert.EndsAt = began, began.Add(time.Minute)
		}
		got := execute(t, tmpl, "rufus.body", alerts...)
		if want := strings.Repeat(line, min(n, 5)) + more + "Status page: https://timing.example.org/"; got != want {
			t.Errorf("%d alerts:\n%s\nwant\n%s", n, got, want)
		}
	}
}

// The link to the runbook is that of what fires, whatever is resolved.
func TestNotificationLinksToWhatFires(t *testing.T) {
	tmpl := templates(t)
	silent := ruleAlert(t, "critical RufusSessionSilent", "5k", "turn", 300).alerts(1)[0]
	closed := ruleAlert(t, "critical RufusSessionClosed", "5k", "finish", 60).alerts(1)[0]
	if got := execute(t, tmpl, "rufus.body", silent, closed); !strings.Contains(got, "https://timing.example.org/runbook\n") {
		t.Errorf("two kinds of alert do not link to the runbook:\n%s", got)
	}
	closed.EndsAt = time.Now().Add(-time.Second)
	if got := execute(t, tmpl, "rufus.body", silent, closed); !strings.Contains(got, "/runbook#rufussessionsilent\n") {
		t.Errorf("a silent mat and a resolved one do not link to the section of the first:\n%s", got)
	}
}

// A rule's alert with all that Alertmanager gets of it.
type renderedAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// alerts returns n alerts as this one, all firing.
func (r renderedAlert) alerts(n int) []*amalert.Alert {
	set := func(m map[string]string) model.LabelSet {
		s := model.LabelSet{}
		for name, value := range m {
			s[model.LabelName(name)] = model.LabelValue(value)
		}
		return s
	}
	var alerts []*amalert.Alert
	for range n {
		alerts = append(alerts, &amalert.Alert{Alert: model.Alert{
			Labels: set(r.Labels), Annotations: set(r.Annotations), StartsAt: time.Now(), EndsAt: time.Now().Add(time.Hour),
		}})
	}
	return alerts
}

func alertRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(delivered.rules, false, model.UTF8Validation, parser.NewParser(parser.Options{}), discard)
	if errs != nil {
		t.Fatal(errs)
	}
	var rules []rulefmt.Rule
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				rules = append(rules, rule)
			}
		}
	}
	return rules
}

// ruleAlert returns an alert, such as "critical RufusSessionClosed", of a session. Its last passing was 2m 15s ago.
func ruleAlert(t *testing.T, alert, race, session string, value float64) renderedAlert {
	t.Helper()
	severity, name, _ := strings.Cut(alert, " ")
	for _, rule := range alertRules(t) {
		if rule.Alert == name && rule.Labels["severity"] == severity {
			return expand(t, rule, labelsOf(rule, race, session), value, func(query string) promql.Vector {
				if strings.HasPrefix(query, "time() - rufus:session_arrival:timestamp") {
					return promql.Vector{{F: 135}}
				}
				return nil
			})
		}
	}
	t.Fatalf("there is no %s", alert)
	return renderedAlert{}
}

// labelsOf returns the labels of a rule's alert.
func labelsOf(rule rulefmt.Rule, race, session string) map[string]string {
	set := map[string]string{}
	for name, value := range labelsOfAlert(rule.Labels["severity"] + " " + rule.Alert) {
		set[string(name)] = string(value)
	}
	if set["race"] != "" {
		set["race"] = race
	}
	if set["session"] != "" {
		set["session"] = session
	}
	return set
}

// longAnswer returns what answers each query of a text with a series of that session, or with none.
func longAnswer(session string, answers bool) func(string) promql.Vector {
	return func(string) promql.Vector {
		if !answers {
			return nil
		}
		return promql.Vector{{
			Metric: labels.FromStrings("session", session, "state", "not started", "reason", "unexpected_status"), F: 4321,
		}}
	}
}

// expand returns an alert with its texts as Prometheus makes them.
func expand(t *testing.T, rule rulefmt.Rule, set map[string]string, value float64, answer func(string) promql.Vector) renderedAlert {
	t.Helper()
	annotations := map[string]string{}
	for name, text := range rule.Annotations {
		expanded, err := promtemplate.NewTemplateExpander(t.Context(), "{{$labels := .Labels}}{{$value := .Value}}"+text, name,
			promtemplate.AlertTemplateData(set, nil, "", promql.Sample{F: value}), 0,
			func(_ context.Context, query string, _ time.Time) (promql.Vector, error) { return answer(query), nil },
			nil, nil).Expand()
		if err != nil {
			t.Fatalf("%s: %v", rule.Alert, err)
		}
		annotations[name] = expanded
	}
	return renderedAlert{Labels: set, Annotations: annotations}
}

// templates returns those of notifications, as Alertmanager has them.
func templates(t *testing.T) *amtemplate.Template {
	t.Helper()
	tmpl, err := amtemplate.FromGlobs([]string{addressed(t)})
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExternalURL = &url.URL{Scheme: "http", Host: "localhost"}
	return tmpl
}

// execute returns the text of one of the templates.
func execute(t *testing.T, tmpl *amtemplate.Template, name string, alerts ...*amalert.Alert) string {
	t.Helper()
	text, err := tmpl.ExecuteTextString(`{{ template "`+name+`" . }}`, tmpl.Data("phone", nil, nil, "", alerts...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// addressed returns the path of a copy of the template with an address of the page.
func addressed(t *testing.T) string {
	t.Helper()
	return file(t, "notifications.tmpl", replaced(t, readFile(t, notificationsFile),
		`{{ define "rufus.page" }}http://localhost:10210/{{`, `{{ define "rufus.page" }}https://timing.example.org/{{`))
}

// ready returns the services that the example has ready in comments, each as a user uncomments it, by key.
func ready(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, block := range regexp.MustCompile(`(?m)^    # (\w+_configs):\n(    #   .*\n)+`).FindAllStringSubmatch(readFile(t, delivered.alertmanager), -1) {
		if found[block[1]] != "" {
			t.Fatalf("%s are there twice", block[1])
		}
		found[block[1]] = strings.ReplaceAll(block[0], "    # ", "    ")
	}
	return found
}

// configuration is the example with its services in place of the placeholders, at their addresses on loopback. The phone
// has all, the chat one. Groups are collected for a shorter time.
func (s *services) configuration(t *testing.T) string {
	t.Helper()
	services := ready(t)
	telegram := services["telegram_configs"]
	all := replaced(t, telegram+services["email_configs"]+services["pushover_configs"]+services["webhook_configs"],
		"smtp.example.org:587", s.smtp,
		"        send_resolved: true\n", "        send_resolved: true\n        require_tls: false\n",
		"        retry: 1m\n", "        retry: 1m\n        http_config: {proxy_url: '"+s.pushover+"', tls_config: {ca_file: '"+s.authority+"'}}\n",
		"https://ntfy.sh/", s.ntfy+"/")
	const phone, chat = "    webhook_configs:\n      - url: http://127.0.0.1:9095/phone\n", "    webhook_configs:\n      - url: http://127.0.0.1:9095/chat\n"
	return "global: {telegram_api_url: '" + s.telegram + "'}\n" + replaced(t, readFile(t, delivered.alertmanager),
		phone, all,
		chat, replaced(t, telegram, "        parse_mode", "        disable_notifications: true\n        parse_mode"),
		"group_wait: 55s", "group_wait: 2s",
		"group_wait: 10s", "group_wait: 2s",
		"group_interval: 2m", "group_interval: 1s",
		"group_interval: 1m", "group_interval: 1s",
		"http://127.0.0.1:9095/watchdog", s.ntfy+"/watchdog",
		"[notifications.tmpl]", "['"+addressed(t)+"']")
}

// manager is a real Alertmanager, running.
type manager struct {
	*process
	URL string
}

func startManager(t *testing.T, path, configuration string) *manager {
	t.Helper()
	config := file(t, "alertmanager.yml", configuration)
	run(t, nil, tool(t, "amtool"), "check-config", config)
	m := &manager{process: start(t, "/usr/bin/env", "TZ=UTC", path, "--config.file="+config,
		"--storage.path="+t.TempDir(), "--cluster.listen-address=", "--web.listen-address=127.0.0.1:0")}
	m.URL = "http://" + m.await(t, `"Listening on".* address=(\S+)`)
	return m
}

// post sends alerts that fire from began to ended.
func (m *manager) post(t *testing.T, began, ended time.Time, alerts ...renderedAlert) {
	t.Helper()
	type posted struct {
		renderedAlert
		StartsAt time.Time `json:"startsAt"`
		EndsAt   time.Time `json:"endsAt"`
	}
	var all []posted
	for _, alert := range alerts {
		all = append(all, posted{alert, began, ended})
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.URL+"/api/v2/alerts", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, answer)
	}
}
