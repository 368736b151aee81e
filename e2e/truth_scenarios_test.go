package e2e

import (
	"fmt"
	"strings"
	"time"

	"rufus_exporter/simulator"
)

// scenario is a race day, who watches it, and what must come of it. Times are after the gun of the 5K.
type scenario struct {
	name      string
	from, to  time.Duration                            // when monitoring begins, and how long the day is watched
	races     func(gun time.Time) []simulator.Race     // unless it is the city run
	day       func(day *simulator.Day, gun clockAfter) // what happens to it; nil: nothing
	mats      []mat
	api       string // more settings of the API, indented as in the file
	accidents []accident
	alarms    []alarm // all that must fire; nothing else may
	together  bool    // the alarms come in one notification, and it is the only one
}

// clockAfter returns the instant so long after the gun.
type clockAfter func(time.Duration) time.Time

// mat is an entry of sessions.yml.
type mat struct {
	name, race    string
	token, device string // one of the two
	silentAfter   time.Duration
}

// accident is something that happens to the exporter or to Prometheus. Accidents come in the order of time.
type accident struct {
	at      time.Duration
	happens func(*bench)
}

// alarm must fire.
type alarm struct {
	alert, session, severity string
	after, within            time.Duration // when it becomes true, and how much later it fires at the latest
	lasts, over              time.Duration // if not 0: it goes on until then, and has ended then
	says                     string        // stands in its texts
	unheard                  bool          // nobody is told, since another alarm says it all
}

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// cityRun is a 5K at the gun and a 10K a quarter of an hour later. Runners cross the mats, in minutes after the gun:
//
//	START-5K 0–6, TURN-5K 10–28, FINISH-5K 19–52, START-10K 15–21, TURN-10K 34–67, FINISH-10K 52–114
func cityRun(gun time.Time) []simulator.Race {
	return []simulator.Race{simulator.FiveK(gun, 300), simulator.TenK(gun.Add(15*minute), 400)}
}

// inWaves lets the slower half of each field start so much later than the faster.
func inWaves(gap time.Duration) func(time.Time) []simulator.Race {
	return func(gun time.Time) []simulator.Race {
		races := cityRun(gun)
		for i := range races {
			races[i].Waves, races[i].WaveGap = 2, gap
		}
		return races
	}
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

// with replaces the entries of the same name, or adds them.
func with(mats []mat, changed ...mat) []mat {
	for _, c := range changed {
		found := false
		for i := range mats {
			if mats[i].name == c.name {
				mats[i], found = c, true
			}
		}
		if !found {
			mats = append(mats, c)
		}
	}
	return mats
}

// sessions returns the sessions.yml.
func (s scenario) sessions() string {
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "api:\n  url: http://%s/v0\n  key: %s\n%ssessions:\n", apiAddress, simulator.DemoKey, s.api)
	for _, m := range s.mats {
		if m.device != "" {
			fmt.Fprintf(&yaml, "  - device: %s\n", m.device)
		} else {
			fmt.Fprintf(&yaml, "  - token: %s\n", m.token)
		}
		fmt.Fprintf(&yaml, "    name: %s\n    labels: {race: %s}\n", m.name, m.race)
		if m.silentAfter > 0 {
			fmt.Fprintf(&yaml, "    silent_after: %s\n", m.silentAfter)
		}
	}
	return yaml.String()
}

// silentFinish are the city mats of which one has a silent_after, of 5 minutes.
func silentFinish() []mat {
	return with(cityMats(0), mat{name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 5 * minute})
}

// noticed is how long a state has to be there to be seen by a scrape, and that by an evaluation.
const noticed = 31 * second

// both returns a warning and the critical alarm that is there while the race counts.
func both(a alarm) []alarm {
	warning, critical := a, a
	warning.severity, critical.severity = "warning", "critical"
	return []alarm{warning, critical}
}

