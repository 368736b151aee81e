package web

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"rufus_exporter/collector"
	"rufus_exporter/rufus"
	"rufus_exporter/state"
)

// mat is one session for the page, and what the headline needs to know of it.
type mat struct {
	card

	race     string
	severity state.Severity
	failed   bool   // its newest reading
	why      string // it cannot be read
	stopped  bool   // it is in trouble, whether it can be read or not
	counting bool   // it has passings
	due      time.Time
	read     time.Time // when it was last read; zero: never
}

// card is what the template shows of a session.
type card struct {
	Class       string // the word, and its severity: the colour
	Word        state.Word
	Name, Alias string
	Passings    string
	Battery     string
	Do          string // what to do, in one imperative sentence
	Since       *fact  // since when, or when the last passing was
	Facts       []fact
	Known       *fact // the last count that is known, while there is no newer one
	Error       string
	Labels      []string
	Runbook     string
}

// instant is a time as the reader sees it, and in UTC.
type instant struct{ Text, ISO, UTC string }

// writer writes about mats at an instant.
type writer struct {
	now     time.Time
	zone    *time.Location
	runbook string
}

// plainWords says what a reason means to someone beside the track.
var plainWords = map[rufus.Reason]string{
	rufus.Unauthorized:     "API key rejected",
	rufus.NotFound:         "unknown to the API",
	rufus.RateLimited:      "the API asked us to wait",
	rufus.ServerError:      "the API has a fault",
	rufus.UnexpectedStatus: "unexpected reply: wrong api.url, or a Wi-Fi login page?",
	rufus.Timeout:          "no answer in time",
	rufus.Network:          "the API cannot be reached",
	rufus.InvalidResponse:  "the API's answer cannot be read",
}

// toRead says what to do about a session that cannot be read.
func toRead(reason rufus.Reason, name string) string {
	switch reason {
	case rufus.NotFound:
		return "Compare the token or device id of " + name + " with RUFUS: was the box unbound?"
	case rufus.Unauthorized:
		return "Check the API key, and whether the box of " + name + " is still in your account."
	case rufus.RateLimited:
		return "Send fewer requests: raise the scrape interval or set api.min_interval."
	default:
		return "Check the exporter's internet connection and api.url, and watch the box of " + name + " itself."
	}
}

// mats returns the cards of all sessions, in the order of the configuration.
func (w writer) mats(statuses []collector.Status, seen []collector.Seen) []mat {
	all := make([]mat, len(statuses))
	for i := range statuses {
		all[i] = w.mat(&statuses[i], &seen[i])
	}
	return all
}

func (w writer) mat(s *collector.Status, seen *collector.Seen) mat {
	m := mat{race: s.Entry.Labels["race"], severity: seen.Severity, failed: s.Err != nil}
	m.stopped = seen.Severity > state.Calm && seen.Word != state.Failing
	m.Name, m.Word = s.Entry.Name, seen.Word
	if m.failed {
		m.why = plainWords[rufus.ReasonOf(s.Err)]
		m.read = seen.Memory.Read()
	}
	if seen.Plan.Declared {
		m.due = seen.Plan.Window.From
	}
	for _, name := range slices.Sorted(maps.Keys(s.Entry.Labels)) {
		if name != "race" {
			m.Labels = append(m.Labels, name+"="+s.Entry.Labels[name])
		}
	}
	if s.Err == nil {
		if letters(s.Session.Alias) != letters(m.Name) {
			m.Alias = s.Session.Alias
		}
		if passings, ok := s.Session.Passings.Get(); ok {
			m.Passings, m.counting = fmt.Sprint(passings), passings > 0
		}
	} else if count, known := seen.Memory.Count(); known {
		m.Known = &fact{fmt.Sprintf("last known %d at", count), w.clock(seen.Memory.Read()), ""}
	}
	w.say(&m, s, seen)
	w.battery(&m, s, seen)
	if !s.At.IsZero() {
		if age := collector.Age(w.now, s.At); age >= 10*time.Second {
			m.Labels = append(m.Labels, "read "+ago(age))
		}
	}
	m.Class = strings.ReplaceAll(string(m.Word), " ", "-") + " " + [...]string{"calm", "warning", "critical"}[m.severity]
	return m
}

