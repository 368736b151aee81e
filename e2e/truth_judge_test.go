package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// verdict is what is to be said about a scenario that was played.
type verdict struct {
	scenario string
	outcomes []outcome // one for each alarm that must fire
	falsely  []string
	problems []string
	spared   int // alerts that fired and of which nobody was told, since another alarm said it all
}

type outcome struct {
	alarm string
	fired string
	rang  string
	fault string // "" when all is well
}

// soon is how soon a critical alarm rings after it fires.
const soon = minute + second

// judge compares what was seen with what must be.
func (s scenario) judge(saw *seen) verdict {
	v := verdict{scenario: s.name, problems: slices.Clone(saw.problems)}
	expected := make(map[*episode]bool)
	var rings []time.Duration
	for _, a := range s.alarms {
		i := slices.IndexFunc(saw.episodes, func(e *episode) bool { return !expected[e] && a.is(e) })
		if i < 0 {
			v.outcomes = append(v.outcomes, outcome{alarm: a.String(), fired: "-", rang: "-", fault: "MISSED" + saw.nearly(a)})
			continue
		}
		e := saw.episodes[i]
		expected[e] = true
		rang, heard := saw.firstRing(e)
		if heard {
			rings = append(rings, rang)
		}
		r := outcome{alarm: a.String(), fired: short(e.fired-a.after) + " of " + short(a.within), rang: "-"}
		if heard {
			r.rang = short(rang - a.after)
		}
		switch text := strings.Join(slices.Sorted(maps.Values(e.text)), "\n"); {
		case a.lasts > 0 && e.resolved < a.lasts:
			r.fault = "ENDED TOO SOON, at " + short(e.resolved)
		case a.over > 0 && e.resolved > a.over:
			r.fault = "NOT OVER IN TIME, but at " + short(e.resolved)
		case a.says != "" && !strings.Contains(text, a.says):
			r.fault = fmt.Sprintf("DOES NOT SAY %q: %s", a.says, text)
		case a.unheard && heard:
			r.fault = "RANG, though another alarm says it all"
		case !a.unheard && e.inhibited && !heard && (a.severity != "critical" || a.late):
			r.fault = "INHIBITED"
		case !a.unheard && !a.late && a.severity == "critical" && (!heard || rang-e.fired > soon):
			r.fault = "DID NOT RING SOON"
		case a.late && !heard:
			r.fault = "NEVER RANG"
		}
		v.outcomes = append(v.outcomes, r)
	}
	for _, e := range saw.episodes {
		switch {
		case expected[e], s.free, e.name() == "RufusWatchdog", slices.Contains(s.allowed, e.name()):
		case e.inhibited && !saw.heard(e):
			v.spared++
		default:
			v.falsely = append(v.falsely, fmt.Sprintf("%s: %s", e, e.text["description"]))
		}
	}
	v.problems = append(v.problems, s.invariants(saw)...)
	if calls := saw.calls(); s.calls > 0 && calls != s.calls {
		v.problems = append(v.problems, fmt.Sprintf("the phone rings %d times for something new, want %d", calls, s.calls))
	}
	if s.together && (len(rings) != len(s.alarms) || len(slices.Compact(rings)) != 1 || saw.firings() != 1) {
		v.problems = append(v.problems, fmt.Sprintf("not in one notification, but in %d", saw.firings()))
	}
	return v
}

// is reports whether e is this alarm, in time.
func (a alarm) is(e *episode) bool {
	return a.like(e) && e.fired >= a.after && e.fired <= a.after+a.within
}

func (a alarm) like(e *episode) bool {
	return e.name() == a.alert && e.labels["session"] == a.session && e.labels["severity"] == a.severity &&
		(a.race == "" || e.labels["race"] == a.race)
}

func (a alarm) String() string {
	return strings.TrimSpace(a.severity + " " + a.alert + " " + a.session + a.race)
}

// nearly tells of the alarm at another time.
func (s *seen) nearly(a alarm) string {
	for _, e := range s.episodes {
		if a.like(e) {
			return fmt.Sprintf(": fired %s after %s, at most %s is allowed", short(e.fired-a.after), short(a.after), short(a.within))
		}
	}
	return ""
}

// firstRing returns when somebody was first told of an episode.
func (s *seen) firstRing(e *episode) (at time.Duration, heard bool) {
	for _, r := range s.rings {
		if r.at >= e.fired && r.at <= e.resolved && slices.Contains(r.firing, e.fingerprint) {
			return r.at, true
		}
	}
	return 0, false
}

func (s *seen) heard(e *episode) bool {
	_, heard := s.firstRing(e)
	return heard
}

// calls returns how many notifications to the phone told of something new.
func (s *seen) calls() (n int) {
	told := make(map[*episode]bool)
	for _, r := range s.rings {
		fresh := false
		for _, e := range s.episodes {
			if r.receiver == "phone" && r.at >= e.fired && r.at < e.resolved && slices.Contains(r.firing, e.fingerprint) && !told[e] {
				told[e], fresh = true, true
			}
		}
		if fresh {
			n++
		}
	}
	return n
}

// firings returns how many notifications told of something that fires.
func (s *seen) firings() (n int) {
	for _, r := range s.rings {
		if len(r.firing) > 0 && r.receiver != "watchdog" {
			n++
		}
	}
	return n
}

// well reports whether there is no miss, nothing late, and no false alarm.
func (v verdict) well() bool {
	return len(v.falsely) == 0 && len(v.problems) == 0 &&
		!slices.ContainsFunc(v.outcomes, func(r outcome) bool { return r.fault != "" })
}

// table prints verdicts.
func table(verdicts []verdict) string {
	lines := [][]string{{"SCENARIO", "MUST FIRE", "FIRED AFTER", "RANG AFTER", "FALSE ALARMS", "FAULT"}}
	for _, v := range verdicts {
		outcomes := v.outcomes
		if len(outcomes) == 0 {
			outcomes = []outcome{{alarm: "nothing", fired: "-", rang: "-"}}
		}
		for i, o := range outcomes {
			line := []string{"", o.alarm, o.fired, o.rang, "", o.fault}
			if i == 0 {
				line[0], line[4] = v.scenario, strconv.Itoa(len(v.falsely))
			}
			lines = append(lines, line)
		}
		for _, f := range v.falsely {
			lines = append(lines, []string{"", "", "", "", "", "FALSE ALARM: " + f})
		}
		for _, p := range v.problems {
			lines = append(lines, []string{"", "", "", "", "", "PROBLEM: " + p})
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		_, _ = w.Write([]byte(strings.Join(line, "\t") + "\n")) // a Builder takes all
	}
	_ = w.Flush()
	return text.String()
}

// short writes a duration for people.
func short(d time.Duration) string {
	if d == never {
		return "never"
	}
	d = d.Round(time.Second)
	text := d.String()
	if text = strings.TrimSuffix(text, "0s"); text == "" || !strings.HasSuffix(text, "m") {
		return d.String()
	}
	return text
}
