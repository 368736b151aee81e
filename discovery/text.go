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

// safe makes texts that are put together of others fit for names and labels: together they may be long, or a secret.
type safe struct{ mask rufus.Mask }

// text returns at most maxText characters of text, without secrets and without blanks at its ends, or "".
func (s safe) text(text string) string {
	clean := strings.TrimSpace(cut(s.mask.Hide(strings.TrimSpace(text)), maxText))
	if s.mask.Contains(clean) { // a secret that is part of what hides it
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
func (s safe) id(id rufus.Secret) string {
	text := id.Reveal()
	return s.text(plain.FindString(text[:min(shownOfID, len(text)/2)]))
}

var plain = regexp.MustCompile(`^[\w-]*$`)

// device returns the device with texts that can be names.
func (s safe) device(d Device) Device {
	d.Alias, d.SerialNumber, d.Model = s.text(d.Alias), s.text(d.SerialNumber), s.text(d.Model)
	return d
}
