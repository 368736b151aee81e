package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"rufus_exporter/simulator"
)

// scenario is a race day, who watches it, and what must come of it. Times are after the gun of the 5K.
type scenario struct {
	name     string
	from, to time.Duration // when monitoring begins, and how long the day is watched
	long     bool          // played where $CI_FULL is 1, for it takes half a minute
	date     time.Time     // of the gun, if it matters; its zone is that of the file

	races func(gun time.Time) []simulator.Race     // unless it is the city run
	guns  map[string][]time.Duration               // of each race, one a wave; unless it is the city run
	day   func(day *simulator.Day, gun clockAfter) // what happens to it; nil: nothing
	mats  []mat
	later []mat                      // entries that are added, or replace those of the same name, in the course of the day
	api   string                     // more settings of the API, indented as in the file
	file  func(gun time.Time) []byte // the whole sessions.yml instead; mats are then what is compared

	every  time.Duration  // between two scrapes; 0: 15 s
	probe  bool           // one target a session
	target model.LabelSet // labels of the target
	scrape []string       // more lines of the scrape configuration
	second bool           // another job scrapes another exporter
	itself bool           // Prometheus and Alertmanager are scraped too

	accidents []accident

	// All that must fire; nothing else may. Each day is played without windows and with windows.
	alarms   []alarm // either way
	bare     []alarm // besides, without windows
	declared []alarm // besides, with windows
	only     string  // "bare" or "declared": not played the other way

	together bool     // the alarms come in one notification, and it is the only one
	calls    int      // if not 0: how often the phone rings for something new
	allowed  []string // alerts that may fire besides
	free     bool     // any alert may fire that the invariants allow
	lawless  bool     // the invariants do not hold, for a reason that stands at the day
}

// clockAfter returns the instant so long after the gun.
type clockAfter func(time.Duration) time.Time

// mat is an entry of sessions.yml.
type mat struct {
	name, race    string
	token, device string // one of the two
	silentAfter   time.Duration

	from, until time.Duration // when passings are due, after the gun of its race; 0, 0: not declared
	absolute    bool          // written as date-times, after the gun of the 5K
	labels      string        // more of them, as ", lane: left"
}

// id returns the token or device id.
func (m mat) id() string { return cmp.Or(m.token, m.device) }

// accident is something that happens to the exporter or to Prometheus. Accidents come in the order of time.
type accident struct {
	at      time.Duration
	happens func(*bench)
}

// alarm must fire.
type alarm struct {
	alert, session, severity string
	race                     string        // if not ""
	after, within            time.Duration // when it becomes true, and how much later it fires at the latest
	lasts, over              time.Duration // if not 0: it goes on until then, and has ended then
	says                     string        // stands in its texts
	unheard                  bool          // nobody is told, since another alarm says it all
	late                     bool          // it is told late, after another alarm that said it all
}

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// variants returns the day without windows and with windows.
func (s scenario) variants() []scenario {
	if s.guns == nil {
		s.guns = map[string][]time.Duration{"5k": {0}, "10k": {15 * minute}}
	}
	bare, declared := s, s
	bare.alarms = slices.Concat(s.alarms, s.bare)
	bare.mats, bare.later = undeclared(s.mats), undeclared(s.later)
	declared.name += ", with windows"
	declared.alarms = slices.Concat(s.alarms, s.declared)
	declared.mats, declared.later = withWindows(s.mats), withWindows(s.later)
	switch s.only {
	case "bare":
		return []scenario{bare}
	case "declared":
		return []scenario{declared}
	}
	return []scenario{bare, declared}
}

// plan is when a crew expects passings at the mats of the city run, after the gun of the race, and the longest healthy
// gap there. A start mat has none.
var plan = map[string]mat{
	"start-5k":   {from: 0, until: 8 * minute},
	"turn-5k":    {from: 9 * minute, until: 30 * minute, silentAfter: 5 * minute},
	"finish-5k":  {from: 18 * minute, until: 54 * minute, silentAfter: 5 * minute},
	"start-10k":  {from: 0, until: 8 * minute},
	"turn-10k":   {from: 17 * minute, until: 53 * minute, silentAfter: 5 * minute},
	"finish-10k": {from: 35 * minute, until: 100 * minute, silentAfter: 8 * minute},
}

