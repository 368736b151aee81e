package collector_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

func TestAnswersOfUnchangedEntriesSurviveAReload(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply { return reply{session: counting(int64(r.of))} }, minInterval(time.Minute))
		s.fetch(s.Sessions(tokens("start", "turn", "finish")), time.Second)

		renamed := token("finish")
		renamed.Name, renamed.Labels = "finish-10k", map[string]string{"race": "city-run"}
		sessions := s.Sessions([]entry.Entry{renamed, token("start"), token("new")})
		s.sent()
		equal(t, "outcomes", s.fetch(sessions, time.Second).outcomes(), "finish-10k 1, start 1, new 1")
		equal(t, "requests", s.sent(), []string{"0s new"})

		// Removed sessions are forgotten: when they are added again, they are fetched again.
		sessions = s.Sessions(tokens("turn", "start"))
		equal(t, "outcomes", s.fetch(sessions, time.Second).outcomes(), "turn 2, start 1")
	})
}

// A scrape keeps its entries during a reload. Its answers about removed entries are not kept.
func TestAReloadDuringAScrape(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			return reply{after: 2 * time.Second, session: counting(int64(r.of))}
		}, minInterval(time.Minute))
		old := s.Sessions(tokens("kept", "removed"))
		scrape := s.start(old, 10*time.Second)
		time.Sleep(time.Second)
		s.Sessions(tokens("kept"))
		equal(t, "outcomes", (<-scrape).outcomes(), "kept 1, removed 1")

		back := s.Sessions(tokens("kept", "removed"))
		equal(t, "outcomes", s.fetch(back, 10*time.Second).outcomes(), "kept 1, removed 2")
	})
}

// After a failure that a scrape joined, there is a second request, even if its entry has been removed.
func TestAReloadDuringAJoinedFailure(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.nth == 1 {
				return reply{after: 3 * time.Second, err: failure(rufus.Network)}
			}
			return reply{session: counting(31)}
		})
		old := s.Sessions(tokens("removed"))
		first := s.start(old, 10*time.Second)
		time.Sleep(time.Second)
		joined := s.start(old, 10*time.Second)
		time.Sleep(time.Second)
		s.Sessions(tokens("kept"))
		equal(t, "who was first", (<-first).outcomes(), "removed network")
		equal(t, "who joined", (<-joined).outcomes(), "removed 31")
	})
}

// Requests before and after a reload share the limit.
func TestAReloadKeepsTheLimit(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, session: counting(1)}), width(2))
		before := s.start(s.Sessions(tokens("a", "b", "c", "d")), 10*time.Second)
		after := s.start(s.Sessions(tokens("c", "d", "e", "f")), 10*time.Second)
		equal(t, "outcomes", (<-before).outcomes(), "a 1, b 1, c 1, d 1")
		equal(t, "outcomes", (<-after).outcomes(), "c 1, d 1, e 1, f 1")
		equal(t, "most in flight", s.peak, 2)
		equal(t, "requests", len(s.sent()), 6)
	})
}

// replaced returns s with a new Fetcher that replaces the previous one, as after a reload that changes the api section.
func (s stand) replaced(limit int) stand {
	s.Fetcher = collector.NewFetcher(collector.Options{
		Source: s.api, MaxConcurrentRequests: limit, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Replaces: s.Fetcher,
	})
	return s
}

// The limit is for the whole process: requests of replaced Fetchers count until they end.
func TestOneLimitForAllFetchers(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: 5 * time.Second, session: counting(1)}), width(8))
		var scrapes []<-chan fetched
		for range 20 {
			scrapes = append(scrapes, s.start(s.Sessions(tokens("a", "b", "c", "d", "e", "f", "g", "h")), time.Hour))
			time.Sleep(200 * time.Millisecond)
			s = s.replaced(8)
		}
		for _, scrape := range scrapes {
			equal(t, "right", (<-scrape).count("1"), 8)
		}
		equal(t, "most in flight", s.peak, 8)
		equal(t, "requests", len(s.sent()), 160)
	})
}

// A new limit applies immediately, before anybody asks again: a higher one to queued requests, a lower one as soon as
// enough requests have ended.
func TestANewLimit(t *testing.T) {
	for _, test := range []struct {
		before, after int
		sent          string // by the scrape before the reload, and by one a second later
	}{
		{1, 3, "0s 1s 1s 2s 3s 3s 4s 5s"},
		{4, 1, "0s 0s 0s 0s 2s 4s 6s 8s"},
	} {
		inFakeTime(t, func(t *testing.T) {
			s := newStand(every(reply{after: 2 * time.Second, session: counting(1)}), width(test.before))
			before := s.start(s.Sessions(tokens("a", "b", "c", "d")), time.Minute)
			time.Sleep(time.Second)
			s = s.replaced(test.after)
			time.Sleep(time.Second / 2)
			after := s.start(s.Sessions(tokens("a", "b", "c", "d")), time.Minute)
			equal(t, "outcomes", (<-before).outcomes(), "a 1, b 1, c 1, d 1")
			equal(t, "outcomes", (<-after).outcomes(), "a 1, b 1, c 1, d 1")
			equal(t, "requests", times(s.sent()), test.sent)
		})
	}
}

