package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestBadFiles(t *testing.T) {
	t.Setenv(KeyVariable, "")
	archives(t, "testdata/bad_*.txtar", func(t *testing.T, path string) string {
		cfg, err := Load(path)
		if err == nil || cfg != nil {
			t.Fatalf("loaded as %+v", cfg)
		}
		checkMessages(t, err, path)
		return err.Error() + "\n"
	})
}

func TestGoodFiles(t *testing.T) {
	t.Setenv(KeyVariable, "")
	archives(t, "testdata/good.txtar", func(t *testing.T, path string) string {
		cfg, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		checkConfig(t, cfg)
		return describe(cfg)
	})
}

// describe formats a configuration with its secrets. Those in testdata are made up.
func describe(cfg *Config) string {
	var b strings.Builder
	api := cfg.API
	fmt.Fprintf(&b, "url %s\nkey %q in %s\ntimeout %s, at most %d, at least every %s, device metrics %t\n",
		api.URL, api.Key.Reveal(), api.KeyHeader, api.Timeout, api.MaxConcurrentRequests, api.MinInterval,
		api.DeviceMetrics)
	fmt.Fprintf(&b, "tls server %q, insecure %t, versions %x to %x, own CA %t, own certificate %t\nproxy %t\n",
		api.TLS.ServerName, api.TLS.InsecureSkipVerify, api.TLS.MinVersion, api.TLS.MaxVersion,
		api.TLS.RootCAs != nil, api.TLS.GetClientCertificate != nil, api.Proxy != nil)
	for _, s := range cfg.Sessions {
		fmt.Fprintf(&b, "session %q: %s %s, silent after %s\n", s.Name, s.Target.Follows, s.Target.ID.Reveal(),
			s.SilentAfter)
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			fmt.Fprintf(&b, "    %s=%q\n", name, s.Labels[name])
		}
		for _, w := range s.Expected {
			fmt.Fprintf(&b, "    expected %s to %s\n", instant(w.From), instant(w.Until))
		}
	}
	for _, file := range cfg.Files {
		fmt.Fprintf(&b, "file %s\n", filepath.ToSlash(file))
	}
	return b.String()
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// checkMessages checks the form of every message: place, problem and remedy, on one line, sorted.
func checkMessages(t *testing.T, err error, path string) {
	t.Helper()
	var list *Error
	if !errors.As(err, &list) {
		t.Fatalf("the error is a %T", err)
	}
	if !slices.Contains(list.Files, path) {
		t.Errorf("files to watch %q without %s", list.Files, path)
	}
	last := 0
	for _, m := range list.Problems {
		var line int
		if strings.HasPrefix(m, "$"+KeyVariable) || strings.HasSuffix(m, " more errors; fix these first") {
			continue
		}
		if _, err := fmt.Sscanf(strings.TrimPrefix(m, path), ":%d: ", &line); err != nil || line < 1 {
			t.Errorf("no file:line in %q", m)
		}
		if line < last {
			t.Errorf("line %d after %d in %q", line, last, list.Problems)
		}
		last = line
		if !strings.Contains(m, "; ") {
			t.Errorf("no remedy in %q", m)
		}
		if strings.ContainsFunc(m, unicode.IsControl) || !utf8.ValidString(m) {
			t.Errorf("not one line of text: %q", m)
		}
	}
	if err.Error() != strings.Join(list.Problems, "\n") || len(list.Problems) == 0 {
		t.Errorf("the error is %q, its problems are %q", err, list.Problems)
	}
}

