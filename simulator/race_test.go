package simulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rufus_exporter/config"
	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
	"rufus_exporter/window"
)

// state is the content of an answer about a session.
type state struct {
	Status   int       `json:"-"`
	Token    string    `json:"token_session"`
	Alias    string    `json:"alias"`
	Created  time.Time `json:"creation_date"`
	Active   bool      `json:"active"`
	Passings int       `json:"passings"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// viewer returns the answers of a day at any time, without a connection, because some tests need very many.
type viewer struct {
	t     *testing.T
	api   *simulator.Server
	clock clock
}

func view(t *testing.T, day simulator.Day) *viewer {
	t.Helper()
	v := &viewer{t: t, api: simulator.New(day)}
	v.api.Now = v.clock.Now
	return v
}

// at returns the first session of the answer, or only the status if there is none.
func (v *viewer) at(when time.Time, path string) state {
	v.t.Helper()
	v.clock.set(when)
	r := httptest.NewRequestWithContext(v.t.Context(), http.MethodGet, "/v0/sessions/"+path, http.NoBody)
	r.Header.Set("x-api-key", simulator.DemoKey)
	w := httptest.NewRecorder()
	v.api.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return state{Status: w.Code}
	}
	type content struct {
		Result []state `json:"result"`
	}
	var answer struct {
		content
		Body *content `json:"body"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		v.t.Fatalf("%s: %v", path, err)
	}
	if answer.Body != nil {
		answer.content = *answer.Body
	}
	if len(answer.Result) == 0 {
		v.t.Fatalf("%s: no result in %s", path, w.Body)
	}
	answer.Result[0].Status = http.StatusOK
	return answer.Result[0]
}

// after returns the time that many minutes after start.
func after(minutes float64) time.Time {
	return start.Add(time.Duration(minutes * float64(time.Minute)))
}

// count returns how many passings of s arrived in [from, to).
func count(s simulator.Session, from, to time.Time) (n int) {
	for _, p := range s.Passings {
		if !p.Arrived.Before(from) && p.Arrived.Before(to) {
			n++
		}
	}
	return n
}

