package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for the night when the clocks change

	"github.com/prometheus/common/model"

	"rufus_exporter/simulator"
)

// The days, by what goes wrong. What must come of them is what the contract says of it, see "Alarms" in the runbook,
// and of the simulator's own passings: the last one of a mat before an accident, the first one after it.
var scenarios = slices.Concat(cleanDays, closedDays, startDays, silentDays, clockDays, blindDays, serverDays, nextDays)

// edits of a day.
type edit = func(day *simulator.Day, at clockAfter)

func closes(alias string, when time.Duration) edit {
	return func(day *simulator.Day, at clockAfter) { day.Device(alias).Close(at(when)) }
}

func mutes(alias string, when time.Duration) edit {
	return func(day *simulator.Day, at clockAfter) { day.Device(alias).Mute(at(when)) }
}

func tries(alias string, when time.Duration, chips int) edit {
	return func(day *simulator.Day, at clockAfter) { day.Device(alias).Try(at(when), chips) }
}

// fails lets all requests fail, or only those for some ids.
func fails(from, to time.Duration, how simulator.Fault, ids ...string) edit {
	return func(day *simulator.Day, at clockAfter) {
		how.From, how.To = at(from), at(to)
		if len(ids) == 0 {
			ids = []string{""}
		}
		for _, how.Only = range ids {
			day.Faults = append(day.Faults, how)
		}
	}
}

func presses(alias string, when, gap time.Duration) edit {
	return func(day *simulator.Day, at clockAfter) { day.Device(alias).PressStart(at(when), gap) }
}

func edits(all ...edit) edit {
	return func(day *simulator.Day, at clockAfter) {
		for _, e := range all {
			e(day, at)
		}
	}
}

// Faults.
var (
	dropped   = simulator.Fault{Drop: true}
	forbidden = simulator.Fault{Status: http.StatusForbidden}
)

// Accidents.
func restarts(down time.Duration) func(*bench)    { return func(b *bench) { b.server.restart(down) } }
func loses(scrapes time.Duration) func(*bench)    { return func(b *bench) { b.server.lose(scrapes) } }
func exporterOff(down time.Duration) func(*bench) { return func(b *bench) { b.restartExporter(down) } }
func reloads(b *bench)                            { b.reload(b.scenario.later) }

// regun changes the gun of a race, for all mats that there are.
func regun(race string, gun time.Duration) func(*bench) {
	return func(b *bench) {
		b.seen.mu.Lock()
		b.scenario.guns = maps.Clone(b.scenario.guns)
		b.scenario.guns[race] = []time.Duration{gun}
		b.seen.mu.Unlock()
		b.reload(b.scenario.mats)
	}
}

// joins lets another exporter of the same job have the same sessions.
func joins(b *bench) {
	b.startExporter(otherAddress)
	b.server.scrape(b.scenario.targets(exporterAddress, otherAddress))
}

// shares gives the sessions of the 10K to another exporter of the same job.
func shares(b *bench) {
	all := b.scenario.mats
	b.scenario.mats = all[3:]
	joins(b)
	b.scenario.mats = all[:3]
	b.exporters[exporterAddress].reload()
}

var cleanDays = []scenario{
	{
		name: "clean day, two-hour gap between waves",
		from: -40 * minute, to: 240 * minute, guns: inWaves(165 * minute), day: secondRace(165*minute, 0), mats: cityMats(0),
	},
	{
		// That is asked for, but nobody is woken by it.
		name: "a silent_after that the gap between waves exceeds",
		from: -5 * minute, to: 145 * minute, guns: inWaves(90 * minute), day: secondRace(90*minute, 0),
		mats: with(cityMats(0),
			mat{name: "turn-5k", race: "5k", device: device("TURN-5K"), silentAfter: 20 * minute},
			mat{name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 20 * minute}),
		bare: []alarm{ // the last passings of the first wave, the first and the last of the second
			warning(silent, "turn-5k", 28*minute+30*second+20*minute, 99*minute+40*second),
			warning(silent, "finish-5k", 52*minute+20*second+20*minute, 109*minute+20*second),
			warning(silent, "turn-5k", 118*minute+30*second+20*minute, never),
		},
	},
	{
		name: "start mats fall silent because everyone has started",
		from: -5 * minute, to: 40 * minute, mats: cityMats(0),
	},
	{
		name: "a race ends: its mats fall silent",
		from: 20 * minute, to: 90 * minute, mats: cityMats(15 * minute),
		bare: []alarm{
			warning(silent, "turn-5k", 28*minute+30*second+15*minute, never),
			warning(silent, "finish-5k", 52*minute+20*second+15*minute, never),
			warning(silent, "turn-10k", 66*minute+45*second+15*minute, never),
		},
	},
	{
		name: "a race ends: its sessions are closed 25 min after the last runner",
		from: 40 * minute, to: 85 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(77*minute), 20*second) },
		mats: cityMats(0),
		bare: []alarm{
			warning(closed, "start-5k", 77*minute, never),
			warning(closed, "turn-5k", 77*minute+20*second, never),
			warning(closed, "finish-5k", 77*minute+40*second, never),
		},
	},
	{
		name: "a race ends: its sessions are closed 7 min after the last runner",
		from: 40 * minute, to: 70 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(59*minute+20*second), 45*second) },
		mats: cityMats(0),
		bare: []alarm{
			warning(closed, "start-5k", 59*minute+20*second, never),
			warning(closed, "turn-5k", 60*minute+5*second, never),
			warning(closed, "finish-5k", 60*minute+50*second, never),
		},
	},
	{
		// Nobody but the crew knows that no more runners come.
		name: "a race ends: its finish is closed 3 min after the last runner",
		from: 40 * minute, to: 65 * minute, day: closes("FINISH-5K", 55*minute+20*second), mats: cityMats(0),
		bare: []alarm{critical(closed, "finish-5k", 55*minute+20*second, never)},
	},
	{
		name: "a start mat is put away as planned",
		from: -5 * minute, to: 25 * minute, day: closes("START-5K", 12*minute), mats: cityMats(0),
		bare: []alarm{warning(closed, "start-5k", 12*minute, never)},
	},
	{
		name: "5K and 10K share a label, and the 5K is packed up while the 10K goes on",
		from: 40 * minute, to: 85 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(77*minute), 20*second) },
		mats: inRace("city", cityMats(0), map[string]time.Duration{"10k": 15 * minute}),
		bare: []alarm{
			warning(closed, "start-5k", 77*minute, never),
			warning(closed, "turn-5k", 77*minute+20*second, never),
			warning(closed, "finish-5k", 77*minute+40*second, never),
		},
	},
	{
		name: "everyone has passed the turn: until is set to now, and the mat is put away",
		from: 10 * minute, to: 34 * minute, day: closes("TURN-5K", 26*minute+10*second), mats: cityMats(0),
		later: with(cityMats(0), mat{
			name: "turn-5k", race: "5k", device: device("TURN-5K"), from: 9 * minute, until: 26 * minute, silentAfter: 5 * minute,
		}),
		accidents: []accident{{26 * minute, reloads}}, only: "declared", lawless: true, // the oracle knows one window
	},
	{
		name: "test passings are deleted eight minutes before the gun",
		from: -20 * minute, to: 12 * minute, mats: cityMats(0),
		day: edits(tries("START-5K", -12*minute, 8),
			func(day *simulator.Day, at clockAfter) { day.Device("START-5K").Remove(at(-8*minute), 8) }),
	},
	{
		name: "listed before the race, which starts an hour later",
		from: -60 * minute, to: 5 * minute, races: opened(4 * hour), mats: cityMats(10 * minute),
	},
	{
		name: "listed two hours before its start, beside a race that counts and shares its label",
		from: -5 * minute, to: 100 * minute,
		races: func(gun time.Time) []simulator.Race {
			later := simulator.TenK(gun.Add(120*minute), 200)
			later.Open = 4 * hour
			return []simulator.Race{simulator.FiveK(gun, 200), later}
		},
		mats: inRace("city", []mat{
			{name: "start-5k", race: "5k", token: token("START-5K")},
			{name: "finish-5k", race: "5k", device: device("FINISH-5K")},
			{name: "start-10k", race: "10k", token: token("START-10K")},
			{name: "finish-10k", race: "10k", device: device("FINISH-10K"), silentAfter: 10 * minute},
		}, map[string]time.Duration{"10k": 120 * minute}),
	},
	{
		name: "ultra by night, a passing every 20 min, then none",
		from: -30 * minute, to: 170 * minute, races: sixMats,
		day: edits(every(20*minute), mutes("MAT-00001", 115*minute)),
		mats: []mat{{
			name: "hut", race: "ultra", device: device("MAT-00001"), silentAfter: 30 * minute,
			from: 0, until: 6 * hour, absolute: true,
		}, {
			name: "pass", race: "ultra", device: device("MAT-00002"), silentAfter: 30 * minute,
			from: 0, until: 6 * hour, absolute: true,
		}},
		bare:     []alarm{warning(silent, "hut", 130*minute, never)},
		declared: []alarm{critical(silent, "hut", 130*minute, never)},
	},
	{
		name: "last walker 18 min behind",
		from: 45 * minute, to: 85 * minute,
		day: func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Try(at(70*minute+20*second), 1) },
		mats: []mat{{
			name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 10 * minute,
		}},
		only: "bare",
		bare: []alarm{
			warning(silent, "finish-5k", 62*minute+20*second, 70*minute+20*second),
			warning(silent, "finish-5k", 80*minute+20*second, never),
		},
	},
	{
		name: "last walker 18 min behind, with a silent_after for it",
		from: 45 * minute, to: 85 * minute,
		day: func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Try(at(70*minute+20*second), 1) },
		mats: []mat{{
			name: "finish-5k", race: "5k", device: device("FINISH-5K"), silentAfter: 20 * minute,
			from: 18 * minute, until: 80 * minute,
		}},
	},
	{
		name: "the night when the clocks change, between two waves",
		date: time.Date(2026, 10, 25, 1, 30, 0, 0, berlin), from: -8 * minute, to: 155 * minute,
		guns:     inWaves(90 * minute),
		day:      edits(secondRace(90*minute, 0), closes("FINISH-5K", 130*minute)),
		mats:     cityMats(0),
		declared: []alarm{critical(closed, "finish-5k", 130*minute, 144*minute)},
		bare:     []alarm{critical(closed, "finish-5k", 130*minute, never)},
	},
}

