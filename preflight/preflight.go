// Package preflight checks all sessions once, before a race starts. It reports which of them are ready and how to fix
// the rest. It reports only what a single check can show.
//
// Look fetches every session and the list of devices, as a scrape does, and returns a Report: a line for each session,
// and notes about several sessions, such as two that look swapped (swapped.go). write.go formats the Report as a table
// or as JSON.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/discovery"
	"rufus_exporter/rufus"
)

// States of a session.
const (
	Active    = "active"
	Closed    = "closed"
	NoSession = "no session" // a device without any session
	Failing   = "failing"
)

const (
	// clockTolerance is how far the clock of a device may be ahead of this machine's.
	clockTolerance = 5 * time.Second
	lowBattery     = 0.2
)

// Report is the result of a check. Its texts are safe to show.
type Report struct {
	At time.Time `json:"at"`
	// Readable is set if there are sessions and all of them can be read, and the list of devices too if rules need it.
	Readable bool      `json:"readable"`
	Sessions []Session `json:"sessions"`
	Notes    []Note    `json:"notes"`
	// Unfollowed are the devices of the account that no entry follows and no rule ignores.
	Unfollowed []Device `json:"unfollowed_devices"`
}

// Session is the state of one entry. Unknown values are absent.
type Session struct {
	Name          string            `json:"name"`
	Labels        map[string]string `json:"labels,omitempty"`
	Follows       string            `json:"follows"`
	State         string            `json:"state"`
	Reason        rufus.Reason      `json:"reason,omitempty"` // why it fails
	Error         string            `json:"error,omitempty"`
	Alias         string            `json:"alias,omitempty"`
	Passings      *int64            `json:"passings,omitempty"`
	LastPassing   *time.Time        `json:"last_passing,omitempty"`
	Created       *time.Time        `json:"created,omitempty"`
	ClockAhead    float64           `json:"clock_ahead_seconds,omitempty"` // a lower bound
	BatteryRatio  *float64          `json:"battery_ratio,omitempty"`
	ExpectedFrom  *time.Time        `json:"expected_from,omitempty"`
	ExpectedUntil *time.Time        `json:"expected_until,omitempty"`
	ToDo          []string          `json:"to_do,omitempty"`
}

// Note is a remark that is not about the state of a single session.
type Note struct {
	Kind     string   `json:"kind"`
	Sessions []string `json:"sessions,omitempty"`
	Text     string   `json:"text"`
}

// Device is a device of the account.
type Device struct {
	Alias        string `json:"alias"`
	SerialNumber string `json:"serial_number"`
	Model        string `json:"model"`
}

// Look fetches the list of devices and every session once, until ctx is done, and returns a report. The roster must
// have a plan. rules is whether that plan has rules; warnings are those of the configuration.
func Look(ctx context.Context, roster *collector.Roster, rules bool, warnings []string, now func() time.Time) *Report {
	sessions := roster.Sessions(ctx)
	fetched := sessions.Fetch(ctx, 0)
	listed, _ := fetched.DevicesUp.Get()
	r := &Report{At: now(), Readable: len(fetched.Statuses) > 0 && (!rules || listed && sessions.Err() == nil)}
	for _, status := range fetched.Statuses {
		s := look(status, r.At)
		r.Readable = r.Readable && s.State != Failing
		r.Sessions = append(r.Sessions, s)
	}
	discovered := sessions.Discovered()
	r.noteErrors(sessions.Err(), fetched.DevicesErr, listed, rules)
	r.noteSwapped()
	r.noteTokens(fetched.Statuses, discovered)
	r.noteRaces(discovered.Followed)
	r.noteUnread()
	for _, warning := range warnings {
		r.note("configuration", nil, "%s", warning)
	}
	for _, d := range discovered.Unmatched {
		r.Unfollowed = append(r.Unfollowed, Device{d.Alias, d.SerialNumber, d.Model})
	}
	return r
}

