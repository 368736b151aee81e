package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

const (
	minID, maxID      = 16, 128
	defaultNameLength = 8 // of the token's or id's first characters
	maxName           = 100
	maxLabelName      = 100
	maxLabelValue     = 200
	// Each series carries the label names of all entries, so their number multiplies with the number of sessions.
	maxLabelNames = 64
)

var (
	idPattern    = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)
	labelPattern = regexp.MustCompile(fmt.Sprintf(`^[a-zA-Z_][a-zA-Z0-9_]{0,%d}$`, maxLabelName-1))

	// reservedLabels are used by our own metrics, by Prometheus' targets, and by histograms and summaries.
	reservedLabels = []string{
		"session", "alias", "follows", "reason", "status", "model", "firmware", "job", "instance", "le", "quantile",
	}

	validName  = fmt.Sprintf("1 to %d printable characters", maxName)
	validValue = fmt.Sprintf("1 to %d printable characters", maxLabelValue)
)

// sessions decodes the list of sessions.
func (d *decoder) sessions(list *node) []entry.Entry {
	var sessions []entry.Entry
	ids, names := map[rufus.Secret]int{}, map[string]int{} // the line where each was first used
	for item := range d.items(list, "sessions", remedyList) {
		session, line := d.session(item)
		if id := session.Target.ID; id != (rufus.Secret{}) {
			if first := ids[id.Upper()]; first != 0 {
				d.refuse(line, fmt.Sprintf("%s... is already listed in line %d", id.Reveal()[:defaultNameLength], first),
					"remove one of the two entries")
				continue // their default names are equal too: one error is enough
			}
			ids[id.Upper()] = line
			d.suspectID(session.Target, line)
			d.secrets = append(d.secrets, id)
		}
		if first := names[session.Name]; first != 0 && session.Name != "" {
			d.refuse(line, fmt.Sprintf("the entry in line %d has the same name", first),
				"rename one of them; without a name, an entry is named after the first 8 characters of its token or id")
		} else {
			names[session.Name] = line
		}
		sessions = append(sessions, session)
	}
	return sessions
}

// session decodes one entry and returns it with its line. Its target is zero if it was refused.
func (d *decoder) session(item *node) (entry.Entry, int) {
	var session entry.Entry
	var name, race string
	nameLine := item.Line
	token := d.id(&session.Target, rufus.Token)
	fields := []field{
		{name: "token", valid: "the whole session token", text: token},
		{name: "device", valid: "the whole device id", text: d.id(&session.Target, rufus.Device)},
		{name: "name", valid: validName, text: text(&name, maxName)},
		{name: "race", valid: validValue, text: text(&race, maxLabelValue)},
		{name: "labels"},
		{name: "expected"},
		{name: "silent_after", valid: "a duration such as 10m, or 0s for never",
			text: duration(&session.SilentAfter, 0)},
	}
	switch {
	case isNull(item):
		d.refuse(item.Line, "the entry is empty", "write a token after the dash, or remove the line")
	case isList(item):
		d.refuse(item.Line, "the entry is a list", "write a token, or a mapping with token or device")
	case isMapping(item):
		lines, values := d.mapping(item, "a session", fields)
		switch hasToken, hasDevice := lines["token"] != 0, lines["device"] != 0; {
		case hasToken && hasDevice:
			d.refuse(item.Line, "the entry has both token and device",
				"keep device to follow the session that is active on it, or token for one fixed session")
		case !hasToken && !hasDevice:
			d.refuse(item.Line, "the entry has neither token nor device", "add one of them")
		}
		nameLine = cmp.Or(lines["name"], nameLine)
		var labelLines map[string]int
		session.Labels, labelLines = d.labels(values["labels"])
		label := d.raceOf(&session, raceLabel{race, lines["race"]}, labelLines)
		session.Expected = d.expected(values["expected"], lines["expected"], label)
		d.checkSilence(session.SilentAfter, session.Expected, lines["silent_after"])
	default:
		if !d.refuseTypo(settingTypo, item) {
			d.scalar(item.Line, item, "token", fields[0])
		}
	}
	if id := session.Target.ID.Reveal(); name == "" && id != "" {
		name = id[:defaultNameLength]
	}
	session.Name = name
	d.public = append(d.public, public{nameLine, "the name", name})
	return session, item.Line
}

