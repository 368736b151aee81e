package preflight_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/discovery"
	"rufus_exporter/preflight"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
)

var now = time.Date(2026, 11, 29, 8, 30, 0, 0, time.FixedZone("", -3*60*60))

// mat returns a device with one session whose passings were read in the last minutes.
func mat(alias string, passings int, changes ...func(*simulator.Device)) simulator.Device {
	d := simulator.Device{
		ID: simulator.ID("device " + alias), Alias: alias, SerialNumber: "SN-" + simulator.ID(alias)[:3], Model: "CloudBox",
		Battery:  simulator.Battery{From: now.Add(-time.Hour), To: now.Add(time.Hour), Start: 80, End: 80},
		Sessions: []simulator.Session{{Token: simulator.ID("session " + alias), Alias: alias, Created: now.Add(-time.Hour)}},
	}
	for i := range passings {
		at := now.Add(time.Duration(i-passings) * time.Minute)
		d.Sessions[0].Passings = append(d.Sessions[0].Passings, simulator.Passing{Arrived: at, Stamp: at})
	}
	for _, change := range changes {
		change(&d)
	}
	return d
}

// look runs a check of a day with a sessions.yml.
func look(t *testing.T, day simulator.Day, sessions string) *preflight.Report {
	t.Helper()
	api := simulator.New(day)
	api.Now = func() time.Time { return now }
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	cfg, err := config.Parse([]byte(sessions), "sessions.yml")
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(server.URL + "/v0")
	if err != nil {
		t.Fatal(err)
	}
	transport := rufus.NewTransport(rufus.TransportOptions{MaxConns: 8, Timeout: 5 * time.Second})
	t.Cleanup(transport.Close)
	fetcher := collector.NewFetcher(collector.Options{
		Source: rufus.NewClient(rufus.Options{
			URL: base, Key: rufus.NewSecret(simulator.DemoKey), KeyHeader: "api_key", Timeout: 5 * time.Second,
			Transport: transport,
		}),
		MaxConcurrentRequests: 8, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	})
	plan := cfg.Discovery
	if plan == nil {
		plan = &discovery.Plan{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := preflight.Look(ctx, fetcher.Roster(cfg.Sessions, plan, nil), cfg.Discovery != nil, cfg.Warnings,
		func() time.Time { return now })
	if n := api.Requests().Devices; n != 1 {
		t.Errorf("%d requests for the list", n)
	}
	return r
}

func text(t *testing.T, r *preflight.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func token(alias string) string  { return simulator.ID("session " + alias) }
func device(alias string) string { return simulator.ID("device " + alias) }

// Everything that a check before a race can show.
func TestText(t *testing.T) {
	t.Setenv(config.KeyVariable, "")
	ahead := func(d *simulator.Device) { d.Skew(now.Add(-time.Hour), 9*time.Minute) }
	low := func(d *simulator.Device) { d.Battery.Start, d.Battery.End = 12, 11 }
	yesterday := func(d *simulator.Device) { d.Sessions[0].Created = now.Add(-30 * time.Hour) }
	closed := func(d *simulator.Device) { d.Close(now.Add(-time.Minute)) }
	unused := func(d *simulator.Device) { d.Sessions = nil }
	day := simulator.Day{Devices: []simulator.Device{
		mat("START-5K", 0), mat("TURN-5K", 3, ahead, low), mat("FINISH-5K", 2, closed), mat("FINISH-10K", 2, yesterday),
		mat("TURN-10K", 2), mat("START-10K", 4), mat("SPLIT", 0, unused), mat("SPARE-1", 0), mat("LENT", 0), mat("", 0),
		mat("FINISH-KIDS", 1), mat("MORNING", 1, yesterday),
	}}
	got := look(t, day, `
races: [{name: 5k, start: 2026-11-29T09:00:00-03:00}]
devices:
  - alias: 'SPARE-.*'
    ignore: true
  - alias: '(?P<point>START|TURN|FINISH)-(?P<race>5k|kids)'
    race: '$race'
    expected: {from: 10m, until: 1h}
  - alias: 'FINISH-10K'
    name: start-10k
  - alias: 'START-10K'
    name: finish-10k
  - alias: 'SPLIT'
sessions:
  - {token: `+token("TURN-10K")+`, name: turn-10k}
  - {token: `+token("MORNING")+`, name: morning}
  - {token: `+token("nobody's")+`, name: mistyped}
  - {device: `+device("unbound")+`, name: unbound}
`)
	const want = `SESSION      STATE       ALIAS        PASSINGS  LAST PASSING  CLOCK                 BATTERY  WHAT TO DO
turn-10k     active      TURN-10K     2         08:29:00      -                     -
morning      active      MORNING      1         08:29:00      -                     -        The session is from 2026-11-28: list the token of today's session, or follow the device.
mistyped     failing     -            -         -             -                     -        not_found: the API knows no such session. Compare the token with the one in your RUFUS account.
unbound      failing     -            -         -             -                     -        not_found: no such device in this account. Compare the device id with your RUFUS account. Is the box still bound to it?
FINISH-5K    closed      FINISH-5K    1         -             -                     80 %     Press START on the box.
FINISH-KIDS  active      FINISH-KIDS  1         08:29:00      -                     80 %
START-5K     active      START-5K     0         -             -                     80 %
TURN-5K      active      TURN-5K      3         08:38:00      ahead by at least 8m  12 %     Set the clock of the box. Charge the box.
start-10k    active      FINISH-10K   2         08:29:00      -                     80 %     The session is from 2026-11-28: press START on the box, unless this session is meant to continue.
finish-10k   active      START-10K    4         08:29:00      -                     80 %
SPLIT        no session  -            -         -             -                     80 %     Press START on the box.

* start-10k and finish-10k look swapped: their aliases are FINISH-10K and START-10K.
* turn-10k follows a token. It stops counting if START is pressed again. Follow the device with this alias instead: TURN-10K (SN-TURN).
* morning follows a token. It stops counting if START is pressed again. Follow the device with this alias instead: MORNING (SN-MORN).
* FINISH-KIDS: no window, because races has no start for "KIDS". Add it under races, or correct the alias.
* No passing yet: carry a chip over START-5K.

Devices of the account that no entry follows:
  LENT (SN-LENT)
  MORNING (SN-MORN)
  TURN-10K (SN-TURN)
  no alias, serial number SN-NONE

NOT READY: 9 of 11 sessions can be read.
`
	serials := strings.NewReplacer("SN-TURN", "SN-"+simulator.ID("TURN-10K")[:3], "SN-MORN", "SN-"+simulator.ID("MORNING")[:3],
		"SN-LENT", "SN-"+simulator.ID("LENT")[:3], "SN-NONE", "SN-"+simulator.ID("")[:3])
	if got := text(t, got); got != serials.Replace(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, serials.Replace(want))
	}
	if got.Readable {
		t.Error("ready, although two sessions cannot be read")
	}
}

// What makes a check fail, and its notes.
func TestReadable(t *testing.T) {
	t.Setenv(config.KeyVariable, "")
	noList := []simulator.Fault{{From: now, To: now.Add(time.Hour), Page: 1, Status: http.StatusBadGateway}}
	everything := []simulator.Fault{{From: now, To: now.Add(time.Hour), Status: http.StatusForbidden}}
	for name, test := range map[string]struct {
		faults   []simulator.Fault
		sessions string
		ready    bool
		notes    string // their kinds
		says     string
	}{
		"all is well":      {nil, "devices: [{}]", true, "", "ready: 2 of 2 sessions can be read."},
		"no rules":         {nil, "sessions: [" + token("TURN") + "]", true, "token", "  FINISH ("},
		"device and token": {nil, "sessions: [" + token("TURN") + ", {device: " + device("TURN") + ", name: x}]", true, "token", "x already follows the device"},
		"rules and token":  {nil, "devices: [{}]\nsessions: [" + token("TURN") + "]", true, "token", "TURN already follows the device"},
		"no list":          {noList, "devices: [{}]", false, "device_list", "NOT READY: 0 of 0"},
		"rules and a wrong key": {everything, "devices: [{}]", false, "device_list",
			"The list of devices cannot be read: unauthorized: status 403. Use a READ key of this account."},
		"no list, but sessions":  {noList, "devices: [{}]\nsessions: [" + token("TURN") + "]", false, "device_list", "NOT READY: 1 of 1"},
		"no list and no rules":   {noList, "sessions: [" + token("TURN") + "]", true, "device_list", "ready: 1 of 1"},
		"nothing matches":        {nil, "devices: [{alias: nothing}]", false, "no_sessions", "No device of the account matches a rule"},
		"too many":               {nil, "api: {max_devices: 1}\ndevices: [{}]", false, "too_many_devices", "raise api.max_devices"},
		"a wrong key":            {everything, "sessions: [" + token("TURN") + "]", false, "device_list", "Use a READ key of this account."},
		"a token that is short":  {nil, "sessions: [ABCDEF0123456789]", false, "configuration", "token has 16 characters"},
		"all devices are listed": {nil, "sessions: [{device: " + device("TURN") + "}, {device: " + device("FINISH") + "}]", true, "", "ready: 2 of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			r := look(t, simulator.Day{Devices: []simulator.Device{mat("TURN", 1), mat("FINISH", 1)}, Faults: test.faults}, test.sessions)
			var kinds []string
			for _, note := range r.Notes {
				kinds = append(kinds, note.Kind)
			}
			if said := text(t, r); r.Readable != test.ready || strings.Join(kinds, " ") != test.notes || !strings.Contains(said, test.says) {
				t.Errorf("ready %t, notes %q:\n%s", r.Readable, kinds, said)
			}
		})
	}
}

// JSON has the same content, lists that are never null, and no secret.
func TestJSON(t *testing.T) {
	t.Setenv(config.KeyVariable, "")
	day := simulator.Day{Devices: []simulator.Device{mat("TURN-5K", 2), mat("OTHER", 0)}}
	r := look(t, day, "devices: [{alias: TURN-5K, name: turn, silent_after: 5m}]")
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	want := `{"at":"2026-11-29T08:30:00-03:00","readable":true,"sessions":[{"name":"turn","follows":"device","state":"active",` +
		`"alias":"TURN-5K","passings":2,"last_passing":"2026-11-29T11:29:00Z","created":"2026-11-29T10:30:00Z","battery_ratio":0.8}],` +
		`"notes":[],"unfollowed_devices":[{"alias":"OTHER","serial_number":"SN-` + simulator.ID("OTHER")[:3] + `","model":"CloudBox"}]}`
	var compact bytes.Buffer
	if err := json.Compact(&compact, b.Bytes()); err != nil || compact.String() != want {
		t.Errorf("got  %s\nwant %s (%v)", compact.String(), want, err)
	}
	for _, secret := range []string{simulator.DemoKey, device("TURN-5K"), token("TURN-5K"), device("OTHER")} {
		if strings.Contains(text(t, r)+b.String(), secret) {
			t.Error("a secret is shown")
		}
	}
	b.Reset()
	if err := (&preflight.Report{}).JSON(&b); err != nil || strings.Contains(b.String(), "null") {
		t.Errorf("%s, %v", b.String(), err)
	}
}

// Names and aliases that contradict each other, alone and in pairs.
func TestSwapped(t *testing.T) {
	for _, test := range []struct{ names, aliases, want string }{
		{"finish start", "START FINISH", "finish start"},
		{"turn-5k turn-10k", "TURN-10K TURN-5K", "turn-5k turn-10k"},
		{"finish", "START-5K", "finish"},
		{"finish-5k", "FINISH-5km", ""},
		{"finish-5k", "5K", ""},
		{"box-1", "START", ""},
		{"start-finish", "FINISH", ""},
		{"finish-5k turn-10k", "TURN-5K FINISH-21K", "finish-5k|turn-10k"},
	} {
		var day simulator.Day
		var yaml strings.Builder
		yaml.WriteString("devices:\n")
		for i, alias := range strings.Fields(test.aliases) {
			day.Devices = append(day.Devices, mat(alias, 1))
			yaml.WriteString("  - {alias: " + alias + ", name: " + strings.Fields(test.names)[i] + "}\n")
		}
		var got []string
		for _, note := range look(t, day, yaml.String()).Notes {
			got = append(got, strings.Join(note.Sessions, " "))
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%s with %s: got %q", test.names, test.aliases, got)
		}
	}
}
