package simulator

import (
	"fmt"
	"strings"
	"time"
)

// DemoSpeed is the intended speed of the demo, as a multiple of real time. A lap takes about nine minutes.
const DemoSpeed = 12

// demoLap is the length of a lap, in race time.
const demoLap = 110 * time.Minute

// Demo returns a day that repeats forever and shows everything that can happen to a session. In race time, which is
// speed times as fast as real time: the 5K starts at start, the 10K starts after 8 minutes, a mat of the 5K is closed
// by mistake after 18, START is pressed again at the turn of the 10K after 32, and the finish of the 5K has no network
// from 36 to 44. DemoConfig returns the configuration for it.
func Demo(start time.Time, speed float64) Day {
	start = start.Round(0) // use the wall clock: the monotonic clock stops while the machine sleeps
	at := func(minutes float64) time.Time {
		return start.Add(time.Duration(minutes * float64(time.Minute) / speed))
	}
	fiveK := FiveK(start, 600)
	fiveK.Mats = append(fiveK.Mats, Mat{"SPLIT-3K", 0.6}, Mat{"FINISH-5K BACKUP", 1})
	tenK := TenK(at(8), 900)
	tenK.Mats = append(tenK.Mats, Mat{"SPLIT-7K", 0.7})
	kids := FiveK(start, 84)
	kids.Seed, kids.Mats = 1, []Mat{{"KIDS RUN", 1}}
	half := FiveK(start, 0)
	half.Mats = []Mat{{"START-HALF", 0}}
	fiveK.Speed, tenK.Speed, kids.Speed = speed, speed, speed

	spare := half
	spare.Mats = []Mat{{"SPARE-1", 0}}

	day := NewDay(fiveK, tenK, kids, half, spare)
	day.Begin, day.Lap = start, at(demoLap.Minutes()).Sub(start)

	day.Device("SPLIT-3K").Close(at(18))
	day.Device("TURN-10K").PressStart(at(32), 2*time.Second)
	day.Device("FINISH-5K").Buffer(at(36), at(44))
	day.Device("SPLIT-7K").Latency = 1500 * time.Millisecond

	// The kids ran in the morning. Their session was closed afterwards.
	earlier := day.Device("KIDS RUN")
	earlier.Sessions[0] = earlier.Sessions[0].shifted(-2 * time.Hour)
	earlier.Close(start.Add(-30 * time.Minute))

	// The backup mat at the finish was tested with a few chips. Then its antenna came off.
	backup := day.Device("FINISH-5K BACKUP")
	tried := &backup.Sessions[0]
	tried.Passings = nil
	for i := range 17 {
		stamp := start.Add(-25*time.Minute + time.Duration(i)*4*time.Second)
		tried.Passings = append(tried.Passings, Passing{Arrived: stamp.Add(transit), Stamp: stamp})
	}

	for alias, battery := range map[string]Battery{
		"FINISH-5K":  {Start: 58, End: 76}, // on mains
		"TURN-10K":   {Start: 17, End: 9},
		"FINISH-10K": {Start: 93, End: 81},
	} {
		battery.From, battery.To, battery.Every = start.Add(-time.Minute), start.Add(day.Lap), 10*time.Second
		day.Device(alias).Battery = battery
	}
	return day
}

// demoLaps is the number of laps for which DemoConfig declares when passings are expected: six days at DemoSpeed. It is
// the maximum number of waves in a configuration.
const demoLaps = 1000

// DemoConfig returns the content of a sessions.yml for Demo(start, speed). apiURL is the address of a Server, including
// /v0. Each lap is another wave of the 5K and the 10K. The list of sessions comes last.
func DemoConfig(apiURL string, start time.Time, speed float64) []byte {
	start = start.Round(0)
	after := func(minutes float64) time.Duration { return time.Duration(minutes * float64(time.Minute) / speed) }
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "api:\n  url: %q\n  key: %q\n  device_metrics: true\nraces:\n", apiURL, DemoKey)
	for _, race := range []struct {
		name string
		gun  time.Time
		laps int
	}{
		{"5k", start, demoLaps},
		{"10k", start.Add(after(8)), demoLaps},
		{"kids", start.Add(-2 * time.Hour), 1},
		{"half", start.AddDate(0, 0, 7), 1}, // its start mat is tested early
	} {
		guns := make([]string, race.laps)
		for i := range guns {
			guns[i] = race.gun.Add(time.Duration(i) * after(demoLap.Minutes())).Format(time.RFC3339Nano)
		}
		fmt.Fprintf(&yaml, "  - {name: %s, start: [%s]}\n", race.name, strings.Join(guns, ", "))
	}
	yaml.WriteString("devices:\n")
	for _, rule := range []struct {
		name, alias, race string
		from, until       float64 // when passings are expected, in minutes of race time
		silentAfter       string
	}{
		{"start-5k", "START-5K", "5k", 0, 7, ""},
		{"split-3k", "SPLIT-3K", "5k", 10, 40, ""}, // is closed by mistake
		{"turn-5k", "TURN-5K", "5k", 9, 30, "30s"},
		{"finish-5k", "FINISH-5K", "5k", 18, 55, "30s"},               // loses its network for a while
		{"finish-5k-backup", "FINISH-5K BACKUP", "5k", 18, 55, "40s"}, // active but silent
		{"start-10k", "START-10K", "10k", 0, 7, ""},
		{"turn-10k", "TURN-10K", "10k", 18, 54, "30s"}, // keeps counting when START is pressed
		{"split-7k", "SPLIT-7K", "10k", 25, 73, "30s"}, // slow
		{"finish-10k", "FINISH-10K", "10k", 36, 100, "40s"},
		{"kids-run", "KIDS RUN", "kids", 18, 55, ""},   // was closed before
		{"start-half", "START-HALF", "half", 0, 7, ""}, // no passings yet
	} {
		fmt.Fprintf(&yaml, "  - alias: %s\n    name: %s\n    race: %s\n    expected: {from: %dms, until: %dms}\n",
			rule.alias, rule.name, rule.race, after(rule.from).Milliseconds(), after(rule.until).Milliseconds())
		if rule.silentAfter != "" {
			fmt.Fprintf(&yaml, "    silent_after: %s\n", rule.silentAfter)
		}
	}
	yaml.WriteString("  - alias: SPARE-.*\n    ignore: true\nsessions:\n")
	for _, entry := range []struct{ name, token string }{
		{"turn-10k-token", ID("session TURN-10K")}, // freezes when START is pressed
		{"mistyped", ID("session a token that nobody has")},
	} {
		fmt.Fprintf(&yaml, "  - token: %s\n    name: %s\n    race: 10k\n", entry.token, entry.name)
	}
	return []byte(yaml.String())
}
