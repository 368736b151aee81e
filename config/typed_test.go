package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// typed is a valid file. Edits add typing errors to it.
const typed = `api:
  url: https://api.example/v0
  key: ror-ae4fc6c19681a20fad30
  key_header: api_key
  timeout: 5s
  max_concurrent_requests: 32
  min_interval: 0s
  device_metrics: true
  max_devices: 500
  proxy_url: http://proxy:3128
  no_proxy: localhost
  tls_config:
    server_name: api.example
    insecure_skip_verify: false
    min_version: TLS12
races:
  - name: 5k
    start: 2026-11-29T09:00:00-03:00
  - name: kids
sessions:
  - 2A19294BB886C3D5C7783309BBC6E385515C843893A6BC126FECE3904C6E2B25
  - token: 65A1B7E0C6BC3D32C268C1506E3F6F39E225DC6ED79573E177E7243E8E38115B
    name: finish-10k
    race: kids
    labels: {point: finish}
    silent_after: 10m
  - device: 1C3A38059155C47209E3F09210B22D02B079F231A6D4D53421D65E076CD82D56
    name: turn-5k
    race: 5k
    labels:
      point: turn
    expected: {from: 14m, until: 1h40m}
devices:
  - alias: (?P<point>START|TURN)-(?P<race>.+)
    name: $point-$race
    race: $race
    expected:
      from: 15m
      until: 1h45m
    silent_after: 11m
  - serial_number: O4A-00150
    race: 5k
  - alias: SPARE-.*
    ignore: true
`

// edit replaces a text in the valid file by one with an error.
type edit struct {
	line         int    // of the message
	old, new     string // in that line, or in the line at
	at           int    // 0: the line of the message
	what, remedy string // parts of the message
}

// edited returns the file with the error.
func (e edit) edited(t *testing.T) string {
	t.Helper()
	lines := strings.SplitAfter(typed, "\n")
	at := e.at
	if at == 0 {
		at = e.line
	}
	changed := strings.Replace(lines[at-1], e.old, e.new, 1)
	if changed == lines[at-1] {
		t.Fatalf("line %d has no %q: %q", at, e.old, lines[at-1])
	}
	lines[at-1] = changed
	return strings.Join(lines, "")
}

// lineOfTyped returns the number of the line that contains text.
func lineOfTyped(t *testing.T, text string) int {
	t.Helper()
	before, _, found := strings.Cut(typed, text)
	if !found || strings.Count(typed, text) != 1 {
		t.Fatalf("%q is not once in the file", text)
	}
	return 1 + strings.Count(before, "\n")
}

// everywhere returns errors that can be made in each line with a setting and a value.
func everywhere() (edits []edit) {
	before, _, _ := strings.Cut(typed, "\ndevices:")
	rules := strings.Count(before, "\n")
	setting := regexp.MustCompile(`^( *(?:- )?)(\w+): (.+)$`)
	for i, line := range strings.Split(typed, "\n") {
		match := setting.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		before, key, value := match[1], match[2], match[3]
		add := func(replacement, what, remedy string) {
			edits = append(edits, edit{line: i + 1, old: line, new: replacement, what: what, remedy: remedy})
		}
		colon := `write it as "name: value"`
		add(before+key+":"+value, `there is no space after the colon of key "`+key, colon)
		add(before+key+" = "+value, `there is = instead of a colon after key "`+key, colon)
		add(before+key+" "+value, `there is no colon after key "`+key, colon)
		if key != "point" {
			misspelt := key[:1] + key[2:]
			add(before+misspelt+": "+value, "unknown key ", "valid keys: ")
		}
		if strings.HasPrefix(value, "{") {
			add(before+key+": "+strings.TrimSuffix(value, "}"), "YAML: ", "close every [ and {")
			continue
		}
		add(before+key+": ", " has no value", "use ")
		if key != "start" {
			add(before+key+": [x]", " is a list or a mapping", "use ")
		}
		add(before+key+`: "`+value, "a quote is not closed in this line", "put the same quote at both ends")
		add(before+key+": '"+value, "a quote is not closed in this line", "put the same quote at both ends")
		if i > rules && (key == "name" || key == "race") {
			add(before+key+": ${VALUE}", ` uses group "VALUE", but`, "(?P<name>...)")
		} else {
			add(before+key+": ${VALUE}", " contains a variable", "$RUFUS_API_KEY_FILE")
		}
	}
	return edits
}

