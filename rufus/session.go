package rufus

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"
)

// Session is what a target's answer says about its session. All instants are of the API (documented as RFC 3339); what
// it left out, or gave in a form that would have to be guessed at, is absent.
type Session struct {
	// Alias is free text (documented). It may be empty, and two sessions may have the same. It is safe to show: see
	// Options.Mask.
	Alias    string
	Active   bool              // the session receives passings (documented)
	Passings Option[int64]     // raw detections, not participants (documented); absent: a device without session
	Created  Option[time.Time] // when the session was made (documented)
	Duration Option[time.Time] // an instant of undocumented meaning
	First    Option[time.Time] // first passing, by the device's clock (inferred)
	Last     Option[time.Time] // last passing, by the device's clock (inferred): may be in the future or old
	// Unreadable has the names of the members that are not a date-time but should be, separated by spaces, such as
	// "first last". What they say is unknown, and the instant is absent.
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
	errNoSession = &Error{Reason: NotFound, Detail: "the API knows no such session"}
	errForeign   = &Error{Reason: NotFound, Detail: "status 404 without the API's own words: is api.url right?"}
	errNoWord    = &Error{Reason: InvalidResponse, Detail: "the answer says nothing of sessions"}
)

// Session asks for one session by its token: GET /sessions/{token} (documented). Errors are an *Error, or
// context.Canceled when ctx was cancelled.
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
			n, err := a.each(func(object raw) error {
				if r := readSession(object); ours.token == nil && bytes.EqualFold(r.token.unquote(), wanted) {
					ours = r
				}
				return nil
			})
			switch {
			case err != nil:
				return err
			case n == 0:
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

// DeviceSession asks for the session that is active on a device: GET /sessions/device/{id}/active (documented). If
// there is none, it asks for all sessions of the device: GET /sessions/device/{id} (documented). That answer is newer,
// so it decides: the result is its active session, else the closed one created last, so that the final count stays
// visible. If the API says that the device has no sessions, the result is an inactive Session with everything else
// absent. Errors are as for Session.
//
// The API says that there is none by a 404 (inferred), which a gateway or a wrong address also gives. So a 404 counts
// only in the API's own words. Any other 404 on /active, or a 200 that says nothing, is followed by the list; for the
// list it is an error. There is no result from /active alone: the list may say that a session was started in between.
func (c *Client) DeviceSession(ctx context.Context, id Secret) (Session, error) {
	path := "/sessions/device/" + id.Reveal()
	found, err := c.newest(ctx, query{path: path + "/active", most: maxSession}, id)
	if found.Active || err != nil && !errors.Is(err, errForeign) && !errors.Is(err, errNoWord) {
		return found, err
	}
	return c.newest(ctx, query{path: path, most: maxList, further: true}, id)
}

// newest returns the active session of the answer to q, else the one created last; the zero Session if there is none.
// Only that one must be valid: an older session that lacks something does no harm.
func (c *Client) newest(ctx context.Context, q query, id Secret) (Session, error) {
	var found Session
	q.asked = id.Reveal()
	q.read = func(a answer) error {
		var best sessionRecord
		first := true
		n, err := a.each(func(object raw) error {
			r := readSession(object)
			if isAnother(r.device.unquote(), q.asked) {
				return invalid("the answer is about another device")
			}
			if first || r.supersedes(&best) {
				best, first = r, false // a copy, as a pointer would put each of perhaps 300,000 records on the heap
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case n == 0 && a.saysNone():
			return nil
		case n == 0:
			return errNoWord
		}
		found, err = c.session(&best, id)
		return err
	}
	err := c.get(ctx, q)
	return found, err
}

// session turns a record into a Session. id is what was asked for. Only active and passings are required, and passings
// must be a whole number that a float64 holds exactly.
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

// text returns a text of the API in a form that is safe to show: see printable. asked is the id that was asked for, own
// the token in the record; they are searched for only if they fit into the text.
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
