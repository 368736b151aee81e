// Package simulator plays the RUFUS Cloud API, as far as it is documented, over real HTTP.
//
// A race day is data (Day). What the API answers is a pure function of that data and of the time: there are no
// goroutines, timers or progress, so the same moment can be asked for again, in any order, at any speed, by a
// clock on the wall or by one that a test turns. Accidents are edits of the data: see the methods of Device, and
// Fault for what befalls the API as a whole.
//
// The words "documented", "inferred" and "unknown" refer to the vendor's public help pages; nothing was compared
// with the live service.
package simulator

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// DemoKey is the API key that a Day accepts unless it names another: the example of the vendor's documentation.
const DemoKey = "ror-ae4fc6c19681a20fad30"

// Day is everything that happens at the API during a race day. Once it was given to a Server it must not be
// written to; Server.Set changes a copy.
type Day struct {
	Key     string   // the accepted API key; "" stands for DemoKey
	Devices []Device // in the order in which the API lists them
	Faults  []Fault  // of those that overlap, latencies add up and the first that answers does

	// PageSize caps how many devices a page holds; 0 stands for the documented 5000.
	PageSize int

	// A Lap above 0 makes the day repeat itself for ever: what happens between Begin and Begin+Lap happens again, with
	// all its instants, Lap later. Tokens and ids stay the same.
	Begin time.Time
	Lap   time.Duration
}

// Device is a timing box and the sessions recorded with it.
type Device struct {
	ID           string // 64 upper-case hex digits in every documented example
	Alias        string // may be empty, and that of another device
	Renamed      []Renaming
	Type         string
	Model        string
	Firmware     string // "" is sent as null
	SerialNumber string
	Created      time.Time // zero is sent as null
	LastLogin    time.Time // zero is sent as null
	Bound        time.Time // until then the account does not have the device; zero: always had it
	Unbound      time.Time // from then on the account has neither the device nor its sessions; zero: never
	Battery      Battery
	Sessions     []Session

	// Enveloped wraps the answers about this device and its sessions in {"body": …}, as the newer documentation has
	// it for other calls. Which one the live service sends is unknown.
	Enveloped bool
	// Latency delays every answer about this device and its sessions.
	Latency time.Duration
}

// Renaming gives a device another alias.
type Renaming struct {
	At    time.Time
	Alias string
}

// Session is one recording. It receives passings from Created until Closed, or until the next session of its
// device is created, which closes it (documented).
type Session struct {
	Token    string // 64 upper-case hex digits in every documented example
	Alias    string // "" is left out
	Created  time.Time
	Closed   time.Time   // zero: never
	Deleted  time.Time   // from then on it is not found; zero: never
	Passings []Passing   // may be shared between sessions: edits replace it and never write into it
	Removed  []time.Time // at each of these instants somebody deletes the oldest passing that is left
}

// Passing is one raw detection of a chip. Nothing says whose it is.
type Passing struct {
	Arrived time.Time // at the API, by its clock
	Stamp   time.Time // at the mat, by the device's clock
}

// Battery describes the telemetry of a device: a report every so often from From until To, with a level that runs
// evenly from Start to End. Its zero value never reports, and everything it would say is null.
type Battery struct {
	From, To   time.Time
	Every      time.Duration // 0 stands for a minute
	Start, End float64       // percent; charging when it rises
}

// report returns the newest report at t.
func (b Battery) report(t time.Time) (at time.Time, percent int, charging, ok bool) {
	if !b.To.After(b.From) || t.Before(b.From) {
		return time.Time{}, 0, false, false
	}
	every := b.Every
	if every <= 0 {
		every = time.Minute
	}
	if t.After(b.To) {
		t = b.To
	}
	since := t.Sub(b.From).Truncate(every)
	level := b.Start + (b.End-b.Start)*since.Seconds()/b.To.Sub(b.From).Seconds()
	return b.From.Add(since), int(math.Round(level)), b.End > b.Start, true
}

// Fault is what the API does to requests while From ≤ now < To, before it looks at them. First it waits for
// Latency, then it drops the connection or answers with Status; with neither it goes on as usual.
type Fault struct {
	From, To time.Time
	// Every above 0 makes it come and go: it is there for the first For of each Every.
	Every, For time.Duration
	Only       string // unless "", just the requests for this token or device id
	Page       int    // unless 0, just the requests for this page of the list of devices
	Latency    time.Duration
	Drop       bool // cut the connection without an answer; Go's HTTP client then asks again if it had been used before
	Status     int  // such as 403 for a revoked key, 429, 500, 503
	// RetryAfter above 0 is sent with Status, in whole seconds rounded up, or as the date that lies so far ahead.
	RetryAfter     time.Duration
	RetryAfterDate bool
}

// Device returns the device with that alias, whose case does not matter, or nil when there is none.
func (d Day) Device(alias string) *Device {
	for i := range d.Devices {
		if strings.EqualFold(d.Devices[i].Alias, alias) {
			return &d.Devices[i]
		}
	}
	return nil
}

