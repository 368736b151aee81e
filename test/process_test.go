//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rufus_exporter/config"
	"rufus_exporter/test/lab"
)

// patience bounds every wait for an event that a passing test sees soon.
const patience = 30 * time.Second

// apiKey is the key that the tests' API is asked with. It is not a real one.
const apiKey = "ror-5ec4e7a1b2c3d4e5f607"

// raced reports whether the tests run under the race detector, where durations mean little.
var raced = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

// program builds the exporter as it is shipped, with the race detector where the tests have it, and returns its path.
var program = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(scratch, "rufus_exporter")
	args := []string{"build", "-buildvcs=false", "-o", binary, ".."}
	if raced {
		args = slices.Insert(args, 1, "-race")
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return binary, nil
})

// command returns the program with args, to be run in dir and without an API key in its environment.
func command(t testing.TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), config.KeyVariable+"=",
		"GORACE=atexit_sleep_ms=0") // the race detector would add a second to every end
	return cmd
}

// exporter is a running process of the program.
type exporter struct {
	t      testing.TB
	cmd    *exec.Cmd
	output *lab.Log
	exited chan struct{} // closed when the process has ended
	file   string        // its sessions.yml
	url    string        // such as http://127.0.0.1:41234
	client *http.Client
}

// start writes sessions.yml, starts the program in the directory of that file, and waits until it listens. It is stopped
// with the test, and must then end well, unless the test has ended it before.
func start(t testing.TB, sessions string, args ...string) *exporter {
	t.Helper()
	dir := t.TempDir()
	e := &exporter{t: t, file: filepath.Join(dir, "sessions.yml")}
	e.write(sessions)
	if !strings.Contains(strings.Join(args, " "), "--web.listen-address=") {
		args = append(args, "--web.listen-address=127.0.0.1:0")
	}
	e.run(command(t, dir, args...))
	return e
}

// run starts cmd and waits until it listens.
func (e *exporter) run(cmd *exec.Cmd) {
	e.t.Helper()
	e.cmd, e.output, e.exited = cmd, &lab.Log{}, make(chan struct{})
	e.client = &http.Client{Transport: &http.Transport{}, Timeout: patience}
	cmd.Stdout, cmd.Stderr = e.output, e.output
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(e.exited)
	}()
	e.t.Cleanup(func() {
		e.client.CloseIdleConnections()
		select {
		case <-e.exited:
		default:
			e.signal(syscall.SIGTERM)
			if code := e.exitCode(); code != exitStopped {
				e.t.Errorf("exit code %d when asked to stop", code)
			}
		}
		if e.t.Failed() {
			e.t.Logf("the process said:\n%s", e.output)
		}
	})
	e.url = "http://" + e.wait(`"Listening on" address=(\S+)\n`)
}

// freeAddress returns one to listen on, for a test that has to know it before.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// write replaces the content of sessions.yml in place.
func (e *exporter) write(sessions string) {
	e.t.Helper()
	writeFile(e.t, e.file, sessions)
}

func writeFile(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (e *exporter) signal(s os.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Error(err)
	}
}

// exitCode waits for the process to end: −1 is by a signal.
func (e *exporter) exitCode() int {
	e.t.Helper()
	select {
	case <-e.exited:
	case <-time.After(patience):
		_ = e.cmd.Process.Kill()
		<-e.exited
		e.t.Errorf("the process did not end within %s", patience)
	}
	return e.cmd.ProcessState.ExitCode()
}

// wait waits until the process has written text that matches, after what the last wait found, and returns the
// match's first group.
func (e *exporter) wait(pattern string) (group string) {
	e.t.Helper()
	deadline := time.After(patience)
	for {
		group, ok, written := e.output.Find(regexp.MustCompile(pattern))
		if ok {
			return group
		}
		select {
		case <-written:
		case <-e.exited:
			if group, ok, _ := e.output.Find(regexp.MustCompile(pattern)); ok {
				return group
			}
			e.t.Fatalf("the process ended without saying %q", pattern)
		case <-deadline:
			e.t.Fatalf("the process did not say %q", pattern)
		}
	}
}

