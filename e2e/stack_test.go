package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/prometheus/client_golang/api"
	prom "github.com/prometheus/client_golang/api/prometheus/v1"
	"gopkg.in/yaml.v3"

	"rufus_exporter/simulator"
)

const (
	composeFile      = "../deploy/compose.yaml"
	stackPrometheus  = "../deploy/stack/prometheus.yml"
	stackDatasource  = "../deploy/stack/grafana/datasource.yml"
	stackDashboards  = "../deploy/stack/grafana/dashboards.yml"
	rulesFile        = "../monitoring/rufus.rules.yml"
	alertmanagerFile = "../monitoring/alertmanager.yml"
	raceDayPage      = "../docs/race-day.md"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Compose accepts the file, what it mounts is there, and the services find each other.
func TestCompose(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{composeFile})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	mounted := map[string]string{} // files of this repository, by where they are in their container
	ports := map[string]bool{}     // service:port
	pinned := regexp.MustCompile(`:v?\d+\.\d+\.\d+$`)
	for name, service := range project.Services {
		if service.Build != nil {
			if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
				t.Error(err)
			}
		} else if !pinned.MatchString(service.Image) {
			t.Errorf("%s: the image %s has no version", name, service.Image)
		}
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if info, err := os.Stat(volume.Source); err != nil || !info.Mode().IsRegular() || !volume.ReadOnly {
				t.Errorf("%s: %s is no file mounted read-only: %v", name, volume.Source, err)
			}
			mounted[name+volume.Target] = volume.Source
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" || port.Published != fmt.Sprint(port.Target) {
				t.Errorf("%s: port %d is published as %q on %q", name, port.Target, port.Published, port.HostIP)
			}
			ports[fmt.Sprint(name, ":", port.Target)] = true
		}
	}
	want := map[string]string{
		"prometheus/etc/prometheus/prometheus.yml":               stackPrometheus,
		"prometheus/etc/prometheus/rufus.rules.yml":              rulesFile,
		"alertmanager/etc/alertmanager/alertmanager.yml":         alertmanagerFile,
		"alertmanager/etc/alertmanager/notifications.tmpl":       notificationsFile,
		"grafana/etc/grafana/provisioning/datasources/rufus.yml": stackDatasource,
		"grafana/etc/grafana/provisioning/dashboards/rufus.yml":  stackDashboards,
		"grafana/etc/grafana/dashboards/rufus.json":              dashboardFile,
	}
	for target, path := range want {
		if want[target], err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(mounted, want) {
		t.Errorf("mounted: %v, want %v", mounted, want)
	}
	home := project.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if home == nil || mounted["grafana"+*home] == "" {
		t.Errorf("Grafana opens with %v, which is not mounted", home)
	} else if folder := "path: " + filepath.Dir(*home); !strings.Contains(readFile(t, stackDashboards), folder) {
		t.Errorf("%s does not have %s", stackDashboards, folder)
	}
	address := regexp.MustCompile(`\b[a-z]+:\d{4,5}\b`)
	for path, n := range map[string]int{stackPrometheus: 2, stackDatasource: 1} {
		found := address.FindAllString(readFile(t, path), -1)
		if len(found) != n || slices.ContainsFunc(found, func(address string) bool { return !ports[address] }) {
			t.Errorf("%s has the addresses %q, and Compose has %v", path, found, ports)
		}
	}
}

