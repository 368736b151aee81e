//go:build unix

package test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"rufus_exporter/config"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
)

const (
	readme          = "README.md"
	metrics         = "docs/metrics.md"
	configuration   = "docs/configuration.md"
	flags           = "docs/flags.md"
	troubleshooting = "docs/troubleshooting.md"
)

// document returns the text of a file, whose path is relative to the top of the repository.
func document(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents returns the paths of all Markdown files, relative to the top of the repository.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "dist") {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			paths = append(paths, filepath.ToSlash(strings.TrimPrefix(path, "../")))
		}
		return err
	})
	if err != nil || !slices.Contains(paths, readme) {
		t.Fatalf("%q, %v", paths, err)
	}
	return paths
}

// section returns what stands below a heading of the second level.
func section(t *testing.T, path, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(document(t, path), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", path, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// all returns the first group of every match.
func all(pattern, text string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// same checks that a document names exactly what the program has.
func same(t *testing.T, path, what string, documented, existing []string) {
	t.Helper()
	for _, name := range slices.Compact(slices.Sorted(slices.Values(existing))) {
		if !slices.Contains(documented, name) {
			t.Errorf("%s lacks the %s %s", path, what, name)
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(documented))) {
		if !slices.Contains(existing, name) {
			t.Errorf("%s has the %s %s, which the program does not have", path, what, name)
		}
	}
}

// The metric tables against what is exposed by an exporter that has something to say about everything.
func TestDocumentedMetrics(t *testing.T) {
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
	same(t, metrics, "metric", all("(?m)^\\| `(rufus_\\w+)`", document(t, metrics)), exposed)
}

func TestDocumentedReasons(t *testing.T) {
	t.Parallel()
	var reasons []string
	for _, reason := range rufus.Reasons() {
		reasons = append(reasons, string(reason))
	}
	same(t, troubleshooting, "reason", all("(?m)^\\| `(\\w+)`", section(t, troubleshooting, "Reasons")), reasons)
}

func TestDocumentedFlags(t *testing.T) {
	t.Parallel()
	_, help, _ := runs(t, "", "--help")
	existing := all(`(?m)^ {2,6}(?:-\w, )?--(?:\[no-\])?([\w.-]+)`, help)
	// What --help leaves out.
	existing = append(existing, "help-man", "completion-script-bash", "completion-script-zsh")
	same(t, flags, "flag", all("`--([\\w.-]+)", document(t, flags)), existing)
}

// Exit codes, variables of the environment, and paths: what is listed is there.
func TestDocumentedSurface(t *testing.T) {
	t.Parallel()
	codes := []string{strconv.Itoa(exitStopped), strconv.Itoa(exitFailed), strconv.Itoa(exitUsage)}
	same(t, flags, "exit code", all(`(?m)^\| (\d+)`, section(t, flags, "Exit codes")), codes)
	same(t, flags, "variable", all("(?m)^\\| `(\\w+)`", section(t, flags, "Environment")),
		[]string{config.KeyVariable, config.KeyFileVariable})

	paths := all("`(/[^`]*)`", strings.Join(all(`(?m)^\| ([^|]*) \|`, section(t, flags, "Paths")), "\n"))
	if len(paths) < 7 {
		t.Fatalf("paths: %q", paths)
	}
	e := start(t, settings(serveAPI(t, healthy).url)+entries("one"), "--web.enable-lifecycle")
	for _, path := range paths {
		method := http.MethodGet
		if path == "/-/reload" {
			method = http.MethodPost
		}
		resp, text := e.do(e.request(method, strings.ReplaceAll(path, "NAME", "one")))
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %s %s", method, path, resp.Status, text)
		}
	}
}

// The example must load as it stands, apart from the key's file, and every key that there is must at least be named.
func TestDocumentedConfiguration(t *testing.T) {
	t.Parallel()
	examples := all("(?s)```yaml\n(.*?)```", document(t, configuration))
	if len(examples) == 0 {
		t.Fatalf("%s has no example", configuration)
	}
	for _, example := range examples {
		if _, err := config.Parse([]byte(example), configuration); err != nil {
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
				t.Errorf("%s lacks the key %s %s", configuration, key, where)
			}
		}
	}
	// Its comments may name keys as well; whatever looks like one must be one, or the name of a header.
	for _, word := range all(`[\s(]([a-z]+(?:_[a-z]+)+)\b`, example) {
		if !slices.Contains(known, word) && word != "api_key" {
			t.Errorf("%s has the key %s, which the program does not have", configuration, word)
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
	lists := all(`valid keys: (.*)`, err.Error())
	if len(lists) != 1 {
		t.Fatalf("no known keys in: %s", err)
	}
	return strings.Split(lists[0], ", ")
}

// What the README says how to check that the exporter works, except in Prometheus.
func TestReadmeCheck(t *testing.T) {
	t.Parallel()
	checks := regexp.MustCompile("(?m)^\\| http://localhost:10210(/\\S*) \\| .*?`(.*?)`").
		FindAllStringSubmatch(section(t, readme, "From a key to a watched race"), -1)
	if len(checks) != 2 {
		t.Fatalf("checks: %q", checks)
	}
	e := start(t, settings(serveAPI(t, healthy).url)+entries("one"))
	for _, check := range checks {
		if _, text := e.get(check[1]); !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool {
			return strings.HasPrefix(line, check[2])
		}) {
			t.Errorf("no %q on %s", check[2], check[1])
		}
	}
}

// The README is a front page: what takes longer stands in docs.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	if lines := strings.Count(document(t, readme), "\n"); lines > 150 {
		t.Errorf("README.md has %d lines, more than 150", lines)
	}
}

// packed matches the files that archives and packages hold where links expect them.
var packed = regexp.MustCompile(
	`^((README|CHANGELOG|CONTRIBUTING|SECURITY)\.md|LICENSE|docs/.+|monitoring/[^/]+\.(json|md|tmpl|yml))$`)

// Links lead to files and headings that exist, in an installation as well. Those to other sites are not followed.
func TestLinks(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	checked := 0
	for _, path := range documents(t) {
		text := code.ReplaceAllString(document(t, path), "")
		targets := all(`\]\(\s*([^)\s]+)\s*\)`, text)
		targets = append(targets, all(`(?:src|href)="([^"]+)"`, text)...)
		for _, target := range targets {
			if strings.Contains(target, "://") {
				continue
			}
			checked++
			file, anchor, _ := strings.Cut(target, "#")
			linked := path
			if file != "" {
				linked = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			if packed.MatchString(path) && !packed.MatchString(linked) {
				t.Errorf("%s links to %s, which archives and packages lack", path, linked)
			}
			if _, err := os.Stat(filepath.Join("..", linked)); err != nil {
				t.Errorf("%s links to %s: %v", path, target, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(document(t, linked)), anchor) {
				t.Errorf("%s links to %s, but %s has no such heading", path, target, linked)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d links found", checked)
	}
}

// anchors returns the anchors that GitHub gives to the headings of a text.
func anchors(text string) (found []string) {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "") // where # begins a comment
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, heading := range all(`(?m)^#+ (.*)$`, text) {
		found = append(found, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(heading), ""), " ", "-"))
	}
	return found
}
