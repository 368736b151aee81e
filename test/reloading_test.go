//go:build unix

package test

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rufus_exporter/simulator"
	"rufus_exporter/test/lab"
)

// entries are sessions of these names.
func entries(names ...string) (list string) {
	for _, name := range names {
		list += "  - {name: " + name + ", token: " + simulator.ID(name) + "}\n"
	}
	return list
}

func up(name string) string { return `rufus_session_up{session="` + name + `"}` }

const (
	reloaded   = "rufus_exporter_config_last_reload_successful"
	reloadedAt = "rufus_exporter_config_last_reload_success_timestamp_seconds"
)

func TestReloadBySignal(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, healthy)
	e := start(t, settings(api.url)+entries("a", "b"))
	first := e.scrape("/metrics")
	first.expect(t, series{up("a"): "1", up("b"): "1", reloaded: "1", "rufus_exporter_sessions": "2"})

	e.write(settings(api.url) + entries("b", "c"))
	e.signal(syscall.SIGHUP)
	e.wait(`added=\[c\] removed=\[a\] changed=\[\]`)
	// The log comes first, and the next scrape may be quicker than what follows it.
	e.eventually(series{up("a"): "", up("b"): "1", up("c"): "1", reloaded: "1"})
	second := e.scrape("/metrics")
	if second[reloadedAt] == first[reloadedAt] {
		t.Error("the time of the last reload stands still")
	}

	e.write("sessions: {")
	e.signal(syscall.SIGHUP)
	e.wait("cannot load configuration")
	e.wait("the previous one stays in use")
	e.eventually(series{reloaded: "0"})
	e.scrape("/metrics").expect(t, series{up("b"): "1", up("c"): "1", reloadedAt: second[reloadedAt]})
	if _, page := e.get("/"); !strings.Contains(page, "The last reload failed") {
		t.Error("the page does not say that the reload failed")
	}

	e.write(settings(api.url) + entries("b", "c"))
	e.signal(syscall.SIGHUP)
	e.wait("configuration reloaded")
	e.eventually(series{up("b"): "1", up("c"): "1", reloaded: "1"})
}

// eventually scrapes until some series have these values.
func (e *exporter) eventually(want series) {
	e.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		scrape := e.scrape("/metrics")
		missing := ""
		for name, value := range want {
			if scrape[name] != value {
				missing += fmt.Sprintf(" %s is %q instead of %q;", name, scrape[name], value)
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatal("in vain:" + missing)
		}
	}
}

func TestReloadByHTTP(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, healthy)
	e := start(t, settings(api.url)+entries("a"), "--web.enable-lifecycle")
	e.use(settings(api.url) + entries("b"))
	e.scrape("/metrics").expect(t, series{up("a"): "", up("b"): "1", reloaded: "1"})

	e.write(settings(api.url) + entries("c") + "  - nonsense\n")
	if status, body := e.reload(); status != http.StatusInternalServerError || !strings.Contains(body, "sessions.yml:7: ") {
		t.Errorf("a bad file: status %d: %s", status, body)
	}
	e.scrape("/metrics").expect(t, series{up("b"): "1", up("c"): "", reloaded: "0"})

	e.write(settings(api.url) + entries("c"))
	for _, test := range []struct {
		method string
		status int
	}{
		{http.MethodGet, http.StatusMethodNotAllowed},
		{http.MethodPut, http.StatusOK},
	} {
		if resp, body := e.do(e.request(test.method, "/-/reload")); resp.StatusCode != test.status {
			t.Errorf("%s: status %d: %s", test.method, resp.StatusCode, body)
		}
	}
	e.scrape("/metrics").expect(t, series{up("b"): "", up("c"): "1", reloaded: "1"})
}

func TestReloadByHostName(t *testing.T) {
	t.Parallel()
	e := start(t, valid, "--web.enable-lifecycle")
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, status := range map[string]int{
		own: http.StatusOK, "localhost": http.StatusOK, "rebound.example:10210": http.StatusForbidden,
	} {
		req := e.request(http.MethodPost, "/-/reload")
		req.Host = host
		if resp, body := e.do(req); resp.StatusCode != status || status != http.StatusOK && !strings.Contains(body, own) {
			t.Errorf("%s: %s: %s", host, resp.Status, body)
		}
	}
}

func TestReloadByHTTPIsOff(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, healthy)
	e := start(t, settings(api.url)+entries("a"))
	e.write(settings(api.url) + entries("b"))
	if status, body := e.reload(); status != http.StatusForbidden {
		t.Errorf("status %d: %s", status, body)
	}
	e.scrape("/metrics").expect(t, series{up("a"): "1", up("b"): ""})
}

// A scrape in flight ends with the configuration that it began with.
func TestReloadDuringScrape(t *testing.T) {
	t.Parallel()
	for name, further := range map[string][]string{"same API": nil, "another timeout": {"timeout: 20s"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			api := serveAPI(t, g.before(healthy))
			e := start(t, settings(api.url)+entries("a"), "--web.enable-lifecycle")
			scrape := e.background()
			await(t, g.arrived, "the request to the API")
			e.use(settings(api.url, further...) + entries("b"))
			g.open()
			parseSeries(<-scrape).expect(t, series{up("a"): "1", up("b"): ""})
			e.scrape("/metrics").expect(t, series{up("a"): "", up("b"): "1"})
		})
	}
}