// letters returns a name without what makes no difference to a reader.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// say adds what is so, since when, and what to do about it.
func (w writer) say(m *mat, s *collector.Status, seen *collector.Seen) {
	switch seen.Word {
	case state.Failing:
		w.failing(m, s, seen)
		return
	case state.Closed:
		w.closed(m, s, seen)
	case state.NotStarted:
		w.notStarted(m, seen)
	case state.Silent:
		w.silent(m, seen)
	case state.Waiting:
		w.waiting(m, s, seen)
	case state.Finished:
		switch {
		case seen.Plan.Declared:
			m.fact("was due until", w.clock(seen.Since), "")
		case !seen.Since.IsZero():
			m.since("since", seen, w)
		}
	case state.OK:
		if s.Err == nil && !s.Session.Active {
			m.fact("closed a moment ago: is START pressed again?", nil, "")
		}
	}
	w.lastPassing(m, s)
}

func (w writer) closed(m *mat, s *collector.Status, seen *collector.Seen) {
	m.Do = "Go to " + m.Name + ": press START if the box is not recording."
	m.Runbook = w.runbook + "#rufussessionclosed"
	if seen.ByBox {
		m.fact("before the exporter started", nil, "")
	} else {
		m.since("since", seen, w)
	}
	if s.Entry.Target.Follows == rufus.Token {
		m.fact("If it is recording, START was pressed again: this entry follows the old token.", nil, "")
	}
}

func (w writer) notStarted(m *mat, seen *collector.Seen) {
	m.Do = "Go to " + m.Name + ": press START."
	m.Runbook = w.runbook + "#rufussessionnotstarted"
	switch {
	case seen.Since.After(w.now):
		m.fact("due from", w.clock(seen.Since), "")
	case !seen.Since.IsZero():
		m.since("due since", seen, w)
	default:
		m.fact("another mat of its race is counting", nil, "")
	}
}

func (w writer) silent(m *mat, seen *collector.Seen) {
	m.Do = "Go to " + m.Name + ": hold a chip over the mat. No beep: reader or antenna. A beep: network."
	m.Runbook = w.runbook + "#rufussessionsilent"
	what := "since"
	if seen.Plan.Declared && seen.Since.Equal(seen.Plan.Window.From) {
		what = "due since" // it may have counted before
	}
	m.since(what, seen, w, "limit "+span(seen.Limit))
	if seen.ByBox {
		m.fact("by the clock of the box, which may be wrong: it was silent when the exporter started", nil, "")
	}
}

func (w writer) waiting(m *mat, s *collector.Status, seen *collector.Seen) {
	if !seen.Plan.Declared {
		m.fact("the device has no session yet", nil, "")
		return
	}
	from := seen.Plan.Window.From
	m.fact("due from", w.clock(from), "")
	if s.Err == nil && !s.Session.Active {
		m.fact("not active yet: press START before", w.clock(from.Add(-state.Armed)), "")
	}
}

// failing says why a session cannot be read.
func (w writer) failing(m *mat, s *collector.Status, seen *collector.Seen) {
	m.Runbook = w.runbook + "#rufussessionfailing"
	if seen.Recovers || s.Err == nil {
		m.Do = toRead("", m.Name)
		m.fact("can be read again, but not steadily yet", nil, "")
		w.lastPassing(m, s)
		return
	}
	reason := rufus.ReasonOf(s.Err)
	m.Do = toRead(reason, m.Name)
	if !seen.Since.IsZero() {
		m.since("since", seen, w)
	}
	m.fact(plainWords[reason], nil, "")
	m.Error = s.Err.Error()
}

