package rufus

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"time"
)

// raw is one JSON value as the API wrote it; nil is one that is absent. It is valid JSON, for it is a part of what
// parse has checked as a whole, and belongs to the buffer of its answer.
//
// encoding/json cannot be used beyond that check: it takes "Passings", and with Unicode's folding even "paſſings", for
// "passings". Names are compared exactly here. Of a name that occurs twice the last counts, as in encoding/json.
type raw []byte

// parse returns the object that body is, after a byte order mark if there is one.
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

// member is a member of an object by its exact name, and where its value goes.
type member struct {
	name  string
	value *raw
}

// read sets those members that v has if it is an object.
func (v raw) read(members ...member) {
	for name, value := range v.parts('{') {
		for _, m := range members {
			if m.name == string(name) {
				*m.value = value
			}
		}
	}
}

// elements returns the values of an array, and nothing of another type.
func (v raw) elements() iter.Seq2[raw, raw] { return v.parts('[') }

// parts returns the names and values of an object, or the values of an array, whichever open is the bracket of.
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

// end returns where the value ends that v begins with.
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
			if depth == 0 { // a number or a word
				return bytes.IndexAny(v, ",]} \t\r\n")
			}
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// is reports whether v is there and begins with that byte, which tells its type.
func (v raw) is(first byte) bool { return len(v) > 0 && v[0] == first }

// empty reports whether v is absent, null, or an object or array with nothing in it.
func (v raw) empty() bool {
	return v == nil || v.is('n') || (v.is('{') || v.is('[')) && len(trim(v[1:])) == 1
}

// unquote returns what a string says, perhaps not in valid UTF-8, and nothing of another type. Only escapes cost an
// allocation.
func (v raw) unquote() []byte {
	if !v.is('"') {
		return nil
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	var s string
	_ = json.Unmarshal(v, &s) // a valid string
	return []byte(s)
}

// name is unquote for the name of a member. An escape that cannot be in a documented one is left as it is.
func (v raw) name() raw {
	if bytes.IndexByte(v, '\\') >= 0 {
		if name, err := strconv.Unquote(string(v)); err == nil {
			return raw(name)
		}
	}
	return v[1 : len(v)-1]
}

// maxText is how many bytes of a string are looked at that becomes a text: 340 characters if each is escaped.
const maxText = 4 << 10

// text is unquote for strings of any length: of one longer than maxText it returns the beginning, and cut is true.
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

// bool returns what a boolean says; anything else is absent.
func (v raw) bool() Option[bool] {
	if v.is('t') || v.is('f') {
		return Some(v[0] == 't')
	}
	return Option[bool]{}
}

// number returns a number that fits a float64, in at most 100 characters: more take long to read. Anything else is
// absent.
func (v raw) number() Option[float64] {
	if len(v) > 100 {
		return Option[float64]{}
	}
	if value, err := strconv.ParseFloat(string(v), 64); err == nil {
		return Some(value)
	}
	return Option[float64]{}
}

// dates reads instants and notes the names of those that are none.
type dates struct{ unreadable string }

// read returns the instant that value says: RFC 3339 (documented), and what else is unambiguous: a blank for T, small
// letters, an offset of +hhmm or +hh. A number, a date without a zone or an impossible one would have to be guessed at:
// it is unreadable. What is absent, null or "" is not, nor is how some servers write "none": the years 0 and 1 in
// any zone, and the beginning of Unix time.
func (d *dates) read(name string, value raw) Option[time.Time] {
	text := value.unquote()
	if value == nil || value.is('n') || string(value) == `""` || bytes.HasPrefix(text, []byte("0000-00-00")) {
		return Option[time.Time]{}
	}
	var at time.Time
	switch err := at.UnmarshalText(text); {
	case err != nil && at.UnmarshalText(rfc3339(text)) != nil:
		if d.unreadable != "" {
			d.unreadable += " "
		}
		d.unreadable += name
	case at.Year() > 1 && !at.Equal(time.Unix(0, 0)):
		return Some(at)
	}
	return Option[time.Time]{}
}

// rfc3339 returns text in the form of RFC 3339 if it is a date in one of the other forms that are read.
func rfc3339(text []byte) []byte {
	const date, clock = len("2006-01-02"), len("2006-01-02T15:04:05")
	if len(text) <= clock || len(text) > 64 {
		return nil
	}
	text = bytes.Clone(text)
	if text[date] == ' ' || text[date] == 't' {
		text[date] = 'T'
	}
	if last := &text[len(text)-1]; *last == 'z' {
		*last = 'Z'
	}
	switch sign := clock + bytes.LastIndexAny(text[clock:], "+-"); {
	case sign < clock:
	case len(text)-sign == len("+hh"):
		text = append(text, ":00"...)
	case len(text)-sign == len("+hhmm"):
		text = append(text[:sign+3:sign+3], ':', text[sign+3], text[sign+4])
	}
	return text
}
