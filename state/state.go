// Package state says how a mat is, in one word: failing, closed, silent, not started, waiting, ok or finished. The
// words, the thresholds and what is critical are those of monitoring/rufus.rules.yml. The rules decide from what
// Prometheus remembers, this package from what the exporter itself has seen: see Memory.
package state

import (
	"time"

	"rufus_exporter/window"
)

// Word is how a mat is.
type Word string

// The words.
const (
	Failing    Word = "failing"     // it cannot be read
	Closed     Word = "closed"      // though passings are due, or right after one
	Silent     Word = "silent"      // active, but no passing for too long
	NotStarted Word = "not started" // passings are due, and its session was not active yet
	Waiting    Word = "waiting"     // its window is still to come
	OK         Word = "ok"          // it is active, and nothing is wrong
	Finished   Word = "finished"    // its window is over, or it was closed in peace
)

// Words returns all words, trouble first.
func Words() []Word { return []Word{Failing, Closed, Silent, NotStarted, Waiting, OK, Finished} }

// Severity is what a state asks of the crew.
type Severity int

// The severities, as in the alert rules.
const (
	Calm     Severity = iota // nothing
	Warning                  // someone should look, as soon as there is time
	Critical                 // passings, or the sight of them, are being lost while they are due
)

// Plan is what the crew declared about a mat, and what its race does.
type Plan struct {
	Declared    bool          // a window is declared
	Window      window.Window // the one open now, else the next, else the last
	SilentAfter time.Duration // how long an active mat may be without a passing; 0: for ever
	RaceCounts  bool          // another mat of its race counts briskly: see Memory.Brisk
	RaceSteady  time.Duration // for how long mats of its race have counted without a pause: see Memory.Steady
}

// State is how a mat is.
type State struct {
	Word     Word
	Severity Severity
	Since    time.Time     // when it began, as far as that is known; zero: unknown
	Limit    time.Duration // of silence, if the mat is silent
	ByBox    bool          // it was so before the exporter looked, according to the times of its session
	Recovers bool          // failing, but the newest reading was good
}

const (
	// Armed is how long before its window a mat must be ready.
	Armed = 5 * time.Minute
	// stale is how long before its window a session may have been closed to count as closed rather than as not started,
	// and for how long one without a window is worth a word after it was closed.
	stale = 12 * time.Hour
	// inUse is how soon after a passing a session without a window is closed by mistake.
	inUse = 5 * time.Minute
	// early is how long before its window a mat may have its first passing: the gun may be early.
	early = time.Minute
	// idle is how long a mat without a window may count nothing while its race counts.
	idle = 3 * time.Hour
	// lately is how old the last passing may be, by the clock of the box, of a session that was closed before the exporter
	// looked, to be worth a word.
	lately = 15 * time.Minute
)

// Of returns how a mat is at an instant.
func Of(m *Memory, p Plan, now time.Time) State {
	if s, stopped := stoppedMat(m, p, now); stopped {
		return s
	}
	switch {
	case m.asked.IsZero():
		return State{Word: Failing, Severity: Warning}
	case m.failing && p.due(now, Armed) && !m.lost.Before(p.Window.From.Add(-Armed)):
		return State{Word: Failing, Severity: Critical, Since: m.failingSince, Recovers: !m.failed}
	case m.failing, m.failed:
		return State{Word: Failing, Severity: Warning, Since: m.failingSince, Recovers: !m.failed}
	}
	if p.Declared {
		return declaredMat(m, p, now)
	}
	return undeclaredMat(m, p, now)
}

// due reports whether a mat is in its window, or will be within that time.
func (p Plan) due(now time.Time, within time.Duration) bool {
	return p.Declared && !now.Before(p.Window.From.Add(-within)) && now.Before(p.Window.Until)
}

// stoppedMat returns the state of a mat that does not count though it certainly should, as it was when it was last
// read: that it cannot be read any more changes nothing.
func stoppedMat(m *Memory, p Plan, now time.Time) (State, bool) {
	if m.closed() {
		switch {
		case p.due(now, Armed):
			return closedWhileDue(m, p), true
		case !p.Declared && !m.inactive.IsZero() && !m.arrival.IsZero() && m.inactive.Sub(m.arrival) <= inUse:
			return State{Word: Closed, Severity: Critical, Since: m.inactive}, true
		}
		return State{}, false
	}
	since, limit := m.silence(p, now)
	if limit == 0 || m.good.At.Sub(since) < limit {
		return State{}, false
	}
	certain := m.brisk && m.good.At.Sub(m.arrival) < stale
	if p.due(now, 0) || !p.Declared && certain {
		return State{Word: Silent, Severity: Critical, Since: since, Limit: limit}, true
	}
	return State{}, false
}

