//go:build unix

package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rufus_exporter/simulator"
)

// valid is a sessions.yml that needs nobody to answer.
var valid = settings("http://127.0.0.1:9/v0") + "  - " + simulator.ID("any") + "\n"

// What ends without serving: the exit code and what is said.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	web := filepath.Join(t.TempDir(), "web.yml")
	writeFile(t, web, "tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.pem}\n")
	listed := "  - " + simulator.ID("any") + "\n"
	keyless := "sessions:\n" + listed

	for name, test := range map[string]struct {
		sessions       string // "": there is no file
		args           []string
		code           int
		stdout, stderr string // to be found there; "" when nothing may be
	}{
		"version":         {valid, []string{"--version"}, exitStopped, "rufus_exporter, version ", ""},
		"help":            {valid, []string{"--help"}, exitStopped, "--config.file", ""},
		"manual":          {valid, []string{"--help-man"}, exitStopped, ".TH rufus_exporter 1", ""},
		"bash completion": {valid, []string{"--completion-script-bash"}, exitStopped, "complete -F", ""},
		"zsh completion":  {valid, []string{"--completion-script-zsh"}, exitStopped, "#compdef rufus_exporter", ""},

		"unknown flag":        {valid, []string{"--nonsense"}, exitUsage, "", "--nonsense"},
		"argument":            {valid, []string{"nonsense"}, exitUsage, "", "nonsense"},
		"no duration":         {valid, []string{"--scrape.timeout-offset=x"}, exitUsage, "", "invalid duration"},
		"negative offset":     {valid, []string{"--scrape.timeout-offset=-1s"}, exitUsage, "", "must not be negative"},
		"negative interval":   {valid, []string{"--config.auto-reload-interval=-1s"}, exitUsage, "", "must not be negative"},
		"no requests at all":  {valid, []string{"--web.max-requests=0"}, exitUsage, "", "must be at least 1"},
		"path that is served": {valid, []string{"--web.telemetry-path=/probe"}, exitUsage, "", "--web.telemetry-path"},
		"no time zone":        {valid, []string{"--web.time-zone=Atlantis"}, exitUsage, "", "--web.time-zone must be Local, UTC or"},
		"empty time zone":     {valid, []string{"--web.time-zone="}, exitUsage, "", "--web.time-zone"},
		"runbook elsewhere":   {valid, []string{"--web.runbook-url=https://example.org/r", "--version"}, exitStopped, "version", ""},
		"runbook, no URL":     {valid, []string{"--web.runbook-url=monitoring/runbook.md"}, exitUsage, "", "--web.runbook-url"},
		"runbook, a section":  {valid, []string{"--web.runbook-url=https://example.org/#x"}, exitUsage, "", "--web.runbook-url"},
		"no port":             {valid, []string{"--web.listen-address=localhost"}, exitUsage, "", "--web.listen-address"},
		"no such port":        {valid, []string{"--web.listen-address=:99999"}, exitUsage, "", "--web.listen-address"},
		"unknown log level":   {valid, []string{"--log.level=loud"}, exitUsage, "", "loud"},
		"no web config":       {valid, []string{"--web.config.file=nowhere.yml"}, exitUsage, "", "nowhere.yml"},
		"demo and a check":    {valid, []string{"--demo", "--config.check"}, exitUsage, "", "--demo uses a built-in configuration"},
		"demo and a file": {
			valid, []string{"--demo", "--config.file=sessions.yml"}, exitUsage, "", "leave out --config.file",
		},
		"format without preflight": {valid, []string{"--preflight.format=json"}, exitUsage, "", "needs --preflight"},
		"preflight and a check":    {valid, []string{"--preflight", "--config.check"}, exitUsage, "", "leave out --config.check"},
		"bad web config":           {valid, []string{"--web.config.file=" + web}, exitUsage, "", "nowhere.pem"},

		"no sessions.yml":    {"", nil, exitUsage, "", "sessions.yml: cannot be read"},
		"bad sessions.yml":   {keyless + listed, nil, exitUsage, "", "sessions.yml:3: "},
		"no key":             {keyless, nil, exitUsage, "", "no API key"},
		"sessions is a pipe": {"", []string{"--config.file=pipe"}, exitUsage, "", "not a regular file"},
		"port in use":        {valid, []string{"--web.listen-address=" + busy.Addr().String()}, exitFailed, "", "in use"},

		"check":         {valid, []string{"--config.check"}, exitStopped, "sessions.yml is valid", ""},
		"check, no key": {keyless, []string{"--config.check"}, exitStopped, "sessions.yml is valid", "warning: no API key"},
		"check, rules":  {settings("http://127.0.0.1:9") + "devices: [{}]\n", []string{"--config.check"}, exitStopped, "sessions: 0, rules for devices: 1", ""},
		"check, short":  {keyless + "  - ABCDEF0123456789\n", []string{"--config.check"}, exitStopped, "valid", "warning: sessions.yml:3: token has 16"},
		"check, bad":    {keyless + listed, []string{"--config.check"}, exitUsage, "", "sessions.yml:3: "},
		"check, none":   {"", []string{"--config.check"}, exitUsage, "", "sessions.yml: cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if test.sessions != "" {
				writeFile(t, filepath.Join(dir, "sessions.yml"), test.sessions)
			}
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := finish(t, command(t, dir, test.args...))
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, output := range []struct{ name, got, want string }{
				{"stdout", stdout, test.stdout}, {"stderr", stderr, test.stderr},
			} {
				if !strings.Contains(output.got, output.want) || output.want == "" && output.got != "" {
					t.Errorf("%s has no %q:\n%s", output.name, output.want, output.got)
				}
			}
		})
	}
}

