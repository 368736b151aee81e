package rufus

import (
	"bytes"
	"errors"
	"regexp"
)

// answer holds the parts of an answer that are used. The documentation has two generations, and it is unknown which one
// the live server follows, so both forms are accepted: {"result": …} and {"body": {"result": …}}. The result is an
// array or an object.
type answer struct {
	description, result, pagination raw
	id                              raw // the requested token_session or deviceid, in the body of a 404 (documented)
}

var (
	errNoObject    = invalid("the answer is not a JSON object")
	errOtherSchema = invalid("the answer does not have the documented form")
)

func invalid(detail string) error { return &Error{Reason: InvalidResponse, Detail: detail} }

// readAnswer parses the body of an answer. Errors are an *Error with InvalidResponse.
func readAnswer(body []byte) (answer, error) {
	object, ok := parse(body)
	if !ok {
		return answer{}, errNoObject
	}
	outer, envelope := content(object)
	switch {
	case envelope == nil || envelope.is('n'):
		return outer, nil
	case !envelope.is('{'):
		return answer{}, errOtherSchema
	case outer.result.empty():
		outer, _ = content(envelope)
	}
	return outer, nil
}

func content(object raw) (a answer, envelope raw) {
	object.read(member{"description", &a.description}, member{"result", &a.result}, member{"pagination", &a.pagination},
		member{"token_session", &a.id}, member{"deviceid", &a.id}, member{"body", &envelope})
	return a, envelope
}

// each calls f for every record of the result. A null in an array counts as a record without members. It stops at the
// first error, which comes from f or is an *Error with InvalidResponse.
func (a *answer) each(f func(record raw) error) error {
	switch {
	case a.result.empty():
		return nil
	case a.result.is('{'):
		return f(a.result)
	case !a.result.is('['):
		return errOtherSchema
	}
	for _, record := range a.result.elements() {
		if !record.is('{') && !record.is('n') {
			return errOtherSchema
		}
		if err := f(record); err != nil {
			return err
		}
	}
	return nil
}

// saysNone reports whether a 200 without records means that there are none: it has an empty result or a documented
// description. Other JSON may not come from the API, but for example from a gateway that reports an error.
func (a *answer) saysNone() bool {
	return a.result != nil || string(a.description.unquote()) == "Success" || a.saysNotFound()
}

// saysNotFound reports whether the answer has the description of a 404 (documented).
func (a *answer) saysNotFound() bool {
	description := string(a.description.unquote())
	return description == "Session not found" || description == "Sessions not found"
}

// isOwn reports whether the body of a 404 comes from the API and is about the requested token or id. It must be
// {description: "Sessions not found", deviceid: "…"} (documented, without quotes around the names), or the same as JSON
// or in the envelope (inferred), without a result. A 404 from a gateway or from a wrong address does not mean that
// there is no session.
func isOwn(body []byte, asked string) bool {
	a, err := readAnswer(body)
	if errors.Is(err, errNoObject) {
		a, err = readAnswer(bareName.ReplaceAll(body, []byte(`$1"$2":`)))
	}
	id := a.id.unquote()
	return err == nil && a.saysNotFound() && a.result.empty() && len(id) > 0 && !isAnother(id, asked)
}

var bareName = regexp.MustCompile(`([{,]\s*)(\w+)\s*:`)

// isAnother reports whether an id or token is certainly not the requested one. If its length differs, it may be a
// shortened form.
func isAnother(id []byte, asked string) bool {
	return len(id) == len(asked) && !bytes.EqualFold(id, []byte(asked))
}

// sessionRecord is a session in an answer. The list of a device's sessions has only the first five members
// (documented).
type sessionRecord struct {
	token, alias, created, active, passings raw
	duration, first, last                   raw
	device                                  raw // undocumented
}

// readSession returns the members of a record.
func readSession(object raw) (r sessionRecord) {
	object.read(member{"token_session", &r.token}, member{"alias", &r.alias}, member{"creation_date", &r.created},
		member{"active", &r.active}, member{"passings", &r.passings}, member{"duration", &r.duration},
		member{"first", &r.first}, member{"last", &r.last}, member{"deviceid", &r.device})
	return r
}

// supersedes reports whether r, not other, is the current session of their device: active comes before closed, then
// newer before older.
func (r *sessionRecord) supersedes(other *sessionRecord) bool {
	active, _ := r.active.bool().Get()
	if otherActive, _ := other.active.bool().Get(); active != otherActive {
		return active
	}
	var ignored dates
	created, _ := ignored.read("", r.created).Get()
	otherCreated, _ := ignored.read("", other.created).Get()
	return created.After(otherCreated)
}
