package rufus

import (
	"context"
	"math"
	"regexp"
	"strings"
	"time"
)

// Session is what a target's answer says about its session. All instants are of the API (documented as
// RFC 3339); what it left out, or gave in a form that would have to be guessed at, is absent.
type Session struct {
	Alias    string            // free text, may be empty or repeat between sessions (documented)
	Active   bool              // the session receives passings (documented)
	Passings Option[int64]     // raw detections, not participants (documented); absent: a device without session
	Created  Option[time.Time] // when the session was made (documented)
	Duration Option[time.Time] // an instant of undocumented meaning
	First    Option[time.Time] // first passing, by the device's clock (inferred)
	Last     Option[time.Time] // last passing, by the device's clock (inferred): may be in the future or old
}

// State returns the session of target: by its token, or whichever is active on its device.
func (c *Client) State(ctx context.Context, target Target) (Session, error) {
	if target.Follows == Device {
		return c.DeviceSession(ctx, target.ID)
	}
	return c.Session(ctx, target.ID)
}

var (
	errNoSession = &Error{Reason: NotFound, Detail: "the API knows no such session"}
	errForeign   = &Error{Reason: NotFound, Detail: "status 404, but not the API's own: is api.url right?"}
)

// Session asks for one session by its token: GET /sessions/{token} (documented). Errors are an *Error, or
// context.Canceled when ctx was cancelled.
func (c *Client) Session(ctx context.Context, token Secret) (Session, error) {
	var found Session
	err := c.get(ctx, query{
		path:    "/sessions/" + token.Reveal(),
		missing: errNoSession,
		read: func(body []byte) error {
			records, _, err := decode[sessionRecord](body)
			switch {
			case err != nil:
				return err
			case len(records) == 0:
				return errNoSession
			}
			for i := range records {
				if strings.EqualFold(string(records[i].Token), token.Reveal()) {
					found, err = c.session(&records[i], token)
					return err
				}
			}
			return invalid("the answer is about another session")
		},
	})
	return found, err
}

// DeviceSession asks for the session that is active on a device: GET /sessions/device/{id}/active. When none is
// (404, which is inferred, an empty result, or a result with active false), GET /sessions/device/{id} gives the
// newest closed one, so that its final count stays visible; a device without any session gives an inactive Session
// with everything else absent. Errors are as for Session.
func (c *Client) DeviceSession(ctx context.Context, id Secret) (Session, error) {
	path := "/sessions/device/" + id.Reveal()
	ask := c.sequence()
	newest, err := c.newest(ctx, ask, path+"/active", id)
	if err != nil || newest.Active {
		return newest, err
	}
	newest, err = c.newest(ctx, ask, path, id)
	// The list is asked for only because no session is active; where it claims otherwise, it was overtaken.
	newest.Active = false
	return newest, err
}

// newest returns the active session of the answer to path, else the one created last; the zero Session when there is
// none. Only that one needs to be valid: what older sessions lack does no harm.
func (c *Client) newest(ctx context.Context, ask getter, path string, id Secret) (Session, error) {
	var found Session
	err := ask(ctx, query{path: path, missing: errForeign, mayBeNone: true, read: func(body []byte) error {
		records, _, err := decode[sessionRecord](body)
		switch {
		case err != nil:
			return err
		case len(records) == 0 && saysNone(body):
			return nil
		case len(records) == 0:
			return invalid("the answer says nothing of sessions")
		}
		best := &records[0]
		for i := range records {
			if records[i].supersedes(best) {
				best = &records[i]
			}
		}
		found, err = c.session(best, id)
		return err
	}})
	return found, err
}

// session turns a record into a Session. id is what was asked for. The record must say what the exporter is for:
// whether it is active, and how many passings it has, as a whole number that a float64 holds exactly. The rest is
// optional.
func (c *Client) session(r *sessionRecord, id Secret) (Session, error) {
	active, ok := r.Active.Get()
	if !ok {
		return Session{}, invalid("active is missing or not a boolean")
	}
	passings, ok := r.Passings.Get()
	if !ok || passings < 0 || passings >= 1<<53 || passings != math.Trunc(passings) {
		return Session{}, invalid("passings is missing or not a count")
	}
	return Session{
		Alias:    c.redact(r.Alias, r.Token, text(id.Reveal())),
		Active:   active,
		Passings: Some(int64(passings)),
		Created:  r.Created.Option,
		Duration: r.Duration.Option,
		First:    r.First.Option,
		Last:     r.Last.Option,
	}, nil
}

// redact replaces the key and the given secrets in t, in whatever case, by "<secret>", and whatever else has the form
// of all documented tokens and ids: it may be another session's.
func (c *Client) redact(t text, secrets ...text) string {
	redacted := redact(string(t), c.key.Reveal())
	for _, secret := range secrets {
		redacted = redact(redacted, string(secret))
	}
	if len(redacted) < 64 {
		return redacted
	}
	return documentedForm.ReplaceAllString(redacted, masked)
}

var documentedForm = regexp.MustCompile(`[0-9A-Fa-f]{64}`)

func redact(text, secret string) string {
	if len(text) < len(secret) || secret == "" {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if end := i + len(secret); end <= len(text) && strings.EqualFold(text[i:end], secret) {
			b.WriteString(masked)
			i = end
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}
