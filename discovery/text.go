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
	// nameless is the name for devices that have nothing else to show. Even with a dash, it is shorter than any secret
	// that a mask finds.
	nameless = "device"
)

// text returns text in a form that is valid as a name or a label: at most maxText characters, without secrets and
// without spaces at its ends. It may return "". An expanded template may be long, or contain a secret.
func (f *follower) text(text string) string {
	clean := strings.TrimSpace(cut(f.mask.Hide(strings.TrimSpace(text)), maxText))
	if f.mask.Contains(clean) { // a secret that is part of "<secret>"
		return ""
	}
	return clean
}

// cut returns the first characters of text, at most that many.
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

// id returns the first characters of an id, as many as may be shown: 8, but no more than half of it. It returns "" if
// one of them is not a letter, digit, _ or -.
func (f *follower) id(id rufus.Secret) string {
	text := id.Reveal()
	return f.text(plain.FindString(text[:min(shownOfID, len(text)/2)]))
}

var plain = regexp.MustCompile(`^[\w-]*$`)