// ID returns 64 upper-case hex digits, always the same ones for the same text: the form of tokens and device ids in
// the documentation's examples. It belongs to no real session.
func ID(text string) string {
	return fmt.Sprintf("%X", sha256.Sum256([]byte("rufus simulator: "+text)))
}

// clone returns a copy that shares nothing with d but passings.
func (d Day) clone() Day {
	d.Faults = slices.Clone(d.Faults)
	d.Devices = slices.Clone(d.Devices)
	for i := range d.Devices {
		d.Devices[i].Sessions = slices.Clone(d.Devices[i].Sessions)
		d.Devices[i].Renamed = slices.Clone(d.Devices[i].Renamed)
	}
	return d
}

// index is a Day made ready to be asked.
type index struct {
	Day      // with the API's rules applied
	source   Day
	devices  map[string]*Device
	sessions map[string]session
}

// session is a session and what it was recorded with.
type session struct {
	*Session
	device *Device
}

// newIndex copies day and applies the rules of the API to it: sessions in the order of their creation, each closed
// by the next one, and with only the passings that arrived while it was open. It panics when two sessions or two
// devices have the same id, which is an error in a test.
func newIndex(day Day) *index {
	x := &index{
		Day: day.clone(), source: day,
		devices: make(map[string]*Device), sessions: make(map[string]session),
	}
	if x.Key == "" {
		x.Key = DemoKey
	}
	for i := range x.Devices {
		device := &x.Devices[i]
		if x.devices[strings.ToUpper(device.ID)] != nil {
			panic("simulator: two devices with the id " + device.ID)
		}
		x.devices[strings.ToUpper(device.ID)] = device

		slices.SortStableFunc(device.Sessions, func(a, b Session) int { return a.Created.Compare(b.Created) })
		for j := range device.Sessions {
			s := &device.Sessions[j]
			if x.sessions[strings.ToUpper(s.Token)].Session != nil {
				panic("simulator: two sessions with the token " + s.Token)
			}
			x.sessions[strings.ToUpper(s.Token)] = session{s, device}

			if j+1 < len(device.Sessions) && !reached(device.Sessions[j+1].Created, s.Closed) {
				s.Closed = device.Sessions[j+1].Created
			}
			s.Passings = inOrder(s.Passings)
			s.Removed = slices.SortedFunc(slices.Values(s.Removed), time.Time.Compare)
			from, to := arrived(s.Passings, s.Created), len(s.Passings)
			if !s.Closed.IsZero() {
				to = max(from, arrived(s.Passings, s.Closed))
			}
			s.Passings = s.Passings[from:to]
		}
	}
	return x
}

// inOrder returns p sorted by arrival, p itself if it is.
func inOrder(p []Passing) []Passing {
	byArrival := func(a, b Passing) int { return a.Arrived.Compare(b.Arrived) }
	if slices.IsSortedFunc(p, byArrival) {
		return p
	}
	p = slices.Clone(p)
	slices.SortStableFunc(p, byArrival)
	return p
}

// arrived returns how many of p, which are sorted, arrived before t.
func arrived(p []Passing, t time.Time) int {
	return sort.Search(len(p), func(i int) bool { return !p[i].Arrived.Before(t) })
}

// reached reports whether something that happens at event, if not zero, has happened at t.
func reached(t, event time.Time) bool { return !event.IsZero() && !t.Before(event) }

// moment is an instant of the day: now in the day's own time, and how much later it really is.
type moment struct {
	now  time.Time
	laps time.Duration
}

// moment folds t into the day's one lap.
func (x *index) moment(t time.Time) moment {
	if x.Lap <= 0 {
		return moment{now: t}
	}
	since := t.Sub(x.Begin)
	laps := since.Truncate(x.Lap)
	if laps > since { // it was rounded towards zero
		laps -= x.Lap
	}
	return moment{now: t.Add(-laps), laps: laps}
}

// bound reports whether the account has the device.
func (m moment) bound(d *Device) bool {
	return d != nil && !m.now.Before(d.Bound) && !reached(m.now, d.Unbound)
}

// alias returns what the device is called.
func (m moment) alias(d *Device) string {
	alias, since := d.Alias, time.Time{}
	for _, r := range d.Renamed {
		if reached(m.now, r.At) && !r.At.Before(since) {
			alias, since = r.Alias, r.At
		}
	}
	return alias
}

// exists reports whether the API knows the session.
func (m moment) exists(s session) bool {
	return s.Session != nil && m.bound(s.device) && !m.now.Before(s.Created) && !reached(m.now, s.Deleted)
}

// active reports whether the session receives passings.
func (m moment) active(s *Session) bool { return !reached(m.now, s.Closed) }

// passings returns those that have arrived and are still there.
func (m moment) passings(s *Session) []Passing {
	passings := s.Passings[:arrived(s.Passings, m.now.Add(1))]
	removed := sort.Search(len(s.Removed), func(i int) bool { return s.Removed[i].After(m.now) })
	return passings[min(removed, len(passings)):]
}
