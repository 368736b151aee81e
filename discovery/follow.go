package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// Plan is the part of the configuration about following devices.
type Plan struct {
	Rules []Rule
	// Races are the names of the listed races; nil if none is listed.
	Races []string
	// MaxDevices limits how many devices are followed; above 0.
	MaxDevices int
	// Secrets, such as the API key, must not appear in any name or label. The tokens and ids of the sessions and devices
	// need not be included.
	Secrets []rufus.Secret
}

// LabelNames returns the names of all labels that entries may have. They do not depend on the devices.
func (p *Plan) LabelNames() []string {
	if slices.ContainsFunc(p.Rules, func(r Rule) bool { return !r.Race.IsZero() }) {
		return []string{"race"}
	}
	return nil
}

// Followed is a device and the entry that follows it.
type Followed struct {
	Entry  entry.Entry
	Device Device
	// Rule is the index of the rule that matched.
	Rule int
	// NoGun is set if the rule counts from the gun, but the race of the device is not listed or has no start. Then the
	// entry has no window.
	NoGun bool
}

// Result assigns every device to one of its lists, except devices that an entry under sessions follows. Its texts are
// safe to show.
type Result struct {
	// Followed is sorted by rule, then alias, then serial number. The names are unique among these and the sessions.
	Followed []Followed
	// Unmatched are the devices that no rule matches, sorted by alias and serial number.
	Unmatched []Device
	// Ignored are the devices whose first matching rule ignores them, sorted likewise.
	Ignored []Device
	// Excess are the matching devices beyond MaxDevices, sorted like Followed.
	Excess []Device
}

// Err returns a *TooManyError if the rules match more than MaxDevices devices. The result can be used nevertheless.
func (r Result) Err() error {
	if len(r.Excess) == 0 {
		return nil
	}
	return &TooManyError{Followed: len(r.Followed), Matched: len(r.Followed) + len(r.Excess)}
}

// TooManyError reports that the rules match more than MaxDevices devices.
type TooManyError struct{ Followed, Matched int }

// Error returns the numbers and the remedy.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("rules match %d devices, but only the first %d are followed; "+
		"raise api.max_devices, or match fewer devices", e.Matched, e.Followed)
}

// Follow applies the rules to the devices of the account. The first rule that matches a device decides. The order of
// devices does not matter. A device that one of the sessions follows is skipped.
//
// If a device has an entry in kept, it keeps that entry unchanged, even if its alias has changed or another rule
// matches now. So renaming a device during a race breaks no alert. If there are more than MaxDevices, kept entries take
// precedence. A kept entry whose device is missing from devices is dropped.
func (p *Plan) Follow(sessions []entry.Entry, devices []Device, kept []Followed) Result {
	var result Result
	f := p.follower(sessions, devices, kept)
	seen := make(map[rufus.Secret]bool, len(devices))
	var old, fresh []Followed
	for _, d := range devices {
		id := d.ID.Upper()
		if id == (rufus.Secret{}) || seen[id] || f.sessions[id] {
			continue
		}
		seen[id] = true
		if k, ok := f.kept[id]; ok {
			old = append(old, k)
			continue
		}
		d.Alias, d.SerialNumber, d.Model = f.text(d.Alias), f.text(d.SerialNumber), f.text(d.Model)
		switch i, groups := p.find(d); {
		case i < 0:
			result.Unmatched = append(result.Unmatched, d)
		case p.Rules[i].Ignore:
			result.Ignored = append(result.Ignored, d)
		default:
			fresh = append(fresh, f.entry(d, i, groups))
		}
	}
	slices.SortFunc(result.Unmatched, compareDevices)
	slices.SortFunc(result.Ignored, compareDevices)
	slices.SortFunc(old, compare)
	slices.SortFunc(fresh, compare)
	followed := slices.Concat(old, fresh)
	most := min(p.MaxDevices, len(followed))
	for _, e := range followed[most:] {
		result.Excess = append(result.Excess, e.Device)
	}
	result.Followed = followed[:most]
	if len(old) < most {
		f.name(result.Followed[len(old):])
	}
	slices.SortFunc(result.Followed, compare)
	return result
}

// find returns the index of the first rule that matches d and its groups; -1 if none does.
func (p *Plan) find(d Device) (rule int, groups matches) {
	for i := range p.Rules {
		if groups, ok := p.Rules[i].match(d); ok {
			return i, groups
		}
	}
	return -1, matches{}
}

func compare(a, b Followed) int {
	return cmp.Or(a.Rule-b.Rule, compareDevices(a.Device, b.Device))
}

// compareDevices sorts devices without an alias last. They matter least if not all devices can be followed.
func compareDevices(a, b Device) int {
	switch {
	case a.Alias == "" && b.Alias != "":
		return 1
	case a.Alias != "" && b.Alias == "":
		return -1
	}
	order := cmp.Or(
		cmp.Compare(strings.ToLower(a.Alias), strings.ToLower(b.Alias)),
		cmp.Compare(a.Alias, b.Alias),
		cmp.Compare(a.SerialNumber, b.SerialNumber))
	if order == 0 {
		return cmp.Compare(a.ID.Upper().Reveal(), b.ID.Upper().Reveal())
	}
	return order
}

