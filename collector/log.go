package collector

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// event is a log entry that was created while the scheduler's lock was held.
type event struct {
	at    time.Time
	kind  string             // events of the same kind share one line
	name  string             // of the session, if the event is about one
	write func(of slog.Attr) // logs the line, with an attribute for the sessions
}

const (
	// eventsWithin is how long events wait for the last fetch in progress. Then sessions that change in the same way in
	// overlapping fetches share one line.
	eventsWithin = 10 * time.Second
	// maxNames is the maximum number of names in a line.
	maxNames = 10
)

// changeLocked adds an event when a resource starts to fail, fails for another reason or can be read again, and when
// other members of its answer are unreadable than before.
func (s *scheduler) changeLocked(r *request) {
	resource := r.resource
	logger, err := resource.fetcher.logger, r.answer.Err
	fields := r.answer.Session.Unreadable
	if resource.isList() {
		fields = r.answer.devices.Unreadable()
	}
	if fields != "" && fields != resource.unreadable && resource.name != "" {
		resource.unreadable = fields
		e := event{at: r.answer.At, kind: "unreadable " + fields, name: resource.name}
		e.write = func(of slog.Attr) {
			logger.Warn("cannot read time stamps of session", of, slog.String("fields", fields))
		}
		if resource.isList() {
			e.kind = "unreadable in list"
			e.write = func(slog.Attr) { logger.Warn("cannot read time stamps in list of devices", "fields", fields) }
		}
		s.events = append(s.events, e)
	}
	if r.reason == resource.reported || resource.name == "" {
		return
	}
	resource.reported = r.reason
	e := event{at: r.answer.At, kind: string(r.reason), name: resource.name}
	switch {
	case resource.isList() && err != nil:
		e.kind, e.write = "list", func(slog.Attr) { logger.Warn("cannot read list of devices", "err", err) }
	case resource.isList():
		e.kind, e.write = "list readable", func(slog.Attr) { logger.Info("list of devices readable again") }
	case err != nil:
		e.write = func(of slog.Attr) { logger.Warn("cannot read session", of, slog.Any("err", err)) }
	default:
		e.write = func(of slog.Attr) { logger.Info("session readable again", of) }
	}
	s.events = append(s.events, e)
}

// takeEventsLocked returns and removes the events that must be logged now.
func (s *scheduler) takeEventsLocked(now time.Time) []event {
	if s.fetches > 0 && (len(s.events) == 0 || now.Sub(s.events[0].at) < eventsWithin) {
		return nil
	}
	events := s.events
	s.events = nil
	return events
}

// log logs events, one line for each kind.
func log(events []event) {
	for len(events) > 0 {
		first := events[0]
		var names []string
		events = slices.DeleteFunc(events, func(e event) bool {
			alike := e.kind == first.kind
			if alike {
				names = append(names, e.name)
			}
			return alike
		})
		of := slog.String("session", first.name)
		if len(names) > 1 {
			slices.Sort(names)
			of = slog.Group("", slog.Int("sessions", len(names)), slog.Any("first", names[:min(len(names), maxNames)]))
		}
		first.write(of)
	}
}

// logAnswer logs an answer at debug level.
func (f *Fetcher) logAnswer(r *request) {
	what := slog.String("session", r.name)
	if r.resource.isList() {
		what = slog.String("list", r.name)
	}
	f.logger.LogAttrs(context.Background(), slog.LevelDebug, "fetched", what,
		slog.String("reason", string(r.reason)), slog.Duration("duration", r.answer.Duration))
}