func (r *Report) note(kind string, sessions []string, format string, args ...any) {
	r.Notes = append(r.Notes, Note{kind, sessions, fmt.Sprintf(format, args...)})
}

// look returns the report about one session at now.
func look(status collector.Status, now time.Time) Session {
	health, _ := status.Health.Get()
	s := Session{
		Name:         status.Entry.Name,
		Labels:       status.Entry.Labels,
		Follows:      string(status.Entry.Target.Follows),
		BatteryRatio: pointer(health.Battery),
	}
	if w, declared := status.Window.Get(); declared {
		s.ExpectedFrom, s.ExpectedUntil = &w.From, &w.Until
	}
	if status.Err != nil {
		s.State, s.Reason, s.Error = Failing, rufus.ReasonOf(status.Err), status.Err.Error()
		s.ToDo = []string{remedy(s.Reason, status.Entry.Target.Follows)}
		return s
	}
	s.Alias = status.Session.Alias
	s.Passings = pointer(status.Session.Passings)
	s.LastPassing = pointer(status.Session.Last)
	s.Created = pointer(status.Session.Created)
	s.State = state(status.Session)
	if s.LastPassing != nil {
		if ahead := s.LastPassing.Sub(now); ahead > clockTolerance {
			s.ClockAhead = ahead.Seconds()
		}
	}
	s.ToDo = s.toDo(status, now)
	return s
}

func state(s rufus.Session) string {
	_, counted := s.Passings.Get()
	switch {
	case s.Active:
		return Active
	case !counted:
		return NoSession
	default:
		return Closed
	}
}

// toDo returns what to fix about a session that can be read.
func (s *Session) toDo(status collector.Status, now time.Time) (list []string) {
	device := status.Entry.Target.Follows == rufus.Device
	over := s.ExpectedUntil != nil && s.ExpectedUntil.Before(now)
	switch {
	case s.State == Active && anotherDay(s.Created, now):
		what := ": list the token of today's session, or follow the device."
		if device {
			what = ": press START on the box, unless this session is meant to continue."
		}
		list = append(list, "The session is from "+day(s.Created.In(now.Location()))+what)
	case s.State == Active, over:
	case device:
		list = append(list, "Press START on the box.")
	default:
		list = append(list, "A closed session cannot be reopened: follow the device, or list the token of the new session.")
	}
	if s.ClockAhead > 0 {
		list = append(list, "Set the clock of the box.")
	}
	health, _ := status.Health.Get()
	if charging, _ := health.Charging.Get(); !charging && s.BatteryRatio != nil && *s.BatteryRatio < lowBattery {
		list = append(list, "Charge the box.")
	}
	return list
}