// The stack as a user starts it. In the demo someone closes a mat by mistake, and the phone rings: the stack prints what
// arrives there, as soon as it announced. With the API of another one out of order the phone rings once, for that, and
// not for each session.
//
// Rules and intervals are those of the files, so that this takes minutes: both stacks run at the same time.
func TestStack(t *testing.T) {
	t.Parallel()
	const (
		patience = 5 * time.Minute
		slack    = 30 * time.Second // for other work that shares the machine
	)

	demo := startStack(t, nil)
	began := time.Now()
	// The silent mat of the demo may be in the same notification.
	rang := demo.rings(regexp.MustCompile(`the phone rings:\n  CRITICAL(?: \(2\))?: 5k: .*\n(?:  .*\n)*` +
		`  Go to split-3k: press START if the box is not recording\.\n(?:  .*\n)*` +
		`  Runbook: ` + regexp.QuoteMeta(demo.page) + `runbook.*\n  Status page: ` + regexp.QuoteMeta(demo.page) + `\n`))
	due, err := time.ParseDuration(demo.await(t, `first ring +due within (\d+) s`) + "s")
	if err != nil {
		t.Fatal(err)
	}
	day := simulator.NewDay(simulator.FiveK(time.Now().Add(-30*time.Minute), 3000))
	race := simulate(t, day, time.Now())
	race.Now = time.Now
	watched := everySession(day)
	phone := startWebhook(t)
	outage := startStack(t, []string{"ALERTMANAGER_CONFIG=" + phone.configuration(t)},
		"--config.file="+file(t, "sessions.yml", race.sessionsFile(watched)))
	eventually(t, "the race counts", func() error {
		return atLeast(1, float64(len(outage.query(t, "rufus:session_arrival:timestamp"))))
	})
	race.Set(func(day *simulator.Day) {
		now := time.Now()
		day.Faults = []simulator.Fault{{From: now, To: now.Add(time.Hour), Status: http.StatusServiceUnavailable}}
	})

	select {
	case at := <-rang:
		if waited := at.Sub(began); waited > due+slack {
			t.Errorf("the phone rang after %s and was due within %s", waited, due)
		}
	case <-time.After(patience):
		t.Fatalf("the phone did not ring within %s", patience)
	}

	phone.await(t, patience, "phone", map[string]string{
		"alertname": "RufusAllSessionsFailing", "severity": "critical",
	})
	eventually(t, "an inhibited alert for each session", func() error {
		inhibited := 0
		for _, alert := range outage.alerts(t) {
			if alert.Labels["alertname"] == "RufusSessionFailing" && len(alert.Status.InhibitedBy) > 0 {
				inhibited++
			}
		}
		return atLeast(float64(len(watched)), float64(inhibited))
	})
	eventually(t, "their notification is kept back", func() error {
		return atLeast(float64(len(watched)), outage.keptBack(t))
	})
	for _, alert := range phone.all() {
		if name := alert.Labels["alertname"]; name != "RufusAllSessionsFailing" && name != "RufusWatchdog" {
			t.Errorf("the %s was told of %s", alert.Receiver, alert.Labels)
		}
	}
	for _, s := range []*stack{demo, outage} {
		s.checkLogs(t)
	}
}

// With the programs of Debian's packages, the stack prints links that open, and the phone rings with the command of the
// race day's page.
func TestStackOfDebian(t *testing.T) {
	t.Parallel()
	toolchain, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + filepath.Dir(toolchain) + ":/usr/bin:/bin"
	s := startStack(t, []string{path})
	rang := s.rings(regexp.MustCompile(`the phone rings:\n  CRITICAL: rehearsal: nothing is wrong\.\n` +
		`  Tell the crew that your phone rang\.\n  This is a test\.\n`))
	command := regexp.MustCompile("```sh\n(amtool [^`]* alert add [^`]*)```").FindStringSubmatch(readFile(t, raceDayPage))
	if command == nil {
		t.Fatalf("%s has no command that makes the phone ring", raceDayPage)
	}
	run(t, nil, "/usr/bin/env", path, "bash", "-c", replaced(t, command[1], "http://localhost:9093", s.alertmanager))
	select {
	case <-rang:
	case <-time.After(patience):
		t.Fatalf("the phone did not ring within %s", patience)
	}
}

// stack is deploy/stack/run, running.
type stack struct {
	server       // Prometheus
	alertmanager string
	page         string // URL
	logs         string // directory
}

// startStack runs the stack on ports of its own. The links that it prints open.
func startStack(t *testing.T, environment []string, exporterFlags ...string) *stack {
	t.Helper()
	for _, name := range []string{"prometheus", "alertmanager"} {
		tool(t, name)
	}
	s := &stack{}
	s.process = start(t, "/usr/bin/env", slices.Concat(environment, []string{
		"EXPORTER_PORT=0", "PROMETHEUS_PORT=0", "ALERTMANAGER_PORT=0",
		"bash", "-c", `exec ../deploy/stack/run "$@" >&2`, "run",
	}, exporterFlags)...)
	s.logs = s.await(t, `logs +(\S+)`)
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"exporter", "prometheus", "alertmanager"} {
				t.Logf("the log of %s:\n%s", name, readFile(t, filepath.Join(s.logs, name+".log")))
			}
		}
	})
	for _, link := range regexp.MustCompile(`http://\S+`).FindAllString(s.log.String(), -1) {
		request(t, http.MethodGet, link, nil)
	}
	s.page = s.await(t, `status page +(\S+)\n`)
	s.alertmanager = s.await(t, `Alertmanager +(http://[^/\s]+)`)
	s.URL = s.await(t, `Prometheus +(http://[^/\s]+)`)
	eventually(t, "Prometheus is ready", func() error {
		if !strings.Contains(readFile(t, filepath.Join(s.logs, "prometheus.log")), "Server is ready") {
			return errors.New("not yet")
		}
		return nil
	})
	client, err := api.NewClient(api.Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	s.api = prom.NewAPI(client)
	return s
}

