package rufus

import (
	"context"
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

// Session asks for one session by its token: GET /sessions/{token} (documented). Errors are an *Error, or
// context.Canceled when ctx was cancelled.
func (c *Client) Session(ctx context.Context, token Secret) (Session, error) {
	var found *sessionRecord
	err := c.get(ctx, "/sessions/"+token.Reveal(), func(body []byte) error {
		records, err := decode[sessionRecord](body)
		if err != nil {
			return err
		}
		if len(records.result) == 0 {
			return &Error{Reason: NotFound, Detail: "the API knows no such session"}
		}
		for i := range records.result {
			if strings.EqualFold(records.result[i].Token, token.Reveal()) {
				found = &records.result[i]
				return found.validate()
			}
		}
		return invalid("the answer is about another session")
	})
	if err != nil {
		return Session{}, err
	}
	return c.session(found, token), nil
}

// DeviceSession asks for the session that is active on a device: GET /sessions/device/{id}/active. When none is
// (404, which is inferred, an empty result, or a result with active false), GET /sessions/device/{id} gives the
// newest closed one, so that its final count stays visible; a device without any session gives an inactive Session
// with everything else absent. Errors are as for Session.
func (c *Client) DeviceSession(ctx context.Context, id Secret) (Session, error) {
	path := "/sessions/device/" + id.Reveal()
	newest, err := c.newest(ctx, path+"/active")
	if err != nil {
		return Session{}, err
	}
	if newest == nil || !*newest.Active {
		if newest, err = c.newest(ctx, path); err != nil {
			return Session{}, err
		}
		if newest == nil {
			return Session{}, nil
		}
		// The list is asked for only because no session is active; where it claims otherwise, it was overtaken.
		*newest.Active = false
	}
	return c.session(newest, id), nil
}

// newest returns the active record of the answer to path, else the one created last; nil when there is none.
func (c *Client) newest(ctx context.Context, path string) (*sessionRecord, error) {
	var best *sessionRecord
	err := c.get(ctx, path, func(body []byte) error {
		records, err := decode[sessionRecord](body)
		if err != nil {
			return err
		}
		for i := range records.result {
			candidate := &records.result[i]
			if err := candidate.validate(); err != nil {
				return err
			}
			if best == nil || candidate.supersedes(best) {
				best = candidate
			}
		}
		return nil
	})
	return best, err
}

// session turns a valid record into a Session. id is what was asked for: an alias that repeats a secret does not
// carry it further.
func (c *Client) session(r *sessionRecord, id Secret) Session {
	alias := r.Alias.value
	for _, secret := range []string{c.key.Reveal(), id.Reveal(), r.Token} {
		alias = redact(alias, secret)
	}
	return Session{
		Alias:    alias,
		Active:   *r.Active,
		Passings: Some(int64(*r.Passings)),
		Created:  r.Created.option(),
		Duration: r.Duration.option(),
		First:    r.First.option(),
		Last:     r.Last.option(),
	}
}

// redact replaces every occurrence of secret in text, in whatever case, by "<secret>".
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
