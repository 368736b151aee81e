//go:build unix

package test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

// secrets are what must be found nowhere. None is real.
var secrets = map[string]string{
	"API key":           apiKey,
	"next API key":      "ror-0123456789abcdef0123",
	"token":             simulator.ID("secret token"),
	"another token":     simulator.ID("another secret token"),
	"device id":         simulator.ID("secret device"),
	"password":          "hunter2-of-the-proxy",
	"token of digits":   strings.Repeat("1234567890", 4),
	"mistyped token":    strings.Repeat("mistyped", 20),
	"token of an error": simulator.ID("token in an error"),
}

// part is how much of a secret is too much: its first 8 characters are a session's default name.
const part = 12

// leaks returns what of the secrets is in text, in whatever case.
func leaks(text string) (found []string) {
	text = strings.ToLower(text)
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		secret := strings.ToLower(secrets[name])
		for i := 0; i+part <= len(secret); i++ {
			if at := strings.Index(text, secret[i:i+part]); at >= 0 {
				found = append(found, fmt.Sprintf("%s in ...%.120q", name, text[max(0, at-60):]))
				break
			}
		}
	}
	return found
}

func TestLeaks(t *testing.T) {
	t.Parallel()
	if found := leaks("so " + strings.ToUpper(secrets["API key"]) + " it is"); len(found) != 1 {
		t.Errorf("found %v", found)
	}
	if found := leaks("session " + secrets["token"][:8]); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}

