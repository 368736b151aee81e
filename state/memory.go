package state

import (
	"math"
	"time"

	"rufus_exporter/window"
)

// Reading is what came of asking for a session once.
type Reading struct {
	At       time.Time // by our clock
	Failed   bool      // the session could not be read; nothing below is known
	Active   bool      // it receives passings
	Counted  bool      // Passings is known
	Passings int64
	Last     time.Time // the last passing, by the clock of the box; zero: unknown
	Created  time.Time // when the session was made; zero: unknown
}

// Memory is what was seen of one session by our own clock, as the alert rules remember it. It is made of readings
// alone. The zero value has seen nothing.
type Memory struct {
	begun  time.Time // when it was first asked for
	asked  time.Time // when it was last asked for; zero: never
	failed bool      // and could not be read then
	lost   time.Time // when it last could not be read; zero: never
	good   Reading   // the newest that did not fail; its At is zero if there is none
	sight  sight

	failing      bool      // as the phone knows it: see sight
	failingSince time.Time // since when the newest readings failed, or failing is set; zero: neither

	inactive        time.Time // when it was first read as inactive; zero while active
	inactiveAtFirst bool      // it was inactive when it was first read

	count   int64 // the last that was known
	counted bool
	fell    time.Time // when the count last became smaller, within one session
	arrival time.Time // when passings last arrived; zero: not since begun
	first   time.Time // when they first arrived
	steady  time.Time // since when they have arrived without a pause
	brisk   bool      // it was counting briskly at the last arrival
	slowed  time.Time // when it last was no longer
	pace    pace

	// quiet is since when it can have been silent: the first reading, the last arrival, or the last moment when it was
	// closed.
	quiet time.Time
}

// pace is how many passings arrived in each quarter of a minute of the last ten minutes. Its size is fixed: what is
// remembered of a session does not grow during a race.
type pace struct {
	quarter int64 // of the newest
	n       [paceWithin]uint32
}

// add takes in passings.
func (p *pace) add(at time.Time, n int64) {
	now := quarterOf(at)
	for next := max(p.quarter+1, now-paceWithin+1); next <= now; next++ {
		p.n[next%paceWithin] = 0
	}
	p.quarter = now
	count := &p.n[now%paceWithin]
	*count = uint32(min(int64(*count)+min(n, math.MaxUint32), math.MaxUint32)) //nolint:gosec // within its range
}

// within returns how many passings arrived in the last quarters before an instant, at most paceWithin, and in how many
// of these. The instant must not be before the newest passings.
func (p *pace) within(at time.Time, quarters int64) (passings uint64, uploads int) {
	now := quarterOf(at)
	for quarter := max(now-quarters+1, 0); quarter <= p.quarter; quarter++ {
		if n := p.n[quarter%paceWithin]; n > 0 {
			passings += uint64(n)
			uploads++
		}
	}
	return passings, uploads
}

// quarterOf returns the quarter of a minute in which an instant lies, since 1970. What is before that, by a machine
// whose clock is not set, is in the first one.
func quarterOf(t time.Time) int64 { return max(t.Unix(), 0) / 15 }

const (
	// rollover is how long a session may be inactive between two sessions of a box.
	rollover = 30 * time.Second
	// In quarters of a minute: a mat is brisk by what it counted in two minutes, compared with ten, and by its uploads in
	// five.
	briskWithin, uploadsWithin, paceWithin = 8, 20, 40
)

// Observe takes in one reading. One that is not newer than the newest says nothing new.
func (m *Memory) Observe(r Reading) {
	if !r.At.After(m.asked) {
		return
	}
	if m.begun.IsZero() {
		m.begun = r.At
	}
	m.asked, m.failed = r.At, r.Failed
	m.see(r)
	if r.Failed {
		m.lost = r.At
		return
	}
	before := m.good.At
	first := before.IsZero()
	m.good = r
	switch {
	case r.Active:
		m.inactive, m.inactiveAtFirst = time.Time{}, false
	case first:
		m.inactiveAtFirst = true
	case m.inactive.IsZero() && !m.inactiveAtFirst:
		m.inactive = r.At
	}
	if first || m.closed() {
		m.quiet = r.At
	}
	m.countUp(r, before)
}

// closed reports whether it was inactive when it was last read, for longer than between two sessions.
func (m *Memory) closed() bool {
	return m.inactiveAtFirst || !m.inactive.IsZero() && m.good.At.Sub(m.inactive) >= rollover
}

