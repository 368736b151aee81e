package rufus_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

// listed is a session in the answer to GET /sessions/device/{id}, with five of the eight members.
func listed(changes ...string) string {
	return session(append([]string{"duration", "", "first", "", "last", ""}, changes...)...)
}

// Sessions of the followed device.
var (
	older = listed("token_session", `"`+other+`"`, "alias", `"MORNING"`, "creation_date", `"2023-02-03T08:00:00Z"`,
		"active", "false", "passings", "900")
	old = listed("active", "false")

	readsOlder = reads("alias", "MORNING", "creation_date", "2023-02-03T08:00:00Z", "duration", "", "active", "false",
		"passings", "900", "first", "", "last", "")
	readsOld    = reads("duration", "", "active", "false", "first", "", "last", "")
	readsListed = reads("duration", "", "first", "", "last", "")
	none        = reads("alias", "", "creation_date", "", "duration", "", "active", "false", "passings", "", "first", "",
		"last", "")
)

// ownNone is the API's answer if the device has no session (documented), and ownJSON the same as JSON. own is the
// complete 404.
const (
	ownNone = `{description: "Sessions not found", deviceid: "` + device + `"}`
	ownJSON = `{"description": "Sessions not found", "deviceid": "` + device + `"}`
	own     = "404 " + ownNone
	lambda  = `{"errorMessage": "Task timed out", "errorType": "Timeout"}`
)