// berlin is where the clocks change at 3 in the night of 25 October 2026.
var berlin = func() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}()

// sixMats are MAT-00001 and so on, at which nobody passes.
func sixMats(gun time.Time) []simulator.Race {
	race := simulator.FiveK(gun, 0)
	race.Mats = nil
	for i := range 6 {
		race.Mats = append(race.Mats, simulator.Mat{Alias: fmt.Sprintf("MAT-%05d", i+1)})
	}
	return []simulator.Race{race}
}

// every lets somebody pass all mats every so often, from the gun on.
func every(gap time.Duration) edit {
	return func(day *simulator.Day, at clockAfter) {
		for i := range day.Devices {
			for n := range 30 {
				day.Devices[i].Try(at(time.Duration(n)*gap), 1)
			}
		}
	}
}

var closedDays = []scenario{
	{
		name: "closed by mistake, START pressed 7 min later",
		from: 15 * minute, to: 36 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("FINISH-5K").PressStart(at(25*minute), 7*minute)
		},
		mats:   cityMats(0),
		alarms: []alarm{critical(closed, "finish-5k", 25*minute, 32*minute).saying("press START")},
	},
	{
		name: "closed by mistake, with START and FINISH only",
		from: 20 * minute, to: 60 * minute, day: closes("FINISH-5K", 30*minute), mats: startAndFinish(),
		bare:     []alarm{critical(closed, "finish-5k", 30*minute, never)},
		declared: []alarm{critical(closed, "finish-5k", 30*minute, 54*minute)},
	},
	{
		name: "closed by mistake and not fixed for two hours",
		from: 170 * minute, to: 310 * minute, races: marathon, guns: map[string][]time.Duration{"42k": {0}},
		day: closes("FINISH", 182*minute),
		mats: []mat{
			{name: "start", race: "42k", token: token("START"), until: 10 * minute},
			{name: "half", race: "42k", device: device("HALF"), from: 70 * minute, until: 200 * minute},
			{name: "finish", race: "42k", device: device("FINISH"), from: 140 * minute, until: 390 * minute},
		},
		alarms: []alarm{critical(closed, "finish", 182*minute, never)},
		calls:  1,
	},
	{
		// One window ends, and the next is armed already.
		name: "closed near the end of a window, with waves ten minutes apart",
		from: -8 * minute, to: 32 * minute, races: fiveK, guns: inThreeWaves(), day: closes("START-5K", 7*minute), mats: onlyStart(),
		only: "declared", declared: []alarm{critical(closed, "start-5k", 7*minute, 2*waveGap+8*minute)},
		calls: 1,
	},
	{
		name: "closed by mistake, and then the gun is corrected",
		from: 24 * minute, to: 68 * minute, races: fiveK, guns: map[string][]time.Duration{"5k": {0}}, mats: startAndFinish()[1:],
		day: closes("FINISH-5K", 30*minute), accidents: []accident{{35 * minute, regun("5k", 10*minute)}},
		only: "declared", declared: []alarm{critical(closed, "finish-5k", 30*minute, 64*minute)},
		calls: 1, lawless: true, // the oracle knows one gun
	},
	{
		name: "closed while the API is down",
		from: 15 * minute, to: 50 * minute, mats: silentFinish(),
		day: edits(closes("FINISH-5K", 27*minute), fails(25*minute, 33*minute, dropped)),
		alarms: []alarm{
			critical(allFailing, "", 25*minute, 33*minute),
			critical(closed, "finish-5k", 33*minute, never),
		},
	},
	{
		name: "closed before the race, then unreadable",
		from: -30 * minute, to: 12 * minute, mats: cityMats(0),
		day:  edits(closes("TURN-5K", -20*minute), fails(-10*minute, 24*hour, forbidden, device("TURN-5K"))),
		only: "declared", declared: []alarm{
			warning(failing, "turn-5k", -10*minute, 4*minute),
			critical(closed, "turn-5k", 4*minute, never),
		},
	},
	{
		name: "a single session is closed by mistake",
		from: 20 * minute, to: 40 * minute, races: fiveK, day: closes("FINISH-5K", 30*minute),
		mats:   []mat{{name: "finish", token: token("FINISH-5K"), from: 18 * minute, until: 54 * minute}},
		alarms: []alarm{critical(closed, "finish", 30*minute, never)},
	},
	{
		name: "closed by mistake while Prometheus misses four scrapes",
		from: 20 * minute, to: 30 * minute, day: closes("FINISH-5K", 25*minute), mats: cityMats(0),
		accidents: []accident{{24*minute + 50*second, loses(minute)}},
		alarms: []alarm{{
			alert: closed, session: "finish-5k", severity: "critical", after: 25 * minute, within: 2 * minute, lasts: never,
		}},
	},
	{
		name: "closed by mistake, then Prometheus restarts",
		from: 20 * minute, to: 36 * minute, day: closes("FINISH-5K", 25*minute), mats: cityMats(0),
		accidents: []accident{{30 * minute, restarts(minute)}},
		alarms:    []alarm{critical(closed, "finish-5k", 25*minute, never)},
		calls:     1,
	},
	{
		name: "closed before monitoring began",
		from: 60 * minute, to: 75 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(55*minute), 0) },
		mats: cityMats(0),
	},
	{
		name: "monitoring begins in mid-race: one mat is closed, one silent",
		from: 36 * minute, to: 50 * minute, mats: cityMats(5 * minute),
		day: edits(closes("TURN-10K", 35*minute+40*second), mutes("FINISH-5K", 30*minute)),
		bare: []alarm{
			warning(silent, "finish-5k", 41*minute, never),
			warning(silent, "turn-5k", 41*minute, never),
		},
		declared: []alarm{
			critical(notStarted, "turn-10k", 36*minute, never),
			critical(silent, "finish-5k", 41*minute, never),
		},
	},
	{
		name: "everything closed at once by mistake",
		from: 12 * minute, to: 29 * minute,
		day:  func(day *simulator.Day, at clockAfter) { closeAll(day, at(22*minute), 0) },
		mats: cityMats(0),
		alarms: []alarm{
			critical(raceStopped, "", 22*minute, never).of("5k").saying("finish-5k is closed"),
			critical(closed, "turn-5k", 22*minute, never).untold(),
			critical(closed, "finish-5k", 22*minute, never).untold(),
		},
		bare:  []alarm{warning(closed, "start-5k", 22*minute, never).untold()},
		calls: 1,
	},
	{
		// One cause: it is told once, and until it ends.
		name: "network gone for a race, and another mat comes due five minutes later",
		from: -10 * minute, to: 55 * minute, races: sixMats, only: "declared",
		mats: []mat{
			{name: "km-2", race: "trail", device: device("MAT-00001"), silentAfter: 5 * minute, until: 50 * minute, absolute: true},
			{name: "km-3", race: "trail", device: device("MAT-00002"), silentAfter: 5 * minute, until: 50 * minute, absolute: true},
			{
				name: "km-4", race: "trail", device: device("MAT-00003"), silentAfter: 5 * minute,
				from: 25 * minute, until: 54 * minute, absolute: true,
			},
		},
		day: edits(every(90*second), func(day *simulator.Day, at clockAfter) {
			for i := range 3 {
				day.Device(fmt.Sprintf("MAT-%05d", i+1)).Buffer(at(20*minute), at(45*minute))
			}
			day.Device("MAT-00003").Mute(at(-hour))
		}),
		declared: []alarm{
			critical(raceStopped, "", 24*minute+30*second, 45*minute).of("trail"),
			critical(silent, "km-2", 24*minute+30*second, 45*minute).untold(),
			critical(silent, "km-3", 24*minute+30*second, 45*minute).untold(),
		},
		free: true,
	},
	{
		// The entry is not there any more: so is its alarm.
		name: "an entry is taken out while it is closed",
		from: 20 * minute, to: 40 * minute, day: closes("FINISH-5K", 25*minute), mats: cityMats(0),
		later:     slices.Delete(cityMats(0), 2, 3),
		accidents: []accident{{30 * minute, reloads}},
		alarms:    []alarm{critical(closed, "finish-5k", 25*minute, 30*minute)},
	},
}

