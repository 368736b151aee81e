package rufus

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mask finds secrets in text, ignoring case. The time it takes depends on the length of the text, not on the number of
// secrets. The zero Mask finds nothing.
type Mask struct {
	find              func(low []byte) int // a closure, so that fmt cannot print the secrets; may be nil
	shortest, longest int                  // length of the secrets in bytes
}

// minID is the minimum length of a token or id that a mask finds, in bytes. A shorter one, such as "run", would hide
// parts of ordinary words.
const minID = 8

// NewMask returns a mask that finds these secrets, which must be ASCII. It ignores secrets with less than 8 characters.
func NewMask(secrets []Secret) Mask { return newMask(secrets, minID) }

// newMask returns a mask that finds the secrets with at least that many bytes, 1 or more.
func newMask(secrets []Secret, least int) Mask {
	var all []string
	for _, secret := range secrets {
		if value := secret.Reveal(); len(value) >= least {
			all = append(all, string(lower([]byte(value))))
		}
	}
	if len(all) == 0 {
		return Mask{}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) }) // the longest first
	m := Mask{shortest: len(all[len(all)-1]), longest: len(all[0])}
	prefix := min(minID, m.shortest)
	byPrefix := make(map[string][]string, len(all))
	for _, secret := range all {
		byPrefix[secret[:prefix]] = append(byPrefix[secret[:prefix]], secret)
	}
	m.find = func(low []byte) int {
		if len(low) < m.shortest {
			return 0
		}
		for _, secret := range byPrefix[string(low[:prefix])] {
			if len(secret) <= len(low) && string(low[:len(secret)]) == secret {
				return len(secret)
			}
		}
		return 0
	}
	return m
}

// at returns the length of the longest secret at the start of low, 0 if there is none. low must be in lower case.
func (m Mask) at(low []byte) int {
	if m.find == nil {
		return 0
	}
	return m.find(low)
}

// Contains reports whether text contains a secret.
func (m Mask) Contains(text string) bool { return m.Hide(text) != text }

// Hide returns text with "<secret>" in place of each secret.
func (m Mask) Hide(text string) string {
	if m.find == nil || len(text) < m.shortest { // most texts are too short
		return text
	}
	return hide([]byte(text), 0, math.MaxInt, m.at)
}

// hide returns text with "<secret>" in place of each secret, but at most that many characters, and without the last
// tail bytes of text. find is like Mask.at.
func hide(text []byte, tail, most int, find func(low []byte) int) string {
	var b strings.Builder
	low := lower(text)
	for n := 1; len(text) > tail && n <= most; n++ {
		size := find(low)
		if size > 0 {
			if n += len(masked) - 1; n > most {
				break
			}
			b.WriteString(masked)
		} else {
			_, size = utf8.DecodeRune(text)
			b.Write(text[:size])
		}
		text, low = text[size:], low[size:]
	}
	return b.String()
}

// lower returns text with its ASCII letters in lower case. The length stays the same.
func lower(text []byte) []byte {
	low := bytes.Clone(text)
	for i, c := range low {
		if 'A' <= c && c <= 'Z' {
			low[i] = c + ('a' - 'A')
		}
	}
	return low
}

const (
	maxRunes   = 200 // maximum length of a text that becomes a label, in characters
	documented = 64  // length of tokens and ids in the documentation, in hexadecimal digits
)

// printable returns a string of the API in a form that is safe in a label, on a page and in a log line; "" for another
// type. The result is valid UTF-8 of at most maxRunes characters. White space becomes a space. Invisible characters,
// and those that change the writing direction, are dropped. Other control characters become U+FFFD. Each secret becomes
// "<secret>", and so does everything that looks like a documented token or id, because it may belong to another
// session.
//
// A long text is cut before it is searched, so that masking stays fast. The cut leaves room for one secret after
// maxRunes characters. Because the cut may have split that secret, no part of this room is returned.
func printable(v raw, masks ...Mask) string {
	text, cut := v.text()
	shortest, longest := documented, documented
	for _, m := range masks {
		if m.shortest > 0 {
			shortest, longest = min(shortest, m.shortest), max(longest, m.longest)
		}
	}
	if len(text) < shortest && !slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' }) {
		return string(text)
	}
	clean, n := make([]byte, 0, len(text)), 0
	for ; len(text) > 0 && n < maxRunes+longest; n++ {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			continue
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsGraphic(r):
			r = utf8.RuneError
		}
		clean = utf8.AppendRune(clean, r)
	}
	tail := 0
	if cut || len(text) > 0 {
		tail = longest - 1
	}
	return hide(clean, tail, maxRunes, func(low []byte) int {
		if isDocumented(low) {
			return documented
		}
		size := 0
		for _, m := range masks {
			size = max(size, m.at(low))
		}
		return size
	})
}

// isDocumented reports whether low starts with what looks like a documented token or id.
func isDocumented(low []byte) bool {
	return len(low) >= documented && len(bytes.Trim(low[:documented], "0123456789abcdef")) == 0
}
