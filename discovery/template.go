package discovery

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Template is a text with references to groups of a rule's expressions.
type Template struct {
	parts []part
}

// part is a text, or a reference if groups is not nil.
type part struct {
	text   string
	serial bool  // refers to the expression for the serial number, not the alias
	groups []int // the groups with that name; in a match, those of other branches are empty
}

// matches holds the groups of the alias and of the serial number.
type matches struct{ alias, serial []string }

// GroupError reports a reference to a group that does not exist or is ambiguous.
type GroupError struct {
	Group     string // as written, without the dollar sign
	Ambiguous bool   // both expressions have a group of that name
}

// Error returns what is wrong. It quotes the group.
func (e *GroupError) Error() string {
	if e.Ambiguous {
		return "both expressions have the group " + e.Group
	}
	return "no expression has the group " + e.Group
}

var (
	// ErrDollar reports a dollar sign that does not start a reference.
	ErrDollar = errors.New("a dollar sign without a group")
	// ErrNoText reports a template without a group and without a visible character.
	ErrNoText = errors.New("neither a group nor text")
)

// reference matches what may follow a dollar sign.
var reference = regexp.MustCompile(`^(?:\{(\w+)\}|(\w+))`)

// ParseTemplate parses a template: $name, ${name} and $1 stand for groups of the two expressions, and $$ for a dollar
// sign. Either expression may be nil. $name is as long as possible: for the group point before _x, write ${point}_x.
//
// Numbers count the groups of the alias, or those of the serial number if alias is nil; 0 is the whole text.
// The error is a *GroupError, ErrDollar or ErrNoText.
func ParseTemplate(text string, alias, serial *Expression) (Template, error) {
	var t Template
	visible := false
	for text != "" {
		before, after, found := strings.Cut(text, "$")
		t.parts = append(t.parts, part{text: before})
		visible = visible || strings.TrimSpace(before) != ""
		switch match := reference.FindStringSubmatch(after); {
		case !found:
			text = ""
		case strings.HasPrefix(after, "$"):
			t.parts = append(t.parts, part{text: "$"})
			text, visible = after[1:], true
		case match == nil:
			return Template{}, ErrDollar
		default:
			group, err := findGroup(match[1]+match[2], alias, serial)
			if err != nil {
				return Template{}, err
			}
			t.parts = append(t.parts, group)
			text, visible = after[len(match[0]):], true
		}
	}
	if !visible {
		return Template{}, ErrNoText
	}
	return t, nil
}

func findGroup(name string, alias, serial *Expression) (part, error) {
	if number, err := strconv.Atoi(name); err == nil {
		numbered := part{serial: alias == nil && serial != nil, groups: []int{number}}
		e := alias
		if numbered.serial {
			e = serial
		}
		if number > 0 && (e == nil || number > e.re.NumSubexp()) {
			return part{}, &GroupError{Group: name}
		}
		return numbered, nil
	}
	ofAlias, ofSerial := alias.named(name), serial.named(name)
	switch {
	case ofAlias != nil && ofSerial != nil:
		return part{}, &GroupError{Group: name, Ambiguous: true}
	case ofAlias != nil:
		return part{groups: ofAlias}, nil
	case ofSerial != nil:
		return part{serial: true, groups: ofSerial}, nil
	}
	return part{}, &GroupError{Group: name}
}

// named returns the indexes of the groups with that name.
func (e *Expression) named(name string) (groups []int) {
	if e == nil {
		return nil
	}
	for i, n := range e.re.SubexpNames() {
		if n == name {
			groups = append(groups, i)
		}
	}
	return groups
}

// IsZero reports whether the template was not set.
func (t Template) IsZero() bool { return len(t.parts) == 0 }

// Constant returns the text of a template without references, and whether it is such a template.
func (t Template) Constant() (text string, ok bool) {
	if t.IsZero() || slices.ContainsFunc(t.parts, func(p part) bool { return p.groups != nil }) {
		return "", false
	}
	return t.expand(matches{}), true
}

// expand replaces references by the groups of a match. A group that did not participate in the match is empty.
func (t Template) expand(m matches) string {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.text)
		values := m.alias
		if p.serial {
			values = m.serial
		}
		for _, group := range p.groups {
			if values[group] != "" {
				b.WriteString(values[group])
				break
			}
		}
	}
	return b.String()
}