// deviceAnswers are the answers to GET /sessions/device/{id}/active and GET /sessions/device/{id}, and the expected
// result. "-" means that the second request must not be sent. A body may start with a status.
var deviceAnswers = []struct {
	name, active, list, want string
}{
	{"active", one(), "-", reads()},
	{"active, an object", result(session()), "-", reads()},
	{"active, in the envelope", enveloped("[" + session() + "]"), "-", reads()},
	{"active, without its token", one("token_session", ""), "-", reads()},
	{"active, without what is optional", result("[" + rest("null") + "]"), "-", bare},
	{"active among several", result("[" + older + "," + session() + "]"), "-", reads()},
	{"active, though a closed one is newer", result("[" + session() + "," + session("active", "false",
		"creation_date", `"2023-02-04T00:00:00Z"`) + "]"), "-", reads()},
	{"several active: the newest", result("[" + session() + "," + session("creation_date", `"2023-02-01T00:00:00Z"`,
		"passings", "7") + "]"), "-", reads()},
	{"several active: the one with a date", result("[" + session("creation_date", "", "passings", "7") + "," +
		session() + "]"), "-", reads()},
	{"alias that is the device", one("alias", `"`+strings.ToLower(device)+`"`), "-", reads("alias", "<secret>")},
	{"alias that is the token", one("alias", `"`+token+`"`), "-", reads("alias", "<secret>")},
	{"alias that is the key", one("alias", `"`+key+`"`), "-", reads("alias", "<secret>")},
	{"alias of the form of a token", one("alias", `"see `+other+`"`), "-", reads("alias", "see <secret>")},

	{"idle, as documented", own, result("[" + older + "," + old + "]"), readsOld},
	{"idle, in the other order", own, result("[" + old + "," + older + "]"), readsOld},
	{"idle, by a bare 404", "404 ", result("[" + older + "," + old + "]"), readsOld},
	{"idle, 200 with the description", `{"description": "Sessions not found", "deviceid": "` + device + `"}`,
		result("[" + older + "]"), readsOlder},
	{"idle, empty", result("[]"), result("[" + older + "]"), readsOlder},
	{"idle, null", `{"body": null}`, enveloped(older), readsOlder},
	{"idle, a closed session", one("active", "false", "passings", "5"), result("[" + old + "]"), readsOld},
	{"idle, one old session lacks its count", own, result("[" + listed("creation_date", `"2020-01-01T00:00:00Z"`,
		"active", "false", "passings", "null") + "," + old + "]"), readsOld},
	{"idle, no dates: the first", own, result("[" + listed("creation_date", "", "active", "false") + "," +
		listed("creation_date", "", "active", "false", "passings", "7") + "]"),
		reads("creation_date", "", "duration", "", "active", "false", "first", "", "last", "")},
	{"idle, with the id of the device", own, result("[" + listed("active", "false", "deviceid", `"`+device+`"`) + "]"), readsOld},
	{"START pressed between the two", own, result("[" + old + "," +
		listed("alias", `"AGAIN"`, "creation_date", `"2023-02-03T18:00:00Z"`, "passings", "0") + "]"),
		reads("alias", "AGAIN", "creation_date", "2023-02-03T18:00:00Z", "duration", "", "first", "", "passings", "0",
			"last", "")},
	{"a bare 404 while one is active", "404 ", result("[" + older + "," + listed() + "]"), readsListed},
	{"nothing said while one is active", result("[]"), result("[" + listed() + "]"), readsListed},
	{"unused", own, own, none},
	{"unused, by a bare 404 first", "404 ", own, none},
	{"unused, empty", result("[]"), result("[]"), none},
	{"unused, empty, by a bare 404 first", "404 ", result("[]"), none},
	{"unused, without a result", own, `{"description": "Success"}`, none},
	{"unused, 200 with the description", own, `{"description": "Sessions not found", "deviceid": "` + device + `"}`, none},
	{"unused, in the envelope", `404 {"body": ` + ownJSON + `}`, `{"body": {"result": null}}`, none},

	// answers that do not come from the API must not become a state
	{"404s that are bare", "404 ", "404 ", "not_found"},
	{"a page, twice", "404 \n<html>nginx</html>", "404 \n<html>nginx</html>", "not_found"},
	{"a gateway's error, twice", `404 {"message": "Not Found"}`, `404 {"message": "Not Found"}`, "not_found"},
	{"idle, then a page", own, "404 <!DOCTYPE html>", "not_found"},
	{"idle, then a bare 404", own, "404 ", "not_found"},
	{"idle, then another device", own, strings.ReplaceAll(own, device, other), "not_found"},
	{"idle, then another device's session", own, result("[" + listed("deviceid", `"`+other+`"`) + "]"), "invalid_response"},
	{"another device's active session", one("deviceid", `"`+other+`"`), "-", "invalid_response"},
	{"a page, then broken", "404 <html>", "502 ", "server_error"},
	{"a page, then unreadable", "404 <html>", "[]", "invalid_response"},
	{"a page, then half a session", "404 <html>", result("[" + listed("passings", "") + "]"), "invalid_response"},
	{"a page, then names in capitals", "404 <html>", `{"Result": [], "Description": "Success"}`, "invalid_response"},
	{"a function's error, twice", lambda, lambda, "invalid_response"},
	{"an empty object, twice", "{}", "{}", "invalid_response"},
	{"an empty envelope, twice", `{"body": null}`, `{"body": null}`, "invalid_response"},
	{"an envelope with something else, twice", `{"body": {"x": 1}}`, `{"body": {"x": 1}}`, "invalid_response"},
	{"another description, twice", `{"description": "Internal error"}`, `{"description": "Internal error"}`, "invalid_response"},
	{"idle, then an empty object", own, "{}", "invalid_response"},

	{"wrong key", "403 ", "-", "unauthorized"},
	{"too fast", "429 ", "-", "rate_limited"},
	{"broken", "500 ", "-", "server_error"},
	{"unreadable", "<html>", "-", "invalid_response"},
	{"unknown members", result(`[{"state": "running"}]`), "-", "invalid_response"},
	{"active, without a count", one("passings", ""), "-", "invalid_response"},
	{"active, with a wrong one", one("passings", "-1"), "-", "invalid_response"},
	{"active, which is no boolean", one("active", "1"), "-", "invalid_response"},
	{"idle, then a wrong key", own, "401 ", "unauthorized"},
	{"idle, then broken", own, "502 ", "server_error"},
	{"idle, then unreadable", own, "[]", "invalid_response"},
	{"idle, the newest neither active nor closed", own, result("[" + listed("active", "") + "," + older + "]"), "invalid_response"},
	{"idle, the newest without a count", own, result("[" + older + "," + listed("active", "false", "passings", "") +
		"]"), "invalid_response"},
}

