package discovery

import (
	"regexp"
	"strings"
	"unicode"

	"rufus_exporter/rufus"
)

const (
	// maxText bounds names and label values, in characters.
	maxText = 100
	// maxCleaned bounds the text that is searched for secrets, in bytes: a hundred characters are left even when it
	// holds nothing but the longest secrets.
	maxCleaned = 16 << 10
	// Shorter secrets are not searched for: an id such as "run" would hide half of every name.
	minSecret = 8
	hidden    = "<secret>"
	shownOfID = 8 // characters
	// nameless is for devices that nothing else can be shown of. It is shorter than a secret, with a dash as well.
	nameless = "device"
)

// documented has the form of all tokens and ids in the API's documentation. Whoever writes an alias may know those of
// another account.
var documented = regexp.MustCompile(`(?i)[0-9a-f]{64,128}`)

// safe makes text from the API fit for names, labels, pages and logs.
type safe struct{ mask rufus.Mask }

func newSafe(secrets []rufus.Secret) safe {
	var long []rufus.Secret
	for _, s := range secrets {
		if len(s.Reveal()) >= minSecret {
			long = append(long, s)
		}
	}
	return safe{rufus.NewMask(long)}
}

// text returns at most maxText printable characters of text without any secret, "" when nothing is left. White space
// becomes blanks, of which none is at an end. What cannot be seen is left out, and other characters that do not print
// become U+FFFD.
func (s safe) text(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case b.Len() >= maxCleaned:
		case unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteRune(unicode.ReplacementChar)
		}
	}
	clean := s.mask.Hide(documented.ReplaceAllString(strings.TrimSpace(b.String()), hidden))
	clean = strings.TrimSpace(cut(clean, maxText))
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

// id returns the characters of an id that may be shown: the first 8, but no more than half of it.
func (s safe) id(id rufus.Secret) string {
	text := id.Reveal()
	return s.text(text[:min(shownOfID, len(text)/2)])
}

// device returns the device with texts that are safe to show.
func (s safe) device(d Device) Device {
	d.Alias, d.SerialNumber, d.Model = s.text(d.Alias), s.text(d.SerialNumber), s.text(d.Model)
	return d
}
