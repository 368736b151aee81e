package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rufus_exporter/discovery"
	"rufus_exporter/rufus"
)

// account is a list of devices from the API.
var account = []discovery.Device{
	{ID: rufus.NewSecret(device), Alias: "FINISH-5K", SerialNumber: "O4A-00150"},
	{ID: rufus.NewSecret(strings.Repeat("A", 64)), Alias: "start-10k", SerialNumber: "O4A-00151"},
	{ID: rufus.NewSecret(strings.Repeat("B", 64)), Alias: "SPARE-1", SerialNumber: "O4A-00152"},
	{ID: rufus.NewSecret(strings.Repeat("C", 64)), SerialNumber: "X-1"},
}

// followed formats the entries that a configuration creates for the account, one per line.
func followed(cfg *Config) string {
	var b strings.Builder
	for _, f := range cfg.Discovery.Follow(cfg.Sessions, account, nil).Followed {
		fmt.Fprintf(&b, "%s race=%s silent after %s", f.Entry.Name, f.Entry.Labels["race"], f.Entry.SilentAfter)
		for _, w := range f.Entry.Expected {
			fmt.Fprintf(&b, " %s..%s", w.From.UTC().Format("15:04"), w.Until.UTC().Format("15:04"))
		}
		if f.NoGun {
			b.WriteString(" no gun")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// checkPlan checks the guarantees that discovery relies on.
func checkPlan(t *testing.T, cfg *Config) {
	t.Helper()
	plan := cfg.Discovery
	if plan.MaxDevices != cfg.API.MaxDevices || plan.MaxDevices < 1 || plan.MaxDevices > 10_000 || len(plan.Rules) == 0 {
		t.Errorf("%d rules, at most %d devices", len(plan.Rules), plan.MaxDevices)
	}
	if key := cfg.API.Key; key != (rufus.Secret{}) && !slices.Contains(plan.Secrets, key) {
		t.Error("the key is not among the secrets")
	}
	for _, f := range plan.Follow(cfg.Sessions, account, nil).Followed {
		r := plan.Rules[f.Rule]
		if r.Ignore || r.Expected != nil && r.ExpectedByRace != nil || f.Entry.SilentAfter < 0 {
			t.Errorf("followed by %+v", r)
		}
		for i, w := range f.Entry.Expected {
			if !w.From.Before(w.Until) || i > 0 && !f.Entry.Expected[i-1].Until.Before(w.From) {
				t.Errorf("windows %v", f.Entry.Expected)
			}
		}
	}
}

func TestDevices(t *testing.T) {
	t.Setenv(KeyVariable, "")
	t.Setenv(KeyFileVariable, "")
	const races = "races: [{name: 5k, start: [2026-11-29T12:00:00Z, 2026-11-29T12:30:00Z]}, {name: kids}]\n"
	for _, c := range []struct{ name, file, want string }{
		{"every device", "devices: [{}]", "FINISH-5K race= silent after 0s\nSPARE-1 race= silent after 0s\n" +
			"start-10k race= silent after 0s\nX-1 race= silent after 0s\n"},
		{"groups", "devices: [{alias: '(?P<point>START|FINISH)-(?P<race>.+)', name: '${point}_$2', race: $race}]",
			"FINISH_5K race=5K silent after 0s\nstart_10k race=10k silent after 0s\n"},
		{"races and their waves", races + `
devices:
  - alias: '(\w+)-(?P<race>.+)'
    name: "$1 $$"
    race: $race
    expected: {from: 0s, until: 10m}
    silent_after: 5m`, "FINISH $ race=5k silent after 5m0s 12:00..12:10 12:30..12:40\n" +
			"SPARE $ race=1 silent after 5m0s no gun\nstart $ race=10k silent after 5m0s no gun\n"},
		{"one race", races + "devices: [{alias: FINISH-.*, race: 5k, expected: {from: 0s, until: 1h}}]",
			"FINISH-5K race=5k silent after 0s 12:00..13:30\n"},
		{"date-times need no race", "devices: [{alias: SPARE-., expected: {from: 2026-11-29T12:00Z, until: 2026-11-29T13:00Z}}]",
			"SPARE-1 race= silent after 0s 12:00..13:00\n"},
		{"both conditions", "devices: [{alias: '.*-(.*)', serial_number: 'o4a-001(?P<n>5[12])', name: $1 $n $0}]",
			"1 52 SPARE-1 race= silent after 0s\n10k 51 start-10k race= silent after 0s\n"},
		{"serial number", "devices: [{serial_number: 'o4a-001(5[12])', name: box $1}, {serial_number: x-1}]",
			"box 52 race= silent after 0s\nbox 51 race= silent after 0s\nX-1 race= silent after 0s\n"},
		{"first match wins", "devices: [{alias: SPARE-.*, ignore: true}, {serial_number: X-1, name: x}, {serial_number: X.*}, {}]",
			"x race= silent after 0s\nFINISH-5K race= silent after 0s\nstart-10k race= silent after 0s\n"},
		{"beside sessions", "sessions: [{device: " + strings.ToLower(device) + ", name: start-10k}]\ndevices: [{}]",
			"SPARE-1 race= silent after 0s\nstart-10k-O4A-00151 race= silent after 0s\nX-1 race= silent after 0s\n"},
		{"sessions commented out", "sessions:\ndevices: [{alias: S.+E.*, ignore: false}]", "SPARE-1 race= silent after 0s\n"},
		{"all ignored beside sessions", "sessions: [" + token + "]\ndevices: [{ignore: true}]", ""},
		{"bounded", "api: {max_devices: 1}\ndevices: [{}]", "FINISH-5K race= silent after 0s\n"},
	} {
		cfg, err := Parse([]byte(c.file), "f.yml")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		checkConfig(t, cfg)
		if got := followed(cfg); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestBadDevices(t *testing.T) {
	t.Setenv(KeyVariable, "")
	t.Setenv(KeyFileVariable, "")
	for file, want := range map[string]string{
		"devices: []":                            "1: the list of devices is empty; " + remedyRules,
		"devices:":                               "1: the list of devices is empty; " + remedyRules,
		"devices: {alias: x}":                    "1: devices is not a list; " + remedyRules,
		"devices: all":                           "1: devices is not a list; " + remedyRules,
		"sessions: []\ndevices: [{}]":            "1: the list of sessions is empty; " + remedyList,
		"sessions: [" + token + "]\ndevices: []": "2: the list of devices is empty; " + remedyRules,
		"sessions:\ndevices:":                    "1: the list of sessions is empty; " + remedyList,
		"races: [{name: x}]":                     "1: the file has neither sessions nor devices; " + remedyAny,
		"devices:\n- ":                           "2: the rule is empty; write it as {alias: 'FINISH-.+'}, or as {} for every device",
		"devices:\n- [x]":                        "2: the rule is not a mapping; write it as {alias: 'FINISH-.+'}",
		"devices:\n- START-.*":                   "2: the rule is not a mapping; write it as {alias: 'FINISH-.+'}",
		"devices:\n- " + device:                  "2: the rule is a device id or a token; move it below \"sessions:\" and write it as \"device: ...\" or \"token: ...\"",
		"devices:\n- serial_number: " + device:   "2: serial_number is a device id or a token; to follow a single device, add an entry \"- device: ...\" below \"sessions:\"",
		"devices:\n- ignore: true":               "2: every rule ignores devices, and there are no sessions; add a rule without ignore, such as \"- {}\" for every device that no earlier rule matches",
		"devices:\n- {}\n- {alias: x}":           "3: the rule never matches: the rule in line 2 already matches every device; move the rule in line 2 to the end",
		"devices:\n- {alias: .*}\n- {}":          "3: the rule never matches: the rule in line 2 already matches every device; move the rule in line 2 to the end",
		"devices:\n- {alias: x, serial_number: y}\n- {serial_number: y, alias: x, ignore: true}":    "3: the rule never matches: the rule in line 2 has the same conditions; keep one of them",
		"devices:\n- {alias: '(?P<x>a)', serial_number: '(?P<x>a)', name: $x}":                      "2: group \"x\" is in both alias and serial_number; rename one of the two",
		"devices:\n- {alias: a, name: $" + apiKey[4:] + "}":                                         "2: name uses group (not shown, it may be a secret), but neither alias nor serial_number has it; add (?P<name>...) to the alias, or write ${name} if text follows the group",
		"devices:\n- {expected: {from: 0s, until: 1m}}":                                             "2: expected counts from the gun, but the entry has no race; add race with a name from races, or use date-times",
		"devices:\n- {race: 5k, expected: {from: 0s, until: 1m}}":                                   "2: expected counts from the gun, but race \"5k\" is not in races; add it there with its start, or use date-times",
		"devices:\n- {alias: (.*)a, race: $1, expected: {from: 0s, until: 1m}}":                     "2: expected counts from the gun, but the file lists no races; add races with their starts, or use date-times",
		"races: [{name: a}]\ndevices:\n- {race: a, expected: {from: 0s, until: 1m}}":                "3: expected counts from the gun, but the race in line 1 has no start; add its start, or use date-times",
		"races: [{name: a}]\ndevices:\n- {alias: (.*)a, race: $1, expected: {from: 0s, until: 1m}}": "3: expected counts from the gun, but no race has a start; add the starts to races, or use date-times",
		"races: [{name: a}]\ndevices:\n- {race: b}":                                                 "3: race \"b\" is not in races; add it there, or correct the name",
		"sessions: [" + token + "]\ndevices:\n- {alias: x, name: 'at " + token + "'}":               "3: the name contains the API key or a configured token or id; choose another one: it is shown on pages and in metrics",
	} {
		_, err := Parse([]byte(file), "f.yml")
		if err == nil || err.Error() != "f.yml:"+want {
			t.Errorf("%s\n\tgot  %v\n\twant f.yml:%s", file, err, want)
			continue
		}
		checkMessages(t, err, "f.yml")
	}
	// An empty expression does not match every device.
	_, err := Parse([]byte("devices: [{alias: ''}]"), "f.yml")
	want := "f.yml:1: alias is empty; use an expression such as 'FINISH-.+', or remove the setting"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Parse([]byte("devices:\n"+strings.Repeat("- {alias: x}\n", maxRules+1)), "f.yml")
	if err == nil || !strings.Contains(err.Error(), "devices has more than 1000 rules; ") {
		t.Errorf("%.200v", err)
	}
}

func TestKeyFromTheFileOfAVariable(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "key", "from-file\n")
	write(t, dir, "own", "from-own-file\n")
	quoted := write(t, dir, "quoted", "\""+apiKey+"\"\n")
	assigned := write(t, dir, "assigned", "RUFUS_API_KEY="+apiKey+"\n")
	marked := write(t, dir, "marked", "\ufeff"+apiKey+"\n")
	for _, c := range []struct{ api, key, file, want string }{
		{"", "", path, "from-file"},
		{"", " ", path + "\n", "from-file"},
		{"", "from-env", "", "from-env"},
		{"", "from-env", " ", "from-env"},
		{"key: inline", "x", path, "inline"},
		{"key_file: own", "x", path, "from-own-file"},
		{"", "x", path, "$RUFUS_API_KEY_FILE: $RUFUS_API_KEY is set as well; keep one of them"},
		{"", "", filepath.Join(dir, "none"), "$RUFUS_API_KEY_FILE: the file cannot be read (no such file or directory); " +
			"use the path of a readable file that contains the API key"},
		{"", "", quoted, "$RUFUS_API_KEY_FILE: the content of the file has quotes around the key; " +
			"write only the API key, without quotes"},
		{"", "", assigned, "$RUFUS_API_KEY_FILE: the content of the file has a name before the key; " +
			"write only the API key, without NAME="},
		{"", "", marked, "$RUFUS_API_KEY_FILE: the content of the file starts with a byte order mark; " +
			"save the file as UTF-8 without one"},
		{"key_file: quoted", "", "", "f.yml:1: the content of key_file has quotes around the key; " +
			"write only the API key, without quotes"},
		{"", "'" + apiKey + "'", "", "$RUFUS_API_KEY: has quotes around the key; write only the API key, without quotes"},
		{"", "api_key: " + apiKey, "", "$RUFUS_API_KEY: has a name before the key; write only the API key, without NAME="},
		{"", "${KEY}", "", "$RUFUS_API_KEY: contains a variable, but variables are not expanded; " + remedyKey},
		{"", "bearer " + apiKey, "", "$RUFUS_API_KEY: has a word before the key; write only the API key"},
		{"", "dGhlIGtleQ==", "", "dGhlIGtleQ=="}, // base64 is not NAME=
	} {
		t.Setenv(KeyVariable, c.key)
		t.Setenv(KeyFileVariable, c.file)
		cfg, err := Parse([]byte("api: {"+c.api+"}\nsessions: ["+token+"]"), filepath.Join(dir, "f.yml"))
		var got string
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir+"/", "")
			checkMessages(t, err, filepath.Join(dir, "f.yml"))
		} else {
			got = cfg.API.Key.Reveal()
			if fromFile := got == "from-file"; fromFile != slices.Contains(cfg.Files, path) {
				t.Errorf("%+v: files to watch %q", c, cfg.Files)
			}
		}
		if got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Setenv(KeyVariable, "")
	t.Setenv(KeyFileVariable, "")
	cfg := parse(t, "sessions:\n- "+token+"\n- "+token2[:63]+"\ndevices:\n- {alias: FINISH-*}\n- {name: box“}\n")
	for i, want := range []string{
		":3: token has 63 characters, but those in the API's documentation have 64 hexadecimal digits; " +
			"compare it with the one in your RUFUS account",
		":5: alias ends with *, which only repeats the character before it; write .* for any text",
		":6: name has a quote at one end only, or a quote other than \" and '; put the same \" or ' at both ends, or remove the quote",
	} {
		if i >= len(cfg.Warnings) || !strings.HasSuffix(cfg.Warnings[i], cfg.Files[0]+want) {
			t.Errorf("warning %d of %q is not %q", i, cfg.Warnings, want)
		}
	}

	var many strings.Builder
	for i := range maxWarnings + 7 {
		fmt.Fprintf(&many, "- {name: n%d, token: %032d}\n", i, i)
	}
	cfg = parse(t, many.String())
	if last := cfg.Warnings[len(cfg.Warnings)-1]; len(cfg.Warnings) != maxWarnings+1 || last != cfg.Files[0]+": 7 more warnings" {
		t.Errorf("%d warnings, the last is %q", len(cfg.Warnings), last)
	}
}

// The commented-out form that sessions.yml recommends is valid, with and without the examples.
func TestExampleOfDevices(t *testing.T) {
	t.Setenv(KeyVariable, "")
	t.Setenv(KeyFileVariable, "")
	data, err := os.ReadFile("../sessions.yml")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(data), "# devices:\n")
	block, after, found := strings.Cut("# devices:\n"+rest, "\n\n")
	if !found || strings.Contains(before, "\napi:") {
		t.Fatal("sessions.yml does not begin with devices")
	}
	file := before + regexp.MustCompile(`(?m)^# ?`).ReplaceAllString(block, "") + "\n\n" + after
	alone, _, _ := strings.Cut(file, "\n# One entry per timing point.")
	for _, text := range []string{file, alone} {
		cfg, err := Parse([]byte(text), "sessions.yml")
		if err != nil {
			t.Fatal(err)
		}
		checkConfig(t, cfg)
		if len(cfg.Warnings) > 0 || len(cfg.Discovery.Rules) != 5 {
			t.Errorf("%d rules, warnings %q", len(cfg.Discovery.Rules), cfg.Warnings)
		}
	}
}

// A setting that is added must be known to the search for typos.
func TestTyposKnowEverySetting(t *testing.T) {
	for _, unknown := range []string{"x: y", "api: {x: y}", "api: {tls_config: {x: y}}", "races: [{x: y}]",
		"sessions: [{x: y}]", "sessions: [{expected: {x: y}}]", "devices: [{x: y}]"} {
		_, err := Parse([]byte(unknown), "f.yml")
		_, known, found := strings.Cut(err.Error(), "valid keys: ")
		known, _, _ = strings.Cut(known, "\n")
		if !found {
			t.Fatalf("%s: %v", unknown, err)
		}
		for name := range strings.SplitSeq(known, ", ") {
			if !slices.Contains(strings.Split(settings, "|"), name) {
				t.Errorf("settings lack %s", name)
			}
		}
	}
}

// A logged configuration shows no secret of the devices it follows.
func TestDevicesPrintNoSecret(t *testing.T) {
	t.Setenv(KeyVariable, apiKey)
	cfg := parse(t, "sessions: [{device: "+device+"}]\ndevices: [{}]")
	if part := leaks(fmt.Sprintf("%v %+v %#v", *cfg.Discovery, *cfg.Discovery, *cfg.Discovery), device, apiKey); part != "" {
		t.Errorf("%q shows", part)
	}
}
