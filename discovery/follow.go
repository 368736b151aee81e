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

// Plan is all that the configuration says about following devices.
type Plan struct {
	Rules []Rule
	// Races are the names of the listed races; nil when none is listed.
	Races []string
	// MaxDevices bounds the devices that are followed; above 0.
	MaxDevices int
	// Secrets must not show in any name or label, such as the API key. The tokens and ids of the sessions and of the
	// devices need not be among them.
	Secrets []rufus.Secret
}

// LabelNames returns the names of the labels that entries may have, whatever devices there are.
func (p *Plan) LabelNames() []string {
	for i := range p.Rules {
		if !p.Rules[i].Race.IsZero() {
			return []string{"race"}
		}
	}
	return nil
}

// Followed is a device and the entry that follows it.
type Followed struct {
	Entry  entry.Entry
	Device Device
	// Rule is the index of the rule that matched.
	Rule int
	// NoGun: the rule counts from the gun, but the device's race is not listed or has no start, so that no window is
	// declared.
	NoGun bool
}

// Result says what becomes of every device that no entry under sessions names. Its texts are safe to show.
type Result struct {
	// Followed are sorted by rule, then alias, then serial number. Their names differ from each other and from those
	// of the sessions.
	Followed []Followed
	// The others are sorted by alias and serial number.
	Unmatched []Device // no rule matches them
	Ignored   []Device // by the first rule that matches
	Excess    []Device // beyond MaxDevices; sorted like Followed
}

// Err returns an error if rules match more devices than may be followed. The result is of use nevertheless.
func (r Result) Err() error {
	if len(r.Excess) == 0 {
		return nil
	}
	return &TooManyError{Followed: len(r.Followed), Matched: len(r.Followed) + len(r.Excess)}
}

// TooManyError says that rules match more devices than may be followed.
type TooManyError struct{ Followed, Matched int }

// Error returns the numbers and the remedy.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("rules match %d devices, but only the first %d are followed; "+
		"raise api.max_devices, or match fewer devices", e.Matched, e.Followed)
}

// Follow applies the rules to the devices of the account: the first rule that matches a device decides. The result
// depends on the order of the rules only. A device that one of the sessions names keeps that entry.
//
// An entry in kept is used again as it is for its device, even if the device has another name now or matches another
// rule, so that a rename in mid-race breaks no alert. Kept entries come first when there are more than MaxDevices.
// A device that is missing from devices is not followed, kept or not.
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
		d = f.device(d)
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

// find returns the index of the first rule that matches, -1 when none does.
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

// compareDevices puts devices without an alias last: they matter least when not all can be followed.
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

// follower is what Follow needs to know of all devices.
type follower struct {
	plan     *Plan
	mask     rufus.Mask                // finds what no name may show
	sessions map[rufus.Secret]bool     // by id in upper case
	kept     map[rufus.Secret]Followed // likewise
	taken    map[string]bool           // names
}

func (p *Plan) follower(sessions []entry.Entry, devices []Device, kept []Followed) *follower {
	f := &follower{plan: p, sessions: map[rufus.Secret]bool{}, kept: map[rufus.Secret]Followed{}, taken: map[string]bool{}}
	secrets := slices.Clone(p.Secrets)
	for _, d := range devices {
		secrets = append(secrets, d.ID)
	}
	for _, s := range sessions {
		secrets = append(secrets, s.Target.ID)
		f.sessions[s.Target.ID.Upper()] = true
		f.taken[s.Name] = true
	}
	f.mask = rufus.NewMask(secrets)
	present := make(map[rufus.Secret]bool, len(devices))
	for _, d := range devices {
		present[d.ID.Upper()] = true
	}
	for _, k := range kept {
		id := k.Entry.Target.ID.Upper()
		// After a reload the name may be another's, or no longer safe.
		if present[id] && !f.sessions[id] && !f.taken[k.Entry.Name] && !f.mask.Contains(k.Entry.Name) {
			f.kept[id] = k
			f.taken[k.Entry.Name] = true
		}
	}
	return f
}

// entry returns the entry of a device that a rule matches, with the name that it gets if no other has it.
func (f *follower) entry(d Device, rule int, groups matches) Followed {
	r := &f.plan.Rules[rule]
	followed := entry.Entry{
		Name:        f.preferred(d, r.Name.expand(groups)),
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

// race returns the listed race of that name, else the name. Where it can only mean one race, its letter case does not
// matter: boxes are called FINISH-5K and races 5k.
func (p *Plan) race(name string) string {
	found := name
	matching := 0
	for _, listed := range p.Races {
		if listed == name {
			return name
		}
		if strings.EqualFold(listed, name) {
			found = listed
			matching++
		}
	}
	if matching == 1 {
		return found
	}
	return name
}

// preferred returns the name for a device: what its rule says, else its alias, else its serial number, else the
// beginning of its id as for an entry under sessions.
func (f *follower) preferred(d Device, name string) string {
	return cmp.Or(f.text(name), d.Alias, d.SerialNumber, f.id(d.ID), nameless)
}

// name makes the names of entries unique, in their order. All with the same name, or with one that is taken, get their
// serial number added: which of them is first makes no difference.
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

// unique returns a free name that begins with base.
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
		if n > len(f.taken)+1 { // a secret ends like base and a dash
			base = nameless
		}
	}
}

// try returns base with a suffix and whether no other has that name. Together the two may make a secret.
func (f *follower) try(base, suffix string) (name string, free bool) {
	name = cut(base, maxText-1-utf8.RuneCountInString(suffix)) + "-" + suffix
	return name, !f.taken[name] && !f.mask.Contains(name)
}