// lastPassing says when the last passing was, by the clock of the box.
func (w writer) lastPassing(m *mat, s *collector.Status) {
	if s.Err != nil {
		return
	}
	last, ok := s.Session.Last.Get()
	age, doubt := w.now.Sub(last), ""
	if age < -clockTolerance {
		doubt = ": check the device's clock"
	}
	switch {
	case ok:
		m.fact("last passing", instantOf(last, ago(age)), doubt)
	case m.Word == state.OK:
		m.fact("no passing yet", nil, "")
	}
}

// battery says what the box said of its battery. A low one is trouble.
func (w writer) battery(m *mat, s *collector.Status, seen *collector.Seen) {
	health, _ := s.Health.Get()
	charge, known := health.Battery.Get()
	if !known {
		return
	}
	percent := fmt.Sprintf("battery %.0f %%", 100*charge)
	charging, _ := health.Charging.Get()
	if charging {
		percent += ", charging"
	}
	if charging || !state.BatteryLow(charge, &seen.Memory, seen.Plan, w.now) {
		m.Labels = append(m.Labels, percent)
		return
	}
	m.Battery = percent
	m.severity = max(m.severity, state.Warning)
	m.stopped = true
	if m.Do == "" {
		m.Do = fmt.Sprintf("Bring power to %s: its battery is at %.0f %% and not charging.", m.Name, 100*charge)
		m.Runbook = w.runbook + "#rufusbatterylow"
	} else {
		m.fact("bring power as well: the battery is not charging", nil, "")
	}
}

// fact adds what is so. The first stands beside the state.
func (m *mat) fact(before string, at *instant, after string) {
	f := fact{before, at, after}
	if m.Since == nil {
		m.Since = &f
		return
	}
	m.Facts = append(m.Facts, f)
}

// since adds since when a state has lasted, and for how long.
func (m *mat) since(what string, seen *collector.Seen, w writer, more ...string) {
	lasted := strings.Join(append([]string{span(w.now.Sub(seen.Since))}, more...), ", ")
	m.fact(what, w.clock(seen.Since), " ("+lasted+")")
}

// longName bounds the letters of a name in the headline.
const longName = 24

// trouble says in two words what is wrong.
func (m *mat) trouble() string {
	name := m.Name
	if runes := []rune(name); len(runes) > longName {
		name = string(runes[:longName-1]) + "…"
	}
	if m.Battery != "" && (m.Word == state.OK || m.Word == state.Waiting) {
		return name + " " + m.Battery
	}
	return name + " " + string(m.Word)
}

// troubles reports whether a mat needs someone. During an outage those do not that only cannot be read: all of them
// have one cause.
func (m *mat) troubles(outage bool) bool { return m.severity > state.Calm && (m.stopped || !outage) }

// troubled returns the mats that need someone, the worst first, else in the order of the configuration.
func troubled(mats []mat, outage bool) []mat {
	all := slices.DeleteFunc(slices.Clone(mats), func(m mat) bool { return !m.troubles(outage) })
	slices.SortStableFunc(all, func(a, b mat) int { return int(b.severity - a.severity) })
	return all
}

// instantOf returns an instant with a text of its own.
func instantOf(t time.Time, text string) *instant {
	return &instant{text, t.UTC().Format(time.RFC3339), t.UTC().Format("2006-01-02 15:04:05 UTC")}
}

// clock returns an instant with as much of it as a reader needs today.
func (w writer) clock(t time.Time) *instant {
	layout := "15:04"
	if t.Sub(w.now).Abs() > 12*time.Hour {
		layout = "2 January, 15:04"
	}
	return instantOf(t, t.In(w.zone).Format(layout))
}

// clockTolerance is how far ahead of ours a device's clock may be without a word.
const clockTolerance = 5 * time.Second

// ago says how long ago something was, or how far ahead it lies.
func ago(d time.Duration) string {
	d = max(d, -math.MaxInt64) // what lies too far ahead for a Duration has no opposite
	switch {
	case d < -clockTolerance:
		return span(-d) + " ahead"
	case d < time.Second:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// span writes a positive duration in its largest whole unit, which is all that one reads at a glance.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