func TestEdits(t *testing.T) {
	// The turn of a 5K, which runners pass from minute 10 to 29, and an incident between minutes 15 and 20.
	clean := simulator.NewDay(simulator.FiveK(start, 500)).Device("turn-5k").Sessions[0]
	from, to := after(15), after(20)
	total := len(clean.Passings)
	before, during := count(clean, after(0), from), count(clean, from, to)
	if before < 50 || during < 50 || total-before-during < 50 {
		t.Fatalf("the race is too small: %d, %d and %d of %d passings", before, during, total-before-during, total)
	}
	lastBefore := clean.Passings[before-1].Stamp

	type expected struct {
		at       time.Time
		path     string // "" for the token, else below device/ID
		status   int    // 0 for 200
		active   bool
		passings int
		last     time.Time // zero: any
	}
	tests := map[string]struct {
		edit func(d *simulator.Device)
		want []expected
	}{
		"nothing": {func(*simulator.Device) {}, []expected{
			{at: after(0), active: true},
			{at: from, active: true, passings: before, last: lastBefore},
			{at: to, active: true, passings: before + during},
			{at: after(60), active: true, passings: total, last: clean.Passings[total-1].Stamp},
		}},
		"paused": {func(d *simulator.Device) { d.Pause(from, to) }, []expected{
			{at: to, active: true, passings: before, last: lastBefore},
			{at: after(60), active: true, passings: total - during},
		}},
		"network lost": {func(d *simulator.Device) { d.Buffer(from, to) }, []expected{
			{at: to.Add(-1), active: true, passings: before, last: lastBefore},
			{at: to, active: true, passings: before + during, last: clean.Passings[before+during-1].Stamp},
			{at: after(60), active: true, passings: total},
		}},
		"clock ahead": {func(d *simulator.Device) { d.Skew(from, time.Hour) }, []expected{
			{at: from, active: true, passings: before, last: lastBefore},
			{
				at: to, active: true, passings: before + during,
				last: clean.Passings[before+during-1].Stamp.Add(time.Hour),
			},
		}},
		"clock behind": {func(d *simulator.Device) { d.Skew(from, -time.Hour) }, []expected{
			{at: after(60), active: true, passings: total, last: clean.Passings[total-1].Stamp.Add(-time.Hour)},
		}},
		"reader mute": {func(d *simulator.Device) { d.Mute(from) }, []expected{
			{at: after(60), active: true, passings: before, last: lastBefore},
		}},
		"battery dead": {func(d *simulator.Device) { d.Die(from) }, []expected{
			{at: after(60), active: true, passings: before, last: lastBefore},
		}},
		"closed": {func(d *simulator.Device) { d.Close(from) }, []expected{
			{at: from.Add(-1), active: true, passings: before},
			{at: from, passings: before, last: lastBefore},
			{at: after(60), passings: before, last: lastBefore},
			{at: from, path: "/active", status: 404},
			{at: after(60), path: "", passings: before},
		}},
		"deleted": {func(d *simulator.Device) { d.Delete(from) }, []expected{
			{at: from.Add(-1), active: true, passings: before},
			{at: from, status: 404},
			{at: from, path: "/active", status: 404},
		}},
		"unbound": {func(d *simulator.Device) { d.Unbind(from) }, []expected{
			{at: from.Add(-1), path: "/active", active: true, passings: before},
			{at: from, status: 404},
			{at: from, path: "/active", status: 404},
			{at: from, path: "/", status: 404},
		}},
		"START again": {func(d *simulator.Device) { d.PressStart(from, 0) }, []expected{
			{at: from.Add(-1), path: "/active", active: true, passings: before},
			{at: from, passings: before},
			{at: from, path: "/active", active: true},
			{at: after(60), passings: before, last: lastBefore},
			{at: after(60), path: "/active", active: true, passings: total - before},
		}},
		"stop, START": {func(d *simulator.Device) { d.PressStart(from, 5*time.Minute) }, []expected{
			{at: from, passings: before},
			{at: from, path: "/active", status: 404},
			{at: to, path: "/active", active: true},
			{at: after(60), path: "/active", active: true, passings: total - before - during},
		}},
		"two STARTs, closed": {func(d *simulator.Device) {
			d.PressStart(from, 0)
			d.PressStart(to, 0)
			d.Close(after(60))
		}, []expected{
			{at: to.Add(-1), path: "/active", active: true, passings: during},
			{at: after(60).Add(-1), path: "/active", active: true, passings: total - before - during},
			{at: after(60), path: "/active", status: 404},
		}},
		"mute after START": {func(d *simulator.Device) {
			d.PressStart(from, 0)
			d.Mute(to)
		}, []expected{
			{at: after(60), path: "/active", active: true, passings: during},
		}},
		"yesterday": {func(d *simulator.Device) { d.Yesterday() }, []expected{
			{at: after(60), active: true, passings: total},
			{at: after(60), path: "/active", active: true, passings: total},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			day := simulator.NewDay(simulator.FiveK(start, 500))
			d := day.Device("TURN-5K")
			test.edit(d)
			v := view(t, day)
			for _, want := range test.want {
				path := clean.Token
				if want.path != "" {
					path = strings.TrimSuffix("device/"+d.ID+want.path, "/")
				}
				got := v.at(want.at, path)
				if want.status != 0 {
					if got.Status != want.status {
						t.Errorf("%s %s: %+v, want %d", want.at.Format(time.TimeOnly), want.path, got, want.status)
					}
					continue
				}
				if got.Status != 200 || got.Active != want.active || got.Passings != want.passings ||
					!want.last.IsZero() && !got.Last.Equal(want.last) {
					t.Errorf("%s %s: %+v, want %+v", want.at.Format(time.TimeOnly), want.path, got, want)
				}
			}
		})
	}
}