// particular returns errors in particular values.
func particular(t *testing.T) (edits []edit) {
	at := func(text string) int { return lineOfTyped(t, text) }
	add := func(line int, old, replacement, what, remedy string) {
		edits = append(edits, edit{line: line, old: old, new: replacement, what: what, remedy: remedy})
	}
	// reported sets the line that the message of the last edit is about.
	reported := func(line int) {
		last := &edits[len(edits)-1]
		last.at, last.line = last.line, line
	}
	const (
		unit = "is a number without a unit"
		such = "such as"
	)
	// Durations.
	for _, c := range []struct{ line, value string }{
		{"timeout: 5s", "5s"}, {"min_interval: 0s", "0s"}, {"silent_after: 10m", "10m"}, {"silent_after: 11m", "11m"},
	} {
		add(at(c.line), c.value, "300", unit, such)
		for _, bad := range []string{"5 min", "5min", "-5m", "1:40", "1.5h", "ten minutes", "5M", "PT5M", "5,5m"} {
			add(at(c.line), c.value, bad, "is not a duration", such)
		}
	}
	for _, c := range []struct{ line, value string }{
		{"from: 14m, until", "14m"}, {"from: 14m, until", "1h40m"}, {"from: 15m", "15m"}, {"until: 1h45m", "1h45m"},
	} {
		add(at(c.line), c.value, "300", unit, "a duration after the gun such as 14m")
		for _, bad := range []string{"-5m", "14 min", "quarter past nine"} {
			add(at(c.line), c.value, bad, "is neither a duration nor a date-time", "a duration after the gun such as 14m")
		}
	}
	add(at("from: 14m, until"), "from: 14m", "from:14m", "no space after the colon", `"name: value"`)
	add(at("from: 14m, until"), "from: 14m", "from=14m", "= instead of a colon", `"name: value"`)
	add(at("from: 14m, until"), "until: 1h40m", "until 1h40m", "no colon", `"name: value"`)
	add(at("from: 14m, until"), "1h40m", "10m", "until is not after from", "use a later until")
	add(at("from: 14m, until"), "{from: 14m, until: 1h40m}", "14m-1h40m", "expected is not a mapping", "{from: 14m, until: 1h40m}")
	add(at("from: 14m, until"), "14m,", "14m", "YAML: ", "commas")
	add(at("from: 14m, until"), "from: 14m, ", "", "expected has no from", "a duration after the gun")
	add(at("point: finish"), "point: finish", "point:finish", "no space after the colon", `"name: value"`)

	// Date-times.
	for bad, what := range map[string]string{
		"2026-11-29T09:00:00":        "start has no time zone",
		"2026-11-29":                 "start has no time of day",
		"29.11.2026 09:00-03:00":     "start is not a date-time",
		"2026-11-31T09:00:00-03:00":  "start is a date-time that does not exist",
		"2026-11-29T09:00:00+15:00":  "start has a UTC offset that does not exist",
		"9am":                        "start is not a date-time",
		"\"2026-11-29T09:00:00-0300": "a quote is not closed",
	} {
		remedy := "a date-time with its UTC offset"
		if strings.HasPrefix(bad, `"`) {
			remedy = remedyQuote
		}
		add(at("start: "), "2026-11-29T09:00:00-03:00", bad, what, remedy)
	}

	// Tokens, ids and the key.
	for _, id := range []string{token, token2, device} {
		name := map[string]string{token: "token", token2: "token", device: "device"}[id]
		line := at(id)
		add(line, id, id[:63], name+" has 63 characters", "compare it with the one in your RUFUS account")
		add(line, id, id+"0", name+" has 65 characters", "compare it with the one in your RUFUS account")
		add(line, id, "O"+id[1:], name+" has 64 characters, but those in the API's documentation have 64 hexadecimal", "compare it")
		add(line, id, id[:15], name+" has 15 characters instead of 16 to 128", "use the whole ")
		add(line, id, id+id+"0", name+" has 129 characters instead of 16 to 128", "use the whole ")
		add(line, id, id+`"`, name+" contains a quote", "use the whole ")
		add(line, id, "“"+id+"”", name+" contains a quote", "use the whole ")
		add(line, id, id[:32]+" "+id[32:], name+" has characters other than", "use the whole ")
		add(line, id, id+",", name+" has characters other than", "use the whole ")
		add(line, id, "https://runonrufus.com/"+id, name+" has characters other than", "use the whole ")
		add(line, id, apiKey, name+" is an API key", "use the whole ")
		add(line, id, "$TOKEN", name+" contains a variable", "$RUFUS_API_KEY")
		add(line, id, "'"+id, "a quote is not closed", remedyQuote)
	}
	add(at(token), token, "token:"+token, "no space after the colon", `"name: value"`)
	add(at(token), token, "token "+token, "no colon", `"name: value"`)
	add(at(token), token, "token="+token, "= instead of a colon", `"name: value"`)
	add(at(token), token, token2, "65A1B7E0... is already listed in line", "remove one")
	reported(at(token2))
	add(at(device), "device: ", "token: "+token2+"\n    device: ", "both token and device", "keep device")
	for bad, what := range map[string]string{
		"'\"" + apiKey + "\"'":           "key has quotes around the key",
		"\"'" + apiKey + "'\"":           "key has quotes around the key",
		apiKey + `"`:                     "key has quotes around the key",
		"RUFUS_API_KEY=" + apiKey:        "key has a name before the key",
		"export RUFUS_API_KEY=" + apiKey: "key has a name before the key",
		"Bearer " + apiKey:               "key has a word before the key",
		apiKey + " " + apiKey:            "key has spaces, line breaks or characters outside ASCII",
	} {
		add(at(apiKey), apiKey, bad, what, "write only the API key")
	}
	for _, bad := range []string{"${RUFUS_API_KEY}", "$RUFUS_API_KEY", "$(cat key)", "'{{ key }}'"} {
		add(at(apiKey), apiKey, bad, "key contains a variable", "or set key_file to the path of a file")
	}
	add(at(apiKey), "key: "+apiKey, "key_file: ${CREDENTIALS_DIRECTORY}/key", "key_file contains a variable", "$RUFUS_API_KEY_FILE")

	// Names and races.
	add(at("name: finish-10k"), "finish-10k", "finish: 10k", "YAML: mapping values are not allowed", "put quotes")
	add(at("name: finish-10k"), "finish-10k", "@finish", "YAML: found character that cannot start any token", "put quotes")
	add(at("name: finish-10k"), "finish-10k", `finish-10k"`, "name has a quote at one end only", "put the same")
	add(at("name: finish-10k"), "finish-10k", "“finish”", "name has a quote at one end only, or a quote other than", "put the same")
	add(at("name: finish-10k"), "finish-10k", `""`, "name is empty", "use 1 to 100 printable characters")
	add(at("name: finish-10k"), "finish-10k", strings.Repeat("x", 101), "name is longer than 100", "use 1 to 100")
	add(at("name: finish-10k"), "finish-10k", "at "+token, "the name contains the API key or a configured token", "choose another")
	add(at("name: turn-5k"), "turn-5k", "finish-10k", "has the same name", "rename one of them")
	reported(at("device: "))
	add(at("race: kids"), "kids", "10k", "is not in races", "add it there, or correct the name")
	add(at("- name: kids"), "kids", "5k", `duplicate race "5k", first in line`, "keep one of them")
	add(at("    name: turn-5k"), "    name", "\tname", "YAML: a tab is used to indent", "indent with spaces")
	add(at("    name: turn-5k"), "    name", "   name", "YAML: ", "indent all settings of an entry equally")
	add(at("labels: {point"), "point", "job", "is used by the exporter", "choose another name")
	add(at("labels: {point"), "point", "my-point", "is not a valid label name", "use letters")
	add(at("labels: {point"), "{point: finish}", "finish", "labels is not a mapping", "write it as")

	// The api section.
	add(at("device_metrics"), "true", "maybe", "device_metrics has an unknown value", "use true or false")
	add(at("max_devices"), "500", "0", "max_devices is out of range", "use a number from 1 to 10000")
	add(at("max_devices"), "500", "10001", "max_devices is out of range", "use a number from 1 to 10000")
	add(at("max_devices"), "500", "many", "max_devices is not a number", "use a number from 1 to 10000")
	add(at("max_concurrent"), "32", "3.5", "is not a number", "use a number from 1 to 1024")
	add(at("https://api.example"), "https://", "", "url does not start with http", "https://api.runonrufus.com/v0")
	add(at("key_header"), "api_key", "Authorization", "key_header has an unknown value", "use api_key or x-api-key")
	add(at("min_version"), "TLS12", "1.2", "min_version has an unknown value", "use one of TLS10")
	add(at("proxy_url"), "http://proxy:3128", "proxy:3128", "proxy_url is not a valid proxy address", "use scheme://host:port")

	// Rules.
	alias := at("(?P<point>START")
	for bad, c := range map[string][2]string{
		"(?P<point>START-(?P<race>.+)":        {"alias has an opening parenthesis without", "add the closing"},
		"(?P<point>START))-(?P<race>.+)":      {"alias has a closing parenthesis without", "remove it"},
		"'*-START'":                           {"alias has a *, + or ? with nothing before it", "write .* for any text"},
		"'[START'":                            {"alias has a [ without a closing ]", "add the ]"},
		"START++":                             {"alias has two repeat operators in a row", "keep one"},
		"(?=START).*":                         {"alias uses syntax that RE2 does not have", "RE2 syntax"},
		`START\`:                              {"alias ends with a backslash", `write \\`},
		"(?P<po int>a)":                       {"alias has a group whose name", "letters, digits and _ in the name"},
		"(START-[9-0])":                       {"alias has a character class or range", "from low to high"},
		"((x{1000}){1000})":                   {"alias is too complex", "smaller"},
		"(x?){1000}(y?){1000}(z?){1000}":      {"alias is too complex", "smaller"},
		strings.Repeat("x", 501):              {"alias is longer than 500 characters", "several rules"},
		`""`:                                  {"alias is empty", "or remove the setting"},
		device:                                {"alias is a device id or a token", "- device: ..."},
		"FINISH-${RACE}":                      {"alias contains a variable", "write the value itself"},
		"'(?P<point>START)-(?P<race>.+)":      {"a quote is not closed", remedyQuote},
		"\"(?P<point>START)\\-(?P<race>.+)\"": {"YAML: found unknown escape character", "single quotes"},
	} {
		add(alias, "(?P<point>START|TURN)-(?P<race>.+)", bad, c[0], c[1])
	}
	name := at("name: $point")
	add(name, "$point-$race", "$pont-$race", `name uses group "pont", but neither alias nor serial_number has it`, "add (?P<name>...)")
	add(name, "$point-$race", "$point_$race", `name uses group "point_"`, "${name} if text follows")
	add(name, "$point-$race", "$3", `name uses group "3"`, "add (?P<name>...)")
	add(name, "$point-$race", "5$ $race", "name has a dollar sign without a group", "$$ for a dollar sign")
	add(name, "$point-$race", "${point", "name has a dollar sign without a group", "$group, ${group} or $1")
	add(name, "$point-$race", `" "`, "name has neither a group nor text", "$point-$race")
	add(name, "$point-$race", `""`, "name is empty", "$point-$race")
	add(name, "$point-$race", "${RACE_NAME}", "but neither alias nor serial_number has it", "add (?P<name>...)")
	add(at("race: $race"), "$race", "$rac", `race uses group "rac"`, "add (?P<name>...)")
	add(at("race: $race"), "$race", "10k", "is not in races", "correct the name")
	serial := at("serial_number")
	add(serial, "O4A-00150", "O4A(", "serial_number has an opening parenthesis", "add the closing")
	add(serial, "O4A-00150", "O4A-*", "serial_number ends with *, which only repeats", "write .* for any text")
	add(serial, "serial_number: O4A-00150", "alias: SPARE-.*", "the rule never matches", "keep one of them")
	reported(at("alias: SPARE"))
	add(serial, "serial_number: O4A-00150", "alias: .*", "matches every device", fmt.Sprintf("move the rule in line %d to the end", serial))
	reported(at("alias: SPARE"))
	add(serial, "serial_number: O4A-00150", "alias:", "alias has no value", "use a regular expression")
	ignore := at("ignore: true")
	add(ignore, "ignore: true", "ignore: true\n    race: 5k", "race has no effect together with ignore", "remove one of them")
	reported(ignore + 1)
	add(ignore, "true", "yep", "ignore has an unknown value", "use true or false")
	return edits
}

// Hundreds of small typing errors in a valid file: each message has the line, the problem and the remedy, and shows no
// secret.
func TestTypedErrors(t *testing.T) {
	t.Setenv(KeyVariable, "")
	t.Setenv(KeyFileVariable, "")
	if cfg := parse(t, typed); len(cfg.Warnings) > 0 {
		t.Fatalf("the file that is edited has warnings: %q", cfg.Warnings)
	}
	edits := append(everywhere(), particular(t)...)
	if len(edits) < 400 {
		t.Errorf("only %d edits", len(edits))
	}
	for _, e := range edits {
		text := e.edited(t)
		var messages []string
		cfg, err := Parse([]byte(text), "f.yml")
		var list *Error
		switch {
		case err == nil:
			messages = cfg.Warnings
		case errors.As(err, &list):
			messages = list.Problems
			checkMessages(t, err, "f.yml")
		}
		place := fmt.Sprintf("f.yml:%d: ", e.line)
		if !slices.ContainsFunc(messages, func(m string) bool {
			what, remedy, _ := strings.Cut(m, "; ")
			return strings.HasPrefix(m, place) && strings.Contains(what, e.what) && strings.Contains(remedy, e.remedy)
		}) {
			t.Errorf("line %d: %q for %q\n\tgot  %q\n\twant %q with %q and %q",
				e.line, e.new, e.old, messages, place, e.what, e.remedy)
		}
		all := strings.Join(messages, "\n")
		if part := leaks(all, token, token2, device); part != "" {
			t.Errorf("%q shows in %s", part, all)
		}
		if strings.Contains(all, apiKey[4:8]) {
			t.Errorf("the key shows in %s", all)
		}
	}
}
