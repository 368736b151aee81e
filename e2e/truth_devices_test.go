package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

// A race day on devices: alone has the alarms of one whose devices are listed: with START pressed again, a mat that is
// closed by mistake, a box that is unbound and one that is renamed while they count, and an outage of the list.
func TestTruthOfFollowedDevices(t *testing.T) {
	day := scenario{
		name: "followed", from: -10 * minute, to: 70 * minute,
		guns: map[string][]time.Duration{"5k": {0}, "10k": {15 * minute}},
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("TURN-10K").PressStart(at(45*minute), 2*second)
			day.Device("FINISH-5K").Close(at(30 * minute))
			day.Device("TURN-5K").Unbind(at(15 * minute))
			day.Device("START-10K").Rename(at(17*minute), "SPARE-1")
			day.Faults = append(day.Faults, simulator.Fault{From: at(20 * minute), To: at(60 * minute), Page: 1, Status: 503})
		},
	}
	listed, followed := day, day
	listed.api, listed.mats = batteries, withWindows(cityMats(0))
	gun := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Add(-day.from) // where every bubble begins
	rules := "races:\n"
	for race, guns := range day.guns {
		rules += fmt.Sprintf("  - {name: %s, start: %s}\n", race, gun.Add(guns[0]).Format(time.RFC3339))
	}
	rules += "devices:\n"
	for i, m := range listed.mats {
		listed.mats[i].token, listed.mats[i].device = "", device(strings.ToUpper(m.name))
		point, race, _ := strings.Cut(m.name, "-")
		rules += fmt.Sprintf("  - alias: '(?P<point>%s)-(?P<race>%s)'\n    name: %s\n    race: $race\n"+
			"    expected: {from: %s, until: %s}\n    silent_after: %s\n", point, race, m.name, m.from, m.until, m.silentAfter)
	}
	followed.api = batteries + rules
	var saw [2]map[string][]*episode
	for i, s := range []scenario{listed, followed} {
		saw[i] = map[string][]*episode{}
		for _, e := range s.play(t, delivered).episodes {
			id := fmt.Sprint(e.labels)
			saw[i][id] = append(saw[i][id], e)
		}
	}
	rang := false
	for id, episodes := range saw[0] {
		if len(saw[1][id]) != len(episodes) {
			t.Errorf("%s: %d times with listed devices, %d times with followed ones", id, len(episodes), len(saw[1][id]))
			continue
		}
		for i, e := range episodes {
			other := saw[1][id][i]
			if apart(e.fired, other.fired) > 30*time.Second || apart(e.resolved, other.resolved) > 30*time.Second {
				t.Errorf("%s: from %s to %s, and with followed devices from %s to %s", id, e.fired, e.resolved,
					other.fired, other.resolved)
			}
			rang = rang || e.labels["session"] == "turn-5k" && e.labels["severity"] == "critical"
		}
	}
	for id := range saw[1] {
		if saw[0][id] == nil {
			t.Errorf("%s: only with followed devices", id)
		}
	}
	if !rang {
		t.Error("the box that was unbound does not ring")
	}
}

func apart(a, b time.Duration) time.Duration { return max(a-b, b-a) }
