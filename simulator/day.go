// Package simulator implements the documented part of the RUFUS Cloud API over HTTP, and answers with the data of a
// simulated race.
//
// A race day is data (Day). An answer is a pure function of that data and the time. There are no goroutines and no
// timers, so a test can ask for any time in any order, with a real or a fake clock. Incidents are edits of the data:
// see the methods of Device. Faults of the whole API are described by Fault.
//
// The words "documented", "inferred" and "unknown" refer to the vendor's public help pages; nothing was compared with
// the live service.
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

// DemoKey is the API key that a Day accepts by default: the example in the vendor's documentation.
const DemoKey = "ror-ae4fc6c19681a20fad30"

// Day is everything that happens during a race day. Do not modify a Day that was passed to a Server: use Server.Set,
// which changes a copy.
type Day struct {
	Key     string   // the accepted API key; "" means DemoKey
	Devices []Device // in the order in which the API lists them
	Faults  []Fault  // if several overlap, their latencies add up and the first one with an answer wins

	// PageSize is the maximum number of devices on a page; 0 means the documented 5000.
	PageSize int

	// If Lap is above 0, the day repeats forever: everything between Begin and Begin+Lap happens again Lap later, with all
	// its times shifted. Tokens and ids stay the same.
	Begin time.Time
	Lap   time.Duration
}

// Device is a timing box and its sessions.
type Device struct {
	ID           string // 64 upper-case hex digits in every documented example
	Alias        string // may be empty; need not be unique
	Renamed      []Renaming
	Type         string
	Model        string
	Firmware     string // "" is sent as null
	SerialNumber string
	Created      time.Time // zero is sent as null
	LastLogin    time.Time // zero is sent as null
	Bound        time.Time // when the device joins the account; zero if it was always there
	Unbound      time.Time // when the device leaves the account with its sessions; zero if never
	Battery      Battery
	Sessions     []Session

	// Enveloped wraps the answers about this device and its sessions in {"body": …}, as in the newer documentation for
	// other calls. It is unknown which form the live service sends.
	Enveloped bool
	// Latency delays every answer about this device and its sessions.
	Latency time.Duration
}

// Renaming gives a device another alias.
type Renaming struct {
	At    time.Time
	Alias string
}

// Session is one recording. It receives passings from Created until Closed, or until the next session of its device is
// created, which closes it (documented).
type Session struct {
	Token    string // 64 upper-case hex digits in every documented example
	Alias    string // "" is omitted
	Created  time.Time
	Closed   time.Time   // zero if never
	Deleted  time.Time   // when the API no longer knows it; zero if never
	Passings []Passing   // may be shared between sessions: edits replace the slice and do not modify it
	Removed  []time.Time // when somebody deletes the oldest remaining passing
}

// Passing is one raw detection of a chip. It has no personal data.
type Passing struct {
	Arrived time.Time // at the API, by its clock
	Stamp   time.Time // at the mat, by the device's clock
}

// Battery describes the telemetry of a device: periodic reports from From until To, with a charge that changes linearly
// from Start to End. The zero value never reports, so all its fields are null in answers.
type Battery struct {
	From, To   time.Time
	Every      time.Duration // interval of reports; 0 means a minute
	Start, End float64       // percent; the device is charging if End is higher
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

// Fault changes how the API answers requests while From ≤ now < To. First it waits for Latency. Then it drops the
// connection or answers with Status. If neither is set, the API answers as usual.
type Fault struct {
	From, To time.Time
	// If Every is above 0, the fault repeats: it is active during the first For of each Every.
	Every, For time.Duration
	Only       string // if set, the fault only affects requests for this token or device id
	Page       int    // if set, the fault only affects requests for this page of the list of devices
	Latency    time.Duration
	Drop       bool // close the connection without an answer; Go's HTTP client sends the request again if it was reused
	Status     int  // such as 403 for a revoked key, 429, 500, 503
	// RetryAfter, if above 0, is sent with Status: in whole seconds, rounded up, or as a date.
	RetryAfter     time.Duration
	RetryAfterDate bool
}

// Device returns the device with that alias, ignoring case, or nil if there is none.
func (d Day) Device(alias string) *Device {
	for i := range d.Devices {
		if strings.EqualFold(d.Devices[i].Alias, alias) {
			return &d.Devices[i]
		}
	}
	return nil
}

// ID returns a token or device id in the form of the documentation's examples: 64 upper-case hex digits. The result
// depends only on text, and does not belong to a real session.
func ID(text string) string {
	return fmt.Sprintf("%X", sha256.Sum256([]byte("rufus simulator: "+text)))
}

// clone returns a copy that shares only passings with d.
func (d Day) clone() Day {
	d.Faults = slices.Clone(d.Faults)
	d.Devices = slices.Clone(d.Devices)
	for i := range d.Devices {
		d.Devices[i].Sessions = slices.Clone(d.Devices[i].Sessions)
		d.Devices[i].Renamed = slices.Clone(d.Devices[i].Renamed)
	}
	return d
}

// index is a Day prepared for requests.
type index struct {
	Day      // with the API's rules applied
	source   Day
	devices  map[string]*Device // by id in upper case
	sessions map[string]session // by token in upper case
}

// session is a session and its device.
type session struct {
	*Session
	device *Device
}

// newIndex copies day and applies the rules of the API to the copy: sessions are sorted by creation, the next session
// closes the one before, and each has only the passings that arrived while it was open. It panics if two sessions or
// two devices have the same id, because that is an error in a test.
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

// inOrder returns p sorted by arrival. If p is sorted already, it returns p itself.
func inOrder(p []Passing) []Passing {
	byArrival := func(a, b Passing) int { return a.Arrived.Compare(b.Arrived) }
	if slices.IsSortedFunc(p, byArrival) {
		return p
	}
	p = slices.Clone(p)
	slices.SortStableFunc(p, byArrival)
	return p
}

// arrived returns how many of p arrived before t. p must be sorted by arrival.
func arrived(p []Passing, t time.Time) int {
	return sort.Search(len(p), func(i int) bool { return !p[i].Arrived.Before(t) })
}

// reached reports whether an event has happened by t. A zero event never happens.
func reached(t, event time.Time) bool { return !event.IsZero() && !t.Before(event) }

// moment is a time within the first lap of the day.
type moment struct {
	now  time.Time
	laps time.Duration // from now to the real time: the previous laps
}

// moment maps t to the first lap.
func (x *index) moment(t time.Time) moment {
	if x.Lap <= 0 {
		return moment{now: t}
	}
	since := t.Sub(x.Begin)
	laps := since.Truncate(x.Lap)
	if laps > since { // Truncate rounds towards zero
		laps -= x.Lap
	}
	return moment{now: t.Add(-laps), laps: laps}
}

// bound reports whether the account has the device.
func (m moment) bound(d *Device) bool {
	return d != nil && !m.now.Before(d.Bound) && !reached(m.now, d.Unbound)
}

// alias returns the alias of the device.
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

// passings returns the passings that have arrived and are not deleted.
func (m moment) passings(s *Session) []Passing {
	passings := s.Passings[:arrived(s.Passings, m.now.Add(1))]
	removed := sort.Search(len(s.Removed), func(i int) bool { return s.Removed[i].After(m.now) })
	return passings[min(removed, len(passings)):]
}