func TestNewSessionIsAnother(t *testing.T) {
	day := simulator.NewDay(simulator.FiveK(start, 500))
	d := day.Device("TURN-5K")
	old := d.Sessions[0].Token
	yesterday := d.Yesterday()
	next := d.PressStart(after(15), 5*time.Second)
	v := view(t, day)
	if got := v.at(after(15).Add(5*time.Second-1), next); got.Status != 404 {
		t.Errorf("before START: %+v", got)
	}
	got := v.at(after(15).Add(5*time.Second), next)
	if !got.Active || got.Token != next || got.Token == old || got.Alias != "TURN-5K" ||
		!got.Created.Equal(after(15).Add(5*time.Second)) || !got.First.IsZero() {
		t.Errorf("after START: %+v", got)
	}
	if got := v.at(start, yesterday); got.Active || got.Passings < 500 || got.Last.After(start.Add(-23*time.Hour)) ||
		!got.Created.Equal(start.Add(-25*time.Hour)) {
		t.Errorf("yesterday: %+v", got)
	}
	if got := v.at(start.Add(-14*time.Hour), yesterday); !got.Active {
		t.Errorf("yesterday evening: %+v", got)
	}
}

func TestYesterdayKeepsItsEnd(t *testing.T) {
	race := simulator.FiveK(start, 10)
	race.Close = 2 * time.Hour
	day := simulator.NewDay(race)
	token := day.Device("FINISH-5K").Yesterday()
	v := view(t, day)
	end := start.Add(-22 * time.Hour)
	if !v.at(end.Add(-1), token).Active || v.at(end, token).Active {
		t.Error("yesterday's session did not close when today's does")
	}
}

func TestEditOfNothingPanics(t *testing.T) {
	for name, edit := range map[string]func(d *simulator.Device){
		"before the session": func(d *simulator.Device) { d.Close(start.Add(-2 * time.Hour)) },
		"after the session":  func(d *simulator.Device) { d.Close(start); d.PressStart(start, 0) },
	} {
		day := simulator.NewDay(simulator.FiveK(start, 10))
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: nothing happened, without a word", name)
				}
			}()
			edit(day.Device("TURN-5K"))
		}()
	}
	if day := simulator.NewDay(); day.Device("TURN-5K") != nil {
		t.Error("an empty day has a device")
	}
}

// Battery and status are in the list of devices, so they have their own test.
func TestTelemetry(t *testing.T) {
	battery := simulator.Battery{From: start, To: after(100), Every: time.Minute, Start: 100, End: 50}
	tests := map[string]struct {
		battery simulator.Battery
		edit    func(d *simulator.Device)
		at      time.Time
		want    string
	}{
		"before": {
			battery, nil, start.Add(-1),
			`null,"battery_percentage":null,"charging":null,"last_telemetry_at":null`,
		},
		"begins": {
			battery, nil, start,
			`"ONLINE","battery_percentage":100,"charging":false,"last_telemetry_at":"2026-05-10T09:00:00.000Z"`,
		},
		"between reports": {
			battery, nil, after(50.9),
			`"ONLINE","battery_percentage":75,"charging":false,"last_telemetry_at":"2026-05-10T09:50:00.000Z"`,
		},
		"just silent": {
			battery, nil, after(105),
			`"ONLINE","battery_percentage":50,"charging":false,"last_telemetry_at":"2026-05-10T10:40:00.000Z"`,
		},
		"long silent": {
			battery, nil, after(106),
			`"OFFLINE","battery_percentage":50,"charging":false,"last_telemetry_at":"2026-05-10T10:40:00.000Z"`,
		},
		"charging": {
			simulator.Battery{From: start, To: after(100), Start: 10, End: 20},
			nil, after(10),
			`"ONLINE","battery_percentage":11,"charging":true,"last_telemetry_at":"2026-05-10T09:10:00.000Z"`,
		},
		"dead": {
			battery, func(d *simulator.Device) { d.Die(after(20)) }, after(30),
			`"OFFLINE","battery_percentage":0,"charging":false,"last_telemetry_at":"2026-05-10T09:20:00.000Z"`,
		},
		"none": {
			simulator.Battery{},
			nil, start,
			`null,"battery_percentage":null,"charging":null,"last_telemetry_at":null`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := simulator.Device{ID: "DEVICE", Battery: test.battery}
			if test.edit != nil {
				test.edit(&d)
			}
			_, url, at := play(t, simulator.Day{Devices: []simulator.Device{d}})
			at.set(test.at)
			body := ask(t, http.MethodGet, url+"/devices").body
			if !strings.Contains(body, `"device_status":`+test.want) {
				t.Errorf("got %s\nwant %s", body, test.want)
			}
		})
	}
}