// inThreeWaves are the guns of a 5K in waves ten minutes apart, at three phases of the scrape interval.
func inThreeWaves() map[string][]time.Duration {
	return map[string][]time.Duration{"5k": {0, waveGap, 2 * waveGap}, "10k": {15 * minute}}
}

const waveGap = 10*minute + 5*second

// onlyStart is the entry of a start mat alone.
func onlyStart() []mat { return []mat{{name: "start-5k", race: "5k", device: device("START-5K")}} }

var startDays = []scenario{
	{
		name: "START pressed again, and the new token put into the file",
		from: 18 * minute, to: 50 * minute, day: presses("FINISH-5K", 32*minute, 2*second),
		mats: with(cityMats(0), mat{name: "finish-5k", race: "5k", token: token("FINISH-5K"), silentAfter: 5 * minute}),
		later: with(cityMats(0), mat{
			name: "finish-5k", race: "5k", token: simulator.ID("successor 1 of " + token("FINISH-5K")), silentAfter: 5 * minute,
		}),
		accidents: []accident{{38*minute + 3*second, reloads}},
		alarms:    []alarm{critical(closed, "finish-5k", 32*minute, 38*minute)},
	},
	{
		name: "START pressed again: token entry, device entry",
		from: 5 * minute, to: 35 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").PressStart(at(12*minute), 2*second) },
		mats: with(cityMats(0), mat{name: "turn-5k-token", race: "5k", token: token("TURN-5K")}),
		bare: []alarm{critical(closed, "turn-5k-token", 12*minute, never).saying("START was pressed again")},
		declared: []alarm{
			critical(closed, "turn-5k-token", 12*minute, 30*minute).saying("only an entry with the device keeps counting"),
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
		name: "START pressed again onto a dead reader",
		from: 20 * minute, to: 45 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			finish := day.Device("FINISH-5K")
			finish.PressStart(at(30*minute), 2*second)
			finish.Mute(at(30 * minute))
		},
		mats:   silentFinish(),
		alarms: []alarm{critical(silent, "finish-5k", 35*minute, never)},
	},
	{
		name: "START pressed again onto a reader that is dead for longer",
		from: 20 * minute, to: 48 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			finish := day.Device("FINISH-5K")
			finish.PressStart(at(38*minute), 2*second)
			finish.Mute(at(30 * minute))
		},
		mats:   silentFinish(),
		alarms: []alarm{critical(silent, "finish-5k", 35*minute, never)},
	},
	{
		name: "START forgotten at the start mat",
		from: -15 * minute, to: 16 * minute,
		mats:     with(cityMats(0), mat{name: "start-5k", race: "5k", device: device("START-5K")}),
		day:      func(day *simulator.Day, _ clockAfter) { day.Device("START-5K").Sessions = nil },
		bare:     []alarm{warningBy(notStarted, "start-5k", 9*minute+38*second, 6*minute, never)},
		declared: []alarm{critical(notStarted, "start-5k", -5*minute, 8*minute)},
	},
	{
		name: "START not pressed at the turn until 12 min after the gun",
		from: -15 * minute, to: 16 * minute,
		day:      func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Sessions[0].Created = at(12 * minute) },
		mats:     cityMats(0),
		bare:     []alarm{warningBy(notStarted, "turn-5k", 0, 10*minute, 12*minute).saying("press START")},
		declared: []alarm{critical(notStarted, "turn-5k", 4*minute, 12*minute).saying("press START")},
	},
	{
		name: "START pressed while nobody could see the mat",
		from: -15 * minute, to: 30 * minute,
		day: edits(
			func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Sessions[0].Created = at(15 * minute) },
			fails(10*minute, 16*minute, forbidden, device("TURN-5K")),
		),
		mats: cityMats(0),
		bare: []alarm{
			warningBy(notStarted, "turn-5k", 0, 10*minute, 16*minute), warning(failing, "turn-5k", 10*minute, 16*minute),
		},
		declared: []alarm{critical(notStarted, "turn-5k", 4*minute, 16*minute).saying("press START")},
	},
	{
		name: "START forgotten at the finish",
		from: -15 * minute, to: 25 * minute, mats: startAndFinish(),
		day:      func(day *simulator.Day, _ clockAfter) { day.Device("FINISH-5K").Sessions = nil },
		bare:     []alarm{warningBy(notStarted, "finish-5k", 0, 10*minute, never)},
		declared: []alarm{critical(notStarted, "finish-5k", 13*minute, never)},
	},
	{
		name: "START forgotten at the finish of the second race of the day",
		from: 40 * minute, to: 205 * minute, races: fiveK, guns: map[string][]time.Duration{"5k": {0, 180 * minute}},
		day:  secondRace(180*minute, 75*minute, "FINISH-5K"),
		mats: cityMats(0)[:3],
		bare: []alarm{
			warning(closed, "start-5k", 75*minute, never),
			warning(closed, "turn-5k", 75*minute, 120*minute),
			warning(closed, "finish-5k", 75*minute, never),
		},
		declared: []alarm{
			critical(closed, "start-5k", 175*minute, 188*minute), // its token is the morning's
			critical(closed, "finish-5k", 193*minute, never),
		},
	},
	{
		name: "yesterday's token left in the file",
		from: -15 * minute, to: 33 * minute,
		day:      func(day *simulator.Day, _ clockAfter) { day.Device("TURN-5K").Yesterday() },
		mats:     with(cityMats(0), mat{name: "turn-5k", race: "5k", token: simulator.ID("yesterday's " + token("TURN-5K"))}),
		bare:     []alarm{warningBy(notStarted, "turn-5k", 0, 10*minute, never).saying("token of an old session")},
		declared: []alarm{critical(notStarted, "turn-5k", 4*minute, 30*minute).saying("token of an old session")},
	},
	{
		name: "mistyped device id",
		from: -15 * minute, to: 25 * minute,
		mats:     with(cityMats(0), mat{name: "finish-5k", race: "5k", device: device("FINISH-SK")}),
		bare:     []alarm{warningBy(notStarted, "finish-5k", 0, 10*minute, never).saying("id of another device")},
		declared: []alarm{critical(notStarted, "finish-5k", 13*minute, never).saying("id of another device")},
	},
	{
		name: "mistyped device id, with device metrics",
		from: -15 * minute, to: 25 * minute,
		mats: with(cityMats(0), mat{name: "finish-5k", race: "5k", device: device("FINISH-SK")}),
		api:  batteries,
		bare: []alarm{warningBy(failing, "finish-5k", -15*minute, 3*minute, never).saying("unbound")},
		declared: []alarm{
			warningBy(failing, "finish-5k", -15*minute, 3*minute, 13*minute).saying("unbound"),
			critical(failing, "finish-5k", 13*minute, never),
		},
	},
	{
		name: "a spare box is put into the same entry",
		from: 20 * minute, to: 45 * minute, mats: silentFinish(), later: with(silentFinish(), spareFinish),
		day:       edits(spareBox, mutes("FINISH-5K", 25*minute)),
		accidents: []accident{{27 * minute, reloads}},
	},
	{
		name: "a spare box that does not count is put into the same entry",
		from: 20 * minute, to: 40 * minute, mats: silentFinish(), later: with(silentFinish(), spareFinish),
		day:       edits(spareBox, mutes("FINISH-5K", 25*minute), mutes("SPARE", -hour)),
		accidents: []accident{{27 * minute, reloads}},
		alarms:    []alarm{critical(silent, "finish-5k", 30*minute, never)},
	},
}

