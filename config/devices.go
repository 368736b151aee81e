package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"rufus_exporter/discovery"
	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

const (
	// Every device is compared with every rule.
	maxRules = 1000

	remedyRules   = "list at least one rule, for example \"- alias: 'FINISH-.+'\", below \"devices:\""
	remedyRule    = "write it as {alias: 'FINISH-.+'}"
	validTemplate = "1 to 100 characters, such as '$point-$race' with groups of the rule's expressions"
)

// plan decodes the list of devices. cfg.Sessions must be decoded already.
func (d *decoder) plan(list *node, cfg *Config) *discovery.Plan {
	plan := &discovery.Plan{MaxDevices: cfg.API.MaxDevices}
	if len(list.Content) > maxRules {
		d.refuse(list.Line, fmt.Sprintf("devices has more than %d rules", maxRules), "match more devices with each rule")
		return plan
	}
	var lines []int // of the rules
	follows := len(cfg.Sessions) > 0
	for item := range d.items(list, "devices", remedyRules) {
		rule, ok := d.rule(item)
		if !ok {
			follows = true // perhaps: its ignore setting is unknown
			continue
		}
		for i := range plan.Rules {
			if d.shadowed(&rule, item.Line, &plan.Rules[i], lines[i]) {
				break
			}
		}
		plan.Rules, lines = append(plan.Rules, rule), append(lines, item.Line)
		follows = follows || !rule.Ignore
	}
	if !follows && len(plan.Rules) > 0 {
		d.refuse(list.Line, "every rule ignores devices, and there are no sessions",
			"add a rule without ignore, such as \"- {}\" for every device that no earlier rule matches")
	}
	if d.races != nil {
		plan.Races = slices.Sorted(maps.Keys(d.races))
	}
	if cfg.API.Key != (rufus.Secret{}) {
		plan.Secrets = append(plan.Secrets, cfg.API.Key)
	}
	return plan
}

// shadowed refuses a rule that can never match because an earlier one matches first.
func (d *decoder) shadowed(rule *discovery.Rule, line int, earlier *discovery.Rule, earlierLine int) bool {
	switch {
	case earlier.Alias.MatchesAll() && earlier.SerialNumber.MatchesAll():
		d.refuse(line, fmt.Sprintf("the rule never matches: the rule in line %d already matches every device", earlierLine),
			fmt.Sprintf("move the rule in line %d to the end", earlierLine))
	case earlier.Alias.Equal(rule.Alias) && earlier.SerialNumber.Equal(rule.SerialNumber):
		d.refuse(line, fmt.Sprintf("the rule never matches: the rule in line %d has the same conditions", earlierLine),
			"keep one of them")
	default:
		return false
	}
	return true
}

// rule decodes one rule and reports whether its conditions are valid.
func (d *decoder) rule(item *node) (rule discovery.Rule, ok bool) {
	if !isMapping(item) {
		switch {
		case isNull(item):
			d.refuse(item.Line, "the rule is empty", remedyRule+", or as {} for every device")
		case d.refuseTypo(settingTypo, item):
		case documentedID.MatchString(item.Value):
			d.refuse(item.Line, "the rule is a device id or a token",
				"move it below \"sessions:\" and write it as \"device: ...\" or \"token: ...\"")
		default:
			d.refuse(item.Line, "the rule is not a mapping", remedyRule)
		}
		return rule, false
	}
	// Templates refer to groups of the expressions, so they are decoded after them, whatever the order in the file.
	lines, values := d.mapping(item, "a rule of devices", []field{
		{name: "alias"}, {name: "serial_number"}, {name: "name"}, {name: "race"}, {name: "expected"},
		{name: "silent_after", valid: "a duration such as 10m, or 0s for never", text: duration(&rule.SilentAfter, 0)},
		{name: "ignore", valid: validBoolean, text: oneOf(&rule.Ignore, booleans)},
	})
	ok = d.expression(&rule.Alias, "alias", values["alias"], lines)
	ok = d.expression(&rule.SerialNumber, "serial_number", values["serial_number"], lines) && ok
	if rule.Ignore {
		for _, name := range []string{"name", "race", "expected", "silent_after"} {
			if lines[name] != 0 {
				d.refuse(lines[name], name+" has no effect together with ignore", "remove one of them")
			}
		}
		return rule, ok
	}
	if !ok {
		return rule, false // the groups are not known
	}
	d.template(&rule, &rule.Name, "name", values["name"], lines)
	d.template(&rule, &rule.Race, "race", values["race"], lines)
	d.checkRace(&rule, lines["race"])
	if n := values["expected"]; n != nil {
		d.expectedOf(&rule, n, lines)
		all := slices.Concat(slices.Collect(maps.Values(rule.ExpectedByRace))...)
		d.checkSilence(rule.SilentAfter, append(all, rule.Expected...), lines["silent_after"])
	}
	return rule, true
}