// answerWith sends body, or the status that it starts with and the rest.
func answerWith(w http.ResponseWriter, body string) {
	var status int
	if n, _ := fmt.Sscanf(body, "%3d ", &status); n == 1 {
		w.WriteHeader(status)
		body = body[4:]
	}
	_, _ = io.WriteString(w, body)
}

func TestDeviceSession(t *testing.T) {
	now := deviceAnswers[0]
	c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.RequestURI {
		case "/v0/sessions/device/" + device + "/active":
			answerWith(w, now.active)
		case "/v0/sessions/device/" + device:
			if now.list == "-" {
				t.Error("the list was asked for")
			}
			answerWith(w, now.list)
		default:
			t.Errorf("got a request for %s", r.RequestURI)
		}
	}), patience)
	for _, answer := range deviceAnswers {
		t.Run(answer.name, func(t *testing.T) {
			now = answer
			s, err := c.State(t.Context(), rufus.Target{Follows: rufus.Device, ID: rufus.NewSecret(device)})
			if got := outcome(t, s, err); got != answer.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, answer.want)
			}
		})
	}
}

// notFounds are bodies of a 404, and whether the API says in them that there is no session.
var notFounds = []struct {
	name, body string
	own        bool
}{
	{"as documented", ownNone, true},
	{"as documented for a session", `{description: "Session not found", deviceid: "` + device + `"}`, true},
	{"the other way round", `{deviceid: "` + device + `", description: "Sessions not found"}`, true},
	{"in lower case", strings.ToLower(`{"deviceid": "`+device+`", `) + `"description": "Sessions not found"}`, true},
	{"a shortened id", `{description: "Sessions not found", deviceid: "1C3A…"}`, true},
	{"an id of one character", `{description: "Sessions not found", deviceid: "1"}`, true},
	{"without blanks", `{description:"Sessions not found",deviceid:"` + device + `"}`, true},
	{"on lines", "\n{\n  description: \"Sessions not found\",\n  deviceid : \"" + device + "\"\n}\n", true},
	{"JSON", ownJSON, true},
	{"JSON and more", strings.Replace(ownJSON, "{", `{"statusCode": 404, `, 1), true},
	{"JSON and no result", strings.Replace(ownJSON, "{", `{"result": [], `, 1), true},
	{"half of the names in quotes", `{"description": "Sessions not found", deviceid: "` + device + `"}`, true},
	{"in the envelope", `{body: ` + ownNone + `}`, true},
	{"in the envelope, JSON", `{"body": ` + ownJSON + `}`, true},
	{"behind a byte order mark", "\uFEFF" + ownJSON, true},
	{"of almost 8 KiB", ownNone + strings.Repeat(" ", 8<<10-100-len(ownNone)), true},

	{"nothing", "", false},
	{"Go", "404 page not found\n", false},
	{"Kubernetes", "default backend - 404", false},
	{"text", "Not Found", false},
	{"Envoy", "no healthy upstream", false},
	{"Express", "Cannot GET /v0/sessions/device/" + device + "/active", false},
	{"the words alone", "Sessions not found", false},
	{"the words as a string", `"Sessions not found"`, false},
	{"the words without an id", `{"description": "Sessions not found"}`, false},
	{"the words with an empty id", `{"description": "Sessions not found", "deviceid": ""}`, false},
	{"the words with a number for an id", `{"description": "Sessions not found", "deviceid": 5}`, false},
	{"the words under another name", `{"message": "Sessions not found", "deviceid": "` + device + `"}`, false},
	{"the words within others", `{"description": "Sessions not found here", "deviceid": "` + device + `"}`, false},
	{"names in capitals", `{"Description": "Sessions not found", "DeviceID": "` + device + `"}`, false},
	{"about another device", strings.ReplaceAll(ownNone, device, other), false},
	{"the id alone", `{"deviceid": "` + device + `"}`, false},
	{"other words", `{"description": "Device not found", "deviceid": "` + device + `"}`, false},
	{"a page", "<!DOCTYPE html><title>404</title>", false},
	{"a page with the words", "<p>" + ownNone + "</p>", false},
	{"a page behind a byte order mark", "\uFEFF<html>" + ownJSON, false},
	{"text before", "Error: " + ownNone, false},
	{"text behind", ownNone + " (nginx)", false},
	{"twice", ownJSON + ownJSON, false},
	{"in an array", "[" + ownJSON + "]", false},
	{"in an envelope of an envelope", `{"body": {"body": ` + ownJSON + `}}`, false},
	{"in an envelope that is text", `{"body": "` + strings.ReplaceAll(ownJSON, `"`, `\"`) + `"}`, false},
	{"cut", ownJSON[:len(ownJSON)-1], false},
	{"cut, without quotes", ownNone[:len(ownNone)-2], false},
	{"gzip that is not called so", zip(ownJSON), false},
	{"UTF-16", utf16le(ownJSON), false},
	{"with a session", strings.Replace(ownJSON, "{", `{"result": [`+session()+`], `, 1), false},
	{"over 8 KiB", ownNone + strings.Repeat(" ", 8<<10-len(ownNone)+1), false},
	{"far over 8 KiB", strings.Replace(ownJSON, "{", `{"x": "`+strings.Repeat("x", 1<<20)+`", `, 1), false},
}