// id sets dst to a token or device id.
func (d *decoder) id(dst *rufus.Target, follows rufus.Follows) func(string) string {
	return func(value string) string {
		switch {
		case strings.ContainsAny(value, quotes):
			return "contains a quote"
		case !idPattern.MatchString(value):
			return "has characters other than A-Z a-z 0-9 _ -"
		case len(value) < minID || len(value) > maxID:
			return fmt.Sprintf("has %d characters instead of %d to %d", len(value), minID, maxID)
		case strings.HasPrefix(strings.ToLower(value), "ror-") || strings.EqualFold(value, d.apiKey):
			return "is an API key" // its first characters would become the session's name
		}
		*dst = rufus.Target{Follows: follows, ID: rufus.NewSecret(value)}
		return ""
	}
}

// documentedID matches all tokens and device ids in the API's documentation, which does not promise this form.
var documentedID = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)

// suspectID warns about a token or id that was probably not copied in full.
func (d *decoder) suspectID(target rufus.Target, line int) {
	if id := target.ID.Reveal(); !documentedID.MatchString(id) {
		d.warn(line, fmt.Sprintf("%s has %d characters, but those in the API's documentation have 64 hexadecimal digits",
			target.Follows, len(id)), "compare it with the one in your RUFUS account")
	}
}

// labels decodes the labels of an entry, and returns them with the lines of their names. n may be nil or null.
func (d *decoder) labels(n *node) (labels map[string]string, lines map[string]int) {
	if isUnset(n) {
		return nil, nil
	}
	if !isMapping(n) {
		if d.refuseTypo(keyTypo, n) {
			return nil, nil
		}
		d.refuse(n.Line, "labels is not a mapping", "write it as {race: city-run}")
		return nil, nil
	}
	labels, lines = map[string]string{}, map[string]int{}
	d.pairs(n, func(key, value *node) {
		name, label := key.Value, ""
		switch {
		case !labelPattern.MatchString(name):
			d.refuse(key.Line, quote("label", name)+" is not a valid label name", fmt.Sprintf(
				"use letters, digits and _, do not start with a digit, at most %d characters", maxLabelName))
		case strings.HasPrefix(name, "__"):
			d.refuse(key.Line, quote("label", name)+" starts with __, which is reserved for Prometheus",
				"choose another name")
		case slices.Contains(reservedLabels, name):
			d.refuse(key.Line, quote("label", name)+" is used by the exporter or by Prometheus", "choose another name")
		default:
			d.scalar(lineOf(key, value), value, quote("label", name),
				field{valid: validValue, text: text(&label, maxLabelValue)})
			lines[name] = key.Line
			d.addLabel(labels, name, label, key.Line, value.Line)
		}
	})
	return labels, lines
}

// addLabel adds a label to those of an entry. nameLine and valueLine are where its name and its value are.
func (d *decoder) addLabel(labels map[string]string, name, value string, nameLine, valueLine int) {
	labels[name] = value
	d.addLabelName(name, nameLine)
	d.public = append(d.public, public{nameLine, "a label's name", name}, public{valueLine, "a label's value", value})
}

// addLabelName adds a label name to those of the file.
func (d *decoder) addLabelName(name string, line int) {
	if !d.labelNames[name] && len(d.labelNames) == maxLabelNames {
		d.refuse(line, fmt.Sprintf("the file has more than %d different label names", maxLabelNames),
			"use fewer: every series carries all of them")
	}
	d.labelNames[name] = true
}

// public is a text that appears on pages, in logs and in metrics.
type public struct {
	line int
	what string
	text string
}

// checkPublic refuses public texts that contain a secret, ignoring case.
func (d *decoder) checkPublic() {
	mask := rufus.NewMask(d.secrets)
	for _, p := range d.public {
		if mask.Contains(p.text) {
			d.refuse(p.line, p.what+" contains the API key or a configured token or id",
				"choose another one: it is shown on pages and in metrics")
		}
	}
}
