package collector_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/state"
	"rufus_exporter/window"
)

// states returns how each entry is, in words.
func states(s *collector.Sessions) string {
	text := ""
	for i, seen := range s.States(time.Now()) {
		text += fmt.Sprintf("%s %s, ", s.Entries()[i].Name, seen.Word)
	}
	return text
}

// turning is an API whose sessions are what a test says now.
type turning struct {
	session rufus.Session
	err     error
}

func (a *turning) say(request) reply { return reply{session: a.session, err: a.err} }

// A scrape, a probe and a page see alike: whoever looked, the same is known.
func TestWhoeverLooks(t *testing.T) {
	long := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), time.Minute)
	}
	for who, look := range map[string]func(s *collector.Sessions){
		"scrape": func(s *collector.Sessions) {
			ctx, cancel := long()
			defer cancel()
			_, _ = s.Gatherer(ctx).Gather()
		},
		"probe": func(s *collector.Sessions) {
			ctx, cancel := long()
			defer cancel()
			one, _ := s.Only("mat")
			one.Fetch(ctx, 0)
		},
		"page": func(s *collector.Sessions) {
			ctx, cancel := long()
			defer cancel()
			s.Newest(ctx, 0)
		},
	} {
		inFakeTime(t, func(t *testing.T) {
			mat := token("mat")
			mat.SilentAfter = time.Minute
			now := &turning{session: counting(7)}
			sessions := newStand(now.say).Sessions([]entry.Entry{mat})
			equal(t, who+": before", states(sessions), "mat failing, ")
			look(sessions)
			equal(t, who+": counts", states(sessions), "mat ok, ")
			time.Sleep(time.Minute)
			look(sessions)
			equal(t, who+": silent", states(sessions), "mat silent, ")
			now.session.Active = false
			time.Sleep(time.Second)
			look(sessions)
			time.Sleep(time.Minute)
			look(sessions)
			equal(t, who+": closed", states(sessions), "mat closed, ")
			now.err = failure(rufus.Network)
			time.Sleep(time.Hour)
			look(sessions)
			seen := sessions.States(time.Now())[0]
			passings, _ := seen.Memory.Count()
			equal(t, who+": fails", fmt.Sprintln(seen.Word, passings, !seen.Recovers), "failing 7 true\n")
		})
	}
}

// What a page did not wait for is no failure. For a scrape it is one, as for Prometheus.
func TestLookingAwayIsNoFailure(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		slow := false
		s := newStand(func(request) reply {
			if slow {
				return reply{after: time.Minute, session: counting(7)}
			}
			return reply{session: counting(7)}
		})
		sessions := s.Sessions(tokens("mat", "new")[:1])
		s.fetch(sessions, time.Second)
		equal(t, "answered", sessions.Answered(), true)
		slow = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		sessions.Newest(ctx, 0)
		equal(t, "after a page", states(sessions), "mat ok, ")
		s.fetch(sessions, time.Second)
		equal(t, "after a scrape", states(sessions), "mat failing, ")

		sessions = s.Sessions(tokens("mat", "new"))
		equal(t, "answered about one of two", sessions.Answered(), false)
	})
}

// A page that goes before there is any answer has read nothing. A scrape that does has read that there is none, also of
// a session for which no request could be sent.
func TestNoAnswerYet(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(request) reply { return reply{after: time.Minute} }, func(o *collector.Options) { o.MaxConcurrentRequests = 1 })
		sessions := s.Sessions(tokens("asked", "queued"))
		known := func() (all []bool) {
			for _, seen := range sessions.States(time.Now()) {
				all = append(all, !seen.Since.IsZero())
			}
			return all
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		sessions.Newest(ctx, 0)
		equal(t, "since when, after a page", known(), []bool{false, false})
		time.Sleep(5 * time.Minute)
		s.fetch(sessions, time.Second)
		equal(t, "since when, after a scrape", known(), []bool{true, true})
	})
}