var spareFinish = mat{name: "finish-5k", race: "5k", device: device("SPARE"), silentAfter: 5 * minute}

// spareBox adds a box beside the finish, that is switched on in the morning, and carried there in minute 26.
func spareBox(day *simulator.Day, at clockAfter) {
	spare := *day.Device("FINISH-5K")
	spare.ID, spare.Alias = device("SPARE"), "SPARE"
	spare.Sessions = slices.Clone(spare.Sessions)
	spare.Sessions[0].Token = token("SPARE")
	spare.Sessions[0].Created = at(-50 * minute)
	day.Devices = append(day.Devices, spare)
	day.Device("SPARE").Pause(at(-hour), at(26*minute))
}

// secondRace closes all sessions, and lets the same race happen again so much later, an hour after START is pressed
// at all mats but these.
func secondRace(again, closed time.Duration, forgotten ...string) edit {
	return func(day *simulator.Day, at clockAfter) {
		for i := range day.Devices {
			d := &day.Devices[i]
			passings := slices.Clone(d.Sessions[0].Passings)
			for _, p := range d.Sessions[0].Passings {
				passings = append(passings, simulator.Passing{Arrived: p.Arrived.Add(again), Stamp: p.Stamp.Add(again)})
			}
			d.Sessions[0].Passings = passings
			if closed == 0 {
				continue // left on
			}
			if slices.Contains(forgotten, d.Alias) {
				d.Close(at(closed))
			} else {
				d.PressStart(at(closed), again-hour-closed)
			}
		}
	}
}

// warningBy is a warning that may take so long.
func warningBy(alert, session string, after, within, end time.Duration) alarm {
	a := warning(alert, session, after, end)
	a.within = within
	return a
}

var silentDays = []scenario{
	{
		name: "reader mute at the finish while the turn still counts",
		from: 20 * minute, to: 36 * minute, day: mutes("FINISH-5K", 25*minute), mats: silentFinish(),
		alarms: []alarm{critical(silent, "finish-5k", 30*minute, never).saying("hold a chip over the mat")},
		calls:  1,
	},
	{
		name: "reader mute at the finish, with START and FINISH only",
		from: 25 * minute, to: 45 * minute, day: mutes("FINISH-5K", 32*minute), mats: startAndFinish(),
		alarms: []alarm{critical(silent, "finish-5k", 37*minute, never)},
	},
	{
		// The first passings of the mats come in the wrong order then.
		name: "chips tried at the mats before the race, then reader mute at the finish",
		from: -45 * minute, to: 36 * minute,
		day: edits(tries("FINISH-5K", -36*minute, 8), tries("TURN-5K", -33*minute, 8), tries("START-5K", -30*minute, 8),
			mutes("FINISH-5K", 25*minute)),
		mats: silentFinish(),
		bare: []alarm{
			warning(silent, "finish-5k", -36*minute+15*second+5*minute, 19*minute+20*second),
			critical(silent, "finish-5k", 30*minute, never),
		},
		declared: []alarm{critical(silent, "finish-5k", 30*minute, never)},
	},
	{
		name: "a crew deletes a test passing every four minutes at a dead reader",
		from: -40 * minute, to: 45 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			finish := day.Device("FINISH-5K")
			finish.Try(at(-36*minute), 8)
			finish.Mute(at(25 * minute))
			for i := range 6 {
				finish.Remove(at(time.Duration(26+4*i)*minute), 1)
			}
		},
		mats: cityMats(0)[:3],
		bare: []alarm{{alert: "RufusCountFell", session: "finish-5k", severity: "warning", after: 26 * minute, within: minute}},
		declared: []alarm{
			{alert: "RufusCountFell", session: "finish-5k", severity: "warning", after: 26 * minute, within: minute},
			critical(silent, "finish-5k", 30*minute, never),
		},
	},
	{
		name: "antenna never plugged in at the finish",
		from: -5 * minute, to: 35 * minute, day: mutes("FINISH-5K", -hour), mats: silentFinish(),
		declared: []alarm{critical(silent, "finish-5k", 23*minute, never).saying("its session has none")},
	},
	{
		name: "antenna never plugged in at the start",
		from: -8 * minute, to: 16 * minute, day: mutes("START-5K", -hour), mats: cityMats(0),
		declared: []alarm{critical(silent, "start-5k", 4*minute, 8*minute)},
	},
	{
		name: "the gun is 40 s early, and all have started when the window begins",
		from: -10 * minute, to: 10 * minute, only: "declared",
		races: func(gun time.Time) []simulator.Race {
			early := simulator.FiveK(gun.Add(-40*second), 40)
			early.Waves, early.WaveLen = 1, 20*second
			return []simulator.Race{early}
		},
		mats: []mat{{name: "start-5k", race: "5k", device: device("START-5K")}},
	},
	{
		name: "a chip is tried at the start four minutes before the gun, then its antenna is unplugged",
		from: -10 * minute, to: 12 * minute, day: edits(mutes("START-5K", -hour), tries("START-5K", -4*minute, 2)), mats: cityMats(0),
		only: "declared", declared: []alarm{critical(silent, "start-5k", 4*minute, 8*minute)},
	},
	{
		name: "reader mute while one scrape in four is good",
		from: 20 * minute, to: 60 * minute, mats: silentFinish(),
		day: edits(mutes("FINISH-5K", 26*minute),
			fails(22*minute, 46*minute, simulator.Fault{Drop: true, Every: minute, For: 45 * second})),
		alarms:   []alarm{criticalBy(allFailing, "", 22*minute, 3*minute+15*second, 46*minute-15*second)},
		bare:     []alarm{criticalBy(silent, "finish-5k", 30*minute+40*second, 3*minute, never)},
		declared: []alarm{criticalBy(silent, "finish-5k", 30*minute+40*second, 3*minute, 54*minute)},
	},
	{
		name: "two mats of a race without a label stop, and then sessions.yml is wrong",
		from: 12 * minute, to: 40 * minute, races: fiveK, day: edits(mutes("TURN-5K", 23*minute), mutes("FINISH-5K", 23*minute)),
		mats: []mat{
			{name: "turn", device: device("TURN-5K"), silentAfter: 5 * minute, from: 9 * minute, until: 40 * minute},
			{name: "finish", device: device("FINISH-5K"), silentAfter: 5 * minute, from: 18 * minute, until: 54 * minute},
		},
		accidents: []accident{{31 * minute, func(b *bench) { b.reloaded.Set(0) }}},
		only:      "declared", declared: []alarm{
			critical(raceStopped, "", 27*minute+45*second, never),
			critical(silent, "turn", 27*minute+45*second, never).untold(),
			critical(silent, "finish", 27*minute+45*second, never).untold(),
			warning("RufusReloadFailed", "", 31*minute, never),
		},
	},
	{
		name: "battery low at the start, with waves ten minutes apart",
		from: -8 * minute, to: 32 * minute, races: fiveK, guns: inThreeWaves(), mats: onlyStart(), api: batteries,
		day: edits(secondRace(waveGap, 0), secondRace(2*waveGap, 0), func(day *simulator.Day, at clockAfter) {
			day.Device("START-5K").Battery = simulator.Battery{From: at(-hour), To: at(3 * hour), Start: 16, End: 12}
		}),
		only: "declared", declared: []alarm{warning("RufusBatteryLow", "start-5k", -8*minute, 2*waveGap+8*minute)},
	},
	{
		name: "reader never worked at the backup of a marathon's finish",
		from: 70 * minute, to: 275 * minute, races: marathon, day: mutes("BACKUP", -hour),
		mats: []mat{
			{name: "start", race: "marathon", token: token("START")},
			{name: "half", race: "marathon", device: device("HALF")},
			{name: "finish", race: "marathon", device: device("FINISH")},
			{name: "backup", race: "marathon", device: device("BACKUP")},
		},
		only: "bare",
		bare: []alarm{warningBy(silent, "backup", 4*hour, 30*minute, never)},
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
		alarms: []alarm{critical(silent, "turn-10k", 45*minute, 55*minute)},
	},
	{
		name: "network lost for 18 min, then a burst of old passings",
		from: 20 * minute, to: 50 * minute,
		day:    func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Buffer(at(28*minute), at(46*minute)) },
		mats:   silentFinish(),
		alarms: []alarm{critical(silent, "finish-5k", 32*minute+30*second, 46*minute)},
	},
	{
		name: "bursts: an hour offline, another mat a quarter of an hour three times",
		from: 35 * minute, to: 128 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("FINISH-10K").Buffer(at(60*minute), at(120*minute))
			for _, from := range []time.Duration{36 * minute, 46 * minute, 56 * minute} {
				day.Device("TURN-10K").Buffer(at(from), at(from+9*minute))
			}
		},
		mats: with(cityMats(0),
			mat{name: "turn-10k", race: "10k", device: device("TURN-10K"), silentAfter: 12 * minute},
			mat{name: "finish-10k", race: "10k", device: device("FINISH-10K"), silentAfter: 8 * minute}),
		bare: []alarm{
			critical(silent, "finish-10k", 68*minute, 120*minute),
			warning(silent, "turn-10k", 78*minute+45*second, never),
		},
		declared: []alarm{critical(silent, "finish-10k", 68*minute, 115*minute)},
	},
	{
		name: "battery death",
		from: 45 * minute, to: 99 * minute,
		day: func(day *simulator.Day, at clockAfter) { day.Device("FINISH-10K").Die(at(80 * minute)) },
		mats: with(cityMats(0),
			mat{name: "finish-10k", race: "10k", device: device("FINISH-10K"), silentAfter: 10 * minute}),
		api: batteries,
		alarms: []alarm{ // it falls from 90 % at -45 min to nothing at 80 min
			warning("RufusBatteryLow", "finish-10k", 52*minute, never),
			critical(silent, "finish-10k", 90*minute, never),
			warning("RufusTelemetryStale", "finish-10k", 94*minute, never).untold(),
		},
	},
	{
		name: "a box reports no more, but counts",
		from: 20 * minute, to: 45 * minute,
		day:    func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Battery.To = at(25 * minute) },
		mats:   cityMats(0),
		api:    batteries,
		alarms: []alarm{warning("RufusTelemetryStale", "finish-5k", 40*minute, never)},
	},
	{
		name: "half of the passings deleted",
		from: 20 * minute, to: 50 * minute,
		day:  func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Remove(at(30*minute), 80) },
		mats: cityMats(0),
		alarms: []alarm{{
			alert: "RufusCountFell", session: "finish-5k", severity: "warning", after: 30 * minute, within: minute,
			over: 47 * minute,
		}},
	},
	{
		name: "half of the passings deleted, then the API is down",
		from: 20 * minute, to: 50 * minute,
		day: edits(func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Remove(at(30*minute), 80) },
			fails(34*minute, 38*minute, dropped)),
		mats: cityMats(0),
		alarms: []alarm{
			{alert: "RufusCountFell", session: "finish-5k", severity: "warning", after: 30 * minute, within: minute, over: 47 * minute},
			critical(allFailing, "", 34*minute, 38*minute),
		},
	},
}

