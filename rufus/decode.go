package rufus

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// decode reads the body of a successful answer. Which generation of the documentation the live server follows is
// unknown, so both shapes are read: {"result": …} and {"body": {"result": …}}, with the result an array or a single
// object. A missing, null or empty result gives none; what cannot be read gives an *Error with InvalidResponse.
func decode[T any](body []byte) ([]T, pagination, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, pagination{}, invalid("the answer is not a JSON object")
	}
	// An array is the usual shape. A small one is read in one go, without a method that would have its bytes scanned
	// thrice; in a large one the records are counted, for each takes a hundred times the memory of "0,".
	array := decodeAs[T, []T]
	if len(body) > smallBody {
		array = decodeAs[T, bounded[T]]
	}
	for _, shape := range []func([]byte) ([]T, pagination, error){array, decodeAs[T, single[T]]} {
		if records, pages, err := shape(body); err == nil {
			return records, pages, nil
		}
	}
	return nil, pagination{}, invalid("the answer is not the JSON that is documented")
}

func decodeAs[T any, R ~[]T](body []byte) ([]T, pagination, error) {
	var a answer[T, R]
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, pagination{}, err
	}
	inner := a.inner()
	return inner.Result, inner.Pagination, nil
}

// answer is the part of an answer that is used, with and without the envelope.
type answer[T any, R ~[]T] struct {
	content[T, R]
	Body *content[T, R] `json:"body"`
}

type content[T any, R ~[]T] struct {
	Result     R          `json:"result"`
	Pagination pagination `json:"pagination"`
}

func (a *answer[T, R]) inner() *content[T, R] {
	if len(a.Result) == 0 && a.Body != nil {
		return a.Body
	}
	return &a.content
}

// bounded is a result of at most maxRecords.
type bounded[T any] []T

// maxRecords is what a device has after ten years of a session a day. Documented, they are 170 bytes each and more.
const maxRecords = 4096

// UnmarshalJSON implements json.Unmarshaler.
func (b *bounded[T]) UnmarshalJSON(data []byte) error {
	*b = nil
	if string(data) == "null" {
		return nil
	}
	if data[0] != '[' {
		return errors.New("not an array")
	}
	*b = make(bounded[T], 0, min(bytes.Count(data, []byte("{")), maxRecords)) // not to grow step by step
	decoder := json.NewDecoder(bytes.NewReader(data))
	_, _ = decoder.Token() // the bracket
	for decoder.More() {
		n := len(*b)
		if n == maxRecords {
			return errors.New("too many records")
		}
		*b = append(*b, *new(T))
		if err := decoder.Decode(&(*b)[n]); err != nil {
			return err
		}
	}
	return nil
}

// single is a result that is not in an array: one T, or none for null and {}.
type single[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (s *single[T]) UnmarshalJSON(data []byte) error {
	*s = nil
	if string(data) == "null" || len(bytes.Trim(data, "{} \t\r\n")) == 0 {
		return nil
	}
	var one T
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*s = single[T]{one}
	return nil
}

// pagination accompanies lists in pages (documented).
type pagination struct {
	Total   maybeNumber `json:"total"`
	HasMore maybeBool   `json:"has_more"`
}

// UnmarshalJSON implements json.Unmarshaler. It never fails: an answer whose pagination is something else is one
// without.
func (p *pagination) UnmarshalJSON(data []byte) error {
	type plain pagination
	var value plain
	_ = json.Unmarshal(data, &value)
	*p = pagination(value)
	return nil
}

// sessionRecord is a session as the API writes it.
type sessionRecord struct {
	Token    text         `json:"token_session"`
	Alias    text         `json:"alias"`
	Active   maybeBool    `json:"active"`
	Passings maybeNumber  `json:"passings"`
	Created  maybeInstant `json:"creation_date"`
	Duration maybeInstant `json:"duration"`
	First    maybeInstant `json:"first"`
	Last     maybeInstant `json:"last"`
}

// supersedes says whether r describes its device better than other does: active before closed, then newer.
func (r *sessionRecord) supersedes(other *sessionRecord) bool {
	if r.Active.value != other.Active.value {
		return r.Active.value
	}
	return r.Created.value.After(other.Created.value)
}

// The types of single values never fail to decode: what is null, or of another type than documented, is absent, and
// whether it may be is decided by who needs it. Each forgets its former value, for JSON may repeat a key.

// text is a string, "" when absent. It is valid UTF-8.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	*t = text(strings.ToValidUTF8(string(unquote(data)), "\uFFFD"))
	return nil
}

// maybeBool is a boolean.
type maybeBool struct{ Option[bool] }

// UnmarshalJSON implements json.Unmarshaler.
func (b *maybeBool) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "true":
		b.Option = Some(true)
	case "false":
		b.Option = Some(false)
	default:
		b.Option = Option[bool]{}
	}
	return nil
}

// maybeNumber is a number that fits a float64.
type maybeNumber struct{ Option[float64] }

// UnmarshalJSON implements json.Unmarshaler.
func (n *maybeNumber) UnmarshalJSON(data []byte) error {
	n.Option = Option[float64]{}
	if value, err := strconv.ParseFloat(string(data), 64); err == nil {
		n.Option = Some(value)
	}
	return nil
}

// maybeInstant is an RFC 3339 date-time. A number, a date without a zone or an impossible one would have to be
// guessed at. Year 1, in whatever zone, and the beginning of Unix time are how some servers write "none".
type maybeInstant struct{ Option[time.Time] }

// UnmarshalJSON implements json.Unmarshaler.
func (i *maybeInstant) UnmarshalJSON(data []byte) error {
	i.Option = Option[time.Time]{}
	var at time.Time
	if at.UnmarshalText(unquote(data)) == nil && at.Year() > 1 && !at.Equal(time.Unix(0, 0)) {
		i.Option = Some(at)
	}
	return nil
}

// unquote returns what the JSON string data says, and nothing for JSON of another type. Only escapes cost an
// allocation.
func unquote(data []byte) []byte {
	if data[0] != '"' {
		return nil
	}
	if bytes.IndexByte(data, '\\') < 0 {
		return data[1 : len(data)-1]
	}
	var s string
	_ = json.Unmarshal(data, &s) // data is a valid string already
	return []byte(s)
}

// saysNone tells whether an answer without records, or the body of a 404, is the API's way to say that there are none.
// The documented 404 is not JSON, and what the live one looks like is unknown, so only what surely comes from somebody
// else is refused: a page, or a JSON document with neither a result nor anything of what is documented, such as a
// gateway's error. A state must not be made of those.
func saysNone(body []byte) bool {
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")):
		return false
	case noneAnywhere.Match(body):
		return true
	}
	type content struct {
		Result      json.RawMessage
		Description string
	}
	var answer struct {
		content
		Body json.RawMessage
	}
	if failed := (*json.SyntaxError)(nil); errors.As(json.Unmarshal(body, &answer), &failed) {
		return true
	}
	inner := content{}
	_ = json.Unmarshal(answer.Body, &inner)
	return answer.Result != nil || inner.Result != nil || string(answer.Body) == "null" ||
		noneDescribed.MatchString(answer.Description) || noneDescribed.MatchString(inner.Description)
}

// All documented; which of them stands under which name in the live answer is unknown.
var (
	noneDescribed = regexp.MustCompile(`(?i)success|not found`)
	noneAnywhere  = regexp.MustCompile(`(?i)sessions? not found|deviceid`)
)

func invalid(detail string) error { return &Error{Reason: InvalidResponse, Detail: detail} }