// The file in the repository, which users edit.
func TestSessionsYMLIsValid(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../sessions.yml")
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runs(t, string(content), "--config.check")
	if code != exitStopped || !strings.Contains(stdout, "valid") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// slowScrape starts an exporter and a scrape that waits for the API, and returns what lets the API answer and where the
// scrape's answer comes.
func slowScrape(t *testing.T) (e *exporter, answer func(), scrape <-chan string) {
	t.Helper()
	g := newGate(t)
	e = start(t, settings(serveAPI(t, g.before(healthy)).url)+"  - {name: slow, token: "+simulator.ID("slow")+"}\n")
	scrape = e.background()
	await(t, g.arrived, "the request to the API")
	return e, g.open, scrape
}

func TestSignalsLetScrapesEnd(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			e, answer, scrape := slowScrape(t)
			e.signal(s)
			e.wait("shutting down")
			answer()
			got := <-scrape
			if !strings.HasPrefix(got, "200 OK\n") {
				t.Errorf("the scrape in flight got %s", got)
			}
			parseSeries(got).expect(t, series{up("slow"): "1"})
			if code := e.exitCode(); code != exitStopped {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	e, _, scrape := slowScrape(t)
	e.signal(syscall.SIGTERM)
	e.wait("shutting down")
	e.signal(syscall.SIGTERM)
	if code := e.exitCode(); code != -1 {
		t.Errorf("exit code %d, want an end by the signal", code)
	}
	if got := <-scrape; strings.HasPrefix(got, "200") {
		t.Errorf("the scrape was answered: %s", got)
	}
}

// What misses the deadline of a scrape is a timeout, and the others are served.
func TestScrapeDeadline(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	hangs := g.before(healthy)
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, simulator.ID("hangs")) {
			hangs.ServeHTTP(w, r)
			return
		}
		healthy(w, r)
	}))
	e := start(t, settings(api.url)+
		"  - {name: hangs, token: "+simulator.ID("hangs")+"}\n"+
		"  - {name: answers, token: "+simulator.ID("answers")+"}\n",
		"--scrape.timeout-offset=28s")
	_, body := e.get("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "2") // of which at least half is left
	parseSeries(body).expect(t, series{
		`rufus_session_up{session="answers"}`:                   "1",
		`rufus_session_up{session="hangs"}`:                     "0",
		`rufus_session_error{reason="timeout",session="hangs"}`: "1",
		`rufus_session_passings{session="answers"}`:             "31",
		`rufus_session_passings{session="hangs"}`:               "",
	})
}

// systemd leaves the service down after wrong usage or configuration, but never after a crash.
func TestExitCodeOfSystemd(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("../deploy/systemd/rufus_exporter.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\nRestartPreventExitStatus=%d\n", exitUsage); !strings.Contains(string(unit), want) {
		t.Errorf("the unit lacks %s", want)
	}
	e := start(t, valid)
	e.signal(syscall.SIGQUIT)
	if code := e.exitCode(); code == exitStopped || code == exitUsage {
		t.Errorf("a crash ends with exit code %d", code)
	}
}