var clockDays = []scenario{
	{
		name: "clock one hour ahead",
		from: 5 * minute, to: 25 * minute,
		day:    func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Skew(at(15*minute), hour) },
		mats:   cityMats(0),
		alarms: []alarm{warning("RufusClockAhead", "turn-5k", 15*minute, never)},
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
		name: "clocks 15 s, 2 min and an hour off, with a passing every 6 min",
		from: -5 * minute, to: 50 * minute, races: sixMats,
		day: edits(every(6*minute), func(day *simulator.Day, at clockAfter) {
			for i, offset := range []time.Duration{15 * second, -15 * second, 2 * minute, -2 * minute, hour, -hour} {
				day.Device(fmt.Sprintf("MAT-%05d", i+1)).Skew(at(-hour), offset)
			}
		}),
		mats: trail("a-little-ahead", "a-little-behind", "ahead", "behind", "far-ahead", "far-behind"),
		alarms: []alarm{ // a constant lag shows after several arrivals
			warningBy("RufusClockAhead", "ahead", 0, 8*minute, never),
			warningBy("RufusClockAhead", "far-ahead", 0, 8*minute, never),
			warningBy("RufusClockBehind", "behind", 6*minute, 20*minute, never),
			warningBy("RufusClockBehind", "far-behind", 6*minute, 20*minute, never),
		},
	},
	{
		// Measured is up to a scrape less, so that of some passings it is less than 15 s.
		name: "a clock 22 s ahead, with a passing every 6 min",
		from: -5 * minute, to: 100 * minute, races: sixMats, mats: trail("hut")[:1],
		day: edits(every(6*minute+4*second), func(day *simulator.Day, at clockAfter) {
			day.Device("MAT-00001").Skew(at(-hour), 22*second)
		}),
		alarms: []alarm{warningBy("RufusClockAhead", "hut", 0, 20*minute, never)},
	},
	{
		name: "a clock 2 min behind, with a passing every 20 min",
		from: -5 * minute, to: 140 * minute, races: sixMats, only: "bare",
		mats: []mat{{name: "hut", race: "trail", device: device("MAT-00001"), silentAfter: 25 * minute}},
		day: edits(every(20*minute+4*second), func(day *simulator.Day, at clockAfter) {
			day.Device("MAT-00001").Skew(at(-hour), -2*minute)
		}),
		bare: []alarm{warningBy("RufusClockBehind", "hut", 20*minute, 25*minute, never)},
	},
}

// trail are the entries for MAT-00001 and so on.
func trail(names ...string) (mats []mat) {
	for i, name := range names {
		mats = append(mats, mat{
			name: name, race: "trail", device: device(fmt.Sprintf("MAT-%05d", i+1)),
			silentAfter: 10 * minute, until: 2 * hour, absolute: true,
		})
	}
	return mats
}