// withWindows declares when passings are due at the mats, and how long they may be silent then: as planned, unless it
// is declared already.
func withWindows(mats []mat) []mat {
	mats = slices.Clone(mats)
	for i, m := range mats {
		p, planned := plan[strings.TrimSuffix(m.name, "-token")]
		if !planned {
			continue
		}
		if m.until == 0 {
			mats[i].from, mats[i].until = p.from, p.until
		}
		mats[i].silentAfter = cmp.Or(m.silentAfter, p.silentAfter)
	}
	return mats
}

func undeclared(mats []mat) []mat {
	mats = slices.Clone(mats)
	for i := range mats {
		mats[i].from, mats[i].until = 0, 0
	}
	return mats
}

// cityRun is a 5K at the gun and a 10K a quarter of an hour later. Runners cross the mats, in minutes after the gun:
//
//	START-5K 0–6, TURN-5K 10–28, FINISH-5K 19–52, START-10K 15–21, TURN-10K 34–67, FINISH-10K 52–114
func cityRun(gun time.Time) []simulator.Race {
	return []simulator.Race{simulator.FiveK(gun, 300), simulator.TenK(gun.Add(15*minute), 400)}
}

// inWaves are the guns of a city run that is run twice.
func inWaves(gap time.Duration) map[string][]time.Duration {
	return map[string][]time.Duration{"5k": {0, gap}, "10k": {15 * minute, 15*minute + gap}}
}

// opened lets all sessions be created so long before the start.
func opened(before time.Duration) func(time.Time) []simulator.Race {
	return func(gun time.Time) []simulator.Race {
		races := cityRun(gun)
		for i := range races {
			races[i].Open = before
		}
		return races
	}
}

// fiveK is the 5K alone.
func fiveK(gun time.Time) []simulator.Race { return []simulator.Race{simulator.FiveK(gun, 300)} }

// marathon is a race with a finish after 2:24 to 6:30 hours and a backup beside it.
func marathon(gun time.Time) []simulator.Race {
	marathon := simulator.TenK(gun, 300)
	marathon.Mats = []simulator.Mat{{Alias: "START", At: 0}, {Alias: "HALF", At: .5}, {Alias: "FINISH", At: 1}, {Alias: "BACKUP", At: 1}}
	marathon.Median = 4 * hour
	return []simulator.Race{marathon}
}

// Tokens and ids of the simulator's mats.
func token(alias string) string  { return simulator.ID("session " + alias) }
func device(alias string) string { return simulator.ID("device " + alias) }

// cityMats are the entries for the city run: tokens for the start mats, devices for the others, which alone may have
// a silent_after.
func cityMats(silentAfter time.Duration) []mat {
	return []mat{
		{name: "start-5k", race: "5k", token: token("START-5K")},
		{name: "turn-5k", race: "5k", device: device("TURN-5K"), silentAfter: silentAfter},
		{name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: silentAfter},
		{name: "start-10k", race: "10k", token: token("START-10K")},
		{name: "turn-10k", race: "10k", device: device("TURN-10K"), silentAfter: silentAfter},
		{name: "finish-10k", race: "10k", device: device("FINISH-10K"), silentAfter: silentAfter},
	}
}

// startAndFinish are the entries of those who have two mats.
func startAndFinish() []mat {
	return []mat{
		{name: "start-5k", race: "5k", token: token("START-5K")},
		{name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 5 * minute},
	}
}