// silent is a mat without passings from its last one, plus silent_after, until the next one.
func silent(session, severity string, after, next time.Duration) alarm {
	a := alarm{
		alert: "RufusSessionSilent", session: session, severity: severity, after: after, within: 2 * minute, lasts: next,
	}
	if severity == "critical" {
		a.within = 3 * minute
	}
	if next != never {
		a.over = next + 2*minute // nobody can say when runners come
	}
	return a
}

// putAway is a mat that was closed, and stays closed, in a race that is over.
func putAway(session string, at time.Duration) alarm {
	return alarm{
		alert: "RufusSessionClosed", session: session, severity: "warning", after: at, within: minute, lasts: never,
	}
}

func all(lists ...[]alarm) (joined []alarm) {
	for _, list := range lists {
		joined = append(joined, list...)
	}
	return joined
}

const batteries = "  device_metrics: true\n"

var scenarios = []scenario{
	{
		name: "clean day, two-hour gap between waves",
		from: -40 * minute, to: 320 * minute, races: inWaves(165 * minute), mats: cityMats(0),
	},
	{
		// That is asked for, but nobody is woken by it.
		name: "the same with a silent_after that the gap exceeds",
		from: -5 * minute, to: 145 * minute, races: inWaves(90 * minute),
		mats: with(cityMats(0),
			mat{name: "turn-5k", race: "5k", device: device("TURN-5K"), silentAfter: 20 * minute},
			mat{name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 20 * minute}),
		alarms: []alarm{ // the last passings of the first wave, the first and the last of the second
			silent("turn-5k", "warning", 15*minute+30*second+20*minute, 104*minute),
			silent("finish-5k", "warning", 30*minute+30*second+20*minute, 119*minute),
			silent("turn-5k", "warning", 113*minute+59*second+20*minute, never),
		},
	},
	{
		name: "START pressed again: token entry, device entry",
		from: 5 * minute, to: 75 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").PressStart(at(12*minute), 2*second) },
		mats: with(cityMats(0), mat{name: "turn-5k-token", race: "5k", token: token("TURN-5K")}),
		alarms: []alarm{
			{
				alert: "RufusSessionClosed", session: "turn-5k-token", severity: "critical",
				after: 12 * minute, within: minute, lasts: 50 * minute, over: 75 * minute,
				says: "START may have been pressed again",
			},
			{
				alert: "RufusSessionClosed", session: "turn-5k-token", severity: "warning",
				after: 12 * minute, within: minute, lasts: 71 * minute, over: 74 * minute,
				says: "with the device would have kept counting",
			},
		},
	},
	{
		// At all phases of the scrape interval.
		name: "START pressed again six times, each 30 s after stop: device entry",
		from: 18 * minute, to: 38 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			for i := range 6 {
				seconds := 20*60 + float64(i)*122.5
				day.Device("FINISH-5K").PressStart(at(time.Duration(seconds*float64(second))), 30*second)
			}
		},
		mats: silentFinish(),
	},
	{
		name: "closed by mistake, START pressed 7 min later",
		from: 15 * minute, to: 36 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			closeFor(day.Device("FINISH-5K"), at(25*minute), at(32*minute))
		},
		mats: cityMats(0),
		alarms: both(alarm{
			alert: "RufusSessionClosed", session: "finish-5k", after: 25 * minute, within: minute,
			lasts: 32 * minute, over: 32*minute + noticed, says: "press START",
		}),
	},
	{
		name: "closed by mistake while Prometheus misses four scrapes",
		from: 15 * minute, to: 30 * minute,
		day:       func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Close(at(25 * minute)) },
		mats:      cityMats(0),
		accidents: []accident{{24*minute + 50*second, func(b *bench) { b.server.lose(minute) }}},
		alarms: both(alarm{
			alert: "RufusSessionClosed", session: "finish-5k", after: 25 * minute, within: 2 * minute, lasts: never,
		}),
	},
	{
		name: "closed by mistake, then Prometheus restarts",
		from: 15 * minute, to: 36 * minute,
		day:       func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Close(at(25 * minute)) },
		mats:      cityMats(0),
		accidents: []accident{{30 * minute, func(b *bench) { b.server.restart(minute) }}},
		alarms: both(alarm{
			alert: "RufusSessionClosed", session: "finish-5k", after: 25 * minute, within: minute, lasts: never,
		}),
	},
	{
		name: "closed before monitoring began",
		from: 60 * minute, to: 90 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			for _, alias := range []string{"START-5K", "TURN-5K", "FINISH-5K"} {
				day.Device(alias).Close(at(55 * minute))
			}
		},
		mats: cityMats(0),
	},
	{
		name: "paused for 15 min; another mat for less than its silent_after",
		from: 20 * minute, to: 58 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("TURN-10K").Pause(at(40*minute), at(55*minute))
			day.Device("FINISH-5K").Pause(at(25*minute), at(33*minute))
		},
		mats: with(cityMats(0),
			mat{name: "turn-10k", race: "10k", device: device("TURN-10K"), silentAfter: 5 * minute},
			mat{name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 10 * minute}),
		alarms: []alarm{silent("turn-10k", "warning", 44*minute+45*second, 55*minute)},
	},
	{
		name: "network lost for 20 min, then a burst of old passings",
		from: 15 * minute, to: 46 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Buffer(at(22*minute), at(42*minute)) },
		mats: silentFinish(),
		alarms: []alarm{
			silent("finish-5k", "critical", 26*minute+45*second, 42*minute),
			silent("finish-5k", "warning", 26*minute+45*second, 42*minute),
		},
	},
	{
		name: "battery death",
		from: 40 * minute, to: 99 * minute,
		day: func(day *simulator.Day, at clockAfter) { day.Device("FINISH-10K").Die(at(80 * minute)) },
		mats: with(cityMats(0),
			mat{name: "finish-10k", race: "10k", device: device("FINISH-10K"), silentAfter: 10 * minute}),
		api: batteries,
		alarms: []alarm{ // it falls from 90 % at -45 min to nothing at 80 min
			{
				alert: "RufusBatteryLow", session: "finish-10k", severity: "warning",
				after: 52 * minute, within: 5 * minute, lasts: never,
			},
			{
				alert: "RufusBatteryLow", session: "finish-10k", severity: "critical",
				after: 66 * minute, within: 5 * minute, lasts: 80 * minute,
			},
			silent("finish-10k", "warning", 89*minute+30*second, never),
			{
				alert: "RufusTelemetryStale", session: "finish-10k", severity: "warning",
				after: 94 * minute, within: 3 * minute, lasts: never,
			},
		},
	},
	{
		name: "reader mute at the finish while the turn still counts",
		from: 15 * minute, to: 36 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Mute(at(20*minute + 30*second)) },
		mats: silentFinish(),
		alarms: []alarm{
			silent("finish-5k", "critical", 25*minute+15*second, never),
			silent("finish-5k", "warning", 25*minute+15*second, never),
		},
	},
	{
		// The first passings of the mats come in the wrong order then.
		name: "chips tried at the mats before the race, then reader mute at the finish",
		from: -45 * minute, to: 36 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			tried(day.Device("FINISH-5K"), at(-36*minute))
			tried(day.Device("TURN-5K"), at(-33*minute))
			tried(day.Device("START-5K"), at(-30*minute))
			day.Device("FINISH-5K").Mute(at(20*minute + 30*second))
		},
		mats: silentFinish(),
		alarms: []alarm{
			silent("finish-5k", "warning", -36*minute+5*minute, 19*minute),
			silent("finish-5k", "critical", 25*minute+15*second, never),
			silent("finish-5k", "warning", 25*minute+15*second, never),
		},
	},
	{
		name: "reader never worked at the backup of a marathon's finish",
		from: -5 * minute, to: 205 * minute,
		races: func(gun time.Time) []simulator.Race {
			marathon := simulator.TenK(gun, 300)
			marathon.Mats = []simulator.Mat{{Alias: "START", At: 0}, {Alias: "HALF", At: .5}, {Alias: "FINISH", At: 1}, {Alias: "BACKUP", At: 1}}
			marathon.Median = 4 * hour
			return []simulator.Race{marathon}
		},
		day: func(day *simulator.Day, at clockAfter) { day.Device("BACKUP").Mute(at(-hour)) },
		mats: []mat{
			{name: "start", race: "marathon", token: token("START")},
			{name: "half", race: "marathon", device: device("HALF")},
			{name: "finish", race: "marathon", device: device("FINISH")},
			{name: "backup", race: "marathon", device: device("BACKUP")},
		},
		alarms: []alarm{{
			alert: "RufusSessionNoPassings", session: "backup", severity: "warning",
			after: 150 * minute, within: 50 * minute, lasts: never,
		}},
	},
	{
		name: "clock one hour ahead",
		from: 5 * minute, to: 25 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Skew(at(15*minute), hour) },
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusClockAhead", session: "turn-5k", severity: "warning",
			after: 15 * minute, within: 2 * minute, lasts: never,
		}},
	},
	{
		name: "clock one hour behind: at a turn, and at a start in use for 6 min",
		from: -5 * minute, to: 30 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("TURN-5K").Skew(at(-hour), -hour)
			day.Device("START-10K").Skew(at(-hour), -hour)
		},
		mats: cityMats(0),
		alarms: []alarm{
			{
				alert: "RufusClockBehind", session: "turn-5k", severity: "warning",
				after: 9 * minute, within: 8 * minute, lasts: 28 * minute,
			},
			{
				alert: "RufusClockBehind", session: "start-10k", severity: "warning",
				after: 15 * minute, within: 7 * minute,
			},
		},
	},
	{
		name: "device unbound",
		from: 5 * minute, to: 25 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Unbind(at(15 * minute)) },
		mats: with(cityMats(0), mat{name: "turn-5k-token", race: "5k", token: token("TURN-5K")}),
		alarms: all(
			both(alarm{
				alert: "RufusSessionClosed", session: "turn-5k",
				after: 15 * minute, within: minute, lasts: never,
			}),
			both(alarm{
				alert: "RufusSessionNotFound", session: "turn-5k-token",
				after: 15 * minute, within: 3 * minute, lasts: never, says: "unbound",
			})),
	},
	{
		name: "device unbound, with device metrics",
		from: 5 * minute, to: 25 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Unbind(at(15 * minute)) },
		mats: cityMats(0),
		api:  batteries,
		alarms: both(alarm{
			alert: "RufusSessionNotFound", session: "turn-5k",
			after: 15 * minute, within: 4 * minute, lasts: never, says: "unbound",
		}),
	},
	{
		name: "API down for 3 min",
		from: 15 * minute, to: 33 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{From: at(25 * minute), To: at(28 * minute), Drop: true}}
		},
		mats: silentFinish(),
		alarms: both(alarm{
			alert: "RufusAllSessionsFailing", after: 25 * minute, within: 2 * minute,
			lasts: 28 * minute, over: 28*minute + noticed, says: "network",
		}),
	},
	{
		name: "API down for 3 min before the race",
		from: -15 * minute, to: 2 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{From: at(-8 * minute), To: at(-5 * minute), Drop: true}}
		},
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusAllSessionsFailing", severity: "warning", after: -8 * minute, within: 2 * minute,
			lasts: -5 * minute, over: -5*minute + noticed,
		}},
	},
	{
		name: "API answers 500 for 3 min",
		from: 15 * minute, to: 33 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{From: at(25 * minute), To: at(28 * minute), Status: 500}}
		},
		mats: silentFinish(),
		alarms: both(alarm{
			alert: "RufusAllSessionsFailing", after: 25 * minute, within: 2 * minute,
			lasts: 28 * minute, over: 28*minute + noticed, says: "server_error",
		}),
	},
	{
		name: "API slow beyond the time limit for 10 min",
		from: 15 * minute, to: 38 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{From: at(25 * minute), To: at(35 * minute), Latency: 30 * second}}
		},
		mats: cityMats(0),
		alarms: both(alarm{
			alert: "RufusAllSessionsFailing", after: 25 * minute, within: 2 * minute,
			lasts: 35 * minute, over: 35*minute + noticed, says: "timeout",
		}),
	},
	{
		name: "API slow beyond the scrape's deadline for 10 min",
		from: 15 * minute, to: 38 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{From: at(25 * minute), To: at(35 * minute), Latency: 12 * second}}
		},
		mats: cityMats(0),
		api:  "  timeout: 20s\n",
		alarms: append(
			both(alarm{
				alert: "RufusAllSessionsFailing", after: 25 * minute, within: 2 * minute,
				lasts: 35 * minute, over: 35*minute + noticed, says: "timeout",
			}),
			alarm{
				alert: "RufusScrapeSlow", severity: "warning", after: 25 * minute, within: 7 * minute,
				lasts: 35 * minute, over: 35*minute + noticed,
			}),
	},
	{
		name: "one session slow beyond the time limit",
		from: 15 * minute, to: 33 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{
				From: at(25 * minute), To: at(30 * minute), Latency: 30 * second, Only: device("FINISH-5K"),
			}}
		},
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusSessionUnreachable", session: "finish-5k", severity: "warning",
			after: 25 * minute, within: 3 * minute, lasts: 30 * minute, over: 30*minute + noticed,
		}},
	},
	{
		name: "one device lent to another account",
		from: 15 * minute, to: 33 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{
				From: at(25 * minute), To: at(24 * hour), Status: 403, Only: device("FINISH-5K"),
			}}
		},
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusSessionKeyRejected", session: "finish-5k", severity: "warning",
			after: 25 * minute, within: 3 * minute, lasts: never, says: "another account",
		}},
	},
	{
		name: "answers about one session are not understood",
		from: 15 * minute, to: 33 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{
				From: at(25 * minute), To: at(30 * minute), Status: 418, Only: device("FINISH-5K"),
			}}
		},
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusSessionUnreadable", session: "finish-5k", severity: "warning",
			after: 25 * minute, within: 3 * minute, lasts: 30 * minute, over: 30*minute + noticed,
		}},
	},
	{
		name: "list of devices not readable",
		from: 15 * minute, to: 40 * minute, mats: cityMats(0), api: batteries,
		accidents: []accident{
			{20 * minute, func(b *bench) { b.refused.Store("/v0/devices") }},
			{35 * minute, func(b *bench) { b.refused.Store("") }},
		},
		alarms: []alarm{{
			alert: "RufusDevicesUnreadable", severity: "warning", after: 20 * minute, within: 7 * minute,
			lasts: 35 * minute, over: 35*minute + 30*second + noticed, // it is asked for every 30 s
		}},
	},
	{
		name: "key revoked",
		from: 15 * minute, to: 38 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{From: at(25 * minute), To: at(24 * hour), Status: 403}}
		},
		mats: silentFinish(),
		alarms: both(alarm{
			alert: "RufusAllSessionsFailing", after: 25 * minute, within: 2 * minute, lasts: never,
			says: "unauthorized",
		}),
	},
	{
		name: "429 storm for 10 min",
		from: 15 * minute, to: 39 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Faults = []simulator.Fault{{
				From: at(25 * minute), To: at(35 * minute), Status: 429, RetryAfter: minute,
			}}
		},
		mats: cityMats(0),
		alarms: append(
			both(alarm{
				alert: "RufusAllSessionsFailing", after: 25 * minute, within: 2 * minute,
				lasts: 35 * minute, over: 37 * minute, says: "rate_limited",
			}),
			alarm{
				alert: "RufusBackingOff", severity: "warning", after: 25 * minute, within: 4 * minute,
				lasts: 35 * minute, over: 37 * minute, unheard: true,
			},
			alarm{
				alert: "RufusSessionRateLimited", session: "finish-5k", severity: "warning",
				after: 25 * minute, within: 4 * minute, lasts: 35 * minute, over: 37 * minute, unheard: true,
			}),
	},
	{
		name: "exporter restarted mid-race, down for 20 s",
		from: 15 * minute, to: 35 * minute,
		mats:      silentFinish(),
		accidents: []accident{{25 * minute, func(b *bench) { b.restartExporter(20 * second) }}},
	},
	{
		name: "exporter down for 10 min",
		from: 15 * minute, to: 38 * minute,
		mats:      cityMats(0),
		accidents: []accident{{25 * minute, func(b *bench) { b.restartExporter(10 * minute) }}},
		alarms: both(alarm{
			alert: "RufusExporterDown", after: 25 * minute, within: 3 * minute,
			lasts: 35 * minute, over: 35*minute + noticed,
		}),
	},
	{
		name: "Prometheus misses four scrapes",
		from: 15 * minute, to: 35 * minute,
		mats:      silentFinish(),
		accidents: []accident{{25 * minute, func(b *bench) { b.server.lose(minute) }}},
	},
	{
		name: "Prometheus restarted, down for 60 s",
		from: 15 * minute, to: 35 * minute,
		mats:      silentFinish(),
		accidents: []accident{{25 * minute, func(b *bench) { b.server.restart(minute) }}},
	},
	{
		name: "listed before the race, which starts three hours later",
		from: -180 * minute, to: 10 * minute, races: opened(4 * hour), mats: cityMats(10 * minute),
	},
	{
		name: "listed three hours before its start, beside a race that counts and shares its label",
		from: -5 * minute, to: 200 * minute,
		races: func(gun time.Time) []simulator.Race {
			later := simulator.TenK(gun.Add(180*minute), 200)
			later.Open = 4 * hour
			return []simulator.Race{simulator.FiveK(gun, 200), later}
		},
		mats: []mat{
			{name: "start-5k", race: "city", token: token("START-5K")},
			{name: "finish-5k", race: "city", device: device("FINISH-5K")},
			{name: "start-10k", race: "city", token: token("START-10K")},
			{name: "finish-10k", race: "city", device: device("FINISH-10K"), silentAfter: 10 * minute},
		},
	},
	{
		name: "yesterday's token left in the file",
		from: -15 * minute, to: 25 * minute,
		day:  func(day *simulator.Day, _ clockAfter) { day.Device("TURN-5K").Yesterday() },
		mats: with(cityMats(0), mat{name: "turn-5k", race: "5k", token: simulator.ID("yesterday's " + token("TURN-5K"))}),
		alarms: []alarm{{
			alert: "RufusSessionNotStarted", session: "turn-5k", severity: "warning",
			after: 0, within: 10 * minute, lasts: never, says: "token of an old session",
		}},
	},
	{
		name: "START not pressed until 12 min after the gun",
		from: -15 * minute, to: 16 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Sessions[0].Created = at(12 * minute) },
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusSessionNotStarted", session: "turn-5k", severity: "warning",
			after: 0, within: 10 * minute, lasts: 12 * minute, over: 12*minute + noticed, says: "START was not pressed",
		}},
	},
	{
		name: "mistyped device id",
		from: -15 * minute, to: 25 * minute,
		mats: with(cityMats(0), mat{name: "finish-5k", race: "5k", device: device("FINISH-SK")}),
		alarms: []alarm{{
			alert: "RufusSessionNotStarted", session: "finish-5k", severity: "warning",
			after: 0, within: 10 * minute, lasts: never, says: "id of another device",
		}},
	},
	{
		name: "mistyped device id, with device metrics",
		from: -15 * minute, to: 5 * minute,
		mats: with(cityMats(0), mat{name: "finish-5k", race: "5k", device: device("FINISH-SK")}),
		api:  batteries,
		alarms: []alarm{{
			alert: "RufusSessionNotFound", session: "finish-5k", severity: "warning",
			after: -15 * minute, within: 4 * minute, lasts: never, says: "mistyped",
		}},
	},
	{
		name: "start mats fall silent because everyone has started",
		from: -5 * minute, to: 60 * minute, mats: cityMats(0),
	},
	{
		name: "a race ends: its mats fall silent",
		from: 20 * minute, to: 90 * minute, mats: cityMats(15 * minute),
		alarms: []alarm{
			silent("turn-5k", "warning", 43*minute+15*second, never),
			silent("finish-5k", "warning", 67*minute+15*second, never),
			silent("turn-10k", "warning", 81*minute+30*second, never),
		},
	},
	{
		name: "a race ends: its sessions are closed 25 min after the last runner",
		from: 40 * minute, to: 88 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(77*minute), 20*second, "5K") },
		mats: cityMats(0),
		alarms: []alarm{
			putAway("start-5k", 77*minute),
			putAway("turn-5k", 77*minute+20*second),
			putAway("finish-5k", 77*minute+40*second),
		},
		together: true,
	},
	{
		name: "a race ends: its sessions are closed 5 min after the last runner",
		from: 40 * minute, to: 75 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(57*minute), 45*second, "5K") },
		mats: cityMats(0),
		alarms: []alarm{
			putAway("start-5k", 57*minute),
			putAway("turn-5k", 57*minute+45*second),
			putAway("finish-5k", 57*minute+90*second),
		},
	},
	{
		name: "sessions.yml changed, but wrong",
		from: -10 * minute, to: 10 * minute,
		mats: cityMats(0),
		accidents: []accident{
			{-5 * minute, func(b *bench) { b.reloaded.Set(0) }},
			{5 * minute, func(b *bench) { b.reloaded.Set(1) }},
		},
		alarms: []alarm{{
			alert: "RufusReloadFailed", severity: "warning", after: -5 * minute, within: 2 * minute,
			lasts: 5 * minute, over: 5*minute + noticed,
		}},
	},
	{
		name: "half of the passings deleted",
		from: 20 * minute, to: 50 * minute,
		mats: cityMats(0),
		accidents: []accident{{30 * minute, func(b *bench) {
			b.api.Set(func(day *simulator.Day) {
				finish := &day.Device("FINISH-5K").Sessions[0]
				finish.Passings = finish.Passings[len(finish.Passings)/3:]
			})
		}}},
		alarms: []alarm{{
			alert: "RufusCountFell", session: "finish-5k", severity: "warning", after: 30 * minute, within: minute,
			over: 47 * minute,
		}},
	},
}

// closeFor closes the session of a device, and opens another one when START is pressed.
func closeFor(d *simulator.Device, from, to time.Time) {
	d.Close(from)
	next := d.Sessions[0]
	next.Token, next.Created, next.Closed = simulator.ID("after "+next.Token), to, time.Time{}
	d.Sessions = append(d.Sessions, next)
}

// tried lets a few chips be held over a mat.
func tried(d *simulator.Device, at time.Time) {
	s := &d.Sessions[0]
	passings := make([]simulator.Passing, 0, len(s.Passings)+8)
	for i := range 8 {
		stamp := at.Add(time.Duration(4*i) * second)
		passings = append(passings, simulator.Passing{Arrived: stamp.Add(second), Stamp: stamp})
	}
	s.Passings = append(passings, s.Passings...)
}

// closeAll closes the sessions of the mats whose alias ends like that, one after the other.
func closeAll(day *simulator.Day, at time.Time, each time.Duration, suffix string) {
	for i := range day.Devices {
		if d := &day.Devices[i]; strings.HasSuffix(d.Alias, suffix) {
			d.Close(at)
			at = at.Add(each)
		}
	}
}