// anotherDay reports whether t is not on the same day as now, in the time zone of now.
func anotherDay(t *time.Time, now time.Time) bool {
	return t != nil && day(t.In(now.Location())) != day(now)
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

func pointer[T any](o rufus.Option[T]) *T {
	if value, ok := o.Get(); ok {
		return &value
	}
	return nil
}

// remedies are what to do about a failure. That of NotFound is for a token.
var remedies = map[rufus.Reason]string{
	rufus.Unauthorized:     "Use a READ key of this account.",
	rufus.NotFound:         "Compare the token with the one in your RUFUS account.",
	rufus.RateLimited:      "Wait a few minutes, then try again.",
	rufus.ServerError:      "The API has a problem: try again, then ask the vendor.",
	rufus.UnexpectedStatus: "Check api.url. Is there a Wi-Fi login page?",
	rufus.Timeout: "Try again. If it times out again, the uplink is slow: raise api.timeout and the scrape " +
		"timeout.",
	rufus.Network:         "Check the network of this machine, and api.url.",
	rufus.InvalidResponse: "The answer is not from the API: check api.url. Is there a Wi-Fi login page?",
}

// remedy returns what to do about a failure of a target.
func remedy(reason rufus.Reason, follows rufus.Follows) string {
	if reason == rufus.NotFound && follows == rufus.Device {
		return "Compare the device id with your RUFUS account. Is the box still bound to it?"
	}
	return remedies[reason]
}

// noteErrors adds notes about why devices may be missing: err is about those to follow, listErr about their list.
func (r *Report) noteErrors(err, listErr error, listed, rules bool) {
	why := "."
	if listErr != nil {
		reason := rufus.ReasonOf(listErr)
		if reason == rufus.NotFound { // of the list, not of one device
			reason = rufus.UnexpectedStatus
		}
		why = fmt.Sprintf(": %s. %s", listErr, remedy(reason, rufus.Device))
	}
	switch {
	case !rules && !listed:
		r.note("device_list", nil, "The list of devices cannot be read%s There may be devices that no entry follows.", why)
	case !rules:
	case errors.Is(err, collector.ErrNoList) || !listed:
		r.note("device_list", nil, "The list of devices cannot be read%s Devices to follow may be missing.", why)
	case err != nil:
		r.note("too_many_devices", nil, "%s.", err)
	}
	if len(r.Sessions) == 0 && listed {
		r.note("no_sessions", nil, "No device of the account matches a rule: compare the rules with the devices below.")
	}
}

// noteRaces adds notes about devices without a window because their race has no start.
func (r *Report) noteRaces(followed []discovery.Followed) {
	var races []string
	names := map[string][]string{}
	for _, f := range followed {
		race := f.Entry.Labels["race"]
		if !f.NoGun {
			continue
		}
		if names[race] == nil {
			races = append(races, race)
		}
		names[race] = append(names[race], f.Entry.Name)
	}
	for _, race := range races {
		r.note("no_window", names[race], "%s: no window, because races has no start for %q. "+
			"Add it under races, or correct the alias.", strings.Join(names[race], ", "), race)
	}
}

// noteTokens adds notes about entries that follow a token although their device can be followed.
func (r *Report) noteTokens(statuses []collector.Status, discovered discovery.Result) {
	entries := map[string][]string{} // that follow devices, by alias in lower case
	devices := map[string][]discovery.Device{}
	for _, status := range statuses {
		if health, ok := status.Health.Get(); ok {
			alias := strings.ToLower(health.Alias)
			entries[alias] = append(entries[alias], status.Entry.Name)
		}
	}
	for _, d := range slices.Concat(discovered.Unmatched, discovered.Ignored, discovered.Excess) {
		alias := strings.ToLower(d.Alias)
		devices[alias] = append(devices[alias], d)
	}
	for _, status := range statuses {
		alias := strings.ToLower(status.Session.Alias)
		if status.Entry.Target.Follows != rufus.Token || status.Err != nil || alias == "" {
			continue
		}
		name := status.Entry.Name
		const freezes = "%s follows a token. It stops counting if START is pressed again. "
		switch {
		case len(entries[alias]) == 1:
			r.note("token", []string{name}, freezes+"%s already follows the device with this alias: remove the token.", name,
				entries[alias][0])
		case len(entries[alias])+len(devices[alias]) == 1:
			r.note("token", []string{name}, freezes+"Follow the device with this alias instead: %s.", name,
				describe(Device{devices[alias][0].Alias, devices[alias][0].SerialNumber, ""}))
		}
	}
}

// noteUnread adds a note about active sessions without passings.
func (r *Report) noteUnread() {
	var names []string
	for _, s := range r.Sessions {
		if s.State == Active && s.Passings != nil && *s.Passings == 0 {
			names = append(names, s.Name)
		}
	}
	if len(names) > 0 {
		r.note("no_passings", names, "No passing yet: carry a chip over %s.", strings.Join(names, ", "))
	}
}

// describe returns a name for a device.
func describe(d Device) string {
	switch {
	case d.Alias == "":
		return "no alias, serial number " + d.SerialNumber
	case d.SerialNumber == "":
		return d.Alias
	default:
		return d.Alias + " (" + d.SerialNumber + ")"
	}
}