// rings tells when the stack first prints a notification that matches.
func (s *stack) rings(pattern *regexp.Regexp) <-chan time.Time {
	rang := make(chan time.Time, 1)
	go func() {
		for {
			_, ok, written := s.log.Find(pattern)
			if ok {
				rang <- time.Now()
				return
			}
			select {
			case <-written:
			case <-s.ended:
				return
			}
		}
	}()
	return rang
}

// alert is one in a notification, or in Alertmanager's API.
type alert struct {
	Receiver            string // of the notification
	Labels, Annotations map[string]string
	Status              struct{ InhibitedBy []string }
}

// alerts returns those that Alertmanager knows.
func (s *stack) alerts(t *testing.T) []alert {
	t.Helper()
	body, _ := request(t, http.MethodGet, s.alertmanager+"/api/v2/alerts", nil)
	var alerts []alert
	if err := json.Unmarshal(body, &alerts); err != nil {
		t.Fatal(err)
	}
	return alerts
}

// keptBack returns how many times Alertmanager left an alert out of a notification because of another alert.
func (s *stack) keptBack(t *testing.T) float64 {
	t.Helper()
	metrics, _ := request(t, http.MethodGet, s.alertmanager+"/metrics", nil)
	match := regexp.MustCompile(`(?m)^alertmanager_notifications_suppressed_total{reason="inhibition"} (.+)$`).
		FindSubmatch(metrics)
	if match == nil {
		t.Fatal("Alertmanager does not say how many notifications it kept back")
	}
	n, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkLogs fails the test when Prometheus or Alertmanager warned of something.
func (s *stack) checkLogs(t *testing.T) {
	t.Helper()
	for _, name := range []string{"prometheus", "alertmanager"} {
		for line := range strings.Lines(readFile(t, filepath.Join(s.logs, name+".log"))) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				t.Errorf("%s warns: %s", name, line)
			}
		}
	}
}

// webhook is whom Alertmanager notifies.
type webhook struct {
	URL      string
	alerts   chan alert
	received []alert
}

func startWebhook(t *testing.T) *webhook {
	t.Helper()
	w := &webhook{alerts: make(chan alert, 1000)}
	w.URL = serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var notification struct {
			Receiver string
			Alerts   []struct{ Labels, Annotations map[string]string } // whose status is a word here
		}
		if err := json.NewDecoder(r.Body).Decode(&notification); err != nil {
			t.Error(err)
		}
		for _, a := range notification.Alerts {
			w.alerts <- alert{Receiver: notification.Receiver, Labels: a.Labels, Annotations: a.Annotations}
		}
	}))
	return w
}

// configuration returns the path of a copy of the repository's Alertmanager configuration in which every receiver is
// the webhook, and alerts are not collected for as long before the first notification.
func (w *webhook) configuration(t *testing.T) string {
	t.Helper()
	var configuration struct {
		Route struct {
			GroupWait string         `yaml:"group_wait"`
			Rest      map[string]any `yaml:",inline"`
		}
		Receivers []struct {
			Name     string
			Webhooks []map[string]string `yaml:"webhook_configs"`
		}
		Rest map[string]any `yaml:",inline"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, alertmanagerFile)), &configuration); err != nil {
		t.Fatal(err)
	}
	configuration.Route.GroupWait = "10s"
	for i := range configuration.Receivers {
		configuration.Receivers[i].Webhooks = []map[string]string{{"url": w.URL}}
	}
	text, err := yaml.Marshal(configuration)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "alertmanager.yml", string(text))
}

// await waits until a receiver is notified of an alert with these labels and perhaps others.
func (w *webhook) await(t *testing.T, patience time.Duration, receiver string, labels map[string]string) alert {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case a := <-w.alerts:
			w.received = append(w.received, a)
			both := maps.Clone(a.Labels)
			maps.Copy(both, labels)
			if a.Receiver == receiver && maps.Equal(both, a.Labels) {
				return a
			}
		case <-deadline:
			t.Fatalf("the %s was not told of %v within %s, but there was %v", receiver, labels, patience, w.received)
		}
	}
}

// all returns the alerts of all notifications so far.
func (w *webhook) all() []alert {
	for {
		select {
		case a := <-w.alerts:
			w.received = append(w.received, a)
		default:
			return w.received
		}
	}
}