// checkConfig checks all guarantees of the package about a returned configuration, independently of its code.
func checkConfig(t *testing.T, cfg *Config) {
	t.Helper()
	api := cfg.API
	if u := api.URL; u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" || strings.HasSuffix(u.Path, "/") {
		t.Errorf("url %s", u)
	}
	key := api.Key.Reveal()
	if !regexp.MustCompile(`^[!-~]*$`).MatchString(key) || len(key) > 1024 {
		t.Error("the key is not up to 1024 characters of visible ASCII")
	}
	if api.KeyHeader != "api_key" && api.KeyHeader != "x-api-key" {
		t.Errorf("key header %q", api.KeyHeader)
	}
	if api.Timeout <= 0 || api.MinInterval < 0 || api.MaxConcurrentRequests < 1 || api.MaxConcurrentRequests > 1024 {
		t.Errorf("bounds: %+v", api)
	}
	if api.TLS == nil {
		t.Error("no TLS settings")
	}
	if len(cfg.Sessions) == 0 && cfg.Discovery == nil || len(cfg.Files) == 0 {
		t.Errorf("%d sessions, %d files", len(cfg.Sessions), len(cfg.Files))
	}
	if cfg.Discovery != nil {
		checkPlan(t, cfg)
	}
	ids, names := map[string]bool{}, map[string]bool{}
	for _, s := range cfg.Sessions {
		id := s.Target.ID.Reveal()
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`).MatchString(id) || ids[strings.ToLower(id)] {
			t.Errorf("id %q is bad or there twice", id)
		}
		if names[s.Name] {
			t.Errorf("name %q is there twice", s.Name)
		}
		ids[strings.ToLower(id)], names[s.Name] = true, true
		if s.SilentAfter < 0 {
			t.Errorf("silent after %s", s.SilentAfter)
		}
		for i, w := range s.Expected {
			if !w.From.Before(w.Until) || i > 0 && !s.Expected[i-1].Until.Before(w.From) {
				t.Errorf("windows %v", s.Expected)
			}
		}
	}
	for id := range ids {
		if strings.Contains(strings.ToLower(api.URL.String()), id) {
			t.Errorf("url %s contains %q", api.URL, id)
		}
	}
	show := func(what, text string, most int) {
		if n := utf8.RuneCountInString(text); n < 1 || n > most || !utf8.ValidString(text) {
			t.Errorf("%s %q", what, text)
		}
		for _, r := range text {
			if !unicode.IsPrint(r) {
				t.Errorf("%s %q does not print", what, text)
			}
		}
		for id := range ids {
			if strings.Contains(strings.ToLower(text), id) {
				t.Errorf("%s %q contains %q", what, text, id)
			}
		}
		if len(key) >= 8 && strings.Contains(strings.ToLower(text), strings.ToLower(key)) {
			t.Errorf("%s %q contains the key", what, text)
		}
	}
	for _, s := range cfg.Sessions {
		show("name", s.Name, 100)
		for name, value := range s.Labels {
			show("label name", name, 100)
			show("label value", value, 200)
			if !regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`).MatchString(name) || strings.HasPrefix(name, "__") ||
				slices.Contains(reservedLabels, name) {
				t.Errorf("label %q", name)
			}
		}
	}
}

// TestExample checks that sessions.yml in the repository is valid and complete.
func TestExample(t *testing.T) {
	t.Setenv(KeyVariable, "")
	const path = "../sessions.yml"
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	checkConfig(t, cfg)
	if cfg.API.Key.Reveal() != "" {
		t.Error("the example has a key")
	}
	if len(cfg.Sessions) != 3 {
		t.Errorf("%d sessions", len(cfg.Sessions))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"nosuchkey: x", "api: {nosuchkey: x}", "sessions: [{nosuchkey: x}]",
		"races: [{nosuchkey: x}]", "devices: [{nosuchkey: x}]", "sessions: [{expected: {nosuchkey: x}}]"} {
		_, err := Parse([]byte(bad), "f.yml")
		known := regexp.MustCompile(`valid keys: (.*)`).FindStringSubmatch(err.Error())
		if known == nil {
			t.Fatalf("no list of keys in %q", err)
		}
		for name := range strings.SplitSeq(known[1], ", ") {
			if !regexp.MustCompile(`\b` + name + `\b`).Match(text) {
				t.Errorf("%s does not mention %s", path, name)
			}
		}
	}

	// The settings that it shows as defaults, commented out, are the defaults.
	comment := regexp.MustCompile(`(?m)^  # ([a-z_]+: )`)
	api, sessions, _ := strings.Cut(string(text), "\nsessions:")
	if shown := len(comment.FindAllString(api, -1)); shown != 9 {
		t.Fatalf("%d settings are commented out", shown)
	}
	defaults := comment.ReplaceAllString(api, "  $1") + "\nsessions:" + sessions
	defaults = regexp.MustCompile(`(?m)^  key_file:.*`).ReplaceAllString(defaults, "") // has no default
	same, err := Parse([]byte(defaults), path)
	if err != nil {
		t.Fatal(err)
	}
	if same.API.Digest() != cfg.API.Digest() {
		t.Errorf("defaults in the example %+v, in the program %+v", same.API, cfg.API)
	}
}

func TestDefaults(t *testing.T) {
	t.Setenv(KeyVariable, "")
	cfg := parse(t, "- "+token)
	api := cfg.API
	if got := api.URL.String(); got != "https://api.runonrufus.com/v0" {
		t.Errorf("url %s", got)
	}
	if api.KeyHeader != "api_key" || api.Timeout != 5*time.Second || api.MaxConcurrentRequests != 32 ||
		api.MinInterval != 0 || api.DeviceMetrics || api.Proxy != nil {
		t.Errorf("%+v", api)
	}
	if s := cfg.Sessions[0]; s.Name != token[:8] || s.Labels != nil || s.SilentAfter != 0 {
		t.Errorf("%+v", s)
	}
}