func TestRace(t *testing.T) {
	type span struct{ first, last float64 } // minutes after the start
	for _, test := range []struct {
		race  simulator.Race
		spans map[string]span
	}{
		{simulator.FiveK(start, 2000), map[string]span{
			"START-5K": {0, 6}, "TURN-5K": {9, 31}, "FINISH-5K": {18, 55},
		}},
		{simulator.TenK(start, 2000), map[string]span{
			"START-10K": {0, 6}, "TURN-10K": {17, 54}, "FINISH-10K": {36, 100},
		}},
	} {
		day := simulator.NewDay(test.race)
		for _, d := range day.Devices {
			passings := d.Sessions[0].Passings
			if len(passings) < 2000 || len(passings) > 2500 {
				t.Errorf("%s: %d raw detections of 2000 runners", d.Alias, len(passings))
			}
			want := test.spans[d.Alias]
			for i, p := range passings {
				if p.Stamp.Before(after(want.first)) || p.Stamp.After(after(want.last)) {
					t.Errorf("%s: a passing at %s", d.Alias, p.Stamp.Sub(start))
				}
				if !p.Arrived.After(p.Stamp) || i > 0 && p.Arrived.Before(passings[i-1].Arrived) {
					t.Errorf("%s: passing %d arrives at %s", d.Alias, i, p.Arrived)
				}
				if i > 0 && p.Arrived.Sub(passings[i-1].Arrived) > 2*time.Minute {
					t.Errorf("%s: nobody for %s", d.Alias, p.Arrived.Sub(passings[i-1].Arrived))
				}
			}
		}
	}
}

// Each wave is dense at first and then thins out. Most runners finish around the middle.
func TestRaceHasWavesAndPeak(t *testing.T) {
	day := simulator.NewDay(simulator.FiveK(start, 2000))
	begin := day.Device("START-5K").Sessions[0]
	for wave := range 4 {
		gun := after(1.5 * float64(wave))
		early := count(begin, gun, gun.Add(30*time.Second))
		late := count(begin, gun.Add(time.Minute), gun.Add(90*time.Second))
		if early < 2*late {
			t.Errorf("wave %d: %d in its first half minute, %d in its last", wave, early, late)
		}
	}
	finish := day.Device("FINISH-5K").Sessions[0]
	if peak := count(finish, after(25), after(40)); 2*peak < len(finish.Passings) {
		t.Errorf("%d of %d finish between minutes 25 and 40", peak, len(finish.Passings))
	}
}

func TestRaceIsItsSeed(t *testing.T) {
	passings := func(race simulator.Race, alias string) []simulator.Passing {
		day := simulator.NewDay(race)
		return day.Device(alias).Sessions[0].Passings
	}
	race := simulator.FiveK(start, 200)
	same := passings(race, "TURN-5K")
	if !slices.Equal(same, passings(race, "TURN-5K")) {
		t.Error("one race, two results")
	}
	race.Mats = append(race.Mats, simulator.Mat{Alias: "SPLIT-3K", At: 0.6})
	if !slices.Equal(same, passings(race, "TURN-5K")) {
		t.Error("another mat changed the others")
	}
	race.Seed++
	if slices.Equal(same, passings(race, "TURN-5K")) {
		t.Error("two seeds, one result")
	}
	race.Seed, race.Speed = race.Seed-1, 10
	fast := passings(race, "TURN-5K")
	for i, p := range fast {
		if d := p.Stamp.Sub(start) - same[i].Stamp.Sub(start)/10; d.Abs() > time.Millisecond {
			t.Fatalf("passing %d: at %s instead of a tenth of %s", i, p.Stamp.Sub(start), same[i].Stamp.Sub(start))
		}
	}
}

