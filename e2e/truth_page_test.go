package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rufus_exporter/simulator"
	"rufus_exporter/state"
)

// The status page and the alerts are two memories of the same day: the exporter's own and that of Prometheus. A mat that
// is critical in one of them must not be calm in the other for longer than a minute.
//
// They differ for good where one of them was not there. What the exporter saw is lost when it restarts: what began
// before cannot be asked of the page until it begins anew. While Prometheus is down, or loses its scrapes, there are no
// alerts to compare with, and afterwards they learn what the page has learnt meanwhile.

const (
	// differsFor is how long page and alerts may differ: they learn of a change at different scrapes and evaluations.
	differsFor = minute
	// catchesUp is how long the rules need after a gap to know what the page knows: half a minute of inactive readings, and
	// scrapes of up to a minute.
	catchesUp = 2 * minute
)

// wordOf are the states that the alerts of mats are about.
var wordOf = map[string]state.Word{
	closed: state.Closed, notStarted: state.NotStarted, silent: state.Silent, failing: state.Failing,
}

// page: no mat is critical on the page and calm in the alerts, or the other way round, and both say the same word.
func (b *broken) page() {
	for _, m := range b.mats {
		calmPage, calmAlerts, words := differing{}, differing{}, differing{}
		for i, now := range b.saw.moments {
			s, known := now.page[m.name]
			if !known || !b.comparable(now, i) || !at(b.judged[m.name], now.at).listed {
				calmPage, calmAlerts, words = differing{}, differing{}, differing{}
				continue
			}
			alert, critical := now.criticalMat(m)
			lost := critical && b.lost(m, now, alert)
			if calmPage.lasts(now.at, critical && !lost && s.Severity == state.Calm) {
				b.note("page calm "+m.name, "at %s the page says %q of %s, but for over a minute: %s",
					short(now.at), s.Word, m.name, alert)
			}
			// Of what was closed before the exporter looked, its session tells more than Prometheus knows.
			other := critical && !lost && s.Severity == state.Critical && s.Word != wordOf[alert.name()] && !s.ByBox
			if words.lasts(now.at, other) {
				b.note("words "+m.name, "at %s the page says for over a minute that %s is %s, but: %s",
					short(now.at), m.name, s.Word, alert)
			}
			told := slices.ContainsFunc(now.firing, func(f firing) bool {
				return f.covers(m) && (f.critical() || f.is(aboutMats))
			})
			// What can be read again rings no more, if another alert of the mat has ended since.
			if calmAlerts.lasts(now.at, s.Severity == state.Critical && !told && !s.Recovers) {
				b.note("alerts calm "+m.name, "at %s the page says for over a minute that %s is %s, since %s, but no alert does",
					short(now.at), m.name, s.Word, s.Since)
			}
		}
	}
}

// differing is since when two things differ.
type differing struct {
	since time.Duration
	on    bool
}

// lasts reports whether they have differed for too long.
func (d *differing) lasts(at time.Duration, differ bool) bool {
	if !differ || !d.on {
		*d = differing{since: at, on: differ}
	}
	return differ && at-d.since > differsFor
}

// criticalMat returns the critical alert of the mat itself, if there is one, be it muted or not.
func (now moment) criticalMat(m mat) (*episode, bool) {
	for _, f := range now.firing {
		if f.critical() && f.is(aboutMats) && f.covers(m) {
			return f.episode, true
		}
	}
	return nil, false
}

// comparable reports whether both memories are whole: Prometheus has scraped and evaluated for a while.
func (b *broken) comparable(now moment, i int) bool {
	facts := b.saw.facts[b.mats[0].name]
	return i > 0 && now.at-b.saw.moments[i-1].at <= minute && !b.stopped(now.at-catchesUp, now.at) &&
		!slices.ContainsFunc(facts, func(f fact) bool { return f.at > now.at-catchesUp && f.at <= now.at && !f.running })
}

// lost reports whether an alert stands on what the exporter saw before it restarted.
func (b *broken) lost(m mat, now moment, e *episode) bool {
	first := b.saw.moments[0].since
	return now.since > first && e.fired < now.since+max(m.silentAfter, (m.until-m.from)/2)+catchesUp
}