// follower is the state of one call of Follow.
type follower struct {
	plan     *Plan
	mask     rufus.Mask                // of all secrets, which no name may contain
	sessions map[rufus.Secret]bool     // by token or id in upper case
	kept     map[rufus.Secret]Followed // by id in upper case
	taken    map[string]bool           // names in use
}

func (p *Plan) follower(sessions []entry.Entry, devices []Device, kept []Followed) *follower {
	f := &follower{plan: p, sessions: map[rufus.Secret]bool{}, kept: map[rufus.Secret]Followed{}, taken: map[string]bool{}}
	secrets := slices.Clone(p.Secrets)
	present := make(map[rufus.Secret]bool, len(devices))
	for _, d := range devices {
		secrets = append(secrets, d.ID)
		present[d.ID.Upper()] = true
	}
	for _, s := range sessions {
		secrets = append(secrets, s.Target.ID)
		f.sessions[s.Target.ID.Upper()] = true
		f.taken[s.Name] = true
	}
	f.mask = rufus.NewMask(secrets)
	for _, k := range kept {
		id := k.Entry.Target.ID.Upper()
		// After a reload, another entry may have the name, or it may contain a new secret.
		if present[id] && !f.sessions[id] && !f.taken[k.Entry.Name] && !f.mask.Contains(k.Entry.Name) {
			f.kept[id] = k
			f.taken[k.Entry.Name] = true
		}
	}
	return f
}

// entry returns the entry of a device that a rule matches. Its name may not be unique yet. It is the one from the rule,
// else the device's alias, else its serial number, else the first characters of its id, as for an entry under sessions.
func (f *follower) entry(d Device, rule int, groups matches) Followed {
	r := &f.plan.Rules[rule]
	followed := entry.Entry{
		Name:        cmp.Or(f.text(r.Name.expand(groups)), d.Alias, d.SerialNumber, f.id(d.ID), nameless),
		Target:      rufus.Target{Follows: rufus.Device, ID: d.ID},
		Expected:    r.Expected,
		SilentAfter: r.SilentAfter,
	}
	race, constant := r.Race.Constant()
	if !constant || f.mask.Contains(race) {
		race = f.plan.race(f.text(r.Race.expand(groups)))
	}
	if race != "" {
		followed.Labels = map[string]string{"race": race}
	}
	if r.ExpectedByRace != nil {
		followed.Expected = r.ExpectedByRace[race]
	}
	return Followed{Entry: followed, Device: d, Rule: rule,
		NoGun: r.ExpectedByRace != nil && len(followed.Expected) == 0}
}

// race returns the listed race with that name, else the name itself. If only one race matches when case is ignored, it
// returns that one: boxes are called FINISH-5K, but races 5k.
func (p *Plan) race(name string) string {
	var matching []string
	for _, listed := range p.Races {
		if strings.EqualFold(listed, name) {
			matching = append(matching, listed)
		}
	}
	if len(matching) == 1 {
		return matching[0]
	}
	return name
}

// name makes the names of entries unique. If several have the same name, each of them gets its serial number as a
// suffix, so that the names do not depend on the order. The same goes for an entry whose name is taken.
func (f *follower) name(entries []Followed) {
	count := make(map[string]int, len(entries))
	for i := range entries {
		count[entries[i].Entry.Name]++
	}
	var rest []int
	for i := range entries {
		name := entries[i].Entry.Name
		if count[name] > 1 || f.taken[name] {
			rest = append(rest, i)
		} else {
			f.taken[name] = true
		}
	}
	for _, i := range rest {
		entries[i].Entry.Name = f.unique(entries[i].Entry.Name, entries[i].Device)
		f.taken[entries[i].Entry.Name] = true
	}
}

// unique returns base with a suffix that makes it unique.
func (f *follower) unique(base string, d Device) string {
	for _, suffix := range []string{d.SerialNumber, f.id(d.ID)} {
		if suffix == "" || suffix == base {
			continue
		}
		if name, free := f.try(base, cut(suffix, maxText/2)); free {
			return name
		}
	}
	for n := 2; ; n++ {
		if name, free := f.try(base, strconv.Itoa(n)); free {
			return name
		}
		if n > len(f.taken)+1 { // base and any number together contain a secret
			base = nameless
		}
	}
}

// try returns base with a suffix, and whether that name is neither taken nor contains a secret.
func (f *follower) try(base, suffix string) (name string, free bool) {
	name = cut(base, maxText-1-utf8.RuneCountInString(suffix)) + "-" + suffix
	return name, !f.taken[name] && !f.mask.Contains(name)
}