// closedWhileDue returns the state of a mat that is not active though it must be ready. Of one that was closed before
// the exporter looked, only its session tells that it was started today.
func closedWhileDue(m *Memory, p Plan) State {
	today := p.Window.From.Add(-stale)
	switch {
	case !m.inactive.IsZero() && !m.inactive.Before(today):
		return State{Word: Closed, Severity: Critical, Since: m.inactive}
	case m.inactiveAtFirst && (m.good.Last.After(today) || m.good.Created.After(today) && m.count > 0):
		return State{Word: Closed, Severity: Critical, ByBox: true}
	}
	return State{Word: NotStarted, Severity: Critical, Since: p.Window.From}
}

// silence returns since when a mat can have been silent, and for how long it may be; 0: for ever. Without a limit, half
// of the window may go by before the first passing.
func (m *Memory) silence(p Plan, now time.Time) (since time.Time, limit time.Duration) {
	since, limit = m.quiet, p.SilentAfter
	if p.Declared && m.quiet.Before(p.Window.From) && !now.Before(p.Window.From) {
		since = p.Window.From
	}
	if limit == 0 && p.Declared && m.arrival.Before(p.Window.From.Add(-early)) {
		limit = p.Window.Until.Sub(p.Window.From) / 2
	}
	return since, limit
}

// silentByBox returns the state of a mat whose last passing was too long ago by the clock of the box. No arrival was
// seen yet, so that clock can be wrong as well.
func silentByBox(m *Memory, p Plan) (State, bool) {
	last := m.good.Last
	if !m.arrival.IsZero() || p.SilentAfter == 0 || last.IsZero() || !m.good.Active {
		return State{}, false
	}
	if p.Declared && last.Before(p.Window.From) {
		last = p.Window.From
	}
	if m.good.At.Sub(last) < p.SilentAfter {
		return State{}, false
	}
	return State{Word: Silent, Severity: Warning, Since: last, Limit: p.SilentAfter, ByBox: true}, true
}

// declaredMat returns the state of a mat with a window that can be read and has not stopped.
func declaredMat(m *Memory, p Plan, now time.Time) State {
	switch {
	case !now.Before(p.Window.Until):
		return State{Word: Finished, Since: p.Window.Until}
	case now.Before(p.Window.From):
		return State{Word: Waiting}
	}
	if s, silent := silentByBox(m, p); silent {
		return s
	}
	return State{Word: OK}
}

// undeclaredMat returns the state of a mat without a window that can be read and has not stopped for certain.
func undeclaredMat(m *Memory, p Plan, now time.Time) State {
	if m.closed() {
		switch {
		case !m.inactive.IsZero() && now.Sub(m.inactive) < stale:
			return State{Word: Closed, Severity: Warning, Since: m.inactive}
		case p.RaceCounts:
			return State{Word: NotStarted, Severity: Warning}
		case m.inactiveAtFirst && now.Sub(m.begun) < stale && m.begun.Sub(m.good.Last) < lately:
			return State{Word: Closed, Severity: Warning, ByBox: true}
		case !m.counted:
			return State{Word: Waiting}
		}
		return State{Word: Finished, Since: m.inactive}
	}
	since, limit := m.silence(p, now)
	if limit > 0 && m.good.At.Sub(since) >= limit && (m.count > 0 || m.good.At.Sub(m.arrival) < 3*time.Hour) {
		return State{Word: Silent, Severity: Warning, Since: since, Limit: limit}
	}
	if m.counted && m.count == 0 && p.RaceSteady >= idle {
		return State{Word: Silent, Severity: Warning, Since: since, Limit: idle}
	}
	if s, silent := silentByBox(m, p); silent {
		return s
	}
	return State{Word: OK}
}

// lowBattery is the charge below which a box needs power.
const lowBattery = .2

// BatteryLow reports whether a box that does not charge needs power: its charge, from 0 to 1, is low, and it is in use
// or will be within two hours.
func BatteryLow(charge float64, m *Memory, p Plan, now time.Time) bool {
	return charge < lowBattery && (!p.Declared || p.due(now, 2*time.Hour)) && !m.closed()
}
