package rufus

import (
	"bytes"
	"encoding/json"
	"math"
	"time"
)

// answer is the part of a successful answer that is used. Which generation of the documentation the live server
// follows is unknown, so both shapes are read: {"result": …} and {"body": {"result": …}}, with the result an array
// or a single object.
type answer[T comparable] struct {
	result     []T
	pagination pagination
}

// pagination accompanies lists in pages (documented). What is missing is nil.
type pagination struct {
	Total   *int  `json:"total"`
	HasMore *bool `json:"has_more"`
}

// decode reads a body. A missing, null or empty result gives an empty one, and so does nil, for a 404; what cannot
// be read gives an *Error with InvalidResponse.
func decode[T comparable](body []byte) (answer[T], error) {
	if body == nil {
		return answer[T]{}, nil
	}
	type content struct {
		Result     oneOrMany[T] `json:"result"`
		Pagination pagination   `json:"pagination"`
	}
	var outer struct {
		content
		Body *content `json:"body"`
	}
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return answer[T]{}, invalid("the answer is not a JSON object")
	}
	if err := json.Unmarshal(body, &outer); err != nil {
		return answer[T]{}, invalid("the answer is not the JSON that is documented")
	}
	inner := &outer.content
	if len(inner.Result) == 0 && outer.Body != nil {
		inner = outer.Body
	}
	return answer[T]{result: inner.Result, pagination: inner.Pagination}, nil
}

// oneOrMany is a JSON array of T, or a single T, or null. An object without any known member counts as nothing.
type oneOrMany[T comparable] []T

// UnmarshalJSON implements json.Unmarshaler.
func (m *oneOrMany[T]) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, (*[]T)(m))
	}
	var one, nothing T
	if err := json.Unmarshal(data, &one); err != nil || one == nothing {
		return err
	}
	*m = oneOrMany[T]{one}
	return nil
}

// sessionRecord is a session as the API writes it. Token, Active and Passings are what the exporter is for: of the
// wrong type, they make the answer invalid. The rest is optional and never does.
type sessionRecord struct {
	Token    string       `json:"token_session"`
	Alias    text         `json:"alias"`
	Active   *bool        `json:"active"`
	Passings *float64     `json:"passings"`
	Created  maybeInstant `json:"creation_date"`
	Duration maybeInstant `json:"duration"`
	First    maybeInstant `json:"first"`
	Last     maybeInstant `json:"last"`
}

// validate returns an *Error with InvalidResponse unless the record says whether it is active and how many passings
// it has, as a whole number that a float64 holds exactly.
func (r *sessionRecord) validate() error {
	switch {
	case r.Active == nil:
		return invalid("active is missing")
	case r.Passings == nil:
		return invalid("passings is missing")
	case *r.Passings < 0, *r.Passings > 1<<53, *r.Passings != math.Trunc(*r.Passings):
		return invalid("passings is not a count")
	}
	return nil
}

// supersedes says whether r describes its device better than other does: active before closed, then newer.
func (r *sessionRecord) supersedes(other *sessionRecord) bool {
	if *r.Active != *other.Active {
		return *r.Active
	}
	return r.Created.value.After(other.Created.value)
}

// text is an optional JSON string: anything else is empty.
type text struct{ value string }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (t *text) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, &t.value)
	}
	return nil
}

// maybeInstant is an optional RFC 3339 date-time. Null, "", a number, a date without a zone or an impossible one
// would have to be guessed at: they are absent.
type maybeInstant struct{ value time.Time }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (i *maybeInstant) UnmarshalJSON(data []byte) error {
	if value, err := time.Parse(time.RFC3339Nano, string(bytes.Trim(data, `"`))); err == nil {
		i.value = value
	}
	return nil
}

// option returns the instant. The zero time of Go, 0001-01-01, is how some servers write "none".
func (i maybeInstant) option() Option[time.Time] {
	if i.value.IsZero() {
		return Option[time.Time]{}
	}
	return Some(i.value)
}

func invalid(detail string) error { return &Error{Reason: InvalidResponse, Detail: detail} }