// see decides whether the session counts as unreadable: from when half of the readings of four minutes failed to when
// fewer than a fifth do, so that on and off is one failure.
func (m *Memory) see(r Reading) {
	share := m.sight.observe(r)
	switch {
	case share <= .5 && r.At.Sub(m.begun) >= 2*time.Minute:
		m.failing = true
	case share > .8:
		m.failing = false
	}
	switch {
	case !r.Failed && !m.failing:
		m.failingSince = time.Time{}
	case m.failingSince.IsZero():
		m.failingSince = r.At
	}
}

// countUp takes in the count of a good reading, before which the last one was at an instant; zero: there was none. What
// rises in a closed session is no arrival: someone edits passings there.
func (m *Memory) countUp(r Reading, before time.Time) {
	if !r.Counted {
		return
	}
	if !m.arrival.IsZero() {
		before = m.arrival
	}
	n, known := r.Passings-m.count, m.counted
	another := !before.IsZero() && r.Created.After(before) && r.Created.Before(r.At) // session since
	if another {
		n, known = r.Passings, true
	}
	switch {
	case known && n > 0 && !m.closed():
		m.arrive(r.At, n)
	case n < 0:
		m.fell = r.At
	}
	m.count, m.counted = r.Passings, true
}

// arrive notes passings.
func (m *Memory) arrive(at time.Time, n int64) {
	if m.arrival.IsZero() {
		m.first = at
	}
	if !at.Before(m.Steady().Until) {
		m.steady = at
	}
	m.arrival, m.quiet = at, at
	m.pace.add(at, n)
	m.judgePace(at)
}

// judgePace decides at an arrival whether the mat is brisk: ten passings in two minutes, in more than one upload, and
// no slower than 40 % of the pace of ten minutes. After the count fell nobody can tell.
func (m *Memory) judgePace(at time.Time) {
	if at.Sub(m.fell) < 10*time.Minute {
		return
	}
	// As Prometheus does it: what came since the first value in a range, a quarter less, is extrapolated to the range.
	ten, _ := m.pace.within(at, paceWithin-1)
	two, _ := m.pace.within(at, briskWithin-1)
	inTen, inTwo := float64(ten)*paceWithin/(paceWithin-1), float64(two)*briskWithin/(briskWithin-1)
	_, uploads := m.pace.within(at, uploadsWithin)
	if at.Sub(m.first) < uploadsWithin*15*time.Second {
		uploads-- // the rules see changes, and the first arrival is none
	}
	brisk := inTwo >= 10 && inTwo >= inTen/12 && uploads >= 3
	if m.brisk && !brisk {
		m.slowed = at
	}
	m.brisk = brisk
}

// Brisk reports whether the mat counted briskly in the last half hour, and had its last arrival then.
func (m *Memory) Brisk(now time.Time) bool {
	return (m.brisk || now.Sub(m.slowed) < half) && now.Sub(m.arrival) < half
}

// half an hour is how long a mat counts for its race.
const half = 30 * time.Minute

// pause is how long there may be no arrival until a mat, or its race, has paused.
const pause = 15 * time.Minute

// Steady returns the period in which passings last arrived without a pause, as far as that is known now.
func (m *Memory) Steady() window.Window {
	return window.Window{From: m.steady, Until: m.arrival.Add(pause)}
}

// Count returns the last count that is known.
func (m *Memory) Count() (passings int64, known bool) { return m.count, m.counted }

// Read returns when the session was last read; zero: never.
func (m *Memory) Read() time.Time { return m.good.At }

// slots is how many quarters of a minute decide whether a session can be read: four minutes.
const slots = 16

// sight is how readings went lately: in each quarter of a minute, how many were good and how many failed.
type sight struct {
	slot      int64 // of the newest reading, in quarters of a minute
	good, bad [slots]uint8
}

// observe takes in a reading and returns the share of the quarters that were good. However often someone asks, a
// quarter counts once.
func (s *sight) observe(r Reading) float64 {
	slot := quarterOf(r.At)
	for next := max(s.slot+1, slot-slots+1); next <= slot; next++ {
		s.good[next%slots], s.bad[next%slots] = 0, 0
	}
	s.slot = slot
	count := &s.good[slot%slots]
	if r.Failed {
		count = &s.bad[slot%slots]
	}
	if *count < 255 {
		*count++
	}
	var sum, n float64
	for i := range slots {
		if all := float64(s.good[i]) + float64(s.bad[i]); all > 0 {
			sum += float64(s.good[i]) / all
			n++
		}
	}
	return sum / n
}
