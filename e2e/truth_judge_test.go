package e2e

import (
	"cmp"
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
const soon = minute

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
		case !a.unheard && e.inhibited && !heard && (a.severity == "critical" || !s.expects(a.alert, a.session, "critical")):
			r.fault = "INHIBITED"
		case !a.unheard && a.severity == "critical" && (!heard || rang-e.fired > soon):
			r.fault = "DID NOT RING SOON"
		}
		v.outcomes = append(v.outcomes, r)
	}
	for _, e := range saw.episodes {
		switch {
		case expected[e]:
		case e.inhibited && !saw.heard(e):
			v.spared++
		default:
			v.falsely = append(v.falsely, fmt.Sprintf("%s %s of %s at %s, resolved %s: %s",
				e.labels["severity"], e.labels["alertname"], cmp.Or(e.labels["session"], "all"), short(e.fired), short(e.resolved),
				e.text["summary"]))
		}
	}
	for _, r := range saw.rings {
		for _, e := range saw.episodes {
			if r.receiver == "phone" && e.labels["severity"] != "critical" && slices.Contains(r.firing, e.fingerprint) {
				v.problems = append(v.problems, fmt.Sprintf("the phone rings for a %s: %s", e.labels["severity"], e.text["summary"]))
			}
		}
	}
	if s.together && (len(rings) != len(s.alarms) || len(slices.Compact(rings)) != 1 || saw.firings() != 1) {
		v.problems = append(v.problems, fmt.Sprintf("not in one notification: %v", saw.rings))
	}
	return v
}

// expects says whether an alarm must fire.
func (s scenario) expects(alert, session, severity string) bool {
	return slices.ContainsFunc(s.alarms, func(a alarm) bool {
		return a.alert == alert && a.session == session && a.severity == severity
	})
}

// is says whether e is this alarm, in time.
func (a alarm) is(e *episode) bool {
	return a.of(e) && e.fired >= a.after && e.fired <= a.after+a.within
}

func (a alarm) of(e *episode) bool {
	return e.labels["alertname"] == a.alert && e.labels["session"] == a.session && e.labels["severity"] == a.severity
}

func (a alarm) String() string {
	return strings.TrimSpace(a.severity + " " + a.alert + " " + a.session)
}

// nearly tells of the alarm at another time.
func (s *seen) nearly(a alarm) string {
	for _, e := range s.episodes {
		if a.of(e) {
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

// firings returns how many notifications told of something that fires.
func (s *seen) firings() (n int) {
	for _, r := range s.rings {
		if len(r.firing) > 0 {
			n++
		}
	}
	return n
}

// well says whether there is no miss, nothing late, and no false alarm.
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