// expression sets dst to the condition in n and reports whether it is valid. n is nil if the rule has none.
func (d *decoder) expression(dst **discovery.Expression, name string, n *node, lines map[string]int) bool {
	if n == nil {
		return true
	}
	// An invalid expression has its own remedy, so text returns no problem for it.
	var failed *discovery.ExpressionError
	read := d.scalar(lines[name], n, name, field{
		valid: "a regular expression in RE2 syntax such as 'FINISH-.+'",
		text: func(value string) string {
			e, err := discovery.NewExpression(value, name == "serial_number")
			if !errors.As(err, &failed) {
				*dst = e
			}
			return ""
		},
	})
	switch {
	case !read:
		return false
	case failed != nil:
		d.refuse(lines[name], name+" "+failed.Problem, failed.Remedy)
		return false
	case documentedID.MatchString(n.Value):
		d.refuse(lines[name], name+" is a device id or a token",
			"to follow a single device, add an entry \"- device: ...\" below \"sessions:\"")
		return false
	case (*dst).LooksLikeGlob():
		d.warn(lines[name], name+" ends with *, which only repeats the character before it",
			"write .* for any text")
	}
	return true
}

// template sets dst to the template in n, which may refer to groups of the rule's expressions. n is nil if the rule has
// none.
func (d *decoder) template(rule *discovery.Rule, dst *discovery.Template, name string, n *node, lines map[string]int) {
	var value string
	f := field{valid: validTemplate, text: text(&value, maxName), template: true}
	if n == nil || !d.scalar(lines[name], n, name, f) {
		return
	}
	d.public = append(d.public, public{lines[name], "the " + name, value})
	parsed, err := discovery.ParseTemplate(value, rule.Alias, rule.SerialNumber)
	var unknown *discovery.GroupError
	switch {
	case err == nil:
		*dst = parsed
	case errors.As(err, &unknown) && unknown.Ambiguous:
		d.refuse(lines[name], quote("group", unknown.Group)+" is in both alias and serial_number", "rename one of the two")
	case errors.As(err, &unknown):
		d.refuse(lines[name], fmt.Sprintf("%s uses %s, but neither alias nor serial_number has it",
			name, quote("group", unknown.Group)), "add (?P<name>...) to the alias, or write ${name} if text follows the group")
	case errors.Is(err, discovery.ErrDollar):
		d.refuse(lines[name], name+" has a dollar sign without a group",
			"write $group, ${group} or $1, or $$ for a dollar sign")
	default:
		d.refuse(lines[name], name+" has neither a group nor text", "use "+validTemplate)
	}
}

// checkRace refuses a race that is not listed, if the rule has the same race for every device. line is where the race
// is set.
func (d *decoder) checkRace(rule *discovery.Rule, line int) {
	if rule.Race.IsZero() {
		return
	}
	d.addLabelName("race", line)
	race, constant := rule.Race.Constant()
	if _, known := d.races[race]; constant && d.races != nil && !known {
		d.refuse(line, quote("race", race)+" is not in races", "add it there, or correct the name")
	}
}

// expectedOf decodes when passings are expected at the devices of a rule. A device's race is only known once the device
// is, so it computes the windows for every race.
func (d *decoder) expectedOf(rule *discovery.Rule, n *node, lines map[string]int) {
	line := lines["expected"]
	from, until, ok := d.bounds(n, line)
	if !ok {
		return
	}
	if from.absolute {
		rule.Expected = d.windowsAfter([]time.Time{{}}, from, until, line)
		return
	}
	race, constant := rule.Race.Constant()
	rule.ExpectedByRace = map[string][]window.Window{}
	switch {
	case constant || rule.Race.IsZero():
		guns := d.guns(raceLabel{race, lines["race"]}, line)
		rule.ExpectedByRace[race] = d.windowsAfter(guns, from, until, line)
	case d.races == nil:
		d.refuse(line, "expected counts from the gun, but the file lists no races",
			"add races with their starts, or use date-times")
	default:
		started := false
		for name, r := range d.races {
			if r.hasStart {
				started = true
				rule.ExpectedByRace[name] = d.windowsAfter(r.starts, from, until, line)
			}
		}
		if !started {
			d.refuse(line, "expected counts from the gun, but no race has a start",
				"add the starts to races, or use date-times")
		}
	}
}