var blindDays = []scenario{
	{
		name: "device unbound",
		from: 5 * minute, to: 25 * minute,
		day:    func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Unbind(at(15 * minute)) },
		mats:   with(cityMats(0), mat{name: "turn-5k-token", race: "5k", token: token("TURN-5K")}),
		alarms: []alarm{critical(closed, "turn-5k", 15*minute, never)},
		bare:   []alarm{warning(failing, "turn-5k-token", 15*minute, never).saying("unbound")},
		declared: []alarm{
			critical(failing, "turn-5k-token", 15*minute, never).saying("unbound"),
		},
	},
	{
		name: "device unbound, with device metrics",
		from: 5 * minute, to: 25 * minute,
		day:      func(day *simulator.Day, at clockAfter) { day.Device("TURN-5K").Unbind(at(15 * minute)) },
		mats:     cityMats(0),
		api:      batteries,
		bare:     []alarm{warningBy(failing, "turn-5k", 15*minute, 4*minute, never).saying("unbound")},
		declared: []alarm{criticalBy(failing, "turn-5k", 15*minute, 4*minute, never).saying("unbound")},
	},
	{
		name: "device unbound, then the API is down",
		from: 20 * minute, to: 45 * minute,
		day: edits(func(day *simulator.Day, at clockAfter) { day.Device("FINISH-5K").Unbind(at(22 * minute)) },
			fails(30*minute, 35*minute, dropped)),
		mats: with(cityMats(0), mat{name: "finish-5k", race: "5k", token: token("FINISH-5K")}),
		alarms: []alarm{
			critical(allFailing, "", 30*minute, 35*minute),
		},
		bare:     []alarm{warning(failing, "finish-5k", 22*minute, never)},
		declared: []alarm{critical(failing, "finish-5k", 22*minute, never)},
	},
	{
		name: "closed, silent, battery low, telemetry old: then the API is down",
		from: 20 * minute, to: 55 * minute,
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("FINISH-5K").Close(at(30 * minute))
			day.Device("TURN-10K").Mute(at(36 * minute))
			day.Device("START-10K").Battery = simulator.Battery{From: at(-hour), To: at(3 * hour), Start: 10, End: 5}
			day.Device("FINISH-10K").Battery.To = at(25 * minute)
			fails(43*minute, 47*minute, dropped)(day, at)
		},
		mats: with(cityMats(5*minute), mat{name: "start-10k", race: "10k", device: device("START-10K")}),
		api:  batteries,
		alarms: []alarm{
			critical(allFailing, "", 43*minute, 47*minute),
			critical(silent, "turn-10k", 40*minute+30*second, never),
		},
		bare: []alarm{
			critical(closed, "finish-5k", 30*minute, never),
			warning(silent, "turn-5k", 33*minute+30*second, never),
			warning("RufusBatteryLow", "start-10k", 20*minute, never),
			warning("RufusTelemetryStale", "finish-10k", 40*minute, never),
		},
		declared: []alarm{
			critical(closed, "finish-5k", 30*minute, 54*minute),
			warning("RufusBatteryLow", "start-10k", 20*minute, 23*minute),
			warning("RufusTelemetryStale", "finish-10k", 40*minute, never),
		},
	},
	{
		name: "API down for 3 min",
		from: 20 * minute, to: 38 * minute, day: fails(25*minute, 28*minute, dropped), mats: silentFinish(),
		alarms: []alarm{critical(allFailing, "", 25*minute, 28*minute).saying("network")},
		calls:  1,
	},
	{
		name: "API down for 3 min before the race",
		from: -22 * minute, to: 2 * minute, day: fails(-15*minute, -12*minute, dropped), mats: cityMats(0),
		alarms: []alarm{warning(allFailing, "", -15*minute, -12*minute)},
	},
	{
		name: "API down for 3 min, of a single session",
		from: 20 * minute, to: 38 * minute, races: fiveK, day: fails(25*minute, 28*minute, dropped),
		mats:   []mat{{name: "finish", token: token("FINISH-5K"), from: 18 * minute, until: 54 * minute}},
		alarms: []alarm{critical(allFailing, "", 25*minute, 28*minute)},
		calls:  1,
	},
	{
		name: "API down until a minute before the mats must be ready",
		from: -25 * minute, to: 8 * minute, races: opened(hour), day: fails(-15*minute, -6*minute, dropped), mats: cityMats(0),
		alarms: []alarm{warning(allFailing, "", -15*minute, -6*minute)},
	},
	{
		name: "one device lent until a minute before its mat must be ready",
		from: -25 * minute, to: 8 * minute, mats: with(cityMats(0), onlyStart()...),
		day:    fails(-15*minute, -6*minute, forbidden, device("START-5K")),
		alarms: []alarm{warning(failing, "start-5k", -15*minute, -6*minute)},
	},
	{
		// What cannot be read is not told of a mat that is closed. When it can be read again, all is well.
		name: "closed, lent to another account, and opened meanwhile",
		from: 15 * minute, to: 50 * minute, races: fiveK, mats: startAndFinish(),
		day:    edits(presses("FINISH-5K", 25*minute, 7*minute), fails(27*minute, 37*minute, forbidden, device("FINISH-5K"))),
		alarms: []alarm{critical(closed, "finish-5k", 25*minute, 37*minute)},
		calls:  1,
	},
	{
		name: "API answers 500 for 3 min",
		from: 20 * minute, to: 38 * minute, mats: silentFinish(),
		day:    fails(25*minute, 28*minute, simulator.Fault{Status: http.StatusInternalServerError}),
		alarms: []alarm{critical(allFailing, "", 25*minute, 28*minute).saying("server_error")},
	},
	{
		name: "API slow beyond the time limit for 10 min",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0),
		day:    fails(25*minute, 35*minute, simulator.Fault{Latency: 30 * second}),
		alarms: []alarm{critical(allFailing, "", 25*minute, 35*minute).saying("timeout")},
	},
	{
		name: "API slow beyond the scrape's deadline for 10 min",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0), api: "  timeout: 20s\n",
		day: fails(25*minute, 35*minute, simulator.Fault{Latency: 12 * second}),
		alarms: []alarm{
			critical(allFailing, "", 25*minute, 35*minute).saying("timeout"),
			warning("RufusScrapeSlow", "", 25*minute, 35*minute).untold(),
		},
	},
	{
		name: "429 storm for 10 min",
		from: 20 * minute, to: 46 * minute, mats: cityMats(0),
		day:    fails(25*minute, 35*minute, simulator.Fault{Status: http.StatusTooManyRequests, RetryAfter: minute}),
		alarms: []alarm{critical(allFailing, "", 25*minute, 36*minute).saying("rate_limited")},
	},
	{
		name: "key revoked",
		from: 20 * minute, to: 38 * minute, day: fails(25*minute, 24*hour, forbidden), mats: silentFinish(),
		alarms: []alarm{critical(allFailing, "", 25*minute, never).saying("unauthorized")},
		calls:  1,
	},
	{
		name: "one good scrape in four for half an hour",
		from: 20 * minute, to: 62 * minute, mats: cityMats(0),
		day:    fails(22*minute, 52*minute, simulator.Fault{Drop: true, Every: minute, For: 45 * second}),
		alarms: []alarm{criticalBy(allFailing, "", 22*minute, 3*minute+15*second, 52*minute-15*second)},
		calls:  1,
	},
	{
		name: "one good scrape in eight for half an hour",
		from: 20 * minute, to: 62 * minute, mats: cityMats(0),
		day:    fails(22*minute, 52*minute, simulator.Fault{Drop: true, Every: 2 * minute, For: 105 * second}),
		alarms: []alarm{criticalBy(allFailing, "", 22*minute, 3*minute+15*second, 52*minute-15*second)},
		calls:  1,
	},
	{
		name: "three good scrapes in four for half an hour",
		from: 20 * minute, to: 62 * minute, mats: cityMats(0),
		day:    fails(22*minute, 52*minute, simulator.Fault{Drop: true, Every: minute, For: 15 * second}),
		alarms: []alarm{warning("RufusAPIFailing", "", 22*minute, 0)},
	},
	{
		name: "one session slow beyond the time limit",
		from: 20 * minute, to: 38 * minute, mats: cityMats(0),
		day:      fails(25*minute, 30*minute, simulator.Fault{Latency: 30 * second}, device("FINISH-5K")),
		bare:     []alarm{warning(failing, "finish-5k", 25*minute, 30*minute)},
		declared: []alarm{critical(failing, "finish-5k", 25*minute, 30*minute)},
	},
	{
		name: "one session unreadable, with waves ten minutes apart",
		from: -8 * minute, to: 32 * minute, guns: inThreeWaves(),
		mats: with(cityMats(0), onlyStart()...), day: fails(5*minute, 24*minute, forbidden, device("START-5K")),
		only: "declared", declared: []alarm{critical(failing, "start-5k", 5*minute, 24*minute)},
		calls: 1,
	},
	{
		// Whoever has three mats must not be told as well that the API fails.
		name: "one of three devices lent to another account for 35 min",
		from: 12 * minute, to: 58 * minute, races: fiveK, mats: cityMats(0)[:3],
		day:      fails(16*minute, 51*minute, forbidden, device("FINISH-5K")),
		bare:     []alarm{warning(failing, "finish-5k", 16*minute, 51*minute)},
		declared: []alarm{critical(failing, "finish-5k", 16*minute, 51*minute)},
		allowed:  []string{failing}, // its window ends before its alert does
	},
	{
		name: "one device lent to another account",
		from: 20 * minute, to: 33 * minute, mats: cityMats(0),
		day:      fails(25*minute, 24*hour, forbidden, device("FINISH-5K")),
		bare:     []alarm{warning(failing, "finish-5k", 25*minute, never).saying("in your account")},
		declared: []alarm{critical(failing, "finish-5k", 25*minute, never).saying("in your account")},
	},
	{
		name: "answers about one session are not understood",
		from: 20 * minute, to: 38 * minute, mats: cityMats(0),
		day:      fails(25*minute, 30*minute, simulator.Fault{Status: http.StatusTeapot}, device("FINISH-5K")),
		bare:     []alarm{warning(failing, "finish-5k", 25*minute, 30*minute)},
		declared: []alarm{critical(failing, "finish-5k", 25*minute, 30*minute)},
	},
	{
		name: "device calls alone are refused, tokens are read",
		from: 35 * minute, to: 60 * minute, mats: cityMats(0),
		day: fails(40*minute, 50*minute, forbidden,
			device("TURN-5K"), device("FINISH-5K"), device("TURN-10K"), device("FINISH-10K")),
		alarms: []alarm{
			critical(raceFailing, "", 40*minute, 50*minute).of("5k"),
			critical(raceFailing, "", 40*minute, 50*minute).of("10k"),
		},
		calls: 2,
	},
	{
		name: "device calls alone are refused before the race",
		from: -22 * minute, to: -4 * minute, mats: cityMats(0)[:3],
		day:    fails(-18*minute, -12*minute, forbidden, device("TURN-5K"), device("FINISH-5K")),
		alarms: []alarm{warning(raceFailing, "", -18*minute, -12*minute).of("5k")},
	},
	{
		// The closed one was put away, and says nothing about the race.
		name: "four of six sessions are blind, a closed token can be read",
		from: 35 * minute, to: 60 * minute,
		day: edits(closes("START-5K", 15*minute), fails(40*minute, 50*minute, dropped,
			device("TURN-5K"), device("FINISH-5K"), device("TURN-10K"), device("FINISH-10K"))),
		mats:   inRace("city", cityMats(0), map[string]time.Duration{"10k": 15 * minute}),
		alarms: []alarm{critical(raceFailing, "", 40*minute, 50*minute).of("city")},
		bare:   []alarm{warningBy(notStarted, "start-5k", 35*minute, 4*minute, never)},
		calls:  1,
	},
	{
		// It does not know its entries then.
		name: "an exporter with rules for devices is restarted while the API is down",
		from: 20 * minute, to: 45 * minute, mats: followed(), file: asRules(followed()), api: batteries,
		day: fails(26*minute, 34*minute, dropped), accidents: []accident{{26*minute + 20*second, exporterOff(20 * second)}},
		only: "declared", declared: []alarm{critical(allFailing, "", 26*minute, 34*minute)},
		allowed: []string{"RufusDevicesUnreadable"}, lawless: true, // the page cannot know the mats
	},
	{
		name: "an exporter with rules for devices is restarted while the list of devices cannot be read",
		from: 20 * minute, to: 45 * minute, mats: followed(), file: asRules(followed()), api: batteries,
		day: edits(closes("FINISH-5K", 24*minute), func(day *simulator.Day, at clockAfter) {
			day.Faults = append(day.Faults, simulator.Fault{From: at(28 * minute), To: at(29 * minute), Page: 1, Status: 503})
		}),
		accidents: []accident{{28 * minute, exporterOff(10 * second)}},
		only:      "declared", declared: []alarm{critical(closed, "finish-5k", 24*minute, never)},
		calls: 1,
	},
	{
		// The entry is gone all the same.
		name: "list of devices not readable, and an entry is taken out while it is closed",
		from: 20 * minute, to: 40 * minute, day: closes("FINISH-5K", 25*minute), mats: cityMats(0), api: batteries,
		later: slices.Delete(cityMats(0), 2, 3),
		accidents: []accident{
			{20*minute + second, func(b *bench) { b.refused.Store("/v0/devices") }},
			{30 * minute, reloads},
		},
		alarms: []alarm{
			critical(closed, "finish-5k", 25*minute, 30*minute),
			warning("RufusDevicesUnreadable", "", 20*minute, never),
		},
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
}