// A 404 becomes a state only if its body comes from the API.
func TestForeignNotFound(t *testing.T) {
	now := ""
	lists := 0
	c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v0/sessions/device/"+device {
			lists++
		}
		answerWith(w, "404 "+now)
	}), patience)
	for _, test := range notFounds {
		t.Run(test.name, func(t *testing.T) {
			now, lists = test.body, 0
			want := "not_found"
			if test.own {
				want = none
			}
			s, err := c.DeviceSession(t.Context(), rufus.NewSecret(device))
			if got := outcome(t, s, err); got != want || lists != 1 {
				t.Errorf("got %s (%v) after %d lists, want %s", got, err, lists, want)
			}
			// For a session it is always not_found, but the error names a 404 that is not from the API.
			now = strings.NewReplacer("deviceid", "token_session", device, token, strings.ToLower(device), token).Replace(test.body)
			_, err = ask(t, c)
			if reason(t, err) != rufus.NotFound || strings.Contains(err.Error(), "api.url") == test.own {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A compressed answer is decompressed.
func TestNotFoundInGzip(t *testing.T) {
	for _, encoding := range []string{"gzip", "x-gzip"} {
		c := client(t, api(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			answerWith(w, "404 "+zip(ownNone))
		}), patience)
		s, err := c.DeviceSession(t.Context(), rufus.NewSecret(device))
		if got := outcome(t, s, err); got != none {
			t.Errorf("%s: got %s (%v)", encoding, got, err)
		}
	}
}

func TestStateOfToken(t *testing.T) {
	c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != sessionPath {
			t.Errorf("got a request for %s", r.RequestURI)
		}
		_, _ = io.WriteString(w, one())
	}), patience)
	s, err := c.State(t.Context(), rufus.Target{ID: rufus.NewSecret(token)})
	if got := outcome(t, s, err); got != reads() {
		t.Errorf("got %s (%v)", got, err)
	}
}

func TestFollowsString(t *testing.T) {
	if rufus.Token != "token" || rufus.Device != "device" {
		t.Errorf("got %s and %s", rufus.Token, rufus.Device)
	}
}

// health is a device in the answer to GET /devices, and told is the expected result. Both accept changes like session.
func health(changes ...string) string {
	return "{" + join([]string{
		"deviceid", `"` + device + `"`,
		"type", `"cloudbox"`,
		"alias", `"FINISH-5K"`,
		"serial_number", `"O4A-00150"`,
		"model", `"CloudBox 3"`,
		"firmware", `"2.1.0"`,
		"device_status", `"online"`,
		"battery_percentage", "85",
		"charging", "false",
		"last_telemetry_at", `"2023-02-03T16:08:18.263Z"`,
		"last_login", `"2023-02-03T15:00:00Z"`,
	}, changes, func(name, value string) string { return `"` + name + `": ` + value }) + "}"
}