// with replaces the entries of the same name, or adds them.
func with(mats []mat, changed ...mat) []mat {
	mats = slices.Clone(mats)
	for _, c := range changed {
		if i := slices.IndexFunc(mats, func(m mat) bool { return m.name == c.name }); i >= 0 {
			mats[i] = c
		} else {
			mats = append(mats, c)
		}
	}
	return mats
}

// silentFinish are the city mats of which one has a silent_after, of 5 minutes.
func silentFinish() []mat { return with(cityMats(0), startAndFinish()[1]) }

// inRace gives all entries the same race, which has no start: their windows are written as date-times.
func inRace(name string, mats []mat, guns map[string]time.Duration) []mat {
	mats = slices.Clone(mats)
	for i, m := range mats {
		gun, p := guns[m.race], plan[m.name]
		mats[i].race, mats[i].absolute = name, true
		mats[i].from, mats[i].until = p.from+gun, p.until+gun
	}
	return mats
}

// sessions returns the sessions.yml.
func (s scenario) sessions(gun time.Time) string {
	if s.file != nil {
		return string(s.file(gun))
	}
	zone := s.date.Location()
	if s.date.IsZero() {
		zone = time.FixedZone("", -3*60*60)
	}
	write := func(after time.Duration) string { return gun.Add(after).In(zone).Format(time.RFC3339) }
	var races, entries strings.Builder
	written := map[string]bool{}
	for _, m := range s.mats {
		if m.device != "" {
			fmt.Fprintf(&entries, "  - device: %s\n", m.device)
		} else {
			fmt.Fprintf(&entries, "  - token: %s\n", m.token)
		}
		fmt.Fprintf(&entries, "    name: %s\n", m.name)
		if m.race != "" {
			fmt.Fprintf(&entries, "    labels: {race: %s%s}\n", m.race, m.labels)
		}
		switch guns := s.guns[m.race]; {
		case m.until == 0:
		case m.absolute || len(guns) == 0:
			fmt.Fprintf(&entries, "    expected: {from: %s, until: %s}\n", write(m.from), write(m.until))
		default:
			fmt.Fprintf(&entries, "    expected: {from: %s, until: %s}\n", m.from, m.until)
		}
		if m.silentAfter > 0 {
			fmt.Fprintf(&entries, "    silent_after: %s\n", m.silentAfter)
		}
		if m.until > 0 && m.race != "" && !written[m.race] {
			written[m.race] = true
			fmt.Fprintf(&races, "  - name: %s\n", m.race)
			if guns := s.guns[m.race]; len(guns) > 0 {
				var starts []string
				for _, g := range guns {
					starts = append(starts, write(g))
				}
				fmt.Fprintf(&races, "    start: [%s]\n", strings.Join(starts, ", "))
			}
		}
	}
	// A race of entries without windows has to be listed as well, once there is a list.
	if races.Len() > 0 {
		for _, m := range s.mats {
			if m.race != "" && !written[m.race] {
				written[m.race] = true
				fmt.Fprintf(&races, "  - name: %s\n", m.race)
			}
		}
	}
	list := races.String()
	if list != "" {
		list = "races:\n" + list
	}
	return fmt.Sprintf("api:\n  url: http://%s/v0\n  key: %s\n%s%ssessions:\n%s",
		apiAddress, simulator.DemoKey, s.api, list, entries.String())
}

const batteries = "  device_metrics: true\n"

// followed are the entries for the city run with windows, all of devices.
func followed() []mat {
	mats := withWindows(cityMats(0))
	for i := range mats {
		mats[i].token, mats[i].device = "", device(strings.ToUpper(mats[i].name))
	}
	return mats
}

// asRules is a sessions.yml in which the devices of the city run are followed by their alias.
func asRules(mats []mat) func(gun time.Time) []byte {
	return func(gun time.Time) []byte {
		list := "races:\n"
		for race, after := range map[string]time.Duration{"5k": 0, "10k": 15 * minute} {
			list += fmt.Sprintf("  - {name: %s, start: %s}\n", race, gun.Add(after).Format(time.RFC3339))
		}
		list += "devices:\n"
		for _, m := range mats {
			list += fmt.Sprintf("  - {alias: %s, name: %s, race: %s, expected: {from: %s, until: %s}, silent_after: %s}\n",
				strings.ToUpper(m.name), m.name, m.race, m.from, m.until, m.silentAfter)
		}
		return fmt.Appendf(nil, "api:\n  url: http://%s/v0\n  key: %s\n%s%s", apiAddress, simulator.DemoKey, batteries, list)
	}
}

