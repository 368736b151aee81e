//go:build unix

package test

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"rufus_exporter/config"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// all returns the first group of every match.
func all(pattern, text string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// same checks that the README names exactly what the program has.
func same(t *testing.T, what string, documented, existing []string) {
	t.Helper()
	for _, name := range slices.Compact(slices.Sorted(slices.Values(existing))) {
		if !slices.Contains(documented, name) {
			t.Errorf("README.md lacks the %s %s", what, name)
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(documented))) {
		if !slices.Contains(existing, name) {
			t.Errorf("README.md has the %s %s, which the program has not", what, name)
		}
	}
}

// The metric tables of the README against what is exposed by an exporter that has something to say about everything.
func TestReadmeMetrics(t *testing.T) {
	t.Parallel()
	var waits atomic.Bool
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case waits.Load():
			w.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Path == "/v0/devices":
			body(`{"result": [{"deviceid": "`+simulator.ID("device")+`", `+listedDevice+`}]}`)(w, r)
		case strings.HasSuffix(r.URL.Path, simulator.ID("unknown")):
			w.WriteHeader(http.StatusInternalServerError)
		default:
			healthy(w, r)
		}
	}))
	e := start(t, settings(api.url, "device_metrics: true")+entries("unknown")+
		"  - {device: "+simulator.ID("device")+", silent_after: 10m, "+
		"expected: {from: 2026-11-29T09:00:00Z, until: 2026-11-29T10:00:00Z}}\n")
	var exposed []string
	for range 2 {
		_, text := e.get("/metrics")
		exposed = append(exposed, all(`(?m)^# TYPE (rufus_\S+)`, text)...)
		waits.Store(true)
	}
	_, text := e.get("/metrics?collect[]=exporter") // after the wait has begun
	exposed = append(exposed, all(`(?m)^# TYPE (rufus_\S+)`, text)...)
	same(t, "metric", all("(?m)^\\| `(rufus_\\w+)`", readme(t)), exposed)
}

func TestReadmeReasons(t *testing.T) {
	t.Parallel()
	_, trouble, _ := strings.Cut(readme(t), "\n## Trouble\n")
	var reasons []string
	for _, reason := range rufus.Reasons() {
		reasons = append(reasons, string(reason))
	}
	same(t, "reason", all("(?m)^\\| `(\\w+)`", trouble), reasons)
}

func TestReadmeFlags(t *testing.T) {
	t.Parallel()
	_, help, _ := runs(t, "", "--help")
	flags := all(`(?m)^ {2,6}(?:-\w, )?--(?:\[no-\])?([\w.-]+)`, help)
	// What --help leaves out.
	flags = append(flags, "help-man", "completion-script-bash", "completion-script-zsh")
	same(t, "flag", all("`--([\\w.-]+)", readme(t)), flags)
}

// The example must load as it stands, apart from the key's file, and every key that there is must at least be named.
func TestReadmeConfiguration(t *testing.T) {
	t.Parallel()
	_, section, ok := strings.Cut(readme(t), "\n## Configuration\n")
	if !ok {
		t.Fatal("README.md has no section Configuration")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	examples := all("(?s)```yaml\n(.*?)```", section)
	if len(examples) == 0 {
		t.Fatal("the section Configuration has no example")
	}
	for _, example := range examples {
		if _, err := config.Parse([]byte(example), "README.md"); err != nil {
			for problem := range strings.Lines(err.Error()) {
				if !strings.Contains(problem, "key_file cannot be read") {
					t.Errorf("the example: %s", problem)
				}
			}
		}
	}
	example := strings.Join(examples, "\n")
	named := all(`\b([a-z_]+)\b`, example)
	var known []string
	for where, unknown := range map[string]string{
		"of the file":  "unknown: x",
		"of api":       "api: {unknown: x}",
		"of a session": "sessions: [{unknown: x}]",
		"of a race":    "races: [{unknown: x}]",
		"of a rule":    "devices: [{unknown: x}]",
		"of expected":  "sessions: [{expected: {unknown: x}}]",
	} {
		keys := knownKeys(t, unknown)
		known = append(known, keys...)
		for _, key := range keys {
			if !slices.Contains(named, key) {
				t.Errorf("README.md lacks the key %s %s", key, where)
			}
		}
	}
	// Its comments may name keys as well; whatever looks like one must be one, or the name of a header.
	for _, word := range all(`[\s(]([a-z]+(?:_[a-z]+)+)\b`, example) {
		if !slices.Contains(known, word) && word != "api_key" {
			t.Errorf("README.md has the key %s, which the program has not", word)
		}
	}
}

// knownKeys returns the keys that the program says it knows where it does not know one.
func knownKeys(t *testing.T, text string) []string {
	t.Helper()
	_, err := config.Parse([]byte(text), "sessions.yml")
	if err == nil {
		t.Fatalf("%s is valid", text)
	}
	lists := all(`known here: (.*)`, err.Error())
	if len(lists) != 1 {
		t.Fatalf("no known keys in: %s", err)
	}
	return strings.Split(lists[0], ", ")
}