// careless are answers that give away what they can.
func careless(elsewhere string) map[string]http.HandlerFunc {
	const all = `TOKEN ` + apiKey + ` `
	return map[string]http.HandlerFunc{
		"good":            one("alias", `"`+all+`"`),
		"good, cut alias": one("alias", `"`+strings.Repeat("x", 190)+` `+all+`"`),
		"of another":      ok(`[{"token_session": "` + all + `", "active": true, "passings": 1}]`),
		"no JSON":         body(all),
		"odd JSON":        ok(`{"` + all + `": "` + all + `"}`),
		"odd values":      one("active", `"`+all+`"`, "passings", `"`+all+`"`),
		"HTML":            body("<html><title>" + all + "</title>"),
		"400":             says(400, all),
		"403":             says(403, `{"body": "`+all+`"}`, "WWW-Authenticate", all),
		"404":             says(404, `{description: "Session not found", token_session: "TOKEN"}`),
		"500":             says(500, all),
		"redirect":        says(302, all, "Location", elsewhere+"/"+apiKey),
		"redirect, kept":  says(308, all, "Location", elsewhere+"/"+apiKey),
		"odd redirect":    says(302, all, "Location", "://"+apiKey+"%zz"),
		"odd header":      tcp("HTTP/1.1 200 OK\r\n" + apiKey + "\r\n\r\n"),
		"odd status":      tcp("HTTP/1.1 " + apiKey + " OK\r\n\r\n"),
		"odd length":      tcp("HTTP/1.1 200 OK\r\nContent-Length: " + apiKey + "\r\n\r\n"),
		"odd encoding":    tcp("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + apiKey + "\r\n\r\n"),
		"no HTTP":         tcp(apiKey + "\r\n" + apiKey + "\r\n"),
		"no gzip":         says(200, all, "Content-Encoding", "gzip"),
		"closed":          tcp(""),
		"reset":           reset,
		"timeout":         hang,
		"wait":            says(429, all, "Retry-After", apiKey),
	}
}

// misplaced are configurations with secrets where they do not belong; good is one that is right.
func misplaced(t *testing.T, good string) map[string]string {
	t.Helper()
	token := secrets["token"]
	file := func(name string) string {
		path := filepath.Join(t.TempDir(), "file")
		writeFile(t, path, secrets[name])
		return path
	}
	api := func(line string) string { return "api:\n  " + line + "\nsessions:\n  - " + token + "\n" }
	return map[string]string{
		"key as url":           api("url: " + apiKey),
		"key in the url":       api("url: http://127.0.0.1:9/v0?api_key=" + apiKey),
		"password in the url":  api("url: http://crew:" + secrets["password"] + "@127.0.0.1:9/v0"),
		"key in the host":      api("{url: http://" + apiKey + ".example/v0, key: " + apiKey + "}"),
		"key as key_file":      api("key_file: " + apiKey),
		"key as key_header":    api("key_header: " + apiKey),
		"key as timeout":       api("timeout: " + apiKey),
		"key as number":        api("max_concurrent_requests: " + apiKey),
		"key as switch":        api("device_metrics: " + apiKey),
		"key as a setting":     api(apiKey + ": true"),
		"key as tls_config":    api("tls_config: " + apiKey),
		"key as ca":            api("tls_config: {ca: " + apiKey + "}"),
		"key as ca_file":       api("tls_config: {ca_file: " + file("API key") + "}"),
		"key as cert":          api("tls_config: {cert: " + apiKey + ", key: " + apiKey + "}"),
		"key with a line":      api(`key: "` + apiKey + `\n` + apiKey + `"`),
		"key twice":            api("{key: " + apiKey + ", key: " + secrets["next API key"] + "}"),
		"key and key_file":     api("{key: " + apiKey + ", key_file: " + file("next API key") + "}"),
		"proxy":                api("proxy_url: crew:" + secrets["password"] + "@127.0.0.1"),
		"proxy, bad port":      api("proxy_url: http://crew:" + secrets["password"] + "@127.0.0.1:x"),
		"key as token":         good + "  - " + secrets["next API key"] + "\n",
		"token with a blank":   good + "  - " + token[:30] + " " + token[30:] + "\n",
		"token too long":       good + "  - " + secrets["mistyped token"] + "\n",
		"token twice":          good + "  - " + strings.ToLower(token) + "\n",
		"token of digits":      good + "  - {token: " + secrets["token of digits"] + ", device: " + token + "}\n",
		"token as name":        good + "  - {token: " + secrets["another token"] + ", name: " + token + "}\n",
		"key as name":          good + "  - {token: " + secrets["another token"] + ", name: my " + apiKey + "}\n",
		"token as label":       good + "  - {token: " + secrets["another token"] + ", labels: {race: " + token + "}}\n",
		"token as label name":  good + "  - {token: " + secrets["another token"] + ", labels: {x" + token + ": a}}\n",
		"token as key":         good + "  - {" + token + ": true}\n",
		"token as silence":     good + "  - {token: " + secrets["another token"] + ", silent_after: " + token + "}\n",
		"token as list":        good + "  - [" + secrets["another token"] + "]\n",
		"token as a section":   token + ": true\n",
		"token as the file":    token,
		"token as an alias":    good + "  - *" + token + "\n",
		"token as an anchor":   good + "  - &" + token + " [\n",
		"token as a tag":       good + "  - !" + token + " x\n",
		"token in broken YAML": good + "  - {token: " + token + "\n" + token + ": {\n",
		"token after a tab":    good + "\t- " + token + "\n",
		"token in broken text": good + "  - " + token + "\xff\n",
	}
}

// inspected is an exporter that is watched for secrets: in all that it answers, writes and shows of itself. To the end
// of the test its API is asked with nothing but GET, and nobody else is.
type inspected struct {
	*exporter
	good      string // a sessions.yml
	api       string // its base URL
	elsewhere string // where it may try to redirect to
	answer    atomic.Pointer[http.HandlerFunc]
}

func inspect(t *testing.T) *inspected {
	t.Helper()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %v", r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	in := &inspected{elsewhere: elsewhere.URL}
	in.answers(healthy)
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("api_key"); r.Method != http.MethodGet || got != apiKey {
			t.Errorf("the API got %s with the key %q", r.Method, got)
		}
		(*in.answer.Load())(w, r)
	}))
	in.api = api.url
	in.good = settings(api.url, "timeout: 500ms", "device_metrics: true") + "  - " + secrets["token"] + "\n" +
		"  - {device: " + secrets["device id"] + ", name: followed, labels: {race: x}}\n"
	in.exporter = start(t, in.good, "--log.level=debug", "--web.enable-lifecycle", "--web.enable-pprof",
		"--config.auto-reload-interval=0")
	t.Cleanup(func() {
		in.everything("at the end")
		in.signal(syscall.SIGTERM)
		in.exitCode()
		in.check("the log", in.output.String())
	})
	return in
}