func TestRaceOpensAndCloses(t *testing.T) {
	race := simulator.TenK(start, 50)
	race.Open, race.Close, race.Speed = 3*time.Hour, 10*time.Minute, 60
	day := simulator.NewDay(race)
	v := view(t, day)
	for _, d := range day.Devices {
		token := d.Sessions[0].Token
		if got := v.at(start.Add(-3*time.Hour), token); !got.Active || got.Passings != 0 || !got.First.IsZero() {
			t.Errorf("%s begins as %+v", d.Alias, got)
		}
		if got := v.at(start.Add(-3*time.Hour-1), token); got.Status != 404 {
			t.Errorf("%s before: %+v", d.Alias, got)
		}
		if got := v.at(after(10), token); got.Active || got.Passings < 50 || got.Last.After(after(2)) {
			t.Errorf("%s ends as %+v", d.Alias, got)
		}
	}
}

func TestMany(t *testing.T) {
	day := simulator.Many(500, start)
	v := view(t, day)
	seen := make(map[int]bool)
	for _, d := range day.Devices {
		got := v.at(after(60), d.Sessions[0].Token)
		if !got.Active || got.Alias != d.Alias || got.Passings == 0 || seen[got.Passings] {
			t.Errorf("%s: %+v", d.Alias, got)
		}
		seen[got.Passings] = true
	}
	if got := v.at(start, day.Devices[0].Sessions[0].Token); !got.Active || got.Passings != 0 {
		t.Errorf("at the start: %+v", got)
	}
}

// Over two laps of the demo, the count of a session (a token and a creation date) never falls, a closed session stays
// closed, and time stamps are within its lap. The second lap repeats the first.
func TestDemoCountsNeverFall(t *testing.T) {
	day := simulator.Demo(start, simulator.DemoSpeed)
	v := view(t, day)
	v.api.Sleep = noSleep
	const step = 5 * time.Second
	for _, d := range day.Devices {
		for _, s := range d.Sessions {
			last := make(map[time.Time]state)
			for at := start.Add(-day.Lap); at.Before(start.Add(day.Lap)); at = at.Add(step) {
				got, next := v.at(at, s.Token), v.at(at.Add(day.Lap), s.Token)
				if got.Status != next.Status || got.Passings != next.Passings || got.Active != next.Active ||
					got.Status == 200 && !got.Created.Add(day.Lap).Equal(next.Created) ||
					got.Passings > 0 && !got.Last.Add(day.Lap).Equal(next.Last) {
					t.Fatalf("%s: %+v, and a lap later %+v", s.Alias, got, next)
				}
				if got.Status != 200 {
					continue
				}
				before, known := last[got.Created]
				if known && (got.Passings < before.Passings || got.Last.Before(before.Last) ||
					got.Active && !before.Active) {
					t.Fatalf("%s: %+v, and then %+v", s.Alias, before, got)
				}
				if got.Last.After(at) || got.Created.After(at) {
					t.Fatalf("%s at %s: %+v", s.Alias, at, got)
				}
				last[got.Created] = got
			}
		}
	}
}

