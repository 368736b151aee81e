package rufus

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mask finds any of many secrets in text that others have written, whatever the case of its letters. How long that
// takes depends on the text alone. Its zero value finds nothing.
type Mask struct {
	find              func(low []byte) int // knows the secrets, as fmt looks into no function; nil: there are none
	shortest, longest int                  // of them, in bytes
}

// NewMask returns the mask for secrets, which are ASCII; empty ones count for nothing.
func NewMask(secrets []Secret) Mask {
	var all []string
	for _, secret := range secrets {
		if secret != (Secret{}) {
			all = append(all, string(lower([]byte(secret.Reveal()))))
		}
	}
	if len(all) == 0 {
		return Mask{}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) }) // the longest counts
	m := Mask{shortest: len(all[len(all)-1]), longest: len(all[0])}
	prefix := min(8, m.shortest)
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

// at returns the length of the secret that low, in lower case, begins with; 0: none.
func (m Mask) at(low []byte) int {
	if m.find == nil {
		return 0
	}
	return m.find(low)
}

// Contains reports whether there is a secret in text.
func (m Mask) Contains(text string) bool {
	low := lower([]byte(text))
	for i := range low {
		if m.at(low[i:]) > 0 {
			return true
		}
	}
	return false
}

// Hide returns text with "<secret>" in place of each secret.
func (m Mask) Hide(text string) string { return hide([]byte(text), 0, math.MaxInt, m.at) }

// hide returns text with "<secret>" in place of each secret, at most that many characters and without its last tail
// bytes. find returns the length of the secret that a text in lower case begins with.
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

// lower returns text with its ASCII letters in lower case, and so of the same length.
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
	maxRunes   = 200 // of a text that becomes a label
	documented = 64  // hexadecimal digits make every token and id in the documentation
)

// printable makes of a string that the API sent what a label, a page and a log line can hold: at most maxRunes
// characters of valid UTF-8. White space becomes blanks; what cannot be seen or turns the direction of writing is left
// out, other control characters become U+FFFD. "<secret>" is in place of every secret of the masks, and of what has the
// form of all documented tokens and ids: it may be another session's. What is not a string gives "".
//
// The text is cut before it is searched, so a long one costs no more: behind maxRunes characters, only what a secret
// needs that begins before is looked at. None of that is returned, for a secret may be cut there.
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

// isDocumented reports whether low begins with what has the form of all documented tokens and ids.
func isDocumented(low []byte) bool {
	if len(low) < documented {
		return false
	}
	for _, c := range low[:documented] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
