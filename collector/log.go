package collector

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"rufus_exporter/rufus"
)

// event is something to be logged that happened while the scheduler's lock was held.
type event struct {
	at     time.Time
	level  slog.Level
	msg    string
	name   string       // of the session, if it is about one
	reason rufus.Reason // why that fails; empty: it does not
	attr   slog.Attr
}

const (
	// eventsWithin is the time within which sessions that change alike have one line. It counts only while there is
	// always somebody who waits for an answer; the last of them logs what there is.
	eventsWithin = 10 * time.Second
	// maxNames bounds those in a line.
	maxNames = 10
)

// changeLocked notes when a resource begins to fail, changes its reason or can be read again.
func (s *scheduler) changeLocked(r *request) {
	resource := r.resource
	if r.reason == resource.reported || resource.name == "" {
		return
	}
	resource.reported = r.reason
	e := event{at: r.answer.At, name: resource.name, reason: r.reason}
	failing, readable := "cannot read session", "session readable again"
	if resource.isList() {
		e.name, failing, readable = "", "cannot read list of devices", "list of devices readable again"
	}
	if r.reason == "" {
		e.level, e.msg = slog.LevelInfo, readable
	} else {
		e.level, e.msg, e.attr = slog.LevelWarn, failing, slog.Any("err", r.answer.Err)
	}
	s.events = append(s.events, e)
}

// takeEventsLocked returns what is to be logged now.
func (s *scheduler) takeEventsLocked(now time.Time) []event {
	if s.fetches > 0 && (len(s.events) == 0 || now.Sub(s.events[0].at) < eventsWithin) {
		return nil
	}
	events := s.events
	s.events = nil
	return events
}

// log writes events. Those of sessions that changed alike have one line.
func (f *Fetcher) log(events []event) {
	for len(events) > 0 {
		first := events[0]
		var names []string
		events = slices.DeleteFunc(events, func(e event) bool {
			alike := e.msg == first.msg && e.reason == first.reason
			if alike {
				names = append(names, e.name)
			}
			return alike
		})
		var who slog.Attr
		switch {
		case len(names) > 1:
			slices.Sort(names)
			who = slog.Group("", slog.Int("sessions", len(names)), slog.Any("first", names[:min(len(names), maxNames)]))
		case first.name != "":
			who = slog.String("session", first.name)
		}
		f.logger.LogAttrs(context.Background(), first.level, first.msg, who, first.attr)
	}
}

// logAnswer writes each answer at debug level.
func (f *Fetcher) logAnswer(r *request) {
	what := slog.String("session", r.name)
	if r.resource.isList() {
		what = slog.String("list", r.name)
	}
	f.logger.LogAttrs(context.Background(), slog.LevelDebug, "fetched", what,
		slog.String("reason", string(r.reason)), slog.Duration("duration", r.answer.Duration))
}
