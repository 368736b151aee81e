package rufus_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

// listed is a session as GET /sessions/device/{id} gives it, with five of the eight members.
func listed(changes ...string) string {
	return session(append([]string{"duration", "", "first", "", "last", ""}, changes...)...)
}

// Sessions of the device that is followed, old and older.
var (
	older = listed("token_session", `"`+other+`"`, "alias", `"MORNING"`, "creation_date", `"2023-02-03T08:00:00Z"`,
		"active", "false", "passings", "900")
	old = listed("active", "false")

	readsOlder = reads("alias", "MORNING", "creation_date", "2023-02-03T08:00:00Z", "duration", "", "active", "false",
		"passings", "900", "first", "", "last", "")
	readsOld = reads("duration", "", "active", "false", "first", "", "last", "")
	none     = reads("alias", "", "creation_date", "", "duration", "", "active", "false", "passings", "", "first", "",
		"last", "")
)

// deviceAnswers are what GET /sessions/device/{id}/active and GET /sessions/device/{id} say, the latter "-" where it
// must not be asked, and what comes of it. A body that begins with a status is one with that status.
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

	{"idle, as documented", `404 {description: "Sessions not found", deviceid: "BODY"}`,
		result("[" + older + "," + old + "]"), readsOld},
	{"idle, in the other order", "404 ", result("[" + old + "," + older + "]"), readsOld},
	{"idle, 200 with the description", `{"description": "Sessions not found", "deviceid": "` + device + `"}`,
		result("[" + older + "]"), readsOlder},
	{"idle, empty", result("[]"), result("[" + older + "]"), readsOlder},
	{"idle, null", `{"body": null}`, enveloped(older), readsOlder},
	{"idle, a closed session", one("active", "false", "passings", "5"), result("[" + old + "]"), readsOld},
	{"idle, one old session lacks its count", "404 ", result("[" + listed("creation_date", `"2020-01-01T00:00:00Z"`,
		"active", "false", "passings", "null") + "," + old + "]"), readsOld},
	{"idle, no dates: the first", "404 ", result("[" + listed("creation_date", "", "active", "false") + "," +
		listed("creation_date", "", "active", "false", "passings", "7") + "]"),
		reads("creation_date", "", "duration", "", "active", "false", "first", "", "last", "")},
	{"START pressed between the two", "404 ", result("[" + old + "," +
		listed("alias", `"AGAIN"`, "creation_date", `"2023-02-03T18:00:00Z"`, "passings", "0") + "]"),
		reads("alias", "AGAIN", "creation_date", "2023-02-03T18:00:00Z", "duration", "", "active", "false",
			"passings", "0", "first", "", "last", "")},
	{"unused", "404 ", "404 ", none},
	{"unused, empty", result("[]"), result("[]"), none},
	{"unused, without a result", "404 ", `{"description": "Success"}`, none},
	{"unused, in the envelope", `404 {"body": {"description": "Sessions not found"}}`, `{"body": {"result": null}}`, none},
	{"unused, JSON of the documented kind", `404 {"description": "Sessions not found", "deviceid": "BODY"}`, "404 ", none},

	{"unused, under other names", `404 {"message": "Sessions not found"}`, `404 {"error": {"deviceid": "BODY"}}`, none},

	// what no state must be made of: it comes from somebody else
	{"404, a page", "404 \n<html>nginx</html>", "-", "not_found"},
	{"404, a gateway's error", `404 {"message": "Not Found"}`, "-", "not_found"},
	{"idle, then a page", "404 ", "404 <!DOCTYPE html>", "not_found"},
	{"a function's error", `{"errorMessage": "Task timed out", "errorType": "Timeout"}`, "-", "invalid_response"},
	{"an empty object", "{}", "-", "invalid_response"},
	{"an envelope with something else", `{"body": {"x": 1}}`, "-", "invalid_response"},
	{"another description", `{"description": "Internal error"}`, "-", "invalid_response"},
	{"idle, then an empty object", "404 ", "{}", "invalid_response"},

	{"wrong key", "403 ", "-", "unauthorized"},
	{"too fast", "429 ", "-", "rate_limited"},
	{"broken", "500 ", "-", "server_error"},
	{"unreadable", "<html>", "-", "invalid_response"},
	{"unknown members", result(`[{"state": "running"}]`), "-", "invalid_response"},
	{"active, without a count", one("passings", ""), "-", "invalid_response"},
	{"active, with a wrong one", one("passings", "-1"), "-", "invalid_response"},
	{"active, which is no boolean", one("active", "1"), "-", "invalid_response"},
	{"idle, then a wrong key", "404 ", "401 ", "unauthorized"},
	{"idle, then broken", "404 ", "502 ", "server_error"},
	{"idle, then unreadable", "404 ", "[]", "invalid_response"},
	{"idle, the newest without a count", "404 ", result("[" + older + "," + listed("active", "false", "passings", "") +
		"]"), "invalid_response"},
}

