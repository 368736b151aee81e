package discovery

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// Template is a text with groups of a rule's expressions in it.
type Template struct {
	parts []part
}

// part is a text, or a group if it has no text.
type part struct {
	text   string
	serial bool  // groups of the serial number's expression, rather than of the alias's
	groups []int // of one name; in a match, those of other branches are empty
}

// matches are the groups of the alias and of the serial number.
type matches struct{ alias, serial []string }

// GroupError is a template's reference to a group that there is not, or that is not clear.
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
	// ErrDollar is a dollar sign that begins no reference.
	ErrDollar = errors.New("a dollar sign without a group")
	// ErrNoText is a template that has neither a group nor a character that shows.
	ErrNoText = errors.New("neither a group nor text")
)

// reference is what may follow a dollar sign.
var reference = regexp.MustCompile(`^(?:\{(\w+)\}|(\w+))`)

// ParseTemplate reads a template: $name, ${name} and $1 stand for groups of the two expressions, either of which may
// be nil, and $$ for a dollar sign. $name is as long as it can be: write ${point}_x for the group point before _x.
//
// Numbers count the groups of the alias, or those of the serial number if the rule has no alias; 0 is the whole text.
// The error is a *GroupError, ErrDollar or ErrNoText.
func ParseTemplate(text string, alias, serial *Expression) (Template, error) {
	var t Template
	visible := false
	for text != "" {
		before, after, found := strings.Cut(text, "$")
		t.parts = addText(t.parts, before)
		visible = visible || strings.TrimSpace(before) != ""
		switch match := reference.FindStringSubmatch(after); {
		case !found:
			text = ""
		case strings.HasPrefix(after, "$"):
			t.parts = addText(t.parts, "$")
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

// addText appends a text, which may be empty.
func addText(parts []part, text string) []part {
	switch last := len(parts) - 1; {
	case text == "":
		return parts
	case last >= 0 && parts[last].text != "":
		parts[last].text += text
		return parts
	}
	return append(parts, part{text: text})
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

// named returns the numbers of the groups with that name.
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

// Constant returns the text of a template without groups, and whether it is one.
func (t Template) Constant() (text string, ok bool) {
	if len(t.parts) != 1 || t.parts[0].text == "" {
		return "", false
	}
	return t.parts[0].text, true
}

// expand puts the groups in. A group that did not take part in the match is empty.
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