// At every moment of two laps of the demo, page and alerts agree.
func TestTruthOfTheDemo(t *testing.T) {
	demo := scenario{
		name: "demo", to: 19 * minute, free: true,
		day: func(day *simulator.Day, at clockAfter) { *day = simulator.Demo(at(0), simulator.DemoSpeed) },
		file: func(gun time.Time) []byte {
			return simulator.DemoConfig("http://"+apiAddress+"/v0", gun, simulator.DemoSpeed)
		},
	}
	for name, race := range map[string]string{
		"start-5k": "5k", "split-3k": "5k", "turn-5k": "5k", "finish-5k": "5k", "finish-5k-backup": "5k", "start-10k": "10k",
		"turn-10k": "10k", "split-7k": "10k", "finish-10k": "10k", "kids-run": "kids", "start-half": "half",
	} {
		alias := strings.NewReplacer("5K-BACKUP", "5K BACKUP", "KIDS-RUN", "KIDS RUN").Replace(strings.ToUpper(name))
		demo.mats = append(demo.mats, mat{name: name, race: race, device: device(alias)})
	}
	demo.mats = append(demo.mats, mat{name: "turn-10k-token", race: "10k", token: token("TURN-10K")},
		mat{name: "mistyped", race: "10k", token: token("a token that nobody has")})
	saw := demo.play(t, delivered)
	b := &broken{s: demo, saw: saw, judged: demo.oracle(saw), mats: demo.everyMat(), once: make(map[string]bool)}
	b.page()
	b.dashboard()
	for _, problem := range b.problems {
		t.Error(problem)
	}
	critical := map[string]bool{}
	for _, now := range saw.moments {
		for name, s := range now.page {
			critical[name] = critical[name] || s.Severity == state.Critical
		}
	}
	for _, name := range []string{"split-3k", "finish-5k-backup", "turn-10k-token"} {
		if !critical[name] {
			t.Errorf("%s was never critical: what was compared?", name)
		}
	}
}

// The comparison finds a page and rules that differ, either way.
func TestTruthOfThePageCanFail(t *testing.T) {
	text, err := os.ReadFile(delivered.rules)
	if err != nil {
		t.Fatal(err)
	}
	day := scenario{
		name: "START pressed late, then closed", from: -25 * minute, to: 8 * minute, free: true,
		guns: map[string][]time.Duration{"5k": {0}},
		day: func(day *simulator.Day, at clockAfter) {
			start := day.Device("START-5K")
			start.Sessions[0].Created = at(-4 * minute)
			start.Close(at(3 * minute))
		},
		mats: withWindows([]mat{{name: "start-5k", race: "5k", device: device("START-5K")}}),
	}
	for name, change := range map[string]struct{ from, to, want string }{
		"the same":         {"", "", ""},
		"rules ring late":  {"rufus:session_inactive:timestamp > 0) >= 30", "rufus:session_inactive:timestamp > 0) >= 240", "but no alert does"},
		"another word":     {`"state", "closed", "", ""`, `"state", "silent", "", ""`, `that start-5k is closed, but: critical RufusSessionSilent`},
		"rules ring early": {"<= on (job, race, session) 300 + (", "<= on (job, race, session) 900 + (", `the page says "waiting" of start-5k`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(string(text), change.from) {
				t.Fatalf("the rules lack %q", change.from)
			}
			rules := filepath.Join(t.TempDir(), "rules.yml")
			if err := os.WriteFile(rules, []byte(strings.Replace(string(text), change.from, change.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			changed := delivered
			changed.rules = rules
			saw := day.play(t, changed)
			b := &broken{s: day, saw: saw, judged: day.oracle(saw), mats: day.everyMat(), once: make(map[string]bool)}
			b.page()
			problems := strings.Join(b.problems, "\n")
			if !strings.Contains(problems, change.want) || change.want == "" && problems != "" {
				t.Errorf("want %q in %q", change.want, problems)
			}
		})
	}
}
