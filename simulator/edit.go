package simulator

import (
	"fmt"
	"slices"
	"time"
)

// The edits below are accidents. Each changes the data of its device, all sessions of it unless it says otherwise,
// so several can be applied one after the other. Instants are those of the day's first lap.

// edit replaces the passings of all sessions by what change makes of each; those for which it says false vanish.
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

// Pause makes the device record nothing from one instant to the other: the session stays active, its count flat, and
// what passed meanwhile never arrives.
func (d *Device) Pause(from, to time.Time) {
	d.edit(func(p Passing) (Passing, bool) { return p, p.Arrived.Before(from) || !p.Arrived.Before(to) })
}

// Buffer cuts the device's network from one instant to the other: what passed meanwhile arrives all at once at the
// end of it, with its old time stamps.
func (d *Device) Buffer(from, to time.Time) {
	d.edit(func(p Passing) (Passing, bool) {
		if !p.Arrived.Before(from) && p.Arrived.Before(to) {
			p.Arrived = to
		}
		return p, true
	})
}

// Skew sets the device's clock wrong, ahead by offset or behind by a negative one, for what arrives from then on.
func (d *Device) Skew(from time.Time, offset time.Duration) {
	d.edit(func(p Passing) (Passing, bool) {
		if !p.Arrived.Before(from) {
			p.Stamp = p.Stamp.Add(offset)
		}
		return p, true
	})
}

// Mute breaks the reader: the device stays connected and its session active, and no passing arrives any more.
func (d *Device) Mute(from time.Time) {
	d.edit(func(p Passing) (Passing, bool) { return p, p.Arrived.Before(from) })
}

// Remove deletes the n oldest passings of the session that is open at that instant, as a crew deletes its tests.
func (d *Device) Remove(at time.Time, n int) {
	s := d.open(at)
	s.Removed = append(slices.Clip(s.Removed), slices.Repeat([]time.Time{at}, n)...)
}

// Try lets n chips be held over the mat, one every two seconds.
func (d *Device) Try(at time.Time, n int) {
	s := d.open(at)
	tried := slices.Clone(s.Passings)
	for i := range n {
		stamp := at.Add(time.Duration(2*i) * time.Second)
		tried = append(tried, Passing{Arrived: stamp.Add(transit), Stamp: stamp})
	}
	s.Passings = inOrder(tried)
}

// Die empties the battery: the level reaches 0 at that instant, and then there are neither passings nor telemetry.
func (d *Device) Die(at time.Time) {
	d.Mute(at)
	d.Battery.To, d.Battery.End = at, 0
}

// PressStart starts a new session on the device, which closes the one before it (documented); what passes from then on
// goes to the new one. With a gap above 0 the old session closes at that instant and the new one comes so much later,
// as when an operator presses stop and then START. It returns the new session's token.
func (d *Device) PressStart(at time.Time, gap time.Duration) (token string) {
	old := d.open(at)
	next := *old
	next.Created, next.Deleted, next.Removed = at.Add(gap), time.Time{}, nil
	next.Token = ID(fmt.Sprintf("successor %d of %s", len(d.Sessions), old.Token))
	old.Closed = at
	d.Sessions = append(d.Sessions, next)
	return next.Token
}

// Close closes the session that is open at that instant.
func (d *Device) Close(at time.Time) { d.open(at).Closed = at }

// Delete removes the session that is open at that instant; its token is unknown from then on.
func (d *Device) Delete(at time.Time) { d.open(at).Deleted = at }

// Bind gives the device to the account only at that instant.
func (d *Device) Bind(at time.Time) { d.Bound = at }

// Rename gives the device another alias from then on. Its sessions keep theirs.
func (d *Device) Rename(at time.Time, alias string) {
	d.Renamed = append(d.Renamed, Renaming{at, alias})
}

// Unbind removes the device from the account, and with it its sessions (documented): their tokens are unknown from
// then on (inferred).
func (d *Device) Unbind(at time.Time) { d.Unbound = at }

// Yesterday gives the device a session of the day before: its first one, 24 hours earlier, and closed after 12 hours if
// not sooner. It returns that session's token, which is what stands in the file of whoever forgot to change it.
func (d *Device) Yesterday() (token string) {
	old := d.Sessions[0].shifted(-24 * time.Hour)
	old.Token = ID("yesterday's " + old.Token)
	if limit := old.Created.Add(12 * time.Hour); !reached(limit, old.Closed) {
		old.Closed = limit
	}
	d.Sessions = slices.Insert(d.Sessions, 0, old)
	return old.Token
}

// shifted returns the session as it would be so much later.
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

// open returns the session that receives passings at t. It panics when there is none: a scenario that closes what
// does not exist would prove nothing.
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