// The times of a session tell that it was in use before the exporter looked.
func TestTimesOfTheSession(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		now := time.Now()
		s := newStand(func(r request) reply {
			session := rufus.Session{Passings: rufus.Some(int64(7))}
			switch r.name {
			case "last":
				session.Last = rufus.Some(now.Add(-time.Minute))
			case "created":
				session.Created = rufus.Some(now.Add(-time.Hour))
			}
			return reply{session: session}
		})
		entries := tokens("last", "created", "neither")
		for i := range entries {
			entries[i].Expected = []window.Window{{From: now.Add(-time.Hour), Until: now.Add(time.Hour)}}
		}
		sessions := s.Sessions(entries)
		s.fetch(sessions, time.Second)
		equal(t, "states", states(sessions), "last closed, created closed, neither not started, ")
	})
}

// Reloads keep what was seen of a session, also when its box, its token or the way to the API is another. What was taken
// out is forgotten.
func TestMemoriesSurviveAReload(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		mat := func(target string, labels map[string]string) entry.Entry {
			e := token(target)
			e.Name, e.Labels, e.SilentAfter = "mat", labels, time.Minute
			return e
		}
		now := &turning{session: counting(7)}
		s := newStand(now.say)
		race := map[string]string{"race": "5k"}
		sessions := s.Sessions([]entry.Entry{mat("first", race)})
		s.fetch(sessions, time.Second)
		time.Sleep(time.Minute)

		sessions = s.Sessions([]entry.Entry{mat("spare", race)})
		s.fetch(sessions, time.Second)
		equal(t, "another box", states(sessions), "mat silent, ")

		other := collector.NewFetcher(collector.Options{
			Source: s.api, MaxConcurrentRequests: 8, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Replaces: s.Fetcher,
		})
		sessions = other.Sessions([]entry.Entry{mat("first", race)})
		equal(t, "another way to the API", states(sessions), "mat silent, ")

		equal(t, "another race", states(other.Sessions([]entry.Entry{mat("first", nil)})), "mat failing, ")
		equal(t, "a page that began before", states(sessions), "mat failing, ")
		equal(t, "taken out and put back", states(other.Sessions([]entry.Entry{mat("first", race)})), "mat failing, ")
	})
}

// A mat without a window that is not started is worth a word only while another mat of its race counts.
func TestTheRaceCounts(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var passings int64
		s := newStand(func(r request) reply {
			if r.name == "counts" {
				return reply{session: counting(passings)}
			}
			return reply{}
		})
		entries := tokens("counts", "same race", "other race")
		entries[0].Labels = map[string]string{"race": "5k"}
		entries[1].Labels = map[string]string{"race": "5k"}
		sessions := s.Sessions(entries)
		for range 5 {
			s.fetch(sessions, time.Second)
			passings += 5
			time.Sleep(15 * time.Second)
		}
		equal(t, "states", states(sessions), "counts ok, same race not started, other race waiting, ")
		equal(t, "its plan", sessions.States(time.Now())[1].Plan, state.Plan{RaceCounts: true, RaceSteady: time.Minute})
		equal(t, "plan of the one that counts", sessions.States(time.Now())[0].Plan, state.Plan{RaceSteady: time.Minute})
	})
}

// A mat without a window that never counts is worth a word when its race has counted for three hours without a pause,
// whichever mats did.
func TestTheRaceIsSteady(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var began time.Time
		passings := func(from, to time.Duration) reply { // one every 14 minutes
			after := min(time.Since(began), to) - from
			return reply{session: counting(int64(max(0, after/(14*time.Minute))))}
		}
		s := newStand(func(r request) reply {
			switch r.name {
			case "early":
				return passings(0, 90*time.Minute)
			case "late":
				return passings(80*time.Minute, 4*time.Hour)
			}
			return reply{session: counting(0)}
		})
		entries := tokens("early", "late", "idle", "other race")
		for i := range 3 {
			entries[i].Labels = map[string]string{"race": "5k"}
		}
		sessions := s.Sessions(entries)
		began = time.Now()
		for _, step := range []struct {
			until time.Duration
			want  string
		}{
			{3*time.Hour + 13*time.Minute, "early ok, late ok, idle ok, other race ok, "},
			{3*time.Hour + 14*time.Minute, "early ok, late ok, idle silent, other race ok, "},
			{4*time.Hour + 20*time.Minute, "early ok, late ok, idle ok, other race ok, "},
		} {
			for ; time.Since(began) < step.until; time.Sleep(time.Minute) {
				s.fetch(sessions, time.Second)
			}
			s.fetch(sessions, time.Second)
			equal(t, step.until.String(), states(sessions), step.want)
		}
	})
}
