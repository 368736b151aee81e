package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"rufus_exporter/entry"
	"rufus_exporter/window"
)

const (
	// A real race has a few waves. The demo repeats its race and lists one start per repetition.
	maxWaves = 1000
	// Each entry has a window for each wave of its race, so a small file could create a huge number of windows.
	maxWindows = 100_000
	// No time zone is further from UTC.
	maxOffset = 14 * time.Hour
)

const (
	remedyRaces = "list at least one race, for example \"- name: 5k\", or remove races"
	validStart  = "a date-time with its UTC offset such as 2026-11-29T09:00:00-03:00"
	validBound  = "a duration after the gun such as 14m, or " + validStart
)

// race is one entry of the list of races.
type race struct {
	line     int // where its name is
	hasStart bool
	starts   []time.Time // of its waves, in the file's order; empty if they are invalid
}

// readRaces decodes the list of races. list is nil if the file has none.
func (d *decoder) readRaces(list *node) {
	if list == nil {
		return
	}
	for item := range d.items(list, "races", remedyRaces) {
		if d.races == nil {
			d.races = map[string]race{}
		}
		d.readRace(item)
	}
}

// readRace decodes one race and adds it to d.races.
func (d *decoder) readRace(item *node) {
	if !isMapping(item) {
		if d.refuseTypo(settingTypo, item) {
			return
		}
		d.refuse(item.Line, "the race is not a mapping", "write it as {name: 5k, start: 2026-11-29T09:00:00-03:00}")
		return
	}
	var r race
	var name string
	lines, values := d.mapping(item, "a race", []field{
		{name: "name", valid: validValue, text: text(&name, maxLabelValue)},
		{name: "start"},
	})
	if start := values["start"]; start != nil {
		r.hasStart, r.starts = true, d.starts(start)
	}
	r.line = lines["name"]
	if r.line == 0 {
		d.refuse(item.Line, "the race has no name", "add one: it becomes the label race of its sessions")
	}
	if name == "" {
		return
	}
	d.public = append(d.public, public{r.line, "a race's name", name})
	if first, again := d.races[name]; again {
		d.refuse(r.line, fmt.Sprintf("%s, first in line %d", quote("duplicate race", name), first.line),
			"keep one of them; if the race has waves, make start a list")
		return
	}
	d.races[name] = r
}

// starts decodes one start, or a list of them.
func (d *decoder) starts(n *node) []time.Time {
	waves := []*node{n}
	if isList(n) {
		waves = n.Content
	}
	switch {
	case len(waves) == 0:
		d.refuse(n.Line, "start is an empty list", "use "+validStart+", or remove start")
	case len(waves) > maxWaves:
		d.refuse(n.Line, fmt.Sprintf("start has more than %d waves", maxWaves), "keep those of this event")
		return nil
	}
	starts := make([]time.Time, 0, len(waves))
	for _, wave := range waves {
		if !d.visit(wave) {
			break
		}
		var start time.Time
		if d.scalar(wave.Line, follow(wave), "start", field{valid: validStart, text: dateTime(&start)}) {
			starts = append(starts, start)
		}
	}
	return starts
}

// raceLabel is the race of an entry and the line that sets it. line is 0 if the entry has no race; value is empty if
// the race is invalid.
type raceLabel struct {
	value string
	line  int
}

// raceOf returns the race of an entry, which is set by the key race or by a label with that name, and makes it a label
// of the entry. labelLines are the lines of the labels.
func (d *decoder) raceOf(session *entry.Entry, key raceLabel, labelLines map[string]int) raceLabel {
	own := raceLabel{session.Labels["race"], labelLines["race"]}
	switch {
	case key.value == "":
		key.line = max(key.line, own.line)
		key.value = own.value
	case own.line == 0:
		if session.Labels == nil {
			session.Labels = map[string]string{}
		}
		d.addLabel(session.Labels, "race", key.value, key.line, key.line)
	case own.value != "" && own.value != key.value:
		d.refuse(max(key.line, own.line), "race and the label race have different values", "keep one of them")
	}
	if _, known := d.races[key.value]; d.races != nil && key.value != "" && !known {
		d.refuse(key.line, quote("race", key.value)+" is not in races", "add it there, or correct the name")
	}
	return key
}

// expected decodes when passings are expected at an entry of that race. n may be nil.
func (d *decoder) expected(n *node, line int, race raceLabel) []window.Window {
	if n == nil {
		return nil
	}
	from, until, ok := d.bounds(n, line)
	if !ok {
		return nil
	}
	guns := []time.Time{{}} // not used with date-times
	if !from.absolute {
		guns = d.guns(race, line)
	}
	return d.windowsAfter(guns, from, until, line)
}

// checkSilence refuses a limit of silence that no window outlasts: a mat that never counts would not ring. line is
// where the limit is.
func (d *decoder) checkSilence(limit time.Duration, windows []window.Window, line int) {
	outlasts := func(w window.Window) bool { return w.Until.Sub(w.From) > limit }
	if len(windows) > 0 && !slices.ContainsFunc(windows, outlasts) {
		d.refuse(line, "silent_after is not shorter than the window in expected, so the mat could never count as silent",
			"use a shorter one, or leave it out: then the limit is half of the window, until the first passing")
	}
}

