package rufus

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"time"
)

// raw is a JSON value as the API sent it, nil if absent. It is valid, because parse has checked the whole document. It
// points into the buffer of its answer.
//
// This package does not decode with encoding/json, because that does not compare names exactly: it accepts "Passings",
// and by Unicode case folding even "paſſings", as "passings". If a name occurs twice, the last one wins, as in
// encoding/json.
type raw []byte

// parse returns the JSON object in body, and whether body is a single valid object. It skips a byte order mark.
func parse(body []byte) (object raw, ok bool) {
	object = trim(bytes.TrimPrefix(body, []byte("\uFEFF")))
	return object, len(object) > 0 && object[0] == '{' && json.Valid(object)
}

func trim(v raw) raw {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t' || v[0] == '\r' || v[0] == '\n') {
		v = v[1:]
	}
	return v
}

// member is the exact name of a member of an object, and where to store its value.
type member struct {
	name  string
	value *raw
}

// read stores the values of an object's members. A value of another type has no members.
func (v raw) read(members ...member) {
	for name, value := range v.parts('{') {
		for _, m := range members {
			if m.name == string(name) {
				*m.value = value
			}
		}
	}
}

// elements returns the values of an array, with empty names. A value of another type has no elements.
func (v raw) elements() iter.Seq2[raw, raw] { return v.parts('[') }

// parts returns the names and values of an object, if open is '{', or the values of an array, if it is '['.
func (v raw) parts(open byte) iter.Seq2[raw, raw] {
	return func(yield func(name, value raw) bool) {
		if !v.is(open) {
			return
		}
		for rest := trim(v[1:]); rest[0] != '}' && rest[0] != ']'; {
			var name raw
			if open == '{' {
				end := rest.end()
				name = rest[:end].name()
				rest = trim(trim(rest[end:])[1:]) // the colon
			}
			end := rest.end()
			if !yield(name, rest[:end]) {
				return
			}
			if rest = trim(rest[end:]); rest[0] == ',' {
				rest = trim(rest[1:])
			}
		}
	}
}

// end returns the length of the value at the start of v.
func (v raw) end() int {
	depth := 0
	for i := 0; ; i++ {
		switch v[i] {
		case '"':
			for i++; v[i] != '"'; i++ {
				if v[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		default:
			if depth == 0 { // a number, true, false or null
				return bytes.IndexAny(v, ",]} \t\r\n")
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// is reports whether v starts with that byte, which determines its type.
func (v raw) is(first byte) bool { return len(v) > 0 && v[0] == first }

// empty reports whether v is absent, null, {} or [].
func (v raw) empty() bool {
	return v == nil || v.is('n') || (v.is('{') || v.is('[')) && len(trim(v[1:])) == 1
}

// unquote returns the content of a string, which may be invalid UTF-8; nil for another type. It allocates only if the
// string has escapes.
func (v raw) unquote() []byte {
	if !v.is('"') {
		return nil
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	var s string
	_ = json.Unmarshal(v, &s) // v is valid
	return []byte(s)
}

// name is a faster unquote for the names of members. Escapes that strconv.Unquote does not accept are kept: no
// documented name needs them.
func (v raw) name() raw {
	if bytes.IndexByte(v, '\\') >= 0 {
		if name, err := strconv.Unquote(string(v)); err == nil {
			return raw(name)
		}
	}
	return v[1 : len(v)-1]
}

// maxText is the maximum length of a string that becomes a label, in bytes: enough for 340 characters if all are
// escaped.
const maxText = 4 << 10

// text is unquote for strings that may be long. It returns the content of the first maxText bytes and whether the
// string was cut.
func (v raw) text() (text []byte, cut bool) {
	if !v.is('"') || len(v) <= maxText {
		return v.unquote(), false
	}
	end := 1
	for end < maxText {
		switch {
		case v[end] != '\\':
			end++
		case v[end+1] == 'u':
			end += len(`\u0000`)
		default:
			end += len(`\n`)
		}
	}
	return append(v[:end:end], '"').unquote(), true
}

// bool returns a boolean; absent for any other type.
func (v raw) bool() Option[bool] {
	if v.is('t') || v.is('f') {
		return Some(v[0] == 't')
	}
	return Option[bool]{}
}

// number returns a number; absent for any other type, and for a number that does not fit a float64 or has more than 100
// characters, which are slow to parse.
func (v raw) number() Option[float64] {
	if len(v) > 100 {
		return Option[float64]{}
	}
	if value, err := strconv.ParseFloat(string(v), 64); err == nil {
		return Some(value)
	}
	return Option[float64]{}
}

// dates parses date-times and collects the names of those that are invalid.
type dates struct{ unreadable string }

// read parses a date-time in RFC 3339 (documented) or one of otherForms. Everything else is unreadable, because its
// meaning would be a guess: a number, a date without a zone, a date that does not exist. If value is absent, null or
// "", the result is absent, but value does not count as unreadable. The same goes for values by which some servers mean
// "none": the years 0 and 1 in any zone, and Unix time 0.
func (d *dates) read(name string, value raw) Option[time.Time] {
	text := value.unquote()
	if value == nil || value.is('n') || string(value) == `""` || bytes.HasPrefix(text, []byte("0000-00-00")) {
		return Option[time.Time]{}
	}
	var at time.Time
	err := at.UnmarshalText(text)
	if err != nil && len(text) <= maxTime {
		other := strings.Replace(strings.ToUpper(string(text)), " ", "T", 1)
		for i := 0; err != nil && i < len(otherForms); i++ {
			at, err = time.Parse(otherForms[i], other)
		}
	}
	switch {
	case err != nil:
		d.unreadable = strings.TrimSpace(d.unreadable + " " + name)
	case at.Year() > 1 && !at.Equal(time.Unix(0, 0)):
		return Some(at)
	}
	return Option[time.Time]{}
}

// otherForms are unambiguous forms that are accepted besides RFC 3339, also in lower case or with a space instead of T.
var otherForms = []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07"}

// maxTime is the maximum length of a date-time in another form, in bytes.
const maxTime = 64
