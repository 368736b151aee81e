package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"rufus_exporter/simulator"
	"rufus_exporter/state"
)

// The dashboard is the third that tells of a day. It asks Prometheus, so it remembers what the alerts do, but it has its
// own order of states. A mat that has one word and one colour on the page must not have another one on the dashboard for
// longer than a minute.

// tile is what the dashboard shows: a word, and by its colour a severity. The zero value is no tile.
type tile struct {
	word     string
	severity state.Severity
}

func (t tile) String() string {
	if t.word == "" {
		return "not there"
	}
	return t.word + " in " + colours[t.severity]
}

// colours are those of the severities, in words.
var colours = map[state.Severity]string{state.Calm: "a calm colour", state.Warning: "amber", state.Critical: "red"}

// newTile returns a tile that has such a colour.
func newTile(word, colour string) tile {
	return tile{word, map[string]state.Severity{red: state.Critical, amber: state.Warning}[colour]}
}

// tiles are the dashboard's tile of a mat and its large one, with their queries.
type tiles struct {
	mat, top           panel
	matQuery, topQuery string
}

// readTiles reads a dashboard.
func readTiles(t *testing.T, path string) tiles {
	t.Helper()
	d, _ := readDashboard(t, path)
	return tiles{
		mat: d.panel(t, "$session"), matQuery: d.query(t, "$session", "A").substituted(t),
		top: d.panel(t, "Now"), topQuery: d.query(t, "Now", "A").substituted(t),
	}
}

// shown returns what the dashboard shows at an instant: of each mat by its name, and at the top.
func (d tiles) shown(ctx context.Context, s *promServer, at time.Time) (mats map[string]tile, top tile, err error) {
	states, err := s.ask(ctx, d.matQuery, at)
	if err != nil {
		return nil, tile{}, err
	}
	now, err := s.ask(ctx, d.topQuery, at)
	if err != nil {
		return nil, tile{}, err
	}
	if len(now) != 1 {
		return nil, tile{}, fmt.Errorf("the large tile has %d values: %v", len(now), now)
	}
	mats = make(map[string]tile)
	for _, sample := range states {
		shown := d.mat.mapping("A", fmt.Sprint(sample.F))
		mats[sample.Metric.Get("session")] = newTile(shown.Text, shown.Color)
	}
	colour := mapped(d.top.FieldConfig.Defaults.Mappings, fmt.Sprint(now[0].F)).Color
	return mats, newTile(now[0].Metric.Get("says"), colour), nil
}