// criticalBy is a critical alarm that may take so long.
func criticalBy(alert, session string, after, within, end time.Duration) alarm {
	a := critical(alert, session, after, end)
	a.within = within
	return a
}

var serverDays = []scenario{
	{
		name: "exporter restarted mid-race, down for 20 s",
		from: 20 * minute, to: 35 * minute, mats: silentFinish(),
		accidents: []accident{{25 * minute, exporterOff(20 * second)}},
	},
	{
		name: "exporter down for 10 min",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0),
		accidents: []accident{{25 * minute, exporterOff(10 * minute)}},
		alarms:    []alarm{critical(exporterDown, "", 25*minute, 35*minute)},
		calls:     1,
	},
	{
		name: "exporter down over the end of a window, closed, and the next begins two minutes later",
		from: -8 * minute, to: 24 * minute, guns: map[string][]time.Duration{"5k": {0, 10 * minute}},
		day: closes("START-5K", 4*minute), mats: onlyStart(),
		accidents: []accident{{7 * minute, exporterOff(3*minute + 20*second)}},
		only:      "declared", declared: []alarm{
			critical(closed, "start-5k", 4*minute, 18*minute),
			critical(exporterDown, "", 7*minute, 10*minute+20*second),
		},
	},
	{
		name: "power lost for 5 min, and the exporter is back 20 s after Prometheus",
		from: 20 * minute, to: 40 * minute, mats: silentFinish(),
		accidents: []accident{{25 * minute, func(b *bench) {
			b.server.stop()
			b.stopExporter(exporterAddress)
			time.Sleep(5 * minute)
			b.server.start()
			time.Sleep(20 * second)
			b.startExporter(exporterAddress)
		}}},
	},
	{
		name: "power lost for 5 min, and the network is back 20 s after Prometheus",
		from: 20 * minute, to: 40 * minute, mats: silentFinish(),
		day:       fails(29*minute, 30*minute+20*second, dropped),
		accidents: []accident{{25 * minute, restarts(5 * minute)}},
	},
	{
		name: "exporter down before the race",
		from: -30 * minute, to: -6 * minute, mats: cityMats(0),
		accidents: []accident{{-25 * minute, exporterOff(8 * minute)}},
		alarms:    []alarm{warning(exporterDown, "", -25*minute, -17*minute)},
	},
	{
		name: "exporter down from before the race until 12 min after the gun",
		from: -20 * minute, to: 18 * minute, mats: cityMats(0), accidents: []accident{{-10 * minute, exporterOff(22 * minute)}},
		only: "declared", declared: []alarm{
			{alert: exporterDown, severity: "warning", after: -10 * minute, within: reached[exporterDown], lasts: -5 * minute},
			criticalBy(exporterDown, "", -5*minute, noticed, 12*minute),
		},
	},
	{
		name: "exporter in a crash loop",
		from: 20 * minute, to: 60 * minute, mats: cityMats(0),
		accidents: crashLoop(25*minute, 2*minute, 8),
		alarms: []alarm{{
			alert: "RufusExporterRestarting", severity: "warning", after: 25 * minute, within: 8 * minute, lasts: 45 * minute,
		}},
	},
	{
		name: "exporter in a crash loop, by /probe",
		from: 20 * minute, to: 50 * minute, mats: cityMats(0), probe: true,
		accidents: crashLoop(25*minute, 2*minute, 8),
		alarms: []alarm{{
			alert: "RufusExporterRestarting", severity: "warning", after: 25 * minute, within: 8 * minute, lasts: 45 * minute,
		}},
	},
	{
		name: "Prometheus misses four scrapes",
		from: 20 * minute, to: 35 * minute, mats: silentFinish(), accidents: []accident{{25 * minute, loses(minute)}},
	},
	{
		name: "Prometheus restarted, down for 60 s",
		from: 20 * minute, to: 35 * minute, mats: silentFinish(), accidents: []accident{{25 * minute, restarts(minute)}},
	},
	remembered("Prometheus restarted, down for 6.5 min", 6*minute+30*second),
	remembered("Prometheus restarted, down for 20 min", 20*minute),
	{
		name: "Prometheus restarted for 6.5 min while the API is down",
		from: 20 * minute, to: 50 * minute, mats: cityMats(0), day: fails(22*minute, 40*minute, dropped),
		accidents: []accident{{27 * minute, restarts(6*minute + 30*second)}},
		alarms: []alarm{
			critical(allFailing, "", 22*minute, 40*minute),
		},
	},
	identity("another instance", func(b *bench) {
		b.server.scrape(b.scenario.at(model.LabelSet{"instance": "renamed", "pod": "rufus-1"}).targets(exporterAddress))
	}),
	identity("a label is added to an entry", func(b *bench) {
		mats := slices.Clone(b.scenario.mats)
		mats[0].labels = ", lane: left"
		b.reload(mats)
	}),
	identity("the exporter is replaced", func(b *bench) {
		b.startExporter(otherAddress)
		b.server.scrape(b.scenario.targets(otherAddress))
		time.Sleep(30 * second)
		b.stopExporter(exporterAddress)
	}),
	identity("two exporters have the same sessions", joins),
	{
		name: "one of two exporters is down",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0),
		accidents: []accident{
			{21 * minute, joins},
			{25 * minute, exporterOff(8 * minute)},
		},
		alarms: []alarm{warning(exporterDown, "", 25*minute, 33*minute)},
	},
	{
		name: "one of two exporters is down, then the API",
		from: 20 * minute, to: 52 * minute, mats: cityMats(0), day: fails(28*minute, 34*minute, dropped),
		accidents: []accident{{21 * minute, joins}, {22 * minute, exporterOff(22 * minute)}},
		alarms: []alarm{
			warning(exporterDown, "", 22*minute, 44*minute),
			critical(allFailing, "", 28*minute, 34*minute),
		},
	},
	{
		name: "one of two exporters is down, and an entry of the other is renamed",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0),
		later: with(slices.Delete(cityMats(0), 2, 3), mat{
			name: "ziel-5k", race: "5k", device: device("FINISH-5K"), from: 18 * minute, until: 54 * minute,
		}),
		accidents: []accident{
			{21 * minute, joins},
			{24 * minute, func(b *bench) { b.stopExporter(exporterAddress) }},
			{30 * minute, reloads},
		},
		alarms: []alarm{warning(exporterDown, "", 24*minute, never)},
	},
	{
		name: "of two exporters with a race each one is down",
		from: 15 * minute, to: 45 * minute, mats: cityMats(0),
		accidents: []accident{{16 * minute, shares}, {25 * minute, exporterOff(10 * minute)}},
		alarms: []alarm{
			critical(raceFailing, "", 25*minute, 35*minute).of("5k"),
			warning(exporterDown, "", 25*minute, 35*minute),
		},
		lawless: true, // the oracle knows one exporter
	},
	{
		name: "the exporter of one job is down, that of the other cannot read a session",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0), second: true,
		day:       fails(27*minute, 33*minute, forbidden, device("FINISH-5K")),
		accidents: []accident{{20 * minute, func(b *bench) { b.startExporter(otherAddress) }}, {25 * minute, exporterOff(9 * minute)}},
		alarms:    []alarm{critical(exporterDown, "", 25*minute, 34*minute)},
		bare:      []alarm{warning(failing, "finish-5k", 27*minute, 33*minute)},
		declared:  []alarm{critical(failing, "finish-5k", 27*minute, 33*minute)},
		lawless:   true, // the oracle knows one job
	},
	often("scrapes every 60 s", func(s *scenario) { s.every = minute }),
	often("by /probe", func(s *scenario) { s.probe = true }),
	often("by /probe every 60 s", func(s *scenario) { s.probe, s.every = true, minute }),
	{
		name: "a label of the target hides the race",
		from: 20 * minute, to: 36 * minute, mats: cityMats(0), day: closes("FINISH-5K", 28*minute),
		target: model.LabelSet{"race": "marathon"},
		alarms: []alarm{
			warning("RufusLabelCollision", "", 20*minute, never),
			critical(closed, "finish-5k", 28*minute, never),
		},
		lawless: true, // the race is another one
	},
	{
		name: "a label of the target is the race, and labels are honored",
		from: 20 * minute, to: 36 * minute, mats: cityMats(0), day: closes("FINISH-5K", 28*minute),
		target: model.LabelSet{"race": "marathon"}, scrape: []string{"honor_labels: true"},
		alarms: []alarm{critical(closed, "finish-5k", 28*minute, never)},
	},
	{
		name: "sessions.yml changed, but wrong",
		from: -10 * minute, to: 10 * minute, mats: cityMats(0),
		accidents: []accident{
			{-5 * minute, func(b *bench) { b.reloaded.Set(0) }},
			{5 * minute, func(b *bench) { b.reloaded.Set(1) }},
		},
		alarms: []alarm{warning("RufusReloadFailed", "", -5*minute, 5*minute)},
	},
	{
		name: "rules are not evaluated in time",
		from: -10 * minute, to: 15 * minute, mats: cityMats(0), itself: true, only: "bare",
		accidents: []accident{
			{-5 * minute, func(b *bench) { b.stalled.Store(true) }},
			{-2 * minute, func(b *bench) { b.stalled.Store(false) }},
		},
		alarms: []alarm{{alert: "RufusRulesFailing", severity: "warning", after: -5 * minute, within: 4 * minute, over: 12 * minute}},
	},
	{
		name: "notifications do not go out",
		from: 20 * minute, to: 45 * minute, mats: cityMats(0), itself: true, only: "bare", day: closes("FINISH-5K", 25*minute),
		accidents: []accident{
			{24 * minute, func(b *bench) { b.deaf.Store(true) }},
			{28 * minute, func(b *bench) { b.deaf.Store(false) }},
		},
		alarms: []alarm{
			{alert: "RufusNotificationsFailing", severity: "warning", after: 25 * minute, within: 4 * minute, over: 42 * minute},
			critical(closed, "finish-5k", 25*minute, never).toldLate(),
		},
	},
}