// Made up, in the form of the documentation's examples.
const (
	token  = "2A19294BB886C3D5C7783309BBC6E385515C843893A6BC126FECE3904C6E2B25"
	token2 = "65A1B7E0C6BC3D32C268C1506E3F6F39E225DC6ED79573E177E7243E8E38115B"
	device = "1C3A38059155C47209E3F09210B22D02B079F231A6D4D53421D65E076CD82D56"
	apiKey = "ror-ae4fc6c19681a20fad30"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse([]byte(text), filepath.Join(t.TempDir(), "sessions.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestKeySources(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "key", "\n from-file\t\r\n")
	for name, c := range map[string]struct{ api, env, want string }{
		"none":                     {"", "", ""},
		"blank environment":        {"", " \n", ""},
		"environment":              {"", " from-env\n", "from-env"},
		"inline wins":              {"key: from-text", "from-env", "from-text"},
		"file wins":                {"key_file: key", "from-env", "from-file"},
		"bad environment not used": {"key_file: key", "bad env", "from-file"},
		"absolute file":            {"key_file: " + filepath.Join(dir, "key"), "", "from-file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(KeyVariable, c.env)
			cfg, err := Parse([]byte("api: {"+c.api+"}\nsessions: ["+token+"]"), filepath.Join(dir, "sessions.yml"))
			if err != nil {
				t.Fatal(err)
			}
			if got := cfg.API.Key.Reveal(); got != c.want {
				t.Errorf("key %q, want %q", got, c.want)
			}
		})
	}
}

func TestBadKeyInEnvironment(t *testing.T) {
	t.Setenv(KeyVariable, apiKey+"\n"+apiKey)
	_, err := Parse([]byte("- "+token+"\n- x"), "f.yml")
	want := "$RUFUS_API_KEY: has spaces, line breaks or characters outside ASCII; write only the API key\n" +
		"f.yml:2: token has 1 characters instead of 16 to 128; use the whole session token"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	large := write(t, dir, "large.yml", "")
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yml"): "cannot be read (no such file or directory)",
		dir:                            "is a directory, not a file",
		os.DevNull:                     "is not a regular file",
		large:                          "is larger than 4096 KiB",
	} {
		_, err := Load(path)
		var list *Error
		if !errors.As(err, &list) || len(list.Problems) != 1 || !slices.Equal(list.Files, []string{path}) {
			t.Fatalf("%s: %+v", path, err)
		}
		if want := path + ": " + want + "; "; !strings.HasPrefix(list.Problems[0], want) {
			t.Errorf("got %q, want %q...", list.Problems[0], want)
		}
	}
}

// TestFiles checks that a file that cannot be read is watched too, because creating it changes the result.
func TestFiles(t *testing.T) {
	t.Setenv(KeyVariable, "")
	dir := t.TempDir()
	path := write(t, dir, "sessions.yml", "api: {key_file: sub/key, tls_config: {ca_file: /no/ca}}\nsessions: ["+token+"]")
	_, err := Load(path)
	var list *Error
	if !errors.As(err, &list) {
		t.Fatalf("loaded, or %v", err)
	}
	want := []string{path, filepath.Join(dir, "sub/key"), "/no/ca"}
	if !slices.Equal(list.Files, want) {
		t.Errorf("files %q, want %q", list.Files, want)
	}
}

// TestAliasesCannotUnfold loads small files that would expand to fifty million labels, and to half a million waves.
func TestAliasesCannotUnfold(t *testing.T) {
	var labels strings.Builder
	fmt.Fprintf(&labels, "sessions:\n- token: %s\n  labels: &labels\n", token)
	for i := range 10_000 {
		fmt.Fprintf(&labels, "    l%d: x\n", i)
	}
	for i := range 5_000 {
		fmt.Fprintf(&labels, "- {token: token-%012d, name: n%d, labels: *labels}\n", i, i)
	}
	var starts strings.Builder
	fmt.Fprintf(&starts, "races:\n- name: n\n  start: &waves\n%s", waves(maxWaves))
	for i := range 260 {
		fmt.Fprintf(&starts, "- {name: n%d, start: *waves}\n", i)
	}
	// The limit is reached in the first half of this list. The second half is not looked at.
	fmt.Fprintf(&starts, "- {name: last, start: [%s%s]}\n", strings.Repeat("2026-11-29T09:00:00Z,", maxWaves/2),
		strings.Repeat("x,", maxWaves/2))
	for i := range 240 {
		fmt.Fprintf(&starts, "- {name: m%d, start: *waves}\n", i)
	}
	fmt.Fprintf(&starts, "sessions: [%s]\n", token)

	for text, want := range map[string]string{
		labels.String(): "f.yml:68: the file has more than 64 different label names; use fewer: every series carries all " +
			"of them\nf.yml:2040: the file has too many values (an alias counts each time it is used); " + remedySplit,
		starts.String(): "f.yml:1264: the file has too many values (an alias counts each time it is used); " + remedySplit,
	} {
		_, err := Parse([]byte(text), "f.yml")
		if err == nil || err.Error() != want {
			t.Errorf("got %.500v, want %s", err, want)
		}
	}
}