// bounds decodes both ends of a window, and reports whether they are valid.
func (d *decoder) bounds(n *node, line int) (from, until bound, ok bool) {
	if !isMapping(n) {
		if d.refuseTypo(settingTypo, n) {
			return from, until, false
		}
		d.refuse(line, "expected is not a mapping", "write it as {from: 14m, until: 1h40m}, durations after the gun")
		return from, until, false
	}
	lines, _ := d.mapping(n, "expected", []field{
		{name: "from", valid: validBound, text: from.set},
		{name: "until", valid: validBound, text: until.set},
	})
	for _, name := range []string{"from", "until"} {
		if lines[name] == 0 {
			d.refuse(line, "expected has no "+name, "add it: "+validBound)
		}
	}
	switch {
	case !from.known || !until.known:
	case from.absolute != until.absolute:
		d.refuse(lines["until"], "from and until differ: one is a duration, the other is a date-time",
			"use two durations after the gun, or two date-times")
	case !until.in(time.Time{}).After(from.in(time.Time{})):
		d.refuse(lines["until"], "until is not after from", "use a later until")
	default:
		return from, until, true
	}
	return from, until, false
}

// windowsAfter returns the windows for all guns, merged.
func (d *decoder) windowsAfter(guns []time.Time, from, until bound, line int) []window.Window {
	if d.windows += len(guns); d.windows > maxWindows && d.windows-len(guns) <= maxWindows {
		d.refuse(line, fmt.Sprintf("the file has more than %d windows (one for each wave of each entry)", maxWindows),
			"declare fewer waves, or split the sessions over several exporters")
	}
	if d.windows > maxWindows {
		return nil
	}
	windows := make([]window.Window, len(guns))
	for i, gun := range guns {
		windows[i] = window.Window{From: from.in(gun), Until: until.in(gun)}
	}
	return window.Merge(windows)
}

// guns returns the starts of the named race, from which an entry's expected counts. If there are none, it refuses the
// entry and returns nil.
func (d *decoder) guns(name raceLabel, line int) []time.Time {
	r, known := d.races[name.value]
	switch {
	case name.line == 0:
		d.refuse(line, "expected counts from the gun, but the entry has no race",
			"add race with a name from races, or use date-times")
	case name.value != "" && d.races == nil:
		d.refuse(name.line, "expected counts from the gun, but "+quote("race", name.value)+" is not in races",
			"add it there with its start, or use date-times")
	case known && !r.hasStart:
		d.refuse(line, fmt.Sprintf("expected counts from the gun, but the race in line %d has no start", r.line),
			"add its start, or use date-times")
	}
	return r.starts
}

// bound is one end of a window as written.
type bound struct {
	known    bool // false until it is set
	absolute bool
	after    time.Duration // after the gun
	at       time.Time     // if absolute
}

// set parses a duration or a date-time.
func (b *bound) set(value string) (problem string) {
	if after, err := model.ParseDuration(value); err == nil {
		*b = bound{known: true, after: time.Duration(after)}
		return ""
	}
	var at time.Time
	switch problem = dateTime(&at)(value); problem {
	case "":
		*b = bound{known: true, absolute: true, at: at}
	case notDateTime:
		if problem = notDuration(value); problem != noUnit {
			problem = "is neither a duration nor a date-time"
		}
	}
	return problem
}

// in returns the time of the bound in a race that starts at gun.
func (b *bound) in(gun time.Time) time.Time {
	if b.absolute {
		return b.at
	}
	return gun.Add(b.after)
}

const notDateTime = "is not a date-time"

// dateTimePattern matches RFC 3339, and what people write instead of it. Its groups are the date, the hours, minutes
// and seconds, and the hours (with their sign) and minutes of the offset.
var dateTimePattern = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})` +
	`(?:[Tt ](\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,9})?))?(?: ?(?:[Zz]|([+-]\d{2})(?::?([0-5]\d))?))?)?$`)

// dateTime sets dst to a date-time. Its UTC offset is required: without it, the file would mean different times on
// machines in different time zones.
func dateTime(dst *time.Time) func(string) string {
	return func(value string) string {
		parts := dateTimePattern.FindStringSubmatch(value)
		if parts == nil {
			return notDateTime
		}
		date, hours, minutes, seconds, offset := parts[1], parts[2], parts[3], parts[4], parts[5]
		zone := "Z"
		switch last := value[len(value)-1]; {
		case hours == "":
			return "has no time of day"
		case offset != "":
			zone = offset + ":" + cmp.Or(parts[6], "00")
		case last != 'Z' && last != 'z':
			return "has no time zone"
		}
		if len(hours) == 1 {
			hours = "0" + hours
		}
		parsed, err := time.Parse(time.RFC3339, date+"T"+hours+":"+minutes+":"+cmp.Or(seconds, "00")+zone)
		if err != nil {
			return "is a date-time that does not exist"
		}
		_, east := parsed.Zone()
		if (time.Duration(east) * time.Second).Abs() > maxOffset {
			return "has a UTC offset that does not exist"
		}
		*dst = parsed
		return ""
	}
}
