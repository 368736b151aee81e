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
		day: func(day *simulator.Day, at clockAfter) {
			day.Device("TURN-10K").PressStart(at(45*minute), 2*second)
			day.Device("FINISH-5K").Close(at(30 * minute))
			day.Device("TURN-5K").Unbind(at(15 * minute))
			day.Device("START-10K").Rename(at(17*minute), "SPARE-1")
			day.Faults = append(day.Faults, simulator.Fault{From: at(20 * minute), To: at(60 * minute), Page: 1, Status: 503})
		},
	}
	listed, followed := day, day
	listed.api = "  device_metrics: true\n"
	followed.api = listed.api + `devices:
  - alias: 'START-(?P<race>\w+)'
    race: '$race'
  - alias: '(TURN|FINISH)-(?P<race>\w+)'
    race: '$race'
    silent_after: 5m
`
	for _, alias := range []string{"START-5K", "TURN-5K", "FINISH-5K", "START-10K", "TURN-10K", "FINISH-10K"} {
		point, race, _ := strings.Cut(alias, "-")
		m := mat{name: alias, race: race, device: device(alias)}
		if point != "START" {
			m.silentAfter = 5 * minute
		}
		listed.mats = append(listed.mats, m)
	}
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
			rang = rang || e.labels["session"] == "TURN-5K" && e.resolved == never
		}
	}
	for id := range saw[1] {
		if saw[0][id] == nil {
			t.Errorf("%s: only with followed devices", id)
		}
	}
	if !rang {
		t.Error("the box that was unbound rings nowhere until the end")
	}
}

func apart(a, b time.Duration) time.Duration { return max(a-b, b-a) }
