//go:build unix

package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
)

// with returns the documented session with other members, each given by name and JSON; "" leaves a member out.
func with(changes ...string) string {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(documented), &members); err != nil {
		panic(err)
	}
	var text []string
	for i := 0; i < len(changes); i += 2 {
		delete(members, changes[i])
		if changes[i+1] != "" {
			text = append(text, fmt.Sprintf("%q: %s", changes[i], changes[i+1]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		text = append(text, fmt.Sprintf("%q: %s", name, members[name]))
	}
	return "{" + strings.Join(text, ", ") + "}"
}

// one is a successful answer with that session.
func one(changes ...string) http.HandlerFunc { return ok("[" + with(changes...) + "]") }

// ok is a successful answer with that result.
func ok(json string) http.HandlerFunc { return says(http.StatusOK, result(json)) }

// body is a 200 with that body.
func body(text string) http.HandlerFunc { return says(http.StatusOK, text) }

// tcp writes bytes instead of an answer, and then closes the connection.
func tcp(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, text)
	}
}

// reset breaks the connection off.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// hang answers nothing until the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drip sends the beginning of an answer, and then a blank now and then until the client has gone.
func drip(w http.ResponseWriter, r *http.Request) {
	for beat := time.Tick(100 * time.Millisecond); ; {
		if _, err := io.WriteString(w, " "); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-beat:
		case <-r.Context().Done():
			return
		}
	}
}

// endless sends blanks until the client has gone.
func endless(w http.ResponseWriter, _ *http.Request) { pour(w, bytes.Repeat([]byte(" "), 1<<16)) }

func pour(w io.Writer, drops []byte) {
	for {
		if _, err := w.Write(drops); err != nil {
			return
		}
	}
}

// gibibyte sends so many blanks, as its header says.
func gibibyte(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(1<<30))
	endless(w, r)
}

// bomb sends blanks as endless does, in a thousandth of the bytes.
func bomb(w http.ResponseWriter, _ *http.Request) {
	var blanks bytes.Buffer
	packed := gzip.NewWriter(&blanks)
	_, _ = packed.Write(bytes.Repeat([]byte(" "), 1<<20))
	_ = packed.Close()
	w.Header().Set("Content-Encoding", "gzip")
	pour(w, blanks.Bytes())
}

// shows returns the series of a session like the documented one, without their prefix and the label session, with
// those that differ; "" is for absent. The duration of the request is some number.
func shows(changes ...string) series {
	shown := series{
		`up`: "1", `fetch_duration_seconds`: "some", `info{alias="START-5K",follows="token"}`: "1",
		`active`: "1", `passings`: "31",
		`first_passing_timestamp`: "1.675440498263e+09", `last_passing_timestamp`: "1.70323682513e+09",
		`creation_timestamp`: "1.675436892e+09", `duration_timestamp`: "1.675444092e+09",
	}
	for i := 0; i < len(changes); i += 2 {
		delete(shown, changes[i])
		if changes[i+1] != "" {
			shown[changes[i]] = changes[i+1]
		}
	}
	return shown
}

// called is shows for another alias, written as in the text format.
func called(alias string) series {
	return shows(`info{alias="START-5K",follows="token"}`, "", `info{alias="`+alias+`",follows="token"}`, "1")
}

// fails returns the series of a session that was asked for in vain.
func fails(reason rufus.Reason) series {
	return series{"up": "0", "fetch_duration_seconds": "some", `error{reason="` + string(reason) + `"}`: "1"}
}

// without returns s without one of its series.
func without(s series, name string) series {
	s = maps.Clone(s)
	delete(s, name)
	return s
}

// of returns the series of one session as shows does.
func (s series) of(session string) series {
	label, shown := fmt.Sprintf("session=%q", session), series{}
	for name, value := range s {
		name, isSession := strings.CutPrefix(name, "rufus_session_")
		if !isSession || !strings.Contains(name, label) {
			continue
		}
		name = strings.NewReplacer("{"+label+"}", "", ","+label, "", label+",", "").Replace(name)
		if name == "fetch_duration_seconds" {
			value = "some"
		}
		shown[name] = value
	}
	return shown
}

// answered is what the API answers to a token, and what is exposed then.
type answered struct {
	name   string
	answer http.HandlerFunc
	want   series
}

