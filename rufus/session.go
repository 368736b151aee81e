package rufus

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"
)

// Session is the state of a session. Times are RFC 3339 in the API (documented). A time that the API omits, or sends in
// an ambiguous form, is absent.
type Session struct {
	// Alias is free text (documented). It may be empty, and several sessions may have the same alias. It is safe to show:
	// see Options.Mask.
	Alias    string
	Active   bool              // the session receives passings (documented)
	Passings Option[int64]     // raw detections, not participants (documented); absent if a device has no session
	Created  Option[time.Time] // when the session was created (documented)
	Duration Option[time.Time] // a time of undocumented meaning
	First    Option[time.Time] // first passing, by the device's clock (inferred)
	Last     Option[time.Time] // last passing, by the device's clock (inferred), which may be wrong
	// Unreadable lists the members that are not a valid date-time, separated by spaces, such as "first last". Their times
	// are absent.
	Unreadable string
}

// State calls Session or DeviceSession, depending on target.
func (c *Client) State(ctx context.Context, target Target) (Session, error) {
	if target.Follows == Device {
		return c.DeviceSession(ctx, target.ID)
	}
	return c.Session(ctx, target.ID)
}

var (
	errNoSession  = &Error{Reason: NotFound, Detail: "the API knows no such session"}
	errForeign    = &Error{Reason: NotFound, Detail: "status 404, but not from the RUFUS API: is api.url right?"}
	errNoSessions = &Error{Reason: InvalidResponse, Detail: "the answer is not about sessions"}
)

// Session fetches one session by its token: GET /sessions/{token} (documented). The error is an *Error, or
// context.Canceled if ctx was cancelled.
func (c *Client) Session(ctx context.Context, token Secret) (Session, error) {
	var found Session
	err := c.get(ctx, query{
		path:  "/sessions/" + token.Reveal(),
		asked: token.Reveal(),
		most:  maxSession,
		none:  errNoSession,
		read: func(a answer) error {
			var ours sessionRecord
			wanted := []byte(token.Reveal())
			err := a.each(func(object raw) error {
				if r := readSession(object); ours.token == nil && bytes.EqualFold(r.token.unquote(), wanted) {
					ours = r
				}
				return nil
			})
			switch {
			case err != nil:
				return err
			case a.result.empty():
				return errNoSession
			case ours.token == nil:
				return invalid("the answer is about another session")
			}
			found, err = c.session(&ours, token)
			return err
		},
	})
	return found, err
}

// DeviceSession fetches the session that is active on a device: GET /sessions/device/{id}/active (documented). If there
// is none, it fetches all sessions of the device: GET /sessions/device/{id} (documented). The second answer is newer,
// so it decides: a session may have been started in between. The result is its active session, else the closed session
// that was created last, so that the final count stays visible. If the device has no sessions, the result is an
// inactive Session with everything else absent. Errors are as for Session.
//
// If there is no active session, the API answers 404 (inferred). A gateway or a wrong address does so too, so a 404
// only counts if its body comes from the API. After any other 404 on /active, or a 200 that is not about sessions,
// DeviceSession fetches the list. For the list, such an answer is an error.
func (c *Client) DeviceSession(ctx context.Context, id Secret) (Session, error) {
	path := "/sessions/device/" + id.Reveal()
	found, err := c.newest(ctx, query{path: path + "/active", most: maxSession}, id)
	if found.Active || err != nil && !errors.Is(err, errForeign) && !errors.Is(err, errNoSessions) {
		return found, err
	}
	return c.newest(ctx, query{path: path, most: maxList, further: true}, id)
}

// newest sends q and returns the active session of its answer, else the one created last, else the zero Session. The
// records of other sessions need not be valid.
func (c *Client) newest(ctx context.Context, q query, id Secret) (Session, error) {
	var found Session
	q.asked = id.Reveal()
	q.read = func(a answer) error {
		var best sessionRecord
		first := true
		err := a.each(func(object raw) error {
			r := readSession(object)
			if isAnother(r.device.unquote(), q.asked) {
				return invalid("the answer is about another device")
			}
			if first || r.supersedes(&best) {
				best, first = r, false // a copy: a pointer would move each of up to 300,000 records to the heap
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case a.result.empty() && a.saysNone():
			return nil
		case a.result.empty():
			return errNoSessions
		}
		found, err = c.session(&best, id)
		return err
	}
	err := c.get(ctx, q)
	return found, err
}

// session converts a record to a Session. id is the requested token or device id. Only active and passings are
// required, and passings must be a whole number that a float64 represents exactly.
func (c *Client) session(r *sessionRecord, id Secret) (Session, error) {
	active, ok := r.active.bool().Get()
	if !ok {
		return Session{}, invalid("active is missing or not a boolean")
	}
	passings, ok := r.passings.number().Get()
	if !ok || passings < 0 || passings >= 1<<53 || passings != math.Trunc(passings) {
		return Session{}, invalid("passings is missing or not a count")
	}
	var d dates
	return Session{
		Alias:      c.text(r.alias, id, r.token),
		Active:     active,
		Passings:   Some(int64(passings)),
		Created:    d.read("creation_date", r.created),
		Duration:   d.read("duration", r.duration),
		First:      d.read("first", r.first),
		Last:       d.read("last", r.last),
		Unreadable: d.unreadable,
	}, nil
}

// text returns a text of the API in a form that is safe to show: see printable. asked is the requested token or id, own
// is the token in the record. They are searched for only if they are shorter than the text.
func (c *Client) text(v raw, asked Secret, own raw) string {
	var ids []Secret
	if len(asked.Reveal()) < len(v) {
		ids = append(ids, asked)
	}
	if token := own.unquote(); len(token) < len(v) {
		ids = append(ids, NewSecret(string(token)))
	}
	return printable(v, c.key, c.o.Mask(), NewMask(ids))
}
