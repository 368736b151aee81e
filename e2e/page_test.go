package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rufus_exporter/monitoring"
	"rufus_exporter/simulator"
)

// fetch returns the answer to a GET.
func fetch(t *testing.T, client *http.Client, address string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Behind nginx, below a path of its own, everything that the page leads to is there.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	e := startProgram(t, "--demo")
	dir := t.TempDir()
	socket := filepath.Join(dir, "nginx.sock") // whose path no other process can have, unlike a port
	config := file(t, "nginx.conf", fmt.Sprintf(`
daemon off;
user root;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen unix:%[2]s;
		location /timing/ { proxy_pass http://%[3]s/; }
	}
}
`, dir, socket, e.address))
	start(t, tool(t, "nginx"), "-p", dir, "-e", "stderr", "-c", config)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	eventually(t, "nginx listens", func() error {
		conn, err := transport.DialContext(t.Context(), "", "")
		if err == nil {
			err = conn.Close()
		}
		return err
	})

	base, err := url.Parse("http://crew.example.org/timing/")
	if err != nil {
		t.Fatal(err)
	}
	status, page := fetch(t, client, "http://crew.example.org/timing") // without the last slash: nginx adds it
	if status != http.StatusOK || !strings.Contains(page, "<h1>") {
		t.Fatalf("%d: %s", status, page)
	}
	links := regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(page, -1)
	found := map[string]bool{}
	for _, link := range links {
		target, err := base.Parse(link[1])
		if err != nil {
			t.Fatal(err)
		}
		if target.Scheme == "data" {
			continue
		}
		section := target.Fragment
		target.Fragment = ""
		status, body := fetch(t, client, target.String())
		if status != http.StatusOK || !strings.HasPrefix(target.Path, "/timing/") {
			t.Errorf("%s leads to %s: status %d", link[1], target, status)
		}
		if section != "" && !strings.Contains(body, `id="`+section+`"`) {
			t.Errorf("%s has no section %s", target, section)
		}
		found[target.Path] = true
	}
	for _, path := range []string{"metrics", "sd", "-/healthy", "runbook"} {
		if !found["/timing/"+path] {
			t.Errorf("the page does not lead to %s", path)
		}
	}
}

// The pages are valid HTML, whatever they have to say.
func TestValidHTML(t *testing.T) {
	t.Parallel()
	validator, settings := tool(t, "html-validate"), filepath.Join("testdata", "htmlvalidate.json")
	day := simulator.Demo(raceDay, simulator.DemoSpeed)
	api := simulate(t, day, raceDay.Add(inStory))
	api.Sleep = func(context.Context, time.Duration) error { return nil }
	demo := string(simulator.DemoConfig(api.URL, raceDay, simulator.DemoSpeed))
	var many []fileEntry
	for i := range 300 {
		many = append(many, fileEntry{
			token: simulator.ID(fmt.Sprint("many ", i)), name: fmt.Sprintf(`%d <"&">`, i),
			more: fmt.Sprintf(`labels: {race: '<&" %d'}`, i%3),
		})
	}
	story := inProcess(t, demo, api.clock.now)
	get := func(handler http.Handler, path string) string {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		return recorder.Body.String()
	}
	paths := []string{"--config", settings}
	for name, page := range map[string]string{
		"story":   get(story, "/"),
		"runbook": get(story, "/runbook"),
		"many":    get(inProcess(t, api.sessionsFile(many), api.clock.now), "/"),
	} {
		paths = append(paths, file(t, name+".html", page))
	}
	if !strings.Contains(get(story, "/runbook"), "RufusSessionClosed") || monitoring.Runbook == "" {
		t.Error("the runbook is empty")
	}
	day.Faults = []simulator.Fault{{From: raceDay, To: raceDay.Add(time.Hour), Drop: true}}
	api.Set(func(d *simulator.Day) { d.Faults = day.Faults })
	api.clock.set(raceDay.Add(inStory + time.Minute))
	outage := get(story, "/")
	if !strings.Contains(outage, `<p class="outage">`) {
		t.Error("an outage has no banner")
	}
	run(t, nil, validator, append(paths, file(t, "outage.html", outage))...)

	bad := file(t, "bad.html", strings.Replace(outage, "</header>", "", 1))
	if output, err := exec.CommandContext(t.Context(), validator, "--config", settings, bad).Output(); err == nil {
		t.Errorf("a page without </header> is valid: %s", output)
	}
}