// answers are all that can come of asking for a token, and overdue what takes longer than a request may.
var answers = slices.Concat(members(), redirects(), []answered{
	{"as documented", one(), shows()},
	{"with the envelope", body(`{"body": ` + result("["+documented+"]") + `}`), shows()},
	{"result is an object", ok(documented), shows()},
	{"object in the envelope", body(`{"body": ` + result(documented) + `}`), shows()},
	{"more than documented", ok("[" + with("gps", `{"lat": 1}`) + "]"), shows()},
	{"any Content-Type", says(200, result("["+documented+"]"), "Content-Type", "text/html"), shows()},
	{"token in lower case", lower(one()), shows()},
	{"ours among others", ok(`[{"token_session": "X", "active": 1}, ` + documented + `, {}]`), shows()},
	{"ours twice", ok("[" + documented + ", " + documented + "]"), shows()},
	{"closed", one("active", "false"), shows("active", "0")},
	{"no passings yet", one("passings", "0", "first", "", "last", ""),
		shows("passings", "0", "first_passing_timestamp", "", "last_passing_timestamp", "")},
	{"passings 3.1e1", one("passings", "3.1e1"), shows()},

	{"alias with the token", one("alias", `"my TOKEN"`), called("my <secret>")},
	{"alias with the key", one("alias", `"my `+strings.ToUpper(apiKey)+`"`), called("my <secret>")},
	{"alias as a line of its own", one("alias", `"a\"b\\c\nrufus_session_up 1"`), called(`a\"b\\c rufus_session_up 1`)},
	{"alias as markup", one("alias", `"<script>&amp;{{.}}%s"`), called("<script>&amp;{{.}}%s")},
	{"alias in Latin-1", one("alias", "\"Z\xfcrich\""), called("Z\uFFFDrich")},
	{"alias of 10,000 characters", one("alias", `"`+strings.Repeat("é", 10000)+`"`), called(strings.Repeat("é", 200))},

	{"last without a zone", one("last", `"2023-12-22T09:20:25.130"`), shows("last_passing_timestamp", "")},
	{"last impossible", one("last", `"2023-02-30T09:20:25.130Z"`), shows("last_passing_timestamp", "")},
	{"last with an offset", one("last", `"2023-12-22T11:20:25.13+02:00"`), shows()},
	{"last without a fraction", one("last", `"2023-12-22T09:20:25Z"`),
		shows("last_passing_timestamp", "1.703236825e+09")},
	{"last in the future", one("last", `"2999-12-31T23:59:59Z"`), shows("last_passing_timestamp", "3.2503679999e+10")},
	{"last of the year 1", one("last", `"0001-01-01T00:00:00Z"`), shows("last_passing_timestamp", "")},
	{"duration a length", one("duration", `"2h"`), shows("duration_timestamp", "")},

	{"result missing", body(`{"description": "Success"}`), fails(rufus.NotFound)},
	{"result null", ok("null"), fails(rufus.NotFound)},
	{"result empty", ok("[]"), fails(rufus.NotFound)},
	{"envelope null", body(`{"body": null}`), fails(rufus.NotFound)},
	{"envelope a string", body(`{"body": "none"}`), fails(rufus.InvalidResponse)},
	{"null", body("null"), fails(rufus.InvalidResponse)},
	{"empty", body(""), fails(rufus.InvalidResponse)},
	{"cut JSON", body(result("[" + documented + "]")[:200]), fails(rufus.InvalidResponse)},
	{"not JSON", body("Success"), fails(rufus.InvalidResponse)},
	{"Latin-1", body("\xdcbersicht"), fails(rufus.InvalidResponse)},
	{"HTML", body("<!DOCTYPE html><title>Wi-Fi</title>"), fails(rufus.InvalidResponse)},
	{"byte order mark", body("\uFEFF" + result("["+documented+"]")), shows()},
	{"deep nesting", body(strings.Repeat(`{"result":[`, 50_000)), fails(rufus.InvalidResponse)},
	{"only another token", ok("[" + with("token_session", `"ANOTHER"`) + "]"), fails(rufus.InvalidResponse)},
	{"passings as text", one("passings", `"31"`), fails(rufus.InvalidResponse)},
	{"larger than 1 MiB", one("gps", `"`+strings.Repeat(".", 1<<20)+`"`), fails(rufus.InvalidResponse)},
	{"1 GiB", gibibyte, fails(rufus.InvalidResponse)},
	{"without end", endless, fails(rufus.InvalidResponse)},
	{"gzip bomb", bomb, fails(rufus.InvalidResponse)},
	{"no gzip", says(200, result("[]"), "Content-Encoding", "gzip"), fails(rufus.InvalidResponse)},

	{"400", says(400, `{"description": "Missing parameter"}`), fails(rufus.UnexpectedStatus)},
	{"401", says(401, ""), fails(rufus.Unauthorized)},
	{"403", says(403, `{"body": "Forbidden"}`), fails(rufus.Unauthorized)},
	{"404 as documented", says(404, `{description: "Session not found", token_session: "TOKEN"}`), fails(rufus.NotFound)},
	{"404 in JSON", says(404, `{"body": {"description": "Session not found"}}`), fails(rufus.NotFound)},
	{"404 with a session", says(404, result("["+documented+"]")), fails(rufus.NotFound)},
	{"409", says(409, ""), fails(rufus.UnexpectedStatus)},
	{"201", says(201, result("["+documented+"]")), fails(rufus.UnexpectedStatus)},
	{"204", says(204, ""), fails(rufus.UnexpectedStatus)},
	{"500", says(500, `{"body": null}`), fails(rufus.ServerError)},
	{"502", says(502, "<html>"), fails(rufus.ServerError)},
	{"503 without Retry-After", says(503, ""), fails(rufus.ServerError)},
	{"504", says(504, ""), fails(rufus.ServerError)},

	{"reset", reset, fails(rufus.Network)},
	{"closed instead of an answer", tcp(""), fails(rufus.Network)},
	{"cut in the header", tcp("HTTP/1.1 200 OK\r\nContent-Le"), fails(rufus.Network)},
	{"cut in the body", tcp("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"), fails(rufus.Network)},
	{"chunked garbage", tcp("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), fails(rufus.Network)},
	{"no HTTP", tcp("220 smtp\r\n"), fails(rufus.Network)},
	{"length too small", tcp("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + result("[]")), fails(rufus.InvalidResponse)},
	{"length negative", tcp("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + result("[]")), fails(rufus.Network)},
})

var overdue = []answered{
	{"as documented", one(), shows()},
	{"no answer", hang, fails(rufus.Timeout)},
	{"a byte now and then", drip, fails(rufus.Timeout)},
}

// members are answers in which one member of the session is of every kind that it should not be: it is absent, or the
// answer is worth nothing where it cannot be.
func members() (all []answered) {
	kinds := [][2]string{
		{"missing", ""}, {"null", "null"}, {"empty", `""`}, {"a string", `"x"`}, {"a truth", "true"}, {"negative", "-1"},
		{"fractional", "1.5"}, {"huge", "1e400"}, {"an array", "[]"}, {"an object", "{}"},
	}
	invalid := fails(rufus.InvalidResponse)
	for _, member := range []struct {
		name string
		want series            // when it is of another kind
		good map[string]series // when it is of a kind that is right
	}{
		{"token_session", invalid, nil},
		{"active", invalid, map[string]series{"a truth": shows()}},
		{"passings", invalid, nil},
		{"alias", called(""), map[string]series{"a string": called("x")}},
		{"first", shows("first_passing_timestamp", ""), nil},
		{"last", shows("last_passing_timestamp", ""), nil},
		{"creation_date", shows("creation_timestamp", ""), nil},
		{"duration", shows("duration_timestamp", ""), nil},
	} {
		for _, kind := range kinds {
			want, good := member.good[kind[0]]
			if !good {
				want = member.want
			}
			all = append(all, answered{member.name + " " + kind[0], one(member.name, kind[1]), want})
		}
	}
	return all
}

// redirects are answers of every status from 300 to 308, to where a client would follow and to where it could not.
func redirects() (all []answered) {
	for status := 300; status <= 308; status++ {
		for name, location := range map[string]string{
			"to itself": "TOKEN", "to another host": "http://localhost:9/TOKEN", "to nowhere": "://%zz",
		} {
			answer := func(w http.ResponseWriter, r *http.Request) {
				says(status, "", "Location", strings.ReplaceAll(location, "TOKEN", path.Base(r.URL.Path)))(w, r)
			}
			all = append(all, answered{fmt.Sprint(status, " ", name), answer, fails(rufus.UnexpectedStatus)})
		}
	}
	return all
}

// lower sends an answer in lower case.
func lower(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		clone := r.Clone(r.Context())
		clone.URL.Path = strings.ToLower(r.URL.Path)
		next(w, clone)
	}
}

// serveAll starts an exporter of sessions that are answered like that.
func serveAll(t *testing.T, all []answered, further ...string) *exporter {
	t.Helper()
	handlers, list := map[string]http.HandlerFunc{}, ""
	for _, a := range all {
		handlers[simulator.ID(a.name)] = a.answer
		list += fmt.Sprintf("  - {name: %q, token: %s}\n", a.name, simulator.ID(a.name))
	}
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers[path.Base(r.URL.Path)](w, r)
	}))
	return start(t, settings(api.url, further...)+list)
}

// Every answer and every failure, all in one scrape, so that none may harm the others; and by /probe the same series.
func TestSeriesOfTokens(t *testing.T) {
	t.Parallel()
	e := serveAll(t, answers)
	scrape := e.scrape("/metrics")
	for _, a := range answers {
		if got := scrape.of(a.name); !maps.Equal(got, a.want) {
			t.Errorf("%s: got %v\nwant %v", a.name, got, a.want)
		}
		probe := e.scrape("/probe?target=" + url.QueryEscape(a.name))
		if got := probe.of(a.name); !maps.Equal(got, a.want) || len(probe) != len(a.want) {
			t.Errorf("%s, probe: got %v\nwant %v", a.name, probe, a.want)
		}
	}
	scrape.expect(t, series{
		"rufus_exporter_sessions":                            fmt.Sprint(len(answers)),
		`rufus_api_requests_total{outcome="unauthorized"}`:   "2",
		`rufus_api_requests_total{outcome="rate_limited"}`:   "0",
		`rufus_api_requests_in_flight`:                       "0",
		`rufus_api_backoff_until_timestamp_seconds`:          "",
		`rufus_exporter_config_last_reload_successful`:       "1",
		`promhttp_metric_handler_requests_total{code="500"}`: "0",
	})
}

func TestSeriesOfTimeouts(t *testing.T) {
	t.Parallel()
	scrape := serveAll(t, overdue, "timeout: 2s").scrape("/metrics")
	for _, a := range overdue {
		if got := scrape.of(a.name); !maps.Equal(got, a.want) {
			t.Errorf("%s: got %v\nwant %v", a.name, got, a.want)
		}
	}
	scrape.expect(t, series{`rufus_api_requests_total{outcome="timeout"}`: "2"})
}

// devices are all that can come of following a device: what the API says about its active session, all of its
// sessions, and itself in the list of devices, and what is exposed. "" in the list is for a device that is not there.
var devices = []struct {
	name            string
	active, history http.HandlerFunc
	listed          string
	session, device series
}{
	{
		"active", one(), hang,
		listedDevice,
		followed(),
		series{
			"battery_ratio": "0.76", "charging": "1", `info{firmware="1.0.1",model="One4All"}`: "1",
			`status{status="ONLINE"}`: "1", "last_telemetry_timestamp": "1.675440498263e+09",
			"last_login_timestamp": "1.675436892e+09",
		},
	},
	{
		"null in the list", one(), hang,
		`"model": null, "firmware": null, "device_status": null, "battery_percentage": null, "charging": null, ` +
			`"last_telemetry_at": null`,
		followed(), series{`info{firmware="",model=""}`: "1"},
	},
	{
		"active but not in the list", one(), hang, "", followed(), series{},
	},
	{
		"closed", says(404, `{description: "Sessions not found", deviceid: "TOKEN"}`),
		ok("[" + with("active", "false", "creation_date", `"2023-01-01T00:00:00Z"`) + "," + lean + "]"),
		`"battery_percentage": 0, "charging": false`,
		series{
			"up": "1", "fetch_duration_seconds": "some", "active": "0", "passings": "7",
			"creation_timestamp": "1.675436892e+09", `info{alias="",follows="device"}`: "1",
		},
		series{"battery_ratio": "0", "charging": "0", `info{firmware="",model=""}`: "1"},
	},
	{
		"active false", one("active", "false"), ok("[" + lean + "]"), `"charging": false`,
		series{
			"up": "1", "fetch_duration_seconds": "some", "active": "0", "passings": "7",
			"creation_timestamp": "1.675436892e+09", `info{alias="",follows="device"}`: "1",
		},
		series{"charging": "0", `info{firmware="",model=""}`: "1"},
	},
	{
		"started while being asked", says(404, ""), one(), `"charging": false`,
		shows(`info{alias="START-5K",follows="token"}`, "", `info{alias="START-5K",follows="device"}`, "1"),
		series{"charging": "0", `info{firmware="",model=""}`: "1"},
	},
	{
		"no session", ok("[]"), says(404, `{description: "Sessions not found", deviceid: "TOKEN"}`), `"battery_percentage": 101`,
		series{
			"up": "1", "fetch_duration_seconds": "some", "active": "0", `info{alias="",follows="device"}`: "1",
		},
		series{`info{firmware="",model=""}`: "1"},
	},
	{
		"unbound", says(404, `{description: "Sessions not found", deviceid: "TOKEN"}`),
		says(404, `{description: "Sessions not found", deviceid: "TOKEN"}`), "", fails(rufus.NotFound), series{},
	},
	{
		"forbidden", says(403, ""), hang, `"battery_percentage": 50`, fails(rufus.Unauthorized),
		series{"battery_ratio": "0.5", `info{firmware="",model=""}`: "1"},
	},
	{
		"history broken", says(404, ""), says(500, ""), "", fails(rufus.ServerError), series{},
	},
}

// listedDevice is what the list of devices can say about one.
const listedDevice = `"model": "One4All", "firmware": "1.0.1", "device_status": "ONLINE", "battery_percentage": 76, ` +
	`"charging": true, "last_telemetry_at": "2023-02-03T16:08:18.263Z", "last_login": "2023-02-03T15:08:12.000Z"`

// lean is a session as the list of a device's sessions has it.
const lean = `{"token_session": "X", "creation_date": "2023-02-03T15:08:12.000Z", "active": false, "passings": 7}`

// followed returns the series of a device whose active session is the documented one.
func followed() series {
	return shows(`info{alias="START-5K",follows="token"}`, "", `info{alias="START-5K",follows="device"}`, "1")
}

// ofDevice returns the series of one device, without their prefix and the label session.
func (s series) ofDevice(session string) series {
	shown := series{}
	for name, value := range s {
		if name, ok := strings.CutPrefix(name, "rufus_device_"); ok {
			shown["rufus_session_"+name] = value
		}
	}
	return shown.of(session)
}

func TestSeriesOfDevices(t *testing.T) {
	t.Parallel()
	list, listed := "", []string{}
	handlers := map[string]http.HandlerFunc{}
	for _, test := range devices {
		id := simulator.ID(test.name)
		handlers["/v0/sessions/device/"+id+"/active"] = test.active
		handlers["/v0/sessions/device/"+id] = test.history
		list += fmt.Sprintf("  - {name: %q, device: %s, silent_after: 10m}\n", test.name, id)
		if test.listed != "" {
			listed = append(listed, fmt.Sprintf(`{"deviceid": %q, %s}`, id, test.listed))
		}
	}
	complete := `"pagination": {"has_more": false}`
	for name, test := range map[string]struct {
		list http.HandlerFunc
		up   string
	}{
		"listed":     {body(`{"result": [` + strings.Join(listed, ",") + `], ` + complete + `}`), "1"},
		"not listed": {says(500, ""), "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v0/devices" {
					test.list(w, r)
					return
				}
				handlers[r.URL.Path](w, r)
			}))
			e := start(t, settings(api.url, "device_metrics: true")+list)
			scrape := e.scrape("/metrics")
			scrape.expect(t, series{"rufus_devices_up": test.up})
			for _, device := range devices {
				session, health := maps.Clone(device.session), device.device
				if test.up == "0" {
					health = series{}
					if device.name == "unbound" { // it cannot be told from a device without sessions
						session = series{
							"up": "1", "fetch_duration_seconds": "some", "active": "0",
							`info{alias="",follows="device"}`: "1",
						}
					}
				}
				session["silent_after_seconds"] = "600"
				if got := scrape.of(device.name); !maps.Equal(got, session) {
					t.Errorf("%s: got %v\nwant %v", device.name, got, session)
				}
				if got := scrape.ofDevice(device.name); !maps.Equal(got, health) {
					t.Errorf("%s: got %v\nwant %v", device.name, got, health)
				}
			}
		})
	}
}