// request returns a request, with a header of names and values. Scrapes have as long as the tests are patient.
func (e *exporter) request(method, path string, header ...string) *http.Request {
	e.t.Helper()
	req, err := http.NewRequest(method, e.url+path, http.NoBody)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", fmt.Sprint(patience.Seconds()))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// get asks for a path and returns the answer with its body.
func (e *exporter) get(path string, header ...string) (*http.Response, string) {
	e.t.Helper()
	return e.do(e.request(http.MethodGet, path, header...))
}

func (e *exporter) do(req *http.Request) (*http.Response, string) {
	e.t.Helper()
	resp, body, err := ask(e.client, req)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp, body
}

func ask(client *http.Client, req *http.Request) (*http.Response, string, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// background starts a scrape and returns where its status and body will come, or its error.
func (e *exporter) background() <-chan string {
	e.t.Helper()
	req, answers := e.request(http.MethodGet, "/metrics"), make(chan string, 1)
	go func() {
		if resp, body, err := ask(e.client, req); err != nil {
			answers <- err.Error()
		} else {
			answers <- resp.Status + "\n" + body
		}
	}()
	return answers
}

// reload asks for a reload over HTTP.
func (e *exporter) reload() (status int, body string) {
	e.t.Helper()
	resp, body := e.do(e.request(http.MethodPost, "/-/reload"))
	return resp.StatusCode, body
}

// use puts another sessions.yml to use by a reload over HTTP, which --web.enable-lifecycle must allow.
func (e *exporter) use(sessions string) {
	e.t.Helper()
	e.write(sessions)
	if status, body := e.reload(); status != http.StatusOK {
		e.t.Fatalf("reload: status %d: %s", status, body)
	}
}

// series is a scrape: values by series, both as they are written.
type series map[string]string

// scrape asks for /metrics, or another path that serves metrics.
func (e *exporter) scrape(path string) series {
	e.t.Helper()
	resp, body := e.get(path)
	if resp.StatusCode != http.StatusOK {
		e.t.Fatalf("%s: status %d: %s", path, resp.StatusCode, body)
	}
	return parseSeries(body)
}

func parseSeries(text string) series {
	parsed := series{}
	for line := range strings.Lines(text) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			parsed[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return parsed
}

// expect checks the values of some series; "" is for one that must not be there.
func (s series) expect(t *testing.T, want series) {
	t.Helper()
	for name, value := range want {
		if s[name] != value {
			t.Errorf("%s is %q, want %q", name, s[name], value)
		}
	}
}

// usage is what the process takes.
type usage struct{ goroutines, descriptors, resident, heap float64 }

func (e *exporter) usage() (u usage) {
	e.t.Helper()
	e.client.CloseIdleConnections() // of scrapes that overlapped: the exporter keeps its ends of them for minutes
	scrape := e.scrape("/metrics?collect[]=exporter")
	for name, value := range map[string]*float64{
		"go_goroutines": &u.goroutines, "process_open_fds": &u.descriptors,
		"process_resident_memory_bytes": &u.resident, "go_memstats_heap_alloc_bytes": &u.heap,
	} {
		if _, err := fmt.Sscan(scrape[name], value); err != nil {
			e.t.Fatalf("%s is %q", name, scrape[name])
		}
	}
	return u
}

// returns waits until the process has no more goroutines and descriptors than most.
func (e *exporter) returns(most usage) {
	e.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		now := e.usage()
		if now.goroutines <= most.goroutines && now.descriptors <= most.descriptors {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("%v goroutines and %v descriptors, at most %v and %v expected",
				now.goroutines, now.descriptors, most.goroutines, most.descriptors)
		}
	}
}

// runs lets the program run to its end, in a directory with that sessions.yml unless it is "".
func runs(t *testing.T, sessions string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	if sessions != "" {
		writeFile(t, filepath.Join(dir, "sessions.yml"), sessions)
	}
	return finish(t, command(t, dir, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	overdue := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer overdue.Stop()
	var exit *exec.ExitError
	if e := cmd.Run(); e != nil && !errors.As(e, &exit) {
		t.Fatal(e)
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// upstream is an API that counts what it is asked.
type upstream struct {
	url    string        // including /v0
	closed chan struct{} // one for each connection that has ended, unless too many are waiting
	hangUp func()        // breaks all connections

	mu          sync.Mutex
	requests    []string // method and path of each
	connections int      // ever opened
}

// serveAPI starts an API that answers as handler does, over TLS if one of the changes to its server sets that.
func serveAPI(t *testing.T, handler http.Handler, changes ...func(*httptest.Server)) *upstream {
	t.Helper()
	u := &upstream{closed: make(chan struct{}, 1000)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.requests = append(u.requests, r.Method+" "+r.URL.Path)
		u.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			u.mu.Lock()
			u.connections++
			u.mu.Unlock()
		case http.StateClosed:
			select {
			case u.closed <- struct{}{}:
			default:
			}
		}
	}
	for _, change := range changes {
		change(server)
	}
	if server.TLS != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	u.url, u.hangUp = server.URL+"/v0", server.CloseClientConnections
	return u
}

// asked returns what was asked since the last call, sorted, and how many connections were ever opened.
func (u *upstream) asked() (requests []string, connections int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	requests, u.requests = u.requests, nil
	slices.Sort(requests)
	return requests, u.connections
}

// settings is the head of a sessions.yml for the API at url, with further settings of its api section. Unless one of them
// is a timeout, no request runs into one.
func settings(url string, further ...string) string {
	if !strings.Contains(strings.Join(further, " "), "timeout:") {
		further = append(further, "timeout: 5m")
	}
	return fmt.Sprintf("api:\n  url: %q\n  key: %s\n", url, apiKey) + indented(further) + "sessions:\n"
}

func indented(lines []string) string {
	var text strings.Builder
	for _, line := range lines {
		text.WriteString("  " + line + "\n")
	}
	return text.String()
}

// documented is the session of the API's documentation. Its token stands for the one that was asked for.
const documented = `{"token_session": "TOKEN", "alias": "START-5K", "creation_date": "2023-02-03T15:08:12.000Z", ` +
	`"duration": "2023-02-03T17:08:12.000Z", "active": true, "passings": 31, "first": "2023-02-03T16:08:18.263Z", ` +
	`"last": "2023-12-22T09:20:25.130Z"}`

// says returns a handler that answers always the same, with TOKEN replaced by the last part of the path.
func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(body, "TOKEN", path.Base(r.URL.Path)))
	}
}

// result is a successful answer.
func result(json string) string { return `{"description": "Success", "result": ` + json + `}` }

// healthy answers every question about a token with the documented session.
var healthy = says(http.StatusOK, result("["+documented+"]"))

// gate holds requests to the API until a test lets them go.
type gate struct {
	arrived chan struct{} // one for each request that came
	opened  chan struct{}
	open    func()
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{arrived: make(chan struct{}, 1000), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	t.Cleanup(g.open)
	return g
}

// before returns a handler that lets nobody through to next until the gate is open or the client has gone.
func (g *gate) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.arrived <- struct{}{}
		select {
		case <-g.opened:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// await waits for an event.
func await(t *testing.T, event <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
}