func (in *inspected) answers(h http.HandlerFunc) { in.answer.Store(&h) }

func (in *inspected) check(where, text string) {
	in.t.Helper()
	for _, leak := range leaks(text) {
		in.t.Errorf("%s: %s", where, leak)
	}
}

func (in *inspected) visit(when, path string, header ...string) {
	in.t.Helper()
	resp, body := in.get(path, header...)
	in.check(when+": "+path, fmt.Sprint(resp.Header)+body)
}

// everything visits all there is.
func (in *inspected) everything(when string) {
	in.t.Helper()
	for _, accept := range []string{
		"text/plain", "application/openmetrics-text; version=1.0.0",
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
	} {
		in.visit(when, "/metrics", "Accept", accept)
	}
	for _, path := range []string{
		"/", "/probe", "/probe?target=followed", "/probe?target=" + secrets["token"][:8], "/probe?target=nobody",
		"/probe?target=" + secrets["token"], "/sd", "/runbook", "/-/healthy", "/-/ready", "/-/reload",
		"/metrics?collect[]=nothing",
		"/nowhere", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2",
		"/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/symbol",
		"/debug/pprof/trace?seconds=0.01",
	} {
		in.visit(when, path)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", in.cmd.Process.Pid))
	if err != nil && runtime.GOOS == "linux" {
		in.t.Error(err)
	}
	in.check(when+": the list of processes", string(cmdline))
}

// Whatever the API answers, and whoever hangs up.
func TestSecretsInAnswers(t *testing.T) {
	t.Parallel()
	in := inspect(t)
	answers := careless(in.elsewhere)
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		in.answers(answers[name])
		in.visit(name, "/metrics")
		in.visit(name, "/")
	}
	in.use(in.good + "# which ends the wait that the last answer asked for\n")
	in.answers(hang)
	impatient := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Millisecond}
	if _, _, err := ask(impatient, in.request(http.MethodGet, "/metrics")); err == nil {
		t.Error("a scrape of a hanging API ended at once")
	}
	impatient.CloseIdleConnections()
	in.answers(answers["good"])
}

// Whatever stands in the configuration.
func TestSecretsInConfigurations(t *testing.T) {
	t.Parallel()
	in := inspect(t)
	wrong := misplaced(t, in.good)
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		in.write(wrong[name])
		status, body := in.reload()
		if status != http.StatusInternalServerError {
			t.Errorf("%s: the reload has status %d", name, status)
		}
		in.check(name+": the reload", body)
		in.visit(name, "/")
	}
	in.signal(syscall.SIGHUP)
	in.wait("cannot load configuration")
}

// Connections that fail before there is an answer.
func TestSecretsInConnections(t *testing.T) {
	t.Parallel()
	in := inspect(t)
	_, sessions, _ := strings.Cut(in.good, "sessions:\n")
	for _, head := range []string{
		settings("http://127.0.0.1:9/v0"),
		settings("https" + strings.TrimPrefix(in.api, "http")),
		settings("http://nowhere.invalid/v0", "timeout: 1s"),
		settings(in.api + "/%2e%2e/"),
		settings(in.api, "proxy_url: http://crew:"+secrets["password"]+"@127.0.0.1:9"),
	} {
		in.use(head + sessions)
		in.visit("no connection", "/metrics")
		in.visit("no connection", "/")
	}
}

// Errors that end the program at its start give away as little.
func TestSecretsAtStart(t *testing.T) {
	t.Parallel()
	wrong := misplaced(t, settings("http://127.0.0.1:9/v0")+"  - "+secrets["token"]+"\n")
	for _, name := range []string{"key as key_file", "token twice"} {
		for _, args := range [][]string{nil, {"--config.check"}} {
			code, stdout, stderr := runs(t, wrong[name], args...)
			if code != exitUsage {
				t.Errorf("%s, %v: exit code %d", name, args, code)
			}
			for _, leak := range leaks(stdout + stderr) {
				t.Errorf("%s, %v: %s", name, args, leak)
			}
		}
	}
}