func told(changes ...string) string {
	return join([]string{
		"alias", "FINISH-5K",
		"serial_number", "O4A-00150",
		"model", "CloudBox 3",
		"firmware", "2.1.0",
		"device_status", "online",
		"battery_percentage", "0.85",
		"charging", "false",
		"last_telemetry_at", "2023-02-03T16:08:18.263Z",
		"last_login", "2023-02-03T15:00:00Z",
	}, changes, func(name, value string) string { return name + "=" + value })
}

// tells formats a DeviceHealth like told.
func tells(h rufus.DeviceHealth) string {
	battery, charging := "", ""
	if ratio, ok := h.Battery.Get(); ok {
		battery = fmt.Sprint(ratio)
	}
	if is, ok := h.Charging.Get(); ok {
		charging = fmt.Sprint(is)
	}
	instant := func(o rufus.Option[time.Time]) string {
		at, ok := o.Get()
		if !ok {
			return ""
		}
		return at.UTC().Format(time.RFC3339Nano)
	}
	var changes []string
	if h.Unreadable != "" {
		changes = []string{"unreadable", h.Unreadable}
	}
	return told(append(changes, "alias", h.Alias, "serial_number", h.SerialNumber, "model", h.Model, "firmware", h.Firmware, "device_status", h.Status, "battery_percentage", battery,
		"charging", charging, "last_telemetry_at", instant(h.LastTelemetry), "last_login", instant(h.LastLogin))...)
}

func TestDeviceHealth(t *testing.T) {
	unknown := told("alias", "", "serial_number", "", "model", "", "firmware", "", "device_status", "", "battery_percentage", "", "charging", "",
		"last_telemetry_at", "", "last_login", "")
	every := func(json string) string {
		return health("alias", json, "serial_number", json, "model", json, "firmware", json, "device_status", json, "battery_percentage", json,
			"charging", json, "last_telemetry_at", json, "last_login", json)
	}
	for _, test := range []struct{ name, device, want string }{
		{"documented", health(), told()},
		{"id in lower case", health("deviceid", `"`+strings.ToLower(device)+`"`), told()},
		{"extra members", health("passings", "3", "gps", `{"lat": [1]}`), told()},
		{"nothing but the id", `{"deviceid": "` + device + `"}`, unknown},
		{"null", every("null"), unknown},
		{"objects", every("{}"), "unreadable=last_telemetry_at last_login"},
		{"arrays", every("[1]"), "unreadable=last_telemetry_at last_login"},
		{"battery 0", health("battery_percentage", "0"), told("battery_percentage", "0")},
		{"battery 100", health("battery_percentage", "100"), told("battery_percentage", "1")},
		{"battery 99.5", health("battery_percentage", "99.5"), told("battery_percentage", "0.995")},
		{"battery above 100", health("battery_percentage", "101"), told("battery_percentage", "")},
		{"battery below 0", health("battery_percentage", "-1"), told("battery_percentage", "")},
		{"battery a string", health("battery_percentage", `"85"`), told("battery_percentage", "")},
		{"battery too large", health("battery_percentage", "1e999"), told("battery_percentage", "")},
		{"battery twice, null last", health("battery_percentage", `85, "battery_percentage": null`),
			told("battery_percentage", "")},
		{"charging", health("charging", "true"), told("charging", "true")},
		{"charging a number", health("charging", "1"), told("charging", "")},
		{"charging a string", health("charging", `"true"`), told("charging", "")},
		{"never logged in", health("last_login", `"0001-01-01T00:00:00Z"`), told("last_login", "")},
		{"telemetry without zone", health("last_telemetry_at", `"2023-02-03T16:08:18"`),
			told("last_telemetry_at", "", "unreadable", "last_telemetry_at")},
		{"login with a blank", health("last_login", `"2023-02-03 16:00:00+01"`), told()},
		{"model with an escape sequence", health("model", `"\u001b[2J"`), told("model", "\uFFFD[2J")},
		{"model of a million characters", health("model", `"`+strings.Repeat("x", 1_000_000)+`"`),
			told("model", strings.Repeat("x", 200))},
		{"names in capitals", health("Battery_Percentage", "5", "MODEL", "null", "DeviceID", `"`+other+`"`), told()},
		{"aliasless", health("alias", `""`), told("alias", "")},
		{"alias of several lines", health("alias", `"FINISH\n\t5K"`), told("alias", "FINISH  5K")},
		{"alias that is another's id", health("alias", `"like `+other+`"`), told("alias", "like <secret>")},
		{"serial number that is the key", health("serial_number", `"`+key+`"`), told("serial_number", "<secret>")},
		{"model that is the id", health("model", `"x`+strings.ToLower(device)+`"`), told("model", "x<secret>")},
		{"firmware that is the key", health("firmware", `"`+key+`"`), told("firmware", "<secret>")},
		{"status that is the id", health("device_status", `"`+device+`"`), told("device_status", "<secret>")},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(t, api(t, says(http.StatusOK, result("["+test.device+"]"))), patience)
			list, err := c.Devices(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, found := list.Health(rufus.NewSecret(strings.ToLower(device)))
			if !found || tells(got) != test.want {
				t.Errorf("got  %s, %t\nwant %s", tells(got), found, test.want)
			}
			if _, found := list.Health(rufus.NewSecret(other)); found {
				t.Error("a device is listed that is not")
			}
		})
	}
}

