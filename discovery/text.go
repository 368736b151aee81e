package discovery

import (
	"regexp"
	"strings"

	"rufus_exporter/rufus"
)

const (
	// maxText bounds names and label values, in characters.
	maxText   = 100
	shownOfID = 8 // characters
	// nameless is for devices that nothing else can be shown of. With a dash as well it is too short for a secret that a
	// mask looks for.
	nameless = "device"
)

// text makes text fit for a name or a label: names that are put together of others may be long, or a secret. It returns
// at most maxText characters, without secrets and without blanks at its ends, or "".
func (f *follower) text(text string) string {
	clean := strings.TrimSpace(cut(f.mask.Hide(strings.TrimSpace(text)), maxText))
	if f.mask.Contains(clean) { // a secret that is part of what hides it
		return ""
	}
	return clean
}

// cut returns the first characters of text.
func cut(text string, most int) string {
	n := 0
	for i := range text {
		if n == most {
			return text[:i]
		}
		n++
	}
	return text
}

// id returns the characters of an id that may be shown: the first 8, but no more than half of it. If one of them is not
// plain, it returns none.
func (f *follower) id(id rufus.Secret) string {
	text := id.Reveal()
	return f.text(plain.FindString(text[:min(shownOfID, len(text)/2)]))
}

var plain = regexp.MustCompile(`^[\w-]*$`)

// device returns the device with texts that can be names.
func (f *follower) device(d Device) Device {
	d.Alias, d.SerialNumber, d.Model = f.text(d.Alias), f.text(d.SerialNumber), f.text(d.Model)
	return d
}
