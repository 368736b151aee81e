// Package e2e tests the exporter with real parts: the binary, Prometheus with its own packages, a browser. What the
// tests need beyond Go is installed by .ci/tools; without it they fail.
package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	prom "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/monitoring"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
	"rufus_exporter/test/lab"
	"rufus_exporter/web"
)

// patience is how long to wait for what must happen: far longer than it takes, for other work shares the machine.
const patience = 2 * time.Minute

// scratch is a directory for what all tests share.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "rufus_exporter-e2e-"); err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(scratch) }()
		return m.Run()
	}())
}

// eventually waits until check has nothing to object.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// tool returns the path of a program that .ci/tools installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	const remedy = "from the top of the repository: PATH=$(bash .ci/tools chromium html-validate nginx prometheus promtool):$PATH"
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not on PATH; %s", name, remedy)
	}
	if name == "prometheus" || name == "promtool" {
		if version := run(t, nil, path, "--version"); strings.HasPrefix(version, name+", version 2.") {
			t.Fatalf("%s is an old one; %s", path, remedy)
		}
	}
	return path
}

// process is a program that a test started.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   lab.Log // its standard error
	ended chan struct{}
}

// start runs a program until the test ends.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(path), cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // stop looks at its state
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("the log of %s:\n%s", p.name, &p.log)
		}
	})
	return p
}

// stop asks the program to end and waits until it has. It must end well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended already
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if state := p.cmd.ProcessState; !state.Success() {
		t.Errorf("%s ended with: %s", p.name, state)
	}
}

// await waits for a line of the log and returns what the first group of pattern matches.
func (p *process) await(t *testing.T, pattern string) string {
	t.Helper()
	var found string
	line := regexp.MustCompile(pattern)
	eventually(t, p.name+" logs "+pattern, func() error {
		if match := line.FindStringSubmatch(p.log.String()); match != nil {
			found = match[len(match)-1]
			return nil
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %s", p.name, &p.log)
		default:
		}
		return errors.New("not there yet")
	})
	return found
}

// warnings returns the lines of the log above the level info.
func (p *process) warnings() []string {
	var lines []string
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			lines = append(lines, line)
		}
	}
	return lines
}

// run returns what a program that must succeed prints.
func run(t *testing.T, stdin io.Reader, path string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = stdin
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, output)
	}
	return string(output)
}

// file writes a file of the test's own and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// simulated is the API of a simulated day at a time that the test sets.
type simulated struct {
	*simulator.Server
	URL   string // ends in /v0
	clock *clock
}

// clock stands still until it is set.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) now() time.Time  { return *c.at.Load() }
func (c *clock) set(t time.Time) { c.at.Store(&t) }

// simulate serves day, as it is at an instant, until the test ends. Each of around may answer instead of the API.
func simulate(t *testing.T, day simulator.Day, at time.Time, around ...func(http.Handler) http.Handler) *simulated {
	t.Helper()
	s := &simulated{Server: simulator.New(day), clock: &clock{}}
	s.clock.set(at)
	s.Now = s.clock.now
	handler := http.Handler(s.Server)
	for _, middleware := range around {
		handler = middleware(handler)
	}
	s.URL = serve(t, handler) + "/v0"
	return s
}

// serve serves a handler until the test ends and returns its URL.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// fileEntry is one entry of sessions.yml.
type fileEntry struct {
	token, device string // one of the two
	name          string
	more          string // as it stands in the file, such as "silent_after: 3m"
}

// sessionsFile returns a sessions.yml for a simulated API. More settings of the API may follow.
func (s *simulated) sessionsFile(entries []fileEntry, settings ...string) string {
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "api:\n  url: %s\n  key: %s\n", s.URL, simulator.DemoKey)
	for _, setting := range settings {
		fmt.Fprintf(&yaml, "  %s\n", setting)
	}
	yaml.WriteString("sessions:\n")
	for _, e := range entries {
		follows, id := "token", e.token
		if e.device != "" {
			follows, id = "device", e.device
		}
		fmt.Fprintf(&yaml, "  - %s: %s\n    name: %s\n", follows, id, quoted(e.name))
		if e.more != "" {
			fmt.Fprintf(&yaml, "    %s\n", e.more)
		}
	}
	return yaml.String()
}

// served returns the passings in the API's last answer about each entry that it could answer, by name.
func (s *simulated) served(entries []fileEntry) map[string]float64 {
	counts := map[string]float64{}
	for _, e := range entries {
		if answer, ok := s.Served(cmp.Or(e.token, e.device)); ok {
			counts[e.name] = float64(answer.Passings)
		}
	}
	return counts
}

// quoted returns s as YAML.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// everySession returns an entry for each session of a day, named by its alias in lower case.
func everySession(day simulator.Day) []fileEntry {
	var entries []fileEntry
	for _, device := range day.Devices {
		for _, session := range device.Sessions {
			entries = append(entries, fileEntry{token: session.Token, name: strings.ToLower(session.Alias)})
		}
	}
	return entries
}

// exporter is the real program, running.
type exporter struct {
	*process
	address string // host and port
	URL     string
}

// binary builds the program once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "rufus_exporter")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = ".."
	output, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, output)
	}
	return path, err
})

// startExporter runs the program with the content of a sessions.yml.
func startExporter(t *testing.T, sessions string) *exporter {
	t.Helper()
	return startProgram(t, "--config.file="+file(t, "sessions.yml", sessions))
}