// crashLoop restarts the exporter so often.
func crashLoop(from, every time.Duration, times int) (accidents []accident) {
	for i := range times {
		accidents = append(accidents, accident{from + time.Duration(i)*every, exporterOff(20 * second)})
	}
	return accidents
}

// remembered is a day on which all that fires when Prometheus goes down fires when it is back.
func remembered(name string, down time.Duration) scenario {
	turn := mat{
		name: "turn-10k", race: "10k", device: device("TURN-10K"), silentAfter: 5 * minute, from: 17 * minute, until: 80 * minute,
	}
	return scenario{
		name: name, from: 40 * minute, to: 62*minute + down + 5*minute, mats: with(cityMats(0), turn),
		day: edits(closes("FINISH-10K", 60*minute), mutes("TURN-10K", 45*minute),
			func(day *simulator.Day, at clockAfter) { day.Device("START-10K").Unbind(at(42 * minute)) }),
		accidents: []accident{{62 * minute, restarts(down)}},
		alarms: []alarm{
			critical(closed, "finish-10k", 60*minute, never),
			critical(silent, "turn-10k", 50*minute, never),
			warning(failing, "start-10k", 42*minute, never),
		},
	}
}

// identity is a day on which something about the scrape changes while a mat is critical, which it stays.
func identity(name string, change func(*bench)) scenario {
	return scenario{
		name: "closed and silent, then " + name,
		from: 25 * minute, to: 50 * minute, mats: cityMats(5 * minute),
		day:       edits(closes("FINISH-5K", 30*minute), mutes("TURN-10K", 36*minute)),
		accidents: []accident{{43 * minute, change}},
		alarms: []alarm{
			critical(closed, "finish-5k", 30*minute, never),
			critical(silent, "turn-10k", 40*minute+30*second, never),
		},
		bare:  []alarm{warning(silent, "turn-5k", 33*minute+30*second, never)},
		calls: 2,
	}
}

// often is a day with an accident of each kind, scraped in another way.
func often(name string, change func(*scenario)) scenario {
	s := scenario{
		name: "closed, silent, unreadable, " + name,
		from: 20 * minute, to: 66 * minute, mats: cityMats(5 * minute),
		day: edits(closes("FINISH-5K", 28*minute), mutes("TURN-10K", 40*minute), fails(52*minute, 58*minute, dropped)),
	}
	change(&s)
	if s.probe && s.every > 0 { // each session is read at another time of the minute
		s.allowed = []string{raceFailing, failing}
	}
	slack := 2 * (s.interval() - 15*second)
	slow := func(a alarm) alarm {
		a.within += slack
		if a.over > 0 {
			a.over += slack
		}
		return a
	}
	s.alarms = []alarm{
		slow(critical(silent, "turn-10k", 45*minute, never)),
		slow(critical(allFailing, "", 52*minute, 58*minute)),
	}
	s.bare = []alarm{
		slow(critical(closed, "finish-5k", 28*minute, never)),
		slow(warning(silent, "turn-5k", 33*minute+30*second, never)),
	}
	s.declared = []alarm{slow(critical(closed, "finish-5k", 28*minute, 54*minute))}
	return s
}

var nextDays = []scenario{
	{
		name: "chips tried the evening before and deleted, then reader mute at the finish",
		from: -12*hour - 10*minute, to: 33 * minute, races: fiveK, mats: startAndFinish(), long: true,
		day: edits(func(day *simulator.Day, at clockAfter) {
			for i := range day.Devices {
				day.Devices[i].Sessions[0].Created = at(-14 * hour)
				day.Devices[i].Try(at(-12*hour), 8)
				day.Devices[i].Remove(at(-11*hour-50*minute), 8)
			}
		}, mutes("FINISH-5K", 25*minute)),
		alarms: []alarm{critical(silent, "finish-5k", 30*minute, never)},
		bare:   []alarm{warningBy(silent, "finish-5k", -11*hour-55*minute+15*second, 2*minute, 0)},
	},
	nextDay("boxes left on, the next race 14 h later", 14*hour, 0, "declared"),
	nextDay("boxes left on, the next race 16 h later", 16*hour, 0, "bare"),
	nextDay("boxes left on, the next race 24 h later", 24*hour, 0, ""),
	nextDay("same entries on Saturday and Sunday", 24*hour, 75*minute, ""),
}

// nextDay is a race that is run again so much later, with a finish that goes mute in the second.
func nextDay(name string, later, closing time.Duration, only string) scenario {
	s := scenario{
		name: name,
		long: later > 20*hour,
		from: 45 * minute, to: later + 33*minute, races: fiveK, guns: map[string][]time.Duration{"5k": {0, later}}, only: only,
		mats:   []mat{{name: "start-5k", race: "5k", device: device("START-5K")}, startAndFinish()[1]},
		day:    edits(secondRace(later, closing), mutes("FINISH-5K", later+25*minute)),
		alarms: []alarm{critical(silent, "finish-5k", later+30*minute, never)},
	}
	if closing > 0 {
		s.bare = []alarm{
			warning(silent, "finish-5k", 57*minute+20*second, closing),
			warning(closed, "start-5k", closing, 0), warning(closed, "finish-5k", closing, 0),
		}
	} else {
		s.bare = []alarm{warning(silent, "finish-5k", 57*minute+20*second, later+19*minute+20*second)}
	}
	return s
}

// closeAll closes the sessions of the 5K, one after the other.
func closeAll(day *simulator.Day, at time.Time, each time.Duration) {
	for i := range day.Devices {
		if d := &day.Devices[i]; strings.HasSuffix(d.Alias, "5K") {
			d.Close(at)
			at = at.Add(each)
		}
	}
}