// A wait that one API asked for does not delay requests to another API.
func TestAWaitOfAReplacedFetcher(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.nth <= 2 {
				return reply{after: time.Second, err: wait(time.Minute)}
			}
			return reply{after: time.Second, session: counting(1)}
		}, width(2))
		before := s.start(s.Sessions(tokens("a", "b", "c", "d")), time.Minute)
		s = s.replaced(2)
		after := s.start(s.Sessions(tokens("a", "b", "c", "d")), time.Minute)
		equal(t, "told to wait", (<-before).count("rate_limited"), 3)
		equal(t, "outcomes", (<-after).outcomes(), "a 1, b 1, c 1, d 1")
		equal(t, "the account's wait", s.BackoffUntil(), rufus.Option[time.Time]{})
	})
}

// The log reports when an entry starts to fail, fails for another reason and recovers, and nothing else.
func TestTheLogHasWhatChanges(t *testing.T) {
	failing := func(reason string) []string {
		return []string{`level=WARN msg="cannot read session" session=finish err="` + reason + `: as the test said"`}
	}
	works := []string{`level=INFO msg="session readable again" session=finish`}
	inFakeTime(t, func(t *testing.T) {
		var answer reply
		s := newStand(func(r request) reply {
			if r.name == "good" {
				return reply{session: counting(1)}
			}
			return answer
		})
		sessions := s.Sessions(tokens("good", "finish"))
		for _, step := range []struct {
			what   string
			answer reply
			log    []string
		}{
			{"works from the start", reply{session: counting(1)}, []string{}},
			{"begins to fail", reply{err: failure(rufus.NotFound)}, failing("not_found")},
			{"still fails", reply{err: failure(rufus.NotFound)}, []string{}},
			{"fails otherwise", reply{err: failure(rufus.Network)}, failing("network")},
			{"recovers", reply{session: counting(1)}, works},
			{"still works", reply{session: counting(1)}, []string{}},
			{"fails again", reply{err: failure(rufus.Network)}, failing("network")},
		} {
			answer = step.answer
			s.fetch(sessions, time.Second)
			equal(t, step.what, s.log.Lines(), step.log)
		}

		// A reload only forgets what was logged about removed entries.
		s.fetch(s.Sessions(tokens("finish")), time.Second)
		equal(t, "an entry that stayed", s.log.Lines(), []string{})
		again := s.Sessions(tokens("finish"))
		answer = reply{session: counting(1)}
		s.fetch(again, time.Second)
		equal(t, "one that recovers after a reload", s.log.Lines(), works)
		answer = reply{err: failure(rufus.Network)}
		s.fetch(again, time.Second)
		equal(t, "and fails again", s.log.Lines(), failing("network"))
		s.Sessions(tokens("good"))
		s.fetch(s.Sessions(tokens("finish")), time.Second)
		equal(t, "an entry that went and came", s.log.Lines(), failing("network"))
	})
}

func TestEveryAnswerIsLoggedAtDebug(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.of > 1 {
				return reply{after: time.Second, err: failure(rufus.Timeout)}
			}
			return reply{after: 50 * time.Millisecond, session: counting(1)}
		}, deviceMetrics)
		s.level.Set(slog.LevelDebug)
		sessions := s.Sessions([]entry.Entry{device("finish")})
		s.fetch(sessions, time.Second)
		time.Sleep(time.Minute)
		s.fetch(sessions, 10*time.Second)
		log := strings.Join(s.log.Lines(), "\n")
		for _, line := range []string{
			`level=DEBUG msg=fetched session=finish reason="" duration=50ms`,
			`level=DEBUG msg=fetched session=finish reason=timeout duration=1s`,
			`level=DEBUG msg=fetched list=devices reason="" duration=50ms`,
			`level=DEBUG msg=fetched list=devices reason=timeout duration=1s`,
			`level=WARN msg="cannot read list of devices" err="timeout: as the test said"`,
		} {
			if strings.Count(log+"\n", line+"\n") != 1 {
				t.Errorf("not once in the log:\n%s\nin:\n%s", line, log)
			}
		}
		if strings.Contains(log, secretPrefix) {
			t.Error("the log holds a secret:\n", log)
		}
	})
}

// A request that its client cancelled before it was sent leaves no trace, even with a reload in between.
func TestNothingStaysOfAnAbandonedQueue(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: 3 * time.Second, session: counting(1)}), width(1))
		busy := s.start(s.Sessions(tokens("busy")), 10*time.Second)
		sessions := s.Sessions(tokens("a", "b", "c"))
		for range 10 {
			ctx, hangUp := context.WithCancel(context.Background())
			go s.fetchUntil(ctx, sessions)
			synctest.Wait()
			hangUp()
		}
		<-busy
		time.Sleep(time.Minute)
		equal(t, "requests", s.sent(), []string{"0s busy"})
		equal(t, "log", s.log.Lines(), []string{})
	})
}