// startProgram runs the program on a port of its own.
func startProgram(t *testing.T, args ...string) *exporter {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	e := &exporter{process: start(t, path, append(args, "--web.listen-address=127.0.0.1:0")...)}
	e.address = e.await(t, `"Listening on" address=(\S+)`)
	e.URL = "http://" + e.address
	return e
}

// inProcess returns the handler of the program, put together as main does it, but with a clock of the test's. What it
// shows at an instant of that clock is always the same.
func inProcess(t *testing.T, sessions string, now func() time.Time) http.Handler {
	t.Helper()
	cfg, err := config.Parse([]byte(sessions), "sessions.yml")
	if err != nil {
		t.Fatal(err)
	}
	var roster *collector.Roster
	exporterMetrics := collector.NewExporter(func() *collector.Sessions { return roster.Current() })
	transport := rufus.NewTransport(rufus.TransportOptions{
		TLS:      cfg.API.TLS,
		Proxy:    cfg.API.Proxy,
		MaxConns: cfg.API.MaxConcurrentRequests,
		Timeout:  cfg.API.Timeout,
	})
	t.Cleanup(transport.CloseIdleConnections)
	fetcher := collector.NewFetcher(collector.Options{
		Source: rufus.NewClient(rufus.Options{
			URL:       cfg.API.URL,
			Key:       cfg.API.Key,
			KeyHeader: cfg.API.KeyHeader,
			UserAgent: "rufus_exporter/e2e",
			Timeout:   cfg.API.Timeout,
			Transport: transport,
			Observe:   exporterMetrics.Observe,
		}),
		MaxConcurrentRequests: cfg.API.MaxConcurrentRequests,
		MinInterval:           cfg.API.MinInterval,
		DeviceMetrics:         cfg.API.DeviceMetrics,
		Now:                   now,
		Logger:                slog.New(slog.DiscardHandler),
	})
	roster = fetcher.Roster(cfg.Sessions, cfg.Discovery, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(exporterMetrics)
	return web.NewHandler(web.Options{
		Sessions:      roster.Sessions,
		Exporter:      registry,
		ReloadError:   func() error { return nil },
		TelemetryPath: "/metrics",
		TimeoutOffset: 500 * time.Millisecond,
		MaxRequests:   40,
		Version:       "devel",
		TimeZone:      raceDay.Location(),
		Runbook:       monitoring.Runbook,
		Now:           now,
		Logger:        slog.New(slog.DiscardHandler),
	})
}

// server is a real Prometheus, running.
type server struct {
	*process
	URL  string
	file string
	api  prom.API
}

// startPrometheus runs Prometheus with a configuration that promtool has nothing to say against.
func startPrometheus(t *testing.T, configuration string) *server {
	t.Helper()
	s := &server{file: file(t, "prometheus.yml", configuration)}
	checkConfig(t, s.file)
	s.process = start(t, tool(t, "prometheus"), "--config.file="+s.file, "--storage.tsdb.path="+t.TempDir(),
		"--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle")
	s.URL = "http://" + s.await(t, `"Listening on".* address=(\S+)`)
	s.await(t, "Server is ready to receive web requests")
	client, err := api.NewClient(api.Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	s.api = prom.NewAPI(client)
	return s
}

func checkConfig(t *testing.T, path string) {
	t.Helper()
	report := run(t, nil, tool(t, "promtool"), "check", "config", "--lint-fatal", path)
	if strings.Contains(report, "WARNING") {
		t.Errorf("promtool check config: %s", report)
	}
}

// reload replaces the configuration.
func (s *server) reload(t *testing.T, configuration string) {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	checkConfig(t, s.file)
	request(t, http.MethodPost, s.URL+"/-/reload", nil)
}

// query returns the value of an expression now: none is no error.
func (s *server) query(t *testing.T, expression string) model.Vector {
	t.Helper()
	value, warnings, _, err := s.api.Query(t.Context(), expression, time.Time{})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v, warnings: %q", expression, err, warnings)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		t.Fatalf("%s: %s instead of a vector", expression, value.Type())
	}
	return vector
}

// number returns the value of an expression that has one; NaN when it has none.
func (s *server) number(t *testing.T, expression string) float64 {
	t.Helper()
	vector := s.query(t, expression)
	if len(vector) > 1 {
		t.Fatalf("%s: %d values", expression, len(vector))
	}
	for _, sample := range vector {
		return float64(sample.Value)
	}
	return math.NaN()
}

// bySession returns the values of an expression by the label session.
func (s *server) bySession(t *testing.T, expression string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, sample := range s.query(t, expression) {
		session := string(sample.Metric["session"])
		if _, twice := values[session]; twice {
			t.Fatalf("%s: %q is there twice", expression, session)
		}
		values[session] = float64(sample.Value)
	}
	return values
}

// checkWarnings fails the test when the log has a line above the level info.
func (p *process) checkWarnings(t *testing.T) {
	t.Helper()
	if lines := p.warnings(); len(lines) > 0 {
		t.Errorf("%s warns: %q", p.name, lines)
	}
}

// request returns the body of an answer that must be 200, and the answer.
func request(t *testing.T, method, url string, header http.Header) (body []byte, resp *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	client := &http.Client{Timeout: patience}
	resp, err = client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, body)
	}
	return body, resp
}

// yamlBlocks returns the code blocks of a Markdown file that are YAML and contain a word.
func yamlBlocks(t *testing.T, path, word string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(text, -1) {
		if block := string(match[1]); strings.Contains(block, word) {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// replaced returns text with each old replaced by its new, all of which must occur.
func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for pair := range slices.Chunk(oldNew, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("%q is not in:\n%s", pair[0], text)
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}