// ask returns the answer to a query at an instant.
func (s *promServer) ask(ctx context.Context, promQL string, at time.Time) (promql.Vector, error) {
	query, err := s.engine.NewInstantQuery(ctx, s.db, nil, promQL, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	vector, err := query.Exec(ctx).Vector()
	return slices.Clone(vector), err
}

// dashboard: each mat has the word and the severity of the page, and the large tile the severity of the worst that there
// is. Nobody compares while the exporter or Prometheus was not there a moment ago; for the rest see excused.
func (b *broken) dashboard() {
	mats, top := make(map[string]*differing), differing{}
	for _, m := range b.mats {
		mats[m.name] = new(differing)
	}
	for i, now := range b.saw.moments {
		compared := now.page != nil && b.comparable(now, i)
		anyExcused := false
		for _, m := range b.mats {
			page := tile{}
			if s, known := now.page[m.name]; known {
				page = tile{string(s.Word), s.Severity}
			}
			excused := b.excused(m, now)
			anyExcused = anyExcused || excused
			if mats[m.name].lasts(now.at, compared && !excused && now.mats[m.name] != page) {
				b.note("dashboard "+m.name, "at %s the dashboard says for over a minute that %s is %s, the page %s: %v",
					short(now.at), m.name, now.mats[m.name], page, now.firing)
			}
		}
		if worst := b.worst(now); top.lasts(now.at, compared && !anyExcused && now.top.severity != worst) {
			b.note("dashboard now", "at %s the large tile of the dashboard says for over a minute %s, want %s: %v",
				short(now.at), now.top, colours[worst], now.firing)
		}
	}
}

// worst returns the severity of the worst mat of the page, or of the worst alert of something else than how a mat is:
// what is said of a race or of all mats, and of batteries and clocks, has its own lines on the page.
func (b *broken) worst(now moment) state.Severity {
	worst := state.Calm
	for _, s := range now.page {
		worst = max(worst, s.Severity)
	}
	for _, e := range b.saw.episodes {
		switch {
		case e.is(aboutMats) || now.at < e.fired || now.at >= e.resolved:
		case e.critical():
			worst = state.Critical
		case e.labels["severity"] == "warning":
			worst = max(worst, state.Warning)
		}
	}
	return worst
}

// excused reports whether one of page and dashboard cannot know of the mat what the other does. Of what was before the
// exporter looked, the page knows more: it reads the times of the session. That a session can be read again says the page
// alone. An alert may stand on what the exporter saw before it restarted. And whether a mat without a window stopped
// abruptly is decided from its last ten minutes, of which the exporter has seen only what was after it started, and
// Prometheus only while it ran.
func (b *broken) excused(m mat, now moment) bool {
	page := now.page[m.name]
	if page.ByBox || page.Recovers {
		return true
	}
	if m.until == 0 && page.Word == state.Silent {
		arrival := at(b.judged[m.name], now.at).arrival
		if now.since > max(arrival-10*minute, b.saw.moments[0].since) ||
			during(b.judged[m.name], arrival-10*minute, arrival, func(j judgement) bool { return !j.running }) {
			return true
		}
	}
	return slices.ContainsFunc(now.firing, func(f firing) bool {
		return f.is(aboutMats) && f.covers(m) && b.lost(m, now, f.episode)
	})
}

// The comparison finds a dashboard that differs: in a mat's word, in its colour, and at the top.
func TestTruthOfTheDashboardCanFail(t *testing.T) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	day := scenario{
		name: "closed in its window", from: -7 * minute, to: 11 * minute, free: true,
		guns: map[string][]time.Duration{"5k": {0}},
		day:  func(day *simulator.Day, at clockAfter) { day.Device("START-5K").Close(at(3 * minute)) },
		mats: withWindows([]mat{{name: "start-5k", race: "5k", device: device("START-5K")}}),
	}
	for name, change := range map[string]struct{ from, to, want string }{
		"the same":       {"", "", ""},
		"another word":   {"or 2 * ALERTS", "or 3 * ALERTS", "start-5k is silent in red, the page closed in red"},
		"another colour": {"or 2 * ALERTS", "or 6 * ALERTS", "start-5k is closed in amber, the page closed in red"},
		"alert not asked for": {
			`or 2 * ALERTS{alertname="RufusSessionClosed"`, `or 2 * ALERTS{alertname="Else"`,
			"start-5k is ok in a calm colour, the page closed in red",
		},
		"another calm word": {
			"or 9 * group by (session) (rufus_session_expected_from", "or 11 * group by (session) (rufus_session_expected_from",
			"start-5k is finished in a calm colour, the page waiting in a calm colour",
		},
		"calm at the top": {
			`count by (job, race, session) (\n        ALERTS{`, `count by (job, race, session) (\n        none{`,
			"says for over a minute all well in a calm colour, want red",
		},
		"not urgent at the top": {
			`group(ALERTS{alertname=~"Rufus.*", alertstate="firing", severity="critical"`, `group(ALERTS{severity="none"`,
			"says for over a minute 1 in trouble in amber, want red",
		},
		"cannot be asked": {`min by (session) (\n  1 *`, `min by session (\n  1 *`, "dashboard: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := strings.ReplaceAll(change.from, `"`, `\"`), strings.ReplaceAll(change.to, `"`, `\"`)
			if !strings.Contains(string(text), from) {
				t.Fatalf("the dashboard lacks %s", from)
			}
			changed := delivered
			changed.dashboard = file(t, "dashboard.json", strings.Replace(string(text), from, to, 1))
			saw := day.play(t, changed)
			b := &broken{s: day, saw: saw, judged: day.oracle(saw), mats: day.everyMat(), once: make(map[string]bool)}
			b.dashboard()
			problems := strings.Join(slices.Concat(saw.problems, b.problems), "\n")
			if !strings.Contains(problems, change.want) || change.want == "" && problems != "" {
				t.Errorf("want %q in %q", change.want, problems)
			}
		})
	}
}
