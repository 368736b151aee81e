package rufus

import (
	"bytes"
	"errors"
	"regexp"
)

// answer is the used part of an answer. The documentation has two generations, and which one the live server follows is
// unknown. So both are read: {"result": …} and {"body": {"result": …}}. The result is an array or an object.
type answer struct {
	description, result, pagination raw
	id                              raw // token_session or deviceid: what a 404 was asked for (documented)
}

var (
	errNoObject    = invalid("the answer is not a JSON object")
	errOtherSchema = invalid("the answer is not the JSON that is documented")
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

// each calls f for every record of the result and returns their number. A null in the array counts as a record without
// members. It stops at the first error: one of f, or an *Error with InvalidResponse.
func (a *answer) each(f func(record raw) error) (n int, err error) {
	switch {
	case a.result.empty():
		return 0, nil
	case a.result.is('{'):
		return 1, f(a.result)
	case !a.result.is('['):
		return 0, errOtherSchema
	}
	for _, record := range a.result.elements() {
		if !record.is('{') && !record.is('n') {
			return n, errOtherSchema
		}
		if err := f(record); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// saysNone reports whether a 200 without records says that there are none: it has an empty result or a documented
// description. Other JSON may come from somebody else, for example a gateway that reports an error.
func (a *answer) saysNone() bool {
	return a.result != nil || string(a.description.unquote()) == "Success" || a.saysNotFound()
}

// saysNotFound reports whether the description is that of a 404 (documented).
func (a *answer) saysNotFound() bool {
	said := string(a.description.unquote())
	return said == "Session not found" || said == "Sessions not found"
}

// isOwn reports whether the body of a 404 comes from the API and is about what was asked for. It must be {description:
// "Sessions not found", deviceid: "…"} (documented, without quotes around the names) or the same in JSON or in the
// envelope (inferred), and nothing else. A 404 of a gateway or of a wrong address says nothing about a session.
func isOwn(body []byte, asked string) bool {
	a, err := readAnswer(body)
	if errors.Is(err, errNoObject) {
		a, err = readAnswer(bareName.ReplaceAll(body, []byte(`$1"$2":`)))
	}
	id := a.id.unquote()
	return err == nil && a.saysNotFound() && a.result.empty() && len(id) > 0 && !isAnother(id, asked)
}

var bareName = regexp.MustCompile(`([{,]\s*)(\w+)\s*:`)

// isAnother reports whether an id or token is certainly not the one that was asked for. One of another length may be a
// shortened form of it.
func isAnother(id []byte, asked string) bool {
	return len(id) == len(asked) && !bytes.EqualFold(id, []byte(asked))
}

// sessionRecord is a session as the API writes it. The list of a device's sessions has only the first five
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

// supersedes reports whether r describes its device better than other does: active beats closed, then newer beats
// older.
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