// TestDeviceList sends the pages in order and repeats the last one. Devices are d1, d2 and so on.
func TestDeviceList(t *testing.T) {
	page := func(pagination string, ids ...string) string {
		devices := make([]string, len(ids))
		for i, id := range ids {
			devices[i] = `{"deviceid": "` + id + `"}`
		}
		return `{"result": [` + strings.Join(devices, ",") + `], "pagination": ` + pagination + `}`
	}
	const last, more = `{"has_more": false}`, `{"has_more": true}`
	for _, test := range []struct {
		name     string
		pages    []string
		want     string // the devices among d1 to d5, then "all" if the list is complete; or a reason
		requests int
	}{
		{"one page", []string{page(`{"page": 1, "limit": 1000, "total": 2, "has_more": false}`, "d1", "d2")},
			"d1 d2 all", 1},
		{"in the envelope", []string{`{"body": ` + page(last, "d1") + `}`}, "d1 all", 1},
		{"a single object", []string{`{"result": {"deviceid": "d1"}, "pagination": ` + last + `}`}, "d1 all", 1},
		{"three pages", []string{page(more, "d1"), page(more, "d2"), page(last, "d3")}, "d1 d2 d3 all", 3},
		{"three pages, counted", []string{page(`{"total": 3, "has_more": true}`, "d1", "d2"),
			page(`{"total": 3, "has_more": false}`, "d3")}, "d1 d2 d3 all", 2},
		{"an empty account", []string{page(`{"total": 0, "has_more": false}`)}, "all", 1},
		{"an empty last page", []string{page(more, "d1"), page(last)}, "d1 all", 2},
		{"no result", []string{`{"pagination": ` + last + `}`}, "all", 1},

		{"does not say whether there is more", []string{page(`{}`, "d1")}, "d1", 1},
		{"more is null", []string{page(`{"has_more": null}`, "d1")}, "d1", 1},
		{"more is a string", []string{page(`{"has_more": "false"}`, "d1")}, "d1", 1},
		{"no pagination", []string{result(`[{"deviceid": "d1"}]`)}, "d1", 1},
		{"pagination null", []string{page("null", "d1")}, "d1", 1},
		{"pagination an array", []string{page("[]", "d1")}, "d1", 1},
		{"counts more than it gives", []string{page(`{"total": 3, "has_more": false}`, "d1", "d2")}, "d1 d2", 1},
		{"counts more, over pages", []string{page(more, "d1"), page(`{"total": 3, "has_more": false}`, "d2")}, "d1 d2", 2},
		{"a device twice", []string{page(`{"total": 2, "has_more": false}`, "d1", "D1")}, "d1", 1},
		{"a device without an id", []string{`{"result": [{"deviceid": "d1"}, {"a": 1}], "pagination": ` + last + `}`},
			"d1", 1},
		{"the longest id", []string{page(last, strings.Repeat("d", 128))}, "all", 1},
		{"an id without end", []string{`{"result": [{"deviceid": "` + strings.Repeat("d", 129) + `"}], "pagination": ` + last + `}`},
			"", 1},
		{"pagination in capitals", []string{`{"result": [{"deviceid": "d1"}], "Pagination": ` + last + `}`}, "d1", 1},
		{"an id that is a number", []string{`{"result": [{"deviceid": 1}], "pagination": ` + last + `}`}, "", 1},
		{"a count that is a string", []string{page(`{"total": "9", "has_more": false}`, "d1")}, "d1 all", 1},
		{"the same page for ever", []string{page(more, "d1", "d2")}, "d1 d2", 2},
		{"empty pages for ever", []string{page(more)}, "", 1},

		{"wrong key", []string{"403 "}, "unauthorized", 1},
		{"no such call", []string{"404 "}, "not_found", 1},
		{"unreadable", []string{"<html>"}, "invalid_response", 1},
		{"something else", []string{`{"message": "maintenance"}`}, "invalid_response", 1},
		{"devices are strings", []string{result(`["d1"]`)}, "invalid_response", 1},
		{"fails half-way", []string{page(more, "d1"), "500 "}, "server_error", 2},
		{"unreadable half-way", []string{page(more, "d1"), "[]"}, "invalid_response", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests := 0
			c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				if want := fmt.Sprintf("/v0/devices?page=%d&limit=1000", requests); r.RequestURI != want {
					t.Errorf("got a request for %s, want %s", r.RequestURI, want)
				}
				answerWith(w, test.pages[min(requests, len(test.pages))-1])
			}), patience)
			list, err := c.Devices(t.Context())
			var got []string
			for _, id := range []string{"d1", "d2", "d3", "d4", "d5"} {
				if _, found := list.Health(rufus.NewSecret(id)); found {
					got = append(got, id)
				}
			}
			if _, found := list.Health(rufus.Secret{}); found {
				t.Error("a device without an id can be found")
			}
			if list.Complete {
				got = append(got, "all")
			}
			if err != nil {
				got = append(got, string(reason(t, err)))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q (%v)", strings.Join(got, " "), test.want, err)
			}
			if requests != test.requests {
				t.Errorf("made %d requests, want %d", requests, test.requests)
			}
		})
	}
}