// answerWith writes body, or the status that it begins with and the rest.
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
	if rufus.Token.String() != "token" || rufus.Device.String() != "device" {
		t.Errorf("got %s and %s", rufus.Token, rufus.Device)
	}
}

// health is a device as GET /devices gives it, told what the client makes of it; both take changes as session does.
func health(changes ...string) string {
	return "{" + join([]string{
		"deviceid", `"` + device + `"`,
		"type", `"cloudbox"`,
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
		"model", "CloudBox 3",
		"firmware", "2.1.0",
		"device_status", "online",
		"battery_percentage", "0.85",
		"charging", "false",
		"last_telemetry_at", "2023-02-03T16:08:18.263Z",
		"last_login", "2023-02-03T15:00:00Z",
	}, changes, func(name, value string) string { return name + "=" + value })
}

// tells writes a DeviceHealth as told does.
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
	return told("model", h.Model, "firmware", h.Firmware, "device_status", h.Status, "battery_percentage", battery,
		"charging", charging, "last_telemetry_at", instant(h.LastTelemetry), "last_login", instant(h.LastLogin))
}

func TestDeviceHealth(t *testing.T) {
	unknown := told("model", "", "firmware", "", "device_status", "", "battery_percentage", "", "charging", "",
		"last_telemetry_at", "", "last_login", "")
	every := func(json string) string {
		return health("model", json, "firmware", json, "device_status", json, "battery_percentage", json,
			"charging", json, "last_telemetry_at", json, "last_login", json)
	}
	for _, test := range []struct{ name, device, want string }{
		{"documented", health(), told()},
		{"id in lower case", health("deviceid", `"`+strings.ToLower(device)+`"`), told()},
		{"extra members", health("serial_number", `"BODY"`, "gps", `{"lat": [1]}`), told()},
		{"nothing but the id", `{"deviceid": "` + device + `"}`, unknown},
		{"null", every("null"), unknown},
		{"objects", every("{}"), unknown},
		{"arrays", every("[1]"), unknown},
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
		{"telemetry without zone", health("last_telemetry_at", `"2023-02-03T16:08:18"`), told("last_telemetry_at", "")},
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

// TestDeviceList gives pages in turn, the last one again and again. Devices are d1, d2 and so on.
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
		want     string // the devices among d1 to d5, then "all" when that is a complete list; or a reason
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

// A server that always has more devices comes to an end: by their number, and by the time of one request.
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

// Once the API has asked anybody to wait, what needs several requests sends no further one.
func TestNoFurtherRequestAfterAWait(t *testing.T) {
	var paths []string
	var c *rufus.Client
	c = client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		if r.URL.Path == "/v0/sessions/"+token {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if _, err := ask(t, c); reason(t, err) != rufus.RateLimited { // while this one is on its way
			t.Errorf("got %v", err)
		}
		_, _ = io.WriteString(w, `{"result": [{"deviceid": "d1", "active": false, "passings": 1}], "pagination": {"has_more": true}}`)
	}), patience)
	if _, err := c.DeviceSession(t.Context(), rufus.NewSecret(device)); rufus.ReasonOf(err) != rufus.RateLimited {
		t.Errorf("got %v", err)
	}
	if _, err := c.Devices(t.Context()); rufus.ReasonOf(err) != rufus.RateLimited {
		t.Errorf("got %v", err)
	}
	if len(paths) != 4 {
		t.Errorf("asked for %q", paths)
	}
}
