package rufus

import (
	"slices"
	"strings"
)

// Mask finds any of many secrets in text that others have written, whatever the case of its letters. It looks parts of
// the text up, which takes no longer with more secrets. Its zero value finds nothing.
type Mask struct {
	secrets map[string]struct{} // in lower case
	lengths []int               // of the secrets, the longest first
}

// NewMask returns the mask for secrets in ASCII.
func NewMask(secrets []Secret) Mask {
	m := Mask{secrets: make(map[string]struct{}, len(secrets))}
	for _, secret := range secrets {
		m.secrets[string(lower(secret.Reveal()))] = struct{}{}
		m.lengths = append(m.lengths, len(secret.Reveal()))
	}
	slices.SortFunc(m.lengths, func(a, b int) int { return b - a })
	m.lengths = slices.Compact(m.lengths)
	return m
}

// Contains says whether there is a secret in text.
func (m Mask) Contains(text string) bool { return m.Hide(text) != text }

// Hide returns text with "<secret>" in place of each secret.
func (m Mask) Hide(text string) string {
	if len(m.lengths) == 0 || len(text) < m.lengths[len(m.lengths)-1] {
		return text
	}
	var b strings.Builder
	for low, i := lower(text), 0; i < len(text); {
		found := slices.IndexFunc(m.lengths, func(n int) bool {
			if i+n > len(low) {
				return false
			}
			_, ok := m.secrets[string(low[i:i+n])]
			return ok
		})
		if found < 0 {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(masked)
		i += m.lengths[found]
	}
	return b.String()
}

// lower returns text with its ASCII letters in lower case, and so of the same length.
func lower(text string) []byte {
	low := []byte(text)
	for i, c := range low {
		if 'A' <= c && c <= 'Z' {
			low[i] = c + ('a' - 'A')
		}
	}
	return low
}