// Requests to a server that always has another page end: because of the number of devices, and because of the timeout.
func TestDeviceListWithoutEnd(t *testing.T) {
	requests := 0
	c := client(t, api(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		devices := make([]string, 4096)
		for i := range devices {
			devices[i] = fmt.Sprintf(`{"deviceid": "d%d-%d"}`, requests, i)
		}
		_, _ = fmt.Fprintf(w, `{"result": [%s], "pagination": {"has_more": true}}`, strings.Join(devices, ","))
	}), patience)
	if _, err := c.Devices(t.Context()); reason(t, err) != rufus.InvalidResponse || requests != 5 {
		t.Errorf("got %v after %d requests", err, requests)
	}

	var slow atomic.Int64
	c = client(t, api(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(short / 3)
		_, _ = fmt.Fprintf(w, `{"result": [{"deviceid": "d%d"}], "pagination": {"has_more": true}}`, slow.Add(1))
	}), short)
	if _, err := c.Devices(t.Context()); reason(t, err) != rufus.Timeout || slow.Load() > 4 {
		t.Errorf("got %v after %d requests", err, slow.Load())
	}
}

// While requests are paused, a call that needs several requests stops.
func TestNoFurtherRequestWhilePaused(t *testing.T) {
	var paths []string
	paused := false
	o := options(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		paused = true // because of another answer
		_, _ = io.WriteString(w, `{"result": [{"active": false, "passings": 1}], "pagination": {"has_more": true}}`)
	}), patience, transport(t, rufus.TransportOptions{MaxConns: 1, Timeout: patience}))
	o.Paused = func() bool { return paused }
	c := rufus.NewClient(o)
	if _, err := c.DeviceSession(t.Context(), rufus.NewSecret(device)); rufus.ReasonOf(err) != rufus.RateLimited {
		t.Errorf("got %v", err)
	}
	if _, err := c.Devices(t.Context()); rufus.ReasonOf(err) != rufus.RateLimited {
		t.Errorf("got %v", err)
	}
	if len(paths) != 2 {
		t.Errorf("asked for %q", paths)
	}
}

