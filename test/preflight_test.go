//go:build unix

package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rufus_exporter/config"
	"rufus_exporter/simulator"
)

// preflight returns the program's look at a sessions.yml, with the key in a file that the environment names.
func preflight(t *testing.T, sessions string, args ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sessions.yml"), sessions)
	writeFile(t, filepath.Join(dir, "key"), simulator.DemoKey+"\n")
	cmd := command(t, dir, append([]string{"--preflight"}, args...)...)
	cmd.Env = append(cmd.Env, config.KeyFileVariable+"=key")
	return cmd
}

// independent is an API of another hand: no envelope, lower case, no pagination.
func independent(w http.ResponseWriter, r *http.Request) {
	id := map[string]string{"start-5k": strings.Repeat("ab", 32), "finish-5k": strings.Repeat("cd", 32)}
	switch r.URL.Path {
	case "/v0/devices":
		_, _ = fmt.Fprintf(w, `{"description": "Success", "result": [{"deviceid": %q, "alias": "start-5k", "serial_number": "1"},
			{"deviceid": %q, "alias": "finish-5k", "serial_number": "2"}]}`, id["start-5k"], id["finish-5k"])
	case "/v0/sessions/device/" + id["start-5k"] + "/active":
		body(result(`[{"active": true, "passings": 7}]`))(w, r)
	case "/v0/sessions/device/" + id["finish-5k"] + "/active":
		says(http.StatusNotFound, `{description: "Sessions not found", deviceid: "`+id["finish-5k"]+`"}`)(w, r)
	case "/v0/sessions/device/" + id["finish-5k"]:
		body(result("[]"))(w, r)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

// The four steps of the README, in front of the demo's API and of another one.
func TestFromAKeyToAWatchedRace(t *testing.T) {
	t.Parallel()
	steps := section(t, readme, "From a key to a watched race")
	_, rules, _ := strings.Cut(steps, "```yaml\n")
	rules, _, _ = strings.Cut(rules, "```")
	rules = strings.ReplaceAll("\n"+rules, "\n   ", "\n") // it is part of a list
	if !strings.Contains(rules, "\napi:\n") {
		t.Fatalf("no api section in %s", rules)
	}
	if !strings.Contains(steps, "`"+simulator.DemoKey+"`") {
		t.Error("the README does not name the demo's key")
	}
	columns := all(`(?m)^ +(SESSION .*)$`, steps)
	for name, test := range map[string]struct {
		api      http.Handler
		sessions int
		says     []string
	}{
		"demo":        {simulator.New(simulator.Demo(time.Now(), 1)), 12, []string{"FINISH-5K", "TURN-10K"}},
		"independent": {http.HandlerFunc(independent), 2, []string{"start-5k   active", "finish-5k  no session", "Press START on the box."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sessions := strings.Replace(rules, "api:\n", fmt.Sprintf("api:\n  url: %q\n", serveAPI(t, test.api).url), 1)
			cmd := preflight(t, sessions)
			code, table, stderr := finish(t, cmd)
			if code != exitStopped || stderr != "" || len(columns) != 1 ||
				strings.Join(strings.Fields(table[:strings.IndexByte(table, '\n')]), " ") != strings.Join(strings.Fields(columns[0]), " ") ||
				!strings.HasSuffix(table, fmt.Sprintf("\nready: %d of %[1]d sessions can be read.\n", test.sessions)) {
				t.Errorf("exit code %d, the README's columns are %q:\n%s%s", code, columns, table, stderr)
			}
			for _, part := range test.says {
				if !strings.Contains(table, part) {
					t.Errorf("no %q in:\n%s", part, table)
				}
			}
			e := &exporter{t: t}
			watch := command(t, cmd.Dir, "--web.listen-address=127.0.0.1:0")
			watch.Env = cmd.Env
			e.run(watch)
			scrape := e.scrape("/metrics")
			up := 0
			for name := range scrape {
				if strings.HasPrefix(name, `rufus_session_up{race="`) {
					up++
				}
			}
			if up != test.sessions {
				t.Errorf("%d sessions are exposed", up)
			}
			scrape.expect(t, series{
				"rufus_exporter_discovered_devices": fmt.Sprint(test.sessions),
				"rufus_exporter_sessions":           fmt.Sprint(test.sessions),
				"rufus_devices_up":                  "1",
			})
		})
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, http.HandlerFunc(independent)).url
	for name, test := range map[string]struct {
		sessions       string
		args           []string
		code           int
		stdout, stderr string
	}{
		"demo":        {"", []string{"--demo"}, exitFailed, "NOT READY: 12 of 13 sessions can be read.", ""},
		"json":        {"api: {url: " + api + "}\ndevices: [{}]", []string{"--preflight.format=json"}, exitStopped, `"readable": true`, ""},
		"none":        {"api: {url: " + api + "}\nsessions: [" + simulator.ID("x") + "]", nil, exitFailed, "start-5k (1)", ""},
		"wrong":       {"sessions: []", nil, exitUsage, "", "sessions.yml:1: the list of sessions is empty"},
		"no such":     {"devices: [{}]", []string{"--config.file=nowhere.yml"}, exitUsage, "", "nowhere.yml: cannot be read"},
		"wrong words": {"devices: [{}]", []string{"--preflight.format=xml"}, exitUsage, "", "xml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := finish(t, preflight(t, test.sessions, test.args...))
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) ||
				test.stderr == "" && stderr != "" {
				t.Errorf("exit code %d, stdout:\n%s\nstderr:\n%s", code, stdout, stderr)
			}
			if name == "json" && !json.Valid([]byte(stdout)) {
				t.Error("no JSON")
			}
		})
	}
}

// The list costs one call in 30 s, whatever asks: here, all of it within one.
func TestTheListOfDevicesIsSharedByAllPaths(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, http.HandlerFunc(independent))
	e := start(t, settings(api.url)+"devices: [{}]\n")
	for range 5 {
		for _, path := range []string{"/metrics", "/probe?target=start-5k", "/sd", "/"} {
			if resp, text := e.get(path); resp.StatusCode != http.StatusOK || !strings.Contains(text, "start-5k") {
				t.Errorf("%s has status %d: %s", path, resp.StatusCode, text)
			}
		}
	}
	requests, _ := api.asked()
	lists := 0
	for _, request := range requests {
		if strings.HasSuffix(request, " /v0/devices") {
			lists++
		}
	}
	if lists != 1 {
		t.Errorf("%d requests for the list among %q", lists, requests)
	}
}