// Young answers outlive a reload while the api section is the same. Connections do not: the API may have moved.
func TestReloadKeepsAnswers(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, healthy)
	young := func(interval string, names ...string) string {
		return settings(api.url, "min_interval: "+interval) + entries(names...)
	}
	asked := func(names ...string) (connections int) {
		t.Helper()
		requests, connections := api.asked()
		want := []string{}
		for _, name := range names {
			want = append(want, "GET /v0/sessions/"+simulator.ID(name))
		}
		if strings.Join(requests, "\n") != strings.Join(want, "\n") {
			t.Errorf("asked %v, want %v", requests, want)
		}
		return connections
	}
	e := start(t, young("1h", "a"), "--web.enable-lifecycle")
	e.scrape("/metrics")
	opened := asked("a")
	e.use(young("1h", "a", "b"))
	e.scrape("/metrics").expect(t, series{up("a"): "1", up("b"): "1"})
	reopened := asked("b")
	if reopened != opened+1 {
		t.Errorf("%d connections, before the reload %d", reopened, opened)
	}
	await(t, api.closed, "the end of the first connection")
	e.use(young("2h", "b"))
	e.scrape("/metrics").expect(t, series{up("a"): "", up("b"): "1"})
	if connections := asked("b"); connections == reopened {
		t.Error("the connection of the API's old settings is used on")
	}
	await(t, api.closed, "the end of the second connection")
}

// A key that was rotated is taken up without a restart, by a reload or on its own.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"by SIGHUP":  {"--config.auto-reload-interval=0"},
		"on its own": {"--config.auto-reload-interval=50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("x-api-key") != "second" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				healthy(w, r)
			}))
			key := filepath.Join(t.TempDir(), "key")
			writeFile(t, key, "first\n")
			e := start(t, fmt.Sprintf("api: {url: %q, key_file: %q, key_header: x-api-key}\nsessions:\n", api.url, key)+
				entries("a"), args...)
			e.scrape("/metrics").expect(t, series{`rufus_session_error{reason="unauthorized",session="a"}`: "1"})
			writeFile(t, key, "second\n")
			if name == "by SIGHUP" {
				e.signal(syscall.SIGHUP)
			}
			e.eventually(series{up("a"): "1"})
		})
	}
}

// An API that cannot be reached at all is a failure of each session, and nothing else.
func TestUnreachableAPI(t *testing.T) {
	t.Parallel()
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := refused.Close(); err != nil {
		t.Fatal(err)
	}
	api := serveAPI(t, healthy)
	ours := lab.NewAuthority(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, ours.PEM())

	e := start(t, settings(api.url)+entries("a", "b"), "--web.enable-lifecycle")
	for _, test := range []struct {
		name, url, tls string
		log            string
	}{
		{"refused", "http://" + refused.Addr().String() + "/v0", "{}", "connection refused"},
		// No name server is asked for a name with an empty part.
		{"no such host", "http://no..such.host/v0", "{}", "host name cannot be resolved"},
		{"no TLS", "https" + strings.TrimPrefix(api.url, "http"), "{}", "does not speak TLS"},
		{"unknown authority", secureAPI(t, lab.NewAuthority(t).Leaf(nil)), "{ca_file: " + ca + "}", "unknown authority"},
		{"another host", secureAPI(t, ours.Leaf(forAnotherHost)), "{ca_file: " + ca + "}", "another host"},
		{"expired", secureAPI(t, ours.Leaf(expired)), "{ca_file: " + ca + "}", "expired"},
	} {
		e.use(settings(test.url, "tls_config: "+test.tls) + entries("a", "b"))
		scrape := e.scrape("/metrics")
		for _, name := range []string{"a", "b"} {
			if got := scrape.of(name); !maps.Equal(got, fails("network")) {
				t.Errorf("%s: got %v", test.name, got)
			}
		}
		e.wait(test.log)
	}
	e.use(settings(secureAPI(t, ours.Leaf(nil)), "tls_config: {ca_file: "+ca+"}") + entries("a", "b"))
	e.scrape("/metrics").expect(t, series{up("a"): "1", up("b"): "1"})
}

// A key and tokens that are sent unencrypted are worth a warning, unless the API is on this machine.
func TestWarningOfPlainHTTP(t *testing.T) {
	t.Parallel()
	for url, warns := range map[string]bool{
		"https://api.example/v0":    false,
		"http://api.example/v0":     true,
		"http://192.0.2.1:8080":     true,
		"http://localhost:8080/v0":  false,
		"http://127.8.0.1/v0":       false,
		"http://[::1]:8080/v0":      false,
		"http://localhost.example/": true,
	} {
		e := start(t, settings(url)+entries("a"))
		if strings.Contains(e.output.String(), "sent unencrypted") != warns {
			t.Errorf("%s: %s", url, e.output)
		}
	}
}

// What is changed about a session is logged by its name.
func TestReloadLogsChanges(t *testing.T) {
	t.Parallel()
	e := start(t, settings("http://127.0.0.1:9/v0")+entries("a", "b"), "--web.enable-lifecycle")
	e.use(settings("http://127.0.0.1:9/v0") + "  - {name: a, token: " + simulator.ID("b") + "}\n" + entries("c"))
	e.wait(`added=\[c\] removed=\[b\] changed=\[a\]`)
}