// What the documentation says about the demo, at the demo's speed.
func TestDemoStory(t *testing.T) {
	day := simulator.Demo(start, simulator.DemoSpeed)
	if day.Lap < 8*time.Minute || day.Lap > 12*time.Minute {
		t.Errorf("a lap takes %s", day.Lap)
	}
	v := view(t, day)
	v.api.Sleep = noSleep
	entries := demoEntries(t)
	look := func(name string, minutes float64) state {
		t.Helper()
		path := entries[name].id
		if entries[name].follows == "device" {
			path = "device/" + path
			if active := v.at(after(minutes), path+"/active"); active.Status == http.StatusOK {
				return active
			}
		}
		return v.at(after(minutes), path)
	}

	// There are passings in every quarter of the first minute, and in every half minute until the race is over.
	total := func(minutes float64) (n int) {
		for name := range entries {
			n += look(name, minutes).Passings
		}
		return n
	}
	for _, minutes := range []float64{0, 0.25, 0.75} {
		if a, b := total(minutes), total(minutes+0.25); b <= a {
			t.Errorf("nothing moves in the quarter after minute %g: %d, then %d", minutes, a, b)
		}
	}
	for minutes := 0.5; minutes < 2; minutes += 0.5 {
		if a, b := total(minutes), total(minutes+0.5); b <= a {
			t.Errorf("nothing moves in the half after minute %g: %d, then %d", minutes, a, b)
		}
	}

	// One is closed by mistake within two minutes while others count.
	if a, b := look("split-3k", 1.4), look("split-3k", 2); !a.Active || b.Active || b.Passings < 50 {
		t.Errorf("split-3k: %+v, then %+v", a, b)
	}
	// START is pressed again within three minutes: the token's count stops, the device's goes on.
	a, b, c := look("turn-10k", 2.6), look("turn-10k", 3), look("turn-10k", 4)
	if !a.Active || a.Passings < 50 || !b.Active || b.Token == a.Token || !b.Created.After(a.Created) ||
		c.Passings <= b.Passings {
		t.Errorf("turn-10k: %+v, then %+v, then %+v", a, b, c)
	}
	frozen, later := look("turn-10k-token", 3), look("turn-10k-token", 4)
	if frozen.Active || frozen.Passings < a.Passings || frozen != later || frozen.Token != a.Token {
		t.Errorf("turn-10k-token: %+v, then %+v", frozen, later)
	}
	// The network is lost. Later all passings arrive at once.
	if a, b, c := look("finish-5k", 3.05), look("finish-5k", 3.65), look("finish-5k", 3.7); a.Passings != b.Passings ||
		c.Passings < b.Passings+50 || !b.Active {
		t.Errorf("finish-5k: %d, then %d, then %d", a.Passings, b.Passings, c.Passings)
	}
	if a, b := look("finish-5k-backup", 0), look("finish-5k-backup", 9); a != b || !a.Active || a.Passings == 0 {
		t.Errorf("finish-5k-backup: %+v, then %+v", a, b)
	}
	if got := look("start-half", 9); !got.Active || got.Passings != 0 {
		t.Errorf("start-half: %+v", got)
	}
	if a, b := look("kids-run", 0), look("kids-run", 9); a != b || a.Active || a.Passings == 0 {
		t.Errorf("kids-run: %+v, then %+v", a, b)
	}
	if got := look("mistyped", 1); got.Status != 404 {
		t.Errorf("mistyped: %+v", got)
	}
	for _, name := range []string{
		"start-5k", "turn-5k", "finish-5k", "start-10k", "split-7k", "turn-10k", "finish-10k",
	} {
		if got := look(name, 9); !got.Active || got.Passings < 500 || got.Alias != strings.ToUpper(name) {
			t.Errorf("%s in the end: %+v", name, got)
		}
	}
	if got := day.Device("SPLIT-7K").Latency; got < time.Second || got > 2*time.Second {
		t.Errorf("split-7k answers after %s", got)
	}
	if low := day.Device("TURN-10K").Battery; low.Start > 20 || low.End >= low.Start {
		t.Errorf("turn-10k has a battery of %+v", low)
	}
}

func TestDemoConfig(t *testing.T) {
	config := string(simulator.DemoConfig("http://127.0.0.1:4711/v0", start, simulator.DemoSpeed))
	head := "api:\n  url: \"http://127.0.0.1:4711/v0\"\n  key: \"" + simulator.DemoKey +
		"\"\n  device_metrics: true\nraces:\n"
	if !strings.HasPrefix(config, head) {
		t.Errorf("it begins with %q", config[:min(len(config), len(head))])
	}
	if strings.Contains(config, "\t") {
		t.Error("YAML has no tabs")
	}
	entries := demoEntries(t)
	if len(entries) != 13 {
		t.Errorf("%d entries", len(entries))
	}
	day := simulator.Demo(start, simulator.DemoSpeed)
	known := make(map[string]bool)
	for _, d := range day.Devices {
		known["device"+d.ID] = true
		known["token"+d.Sessions[0].Token] = true
	}
	for name, e := range entries {
		if e.race == "" {
			t.Errorf("%s has no race", name)
		}
		if known[e.follows+e.id] == (name == "mistyped") {
			t.Errorf("%s: known to the demo: %t", name, known[e.follows+e.id])
		}
	}
}