// TestSelfReference loads a file with an anchor inside its own value, which the YAML package allows.
func TestSelfReference(t *testing.T) {
	for _, text := range []string{
		"&a [*a]",
		"sessions: &a [*a, *a]",
		"sessions: [&a {token: " + token + ", labels: *a}]",
		"&a {sessions: *a}",
		"api: &a {tls_config: *a}\nsessions: [" + token + "]",
		"sessions: [&a {? *a : *a}]",
	} {
		_, err := Parse([]byte(text), "f.yml")
		if err == nil {
			t.Errorf("%s: loaded", text)
			continue
		}
		checkMessages(t, err, "f.yml")
	}
}

func TestManyProblems(t *testing.T) {
	_, err := Parse([]byte(strings.Repeat("- x\n", 1234)), "f.yml")
	var list *Error
	if !errors.As(err, &list) || len(list.Problems) != maxRefusals+1 {
		t.Fatalf("got %.100v", err)
	}
	if got := list.Problems[maxRefusals]; got != "f.yml: 234 more errors; fix these first" {
		t.Errorf("got %q", got)
	}
}

// Ten thousand full entries are not refused.
func TestManySessions(t *testing.T) {
	t.Setenv(KeyVariable, apiKey)
	var b strings.Builder
	b.WriteString("sessions:\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "- token: %064d\n  name: session %d\n  silent_after: 10m\n"+
			"  labels:\n    race: city-run\n    wave: \"%d\"\n    point: finish\n    crew: north\n", i, i, i%7)
	}
	cfg := parse(t, b.String())
	if len(cfg.Sessions) != 10_000 || cfg.Sessions[9_999].Name != "session 9999" {
		t.Errorf("%d sessions", len(cfg.Sessions))
	}
}

// hostileFiles are repeated to fill a file, with a different NUMBER each time. They make us or the YAML package allocate
// as much as possible per byte.
var hostileFiles = []struct{ begin, unit, end string }{
	{"", "-\n", ""},
	{"", "- x\n", ""},
	{"", "- - - -\n", ""},
	{"", "-\r", ""},
	{"", "-\u2028", ""},
	{"", "#\n- #\n", ""},
	{"", "a:\n", ""},
	{"[", "x,", "]"},
	{"{", "a,", "}"},
	{"[&a x,", "*a,", "]"},
	{"", "- x\n", "}\n"}, // the line of the error must be searched for
	{"races:\n- name: r\n  start:\n" + waves(maxWaves) + "sessions:\n",
		"- {token: token-number-NUMBER, race: r, expected: {from: 0s, until: 1s}}\n", ""}, // a thousand windows each
}

// hostile is the environment variable for the child process that parses one of the files: the index of the file.
const hostile = "RUFUS_HOSTILE_FILE"

// A hostile file takes little memory, whether it is just below the size limit or just above it.
func TestHostileFiles(t *testing.T) {
	const most = 200 << 20
	if i, err := strconv.Atoi(os.Getenv(hostile)); err == nil {
		f := hostileFiles[i]
		var units strings.Builder
		for i := range maxFile / len(f.unit) {
			units.WriteString(strings.Replace(f.unit, "NUMBER", fmt.Sprintf("%06d", i), 1))
		}
		fill := func(size int) []byte {
			return []byte(f.begin + units.String()[:size/len(f.unit)*len(f.unit)] + f.end)
		}
		if _, err := Parse(fill(maxFile-10), "f.yml"); err == nil || !strings.Contains(err.Error(), "too many values") {
			t.Errorf("%q: %.200v", f.unit, err)
		}
		size := maxFile / 2
		for crowded(fill(size)) != 0 {
			size -= size / 20
		}
		begin := time.Now()
		_, _ = Parse(fill(size), "f.yml")
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		t.Logf("%d KiB of %q: %d MiB, %s", size>>10, f.unit, memory.Sys>>20, time.Since(begin))
		if memory.Sys > most {
			t.Errorf("%q took %d MiB", f.unit, memory.Sys>>20)
		}
		return
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes several times as much of everything")
	}
	for i := range hostileFiles {
		child := exec.Command(os.Args[0], "-test.run=^TestHostileFiles$", "-test.v")
		child.Env = append(os.Environ(), fmt.Sprint(hostile, "=", i))
		out, err := child.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		t.Logf("%s", out)
	}
}