// Texts are masked with the configuration at the time of the answer.
func TestMaskOption(t *testing.T) {
	const configured = "CONFIGURED-16-CH"
	body := one("alias", `"see configured-16-ch"`)
	var secrets []rufus.Secret
	o := options(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v0/devices" {
			body = result("[" + health("model", `"`+configured+`"`) + "]")
		}
		_, _ = io.WriteString(w, body)
	}), patience, transport(t, rufus.TransportOptions{MaxConns: 1, Timeout: patience}))
	o.Mask = func() rufus.Mask { return rufus.NewMask(secrets) }
	c := rufus.NewClient(o)
	for range 2 {
		s, err := ask(t, c)
		want := reads("alias", "see configured-16-ch")
		if secrets != nil {
			want = reads("alias", "see <secret>")
		}
		if got := outcome(t, s, err); got != want {
			t.Errorf("got %s (%v), want %s", got, err, want)
		}
		secrets = []rufus.Secret{rufus.NewSecret(configured)}
	}
	list, err := c.Devices(t.Context())
	if h, _ := list.Health(rufus.NewSecret(device)); h.Model != "<secret>" {
		t.Errorf("got %+v, %v", h, err)
	}
}

// An alias shows neither the requested id nor the token of its session, even if they do not have the documented form.
func TestIDsOfAnotherForm(t *testing.T) {
	const id, session = "box-number-1", "session-number-2"
	c := client(t, api(t, says(http.StatusOK,
		one("token_session", `"`+session+`"`, "alias", `"see BOX-NUMBER-1 and session-NUMBER-2"`))), patience)
	s, err := c.DeviceSession(t.Context(), rufus.NewSecret(id))
	if got, want := outcome(t, s, err), reads("alias", "see <secret> and <secret>"); got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// A text that is cut shows no part of the token that the cut splits, even if a long key makes the client search far more
// than it shows.
func TestCutWithALongKey(t *testing.T) {
	var escaped strings.Builder // 6 bytes for each character, so that the cut is within the eleventh token
	for _, c := range strings.Repeat(token, 11) {
		fmt.Fprintf(&escaped, `\u%04x`, c)
	}
	o := options(t, api(t, says(http.StatusOK, one("alias", `"`+escaped.String()+`"`))), patience,
		transport(t, rufus.TransportOptions{MaxConns: 1, Timeout: patience}))
	o.Key = rufus.NewSecret(strings.Repeat("k", 500))
	s, err := ask(t, rufus.NewClient(o))
	if got, want := outcome(t, s, err), reads("alias", strings.Repeat("<secret>", 3)); got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// No text of the list contains one of its ids, in whatever order they appear. A short id is ignored, because it would
// hide parts of ordinary words.
func TestTheListShowsNoneOfItsIDs(t *testing.T) {
	const id, short = "box-number-1", "run"
	c := client(t, api(t, says(http.StatusOK, result(`[`+health("alias", `"see BOX-NUMBER-1"`, "model", `"box-number-1"`)+
		`, {"deviceid": "`+id+`", "alias": "I am `+id+`"}, {"deviceid": "`+short+`", "serial_number": "like `+id+`"}]`))), patience)
	list, err := c.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, h := range list.All() {
		texts[h.ID.Reveal()] = h.Alias + "|" + h.SerialNumber + "|" + h.Model
	}
	want := map[string]string{device: "see <secret>|O4A-00150|<secret>", id: "I am <secret>||", short: "|like <secret>|"}
	if !maps.Equal(texts, want) {
		t.Errorf("got  %q\nwant %q", texts, want)
	}
	hidden := list.Hide(rufus.NewMask([]rufus.Secret{rufus.NewSecret("4a-00150")}))
	if h, _ := hidden.Health(rufus.NewSecret(device)); h.SerialNumber != "O<secret>" || hidden.Complete != list.Complete {
		t.Errorf("got %+v", h)
	}
}