// What the demo declares is true: every passing arrives in its mat's window, in every lap, and the first one soon after
// the start of the window.
func TestDemoWindows(t *testing.T) {
	t.Setenv(config.KeyVariable, "")
	for _, speed := range []float64{1, 7, simulator.DemoSpeed} {
		cfg, err := config.Parse(simulator.DemoConfig("http://api.invalid/v0", start, speed), "demo")
		if err != nil {
			t.Fatal(err)
		}
		day := simulator.Demo(start, speed)
		minute := time.Duration(float64(time.Minute) / speed) // of race time
		windows := make(map[string][]window.Window)
		for _, e := range followed(cfg, day) {
			windows[e.Name] = e.Expected
		}
		for name, alias := range map[string]string{
			"start-5k": "START-5K", "split-3k": "SPLIT-3K", "turn-5k": "TURN-5K", "finish-5k": "FINISH-5K",
			"start-10k": "START-10K", "turn-10k": "TURN-10K", "split-7k": "SPLIT-7K", "finish-10k": "FINISH-10K",
			"kids-run": "KIDS RUN",
		} {
			var passings []simulator.Passing
			for _, s := range day.Device(alias).Sessions {
				passings = append(passings, s.Passings...)
			}
			w := windows[name][0]
			for _, p := range passings {
				if p.Stamp.Before(w.From.Truncate(time.Millisecond)) || !p.Arrived.Before(w.Until) {
					t.Errorf("speed %v, %s: %v is outside %v", speed, name, p, w)
				}
			}
			if wait := passings[0].Arrived.Sub(w.From); wait > 3*minute {
				t.Errorf("speed %v, %s: the first passing comes %s after the window opens", speed, name, wait)
			}
			if name == "kids-run" {
				continue
			}
			if n := len(windows[name]); n != 1000 || day.Lap < 8*time.Minute {
				t.Errorf("%d windows, laps of %s", n, day.Lap)
			}
			for i, later := range windows[name] {
				laps := time.Duration(i) * day.Lap
				if !later.From.Equal(w.From.Add(laps)) || !later.Until.Equal(w.Until.Add(laps)) {
					t.Fatalf("speed %v, %s: window %d is %v, the first %v, a lap %s", speed, name, i, later, w, day.Lap)
				}
			}
		}
		if !slices.Equal(windows["finish-5k-backup"], windows["finish-5k"]) {
			t.Errorf("finish-5k-backup: %v", windows["finish-5k-backup"])
		}
		if w := windows["kids-run"]; len(w) != 1 || w[0].Until.After(start.Add(-30*time.Minute)) {
			t.Errorf("speed %v, kids-run: %v", speed, w)
		}
		if w := windows["start-half"]; len(w) != 1 || w[0].From.Before(start.Add(24*time.Hour)) {
			t.Errorf("start-half: %v", w)
		}
		if windows["turn-10k-token"] != nil || windows["mistyped"] != nil {
			t.Error("turn-10k-token or mistyped has windows")
		}
	}
}

type demoEntry struct{ follows, id, race string }

// followed returns the entries that the configuration creates for the day's devices.
func followed(cfg *config.Config, day simulator.Day) []entry.Entry {
	var devices []discovery.Device
	for _, d := range day.Devices {
		devices = append(devices, discovery.Device{ID: rufus.NewSecret(d.ID), Alias: d.Alias, SerialNumber: d.SerialNumber})
	}
	entries := cfg.Sessions
	for _, f := range cfg.Discovery.Follow(cfg.Sessions, devices, nil).Followed {
		entries = append(entries, f.Entry)
	}
	return entries
}

// demoEntries reads the demo's list.
func demoEntries(t *testing.T) map[string]demoEntry {
	t.Helper()
	cfg, err := config.Parse(simulator.DemoConfig("http://api.invalid/v0", start, simulator.DemoSpeed), "demo")
	if err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]demoEntry)
	for _, e := range followed(cfg, simulator.Demo(start, simulator.DemoSpeed)) {
		entries[e.Name] = demoEntry{string(e.Target.Follows), e.Target.ID.Reveal(), e.Labels["race"]}
	}
	return entries
}

func TestID(t *testing.T) {
	one, again, another := simulator.ID("x"), simulator.ID("x"), simulator.ID("y")
	if !regexp.MustCompile(`^[0-9A-F]{64}$`).MatchString(one) || one != again || one == another {
		t.Errorf("ids are %s, %s and %s", one, again, another)
	}
}
