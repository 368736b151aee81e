package simulator

import (
	"fmt"
	"slices"
	"time"
)

// The methods below simulate incidents. Each of them edits the data of its device, so several can be combined. They
// affect all sessions of the device unless the comment names one. Times are those of the first lap.

// edit replaces each passing of all sessions by the result of change. If change returns false, the passing is removed.
func (d *Device) edit(change func(p Passing) (Passing, bool)) {
	for i := range d.Sessions {
		edited := make([]Passing, 0, len(d.Sessions[i].Passings))
		for _, p := range d.Sessions[i].Passings {
			if p, ok := change(p); ok {
				edited = append(edited, p)
			}
		}
		d.Sessions[i].Passings = inOrder(edited)
	}
}

// Pause makes the device record nothing in a period. The session stays active, its count does not change, and the
// passings of this period never arrive.
func (d *Device) Pause(from, to time.Time) {
	d.edit(func(p Passing) (Passing, bool) { return p, p.Arrived.Before(from) || !p.Arrived.Before(to) })
}

// Buffer cuts the device's network in a period. The passings of this period arrive all at once at its end, with their
// original time stamps.
func (d *Device) Buffer(from, to time.Time) {
	d.edit(func(p Passing) (Passing, bool) {
		if !p.Arrived.Before(from) && p.Arrived.Before(to) {
			p.Arrived = to
		}
		return p, true
	})
}

// Skew sets the device's clock wrong for all passings that arrive from then on: ahead by offset, or behind if offset is
// negative.
func (d *Device) Skew(from time.Time, offset time.Duration) {
	d.edit(func(p Passing) (Passing, bool) {
		if !p.Arrived.Before(from) {
			p.Stamp = p.Stamp.Add(offset)
		}
		return p, true
	})
}

// Mute breaks the reader from then on. The device stays connected and its session active, but no passing arrives.
func (d *Device) Mute(from time.Time) {
	d.edit(func(p Passing) (Passing, bool) { return p, p.Arrived.Before(from) })
}

// Remove deletes the n oldest passings of the session that is open at that time, as a crew does after its tests.
func (d *Device) Remove(at time.Time, n int) {
	s := d.open(at)
	s.Removed = append(slices.Clip(s.Removed), slices.Repeat([]time.Time{at}, n)...)
}

// Try adds the passings of n chips that the crew holds over the mat, one every two seconds.
func (d *Device) Try(at time.Time, n int) {
	s := d.open(at)
	tried := slices.Clone(s.Passings)
	for i := range n {
		stamp := at.Add(time.Duration(2*i) * time.Second)
		tried = append(tried, Passing{Arrived: stamp.Add(transit), Stamp: stamp})
	}
	s.Passings = inOrder(tried)
}

// Die empties the battery: the charge reaches 0 at that time. From then on there are no passings and no telemetry.
func (d *Device) Die(at time.Time) {
	d.Mute(at)
	d.Battery.To, d.Battery.End = at, 0
}

// PressStart starts a new session on the device, which closes the open one (documented). Later passings go to the new
// session. If gap is above 0, the new session starts that much later than the old one is closed, as when an operator
// presses stop and then START. It returns the new session's token.
func (d *Device) PressStart(at time.Time, gap time.Duration) (token string) {
	old := d.open(at)
	next := *old
	next.Created, next.Deleted, next.Removed = at.Add(gap), time.Time{}, nil
	next.Token = ID(fmt.Sprintf("successor %d of %s", len(d.Sessions), old.Token))
	old.Closed = at
	d.Sessions = append(d.Sessions, next)
	return next.Token
}

// Close closes the session that is open at that time.
func (d *Device) Close(at time.Time) { d.open(at).Closed = at }

// Delete removes the session that is open at that time. From then on its token is unknown.
func (d *Device) Delete(at time.Time) { d.open(at).Deleted = at }

// Bind adds the device to the account at that time, and not before.
func (d *Device) Bind(at time.Time) { d.Bound = at }

// Rename changes the alias of the device from then on. Its sessions keep their alias.
func (d *Device) Rename(at time.Time, alias string) {
	d.Renamed = append(d.Renamed, Renaming{at, alias})
}

// Unbind removes the device and its sessions from the account (documented). From then on their tokens are unknown
// (inferred).
func (d *Device) Unbind(at time.Time) { d.Unbound = at }

// Yesterday adds a session of the day before: a copy of the first one, 24 hours earlier, and closed after at most 12
// hours. It returns that session's token, which may still be in a sessions.yml that nobody updated.
func (d *Device) Yesterday() (token string) {
	old := d.Sessions[0].shifted(-24 * time.Hour)
	old.Token = ID("yesterday's " + old.Token)
	if limit := old.Created.Add(12 * time.Hour); !reached(limit, old.Closed) {
		old.Closed = limit
	}
	d.Sessions = slices.Insert(d.Sessions, 0, old)
	return old.Token
}

// shifted returns a copy of the session with all times shifted.
func (s Session) shifted(by time.Duration) Session {
	s.Created = s.Created.Add(by)
	if !s.Closed.IsZero() {
		s.Closed = s.Closed.Add(by)
	}
	s.Passings = slices.Clone(s.Passings)
	for i, p := range s.Passings {
		s.Passings[i] = Passing{Arrived: p.Arrived.Add(by), Stamp: p.Stamp.Add(by)}
	}
	s.Removed = slices.Clone(s.Removed)
	for i := range s.Removed {
		s.Removed[i] = s.Removed[i].Add(by)
	}
	return s
}

// open returns the session that receives passings at t. It panics if there is none, because the test would then prove
// nothing.
func (d *Device) open(t time.Time) *Session {
	var newest *Session
	for i := range d.Sessions {
		s := &d.Sessions[i]
		if !t.Before(s.Created) && (newest == nil || s.Created.After(newest.Created)) {
			newest = s
		}
	}
	if newest == nil || reached(t, newest.Closed) {
		panic("simulator: " + d.Alias + " has no open session at " + t.String())
	}
	return newest
}