// deviceMetrics reports whether the exporter asks for the list of devices.
func (s scenario) deviceMetrics() bool { return strings.Contains(s.api, "device_metrics: true") }

// timeout returns the limit of a request.
func (s scenario) timeout() time.Duration {
	if strings.Contains(s.api, "timeout: 20s") {
		return 20 * second
	}
	return 5 * second
}

// at is the day with these labels of its target.
func (s scenario) at(target model.LabelSet) scenario { s.target = target; return s }

// noticed is how long a state has to be there to be seen by a scrape, and that by an evaluation.
const noticed = 31 * second

// until says how long an alarm goes on at least, and by when it has ended: what cannot be read counts as such until
// most readings of the last minutes are good, so that it rings once.
func (a alarm) until(end time.Duration) alarm {
	a.lasts = end
	if end == never || end == 0 { // 0: whenever it ends
		return a
	}
	a.over = end + noticed
	switch a.alert {
	case "RufusSessionFailing", "RufusRaceFailing":
		a.over = end + 5*minute
	case "RufusAllSessionsFailing", "RufusExporterDown":
		a.over = end + 6*minute
	case "RufusSessionSilent":
		a.over = end + minute + noticed // nobody can say when runners come
	}
	return a
}

// untold is an alarm of which nobody is told.
func (a alarm) untold() alarm { a.unheard = true; return a }

// toldLate is an alarm that is told when another one has ended.
func (a alarm) toldLate() alarm { a.late = true; return a }

// saying is an alarm with such a text.
func (a alarm) saying(text string) alarm { a.says = text; return a }

// of is an alarm about a race.
func (a alarm) of(race string) alarm { a.race = race; return a }

func critical(alert, session string, after, end time.Duration) alarm {
	return alarm{alert: alert, session: session, severity: "critical", after: after, within: reached[alert]}.until(end)
}

func warning(alert, session string, after, end time.Duration) alarm {
	a := critical(alert, session, after, end)
	a.severity = "warning"
	return a
}

// reached is how soon an alarm fires when it is true: a session has to be seen inactive for half a minute, and unreadable
// for two minutes.
var reached = map[string]time.Duration{
	"RufusSessionClosed": 62 * second, "RufusSessionNotStarted": 62 * second, "RufusSessionSilent": 62 * second,
	"RufusSessionFailing": 2*minute + noticed, "RufusRaceFailing": 2*minute + noticed,
	"RufusAllSessionsFailing": 2*minute + noticed, "RufusExporterDown": 2*minute + noticed,
	"RufusRaceStopped": 62 * second, "RufusClockAhead": 2 * minute, "RufusClockBehind": 8 * minute,
	"RufusBatteryLow": 3 * minute, "RufusTelemetryStale": 3 * minute, "RufusDevicesUnreadable": 7 * minute,
	"RufusReloadFailed": 2 * minute, "RufusLabelCollision": 2 * minute, "RufusScrapeSlow": 7 * minute,
	"RufusCountFell": minute, "RufusAPIFailing": 20 * minute, "RufusExporterRestarting": 2 * minute,
}

const (
	closed       = "RufusSessionClosed"
	notStarted   = "RufusSessionNotStarted"
	silent       = "RufusSessionSilent"
	failing      = "RufusSessionFailing"
	raceStopped  = "RufusRaceStopped"
	raceFailing  = "RufusRaceFailing"
	allFailing   = "RufusAllSessionsFailing"
	exporterDown = "RufusExporterDown"
)
