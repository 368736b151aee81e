package collector_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/rufus"
)

func TestOverlappingScrapesShareEachRequest(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply { return reply{after: 2 * time.Second, session: counting(int64(r.of))} })
		sessions := s.Sessions(tokens("start", "finish"))

		first := s.start(sessions, 10*time.Second)
		time.Sleep(time.Second)
		second := s.fetch(sessions, 10*time.Second)

		for _, scrape := range []fetched{<-first, second} {
			equal(t, "outcomes", scrape.outcomes(), "start 1, finish 1")
			equal(t, "the scrape's end", scrape.at, 2*time.Second)
			equal(t, "duration of the request", scrape.Statuses[0].Duration, 2*time.Second)
		}
		equal(t, "requests", len(s.sent()), 2)

		// An answer is not shared afterwards: without a minimum interval, the next scrape sends a new request.
		equal(t, "outcomes", s.fetch(sessions, 10*time.Second).outcomes(), "start 2, finish 2")
	})
}

func TestAProbeSharesTheRequestOfAScrape(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: 2 * time.Second, session: counting(7)}))
		sessions := s.Sessions(tokens("start", "finish"))
		finish, ok := sessions.Only("finish")
		if !ok {
			t.Fatal("finish is not configured")
		}

		scrape := s.start(sessions, 10*time.Second)
		time.Sleep(time.Second)
		probe := s.fetch(finish, 10*time.Second)
		<-scrape
		equal(t, "outcome of the probe", probe.outcomes(), "finish 7")
		equal(t, "requests", len(s.sent()), 2)
	})
}

func TestEachScrapeWaitsToItsOwnDeadline(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: 4 * time.Second, session: counting(31)}))
		sessions := s.Sessions(tokens("finish"))

		patient := s.start(sessions, 10*time.Second)
		hasty := s.fetch(sessions, time.Second)
		equal(t, "outcome of the hasty scrape", hasty.outcomes(), "finish timeout")
		equal(t, "its end", hasty.at, time.Second)
		equal(t, "its error", hasty.Statuses[0].Err.Error(), "timeout: no answer before the scrape's deadline")
		equal(t, "the request's duration so far", hasty.Statuses[0].Duration, time.Second)
		equal(t, "when it was looked at", hasty.Statuses[0].At, time.Now())

		answered := <-patient
		equal(t, "outcome of the patient scrape", answered.outcomes(), "finish 31")
		equal(t, "its end", answered.at, 4*time.Second)
	})
}

func TestOneSlowSessionDoesNotHoldBackTheOthers(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.name == "slow" {
				return reply{after: time.Minute, session: counting(1)}
			}
			return reply{after: 50 * time.Millisecond, session: counting(2)}
		}, width(2))
		scrape := s.fetch(s.Sessions(tokens("start", "slow", "turn", "finish")), 9500*time.Millisecond)
		equal(t, "outcomes", scrape.outcomes(), "start 2, slow timeout, turn 2, finish 2")
		equal(t, "the scrape's end", scrape.at, 9500*time.Millisecond)
	})
}

// A queued request is dropped at its turn if nobody waits for it any more. If somebody waits, it is sent.
func TestWhatNobodyWaitsForIsNotSent(t *testing.T) {
	for _, test := range []struct {
		what  string
		limit time.Duration // of a second scrape that joins the queued request
		sent  []string
	}{
		{"its last waiter left too", 2 * time.Second, []string{"0s first"}},
		{"another still waits", 10 * time.Second, []string{"0s first", "3s queued"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(every(reply{after: 3 * time.Second, session: counting(1)}), width(1))
				sessions := s.Sessions(tokens("first", "queued"))
				first, _ := sessions.Only("first")
				queued, _ := sessions.Only("queued")

				s.start(first, 10*time.Second)
				hasty, other := s.start(queued, time.Second), s.start(queued, test.limit)
				left := <-hasty
				equal(t, "outcome", left.outcomes(), "queued timeout")
				equal(t, "error", left.Statuses[0].Err.Error(), "timeout: no request could be sent in time")
				equal(t, "duration", left.Statuses[0].Duration, 0)
				equal(t, "no request was made", left.Statuses[0].At.IsZero(), true)
				<-other
				time.Sleep(time.Minute)
				equal(t, "requests", s.sent(), test.sent)
			})
		})
	}
}

// A client that hangs up harms nobody. Its requests that were sent run to their end and serve the next scrape. Those
// that were not sent are dropped. Neither the log nor the next scrape shows any trace of it.
func TestAClientThatHangsUp(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: 2 * time.Second, session: counting(31)}), width(1), minInterval(10*time.Second))
		sessions := s.Sessions(tokens("start", "finish"))
		finish, _ := sessions.Only("finish")

		ctx, hangUp := context.WithCancel(context.Background())
		gone := make(chan fetched)
		go func() { gone <- s.fetchUntil(ctx, finish) }()
		synctest.Wait()
		go func() { gone <- s.fetchUntil(ctx, sessions) }()
		synctest.Wait()
		hangUp()
		equal(t, "both end at once", max((<-gone).at, (<-gone).at), 0)

		time.Sleep(3 * time.Second)
		equal(t, "requests", s.sent(), []string{"0s finish"})
		equal(t, "log", s.log.Lines(), []string{})

		next := s.fetch(finish, 10*time.Second)
		equal(t, "outcome", next.outcomes(), "finish 31")
		equal(t, "requests", len(s.sent()), 0)
	})
}

// Nor do its sessions come first in the next scrape: only sessions that missed a deadline do.
func TestAClientThatHangsUpGivesNobodyPrecedence(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, session: counting(1)}), width(1))
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("%02d", i))
		}
		sessions := s.Sessions(tokens(names...))
		one := func(name string) *collector.Sessions {
			probe, _ := sessions.Only(name)
			return probe
		}
		busy := s.start(one(names[0]), 10*time.Second)
		ctx, hangUp := context.WithCancel(context.Background())
		for _, name := range names[1:11] {
			go s.fetchUntil(ctx, one(name))
		}
		synctest.Wait()
		hangUp()
		<-busy

		s.fetch(sessions, time.Minute)
		first := s.sent()[1:11]
		for _, line := range first {
			if _, name, _ := strings.Cut(line, " "); name == names[0] || name > names[10] {
				return
			}
		}
		t.Error("the client's sessions came first:", first) // by chance once in 180,000 times
	})
}

// An answer that arrives exactly at the deadline is either used or not. Both are fine.
func TestAnswersAtTheDeadline(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, session: counting(1)}), width(100))
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprint(i))
		}
		sessions := s.Sessions(tokens(names...))
		for range 20 {
			scrape := s.fetch(sessions, time.Second)
			equal(t, "right or timeout", scrape.count("1")+scrape.count("timeout"), 50)
			time.Sleep(time.Second)
		}
	})
}

// If a fetch joins a request that was sent before, and that request fails, the fetch sends another one: the failure may
// be older than the fetch.
func TestAJoinedFailureIsAskedOnceMore(t *testing.T) {
	down, busy := reply{after: 2 * time.Second, err: failure(rufus.Network)}, reply{err: failure(rufus.ServerError)}
	tests := []struct {
		what          string
		replies       []reply // the answers to the requests, in order; a further request would panic
		joins         time.Duration
		limit         time.Duration // of the fetch that joins
		first, second string
		sent          []string
	}{
		{
			what: "and succeeds", replies: []reply{down, {after: time.Second, session: counting(31)}},
			joins: time.Second, limit: 10 * time.Second,
			first: "finish network", second: "finish 31",
			sent: []string{"0s finish", "2s finish"},
		}, {
			what: "and fails, which is enough", replies: []reply{down, busy},
			joins: time.Second, limit: 10 * time.Second,
			first: "finish network", second: "finish server_error",
			sent: []string{"0s finish", "2s finish"},
		}, {
			what: "but not to its deadline", replies: []reply{down, {after: 4 * time.Second, session: counting(31)}},
			joins: time.Second, limit: 3 * time.Second,
			first: "finish network", second: "finish timeout",
			sent: []string{"0s finish", "2s finish"},
		}, {
			what: "not after its deadline", replies: []reply{down},
			joins: time.Second, limit: 500 * time.Millisecond,
			first: "finish network", second: "finish timeout",
			sent: []string{"0s finish"},
		}, {
			what: "not when the API asked to wait", replies: []reply{{after: 2 * time.Second, err: wait(time.Minute)}},
			joins: time.Second, limit: 10 * time.Second,
			first: "finish rate_limited", second: "finish rate_limited",
			sent: []string{"0s finish"},
		}, {
			what: "not after a success", replies: []reply{{after: 2 * time.Second, session: counting(31)}},
			joins: time.Second, limit: 10 * time.Second,
			first: "finish 31", second: "finish 31",
			sent: []string{"0s finish"},
		},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(func(r request) reply { return test.replies[r.nth-1] })
				sessions := s.Sessions(tokens("finish"))

				first := s.start(sessions, 10*time.Second)
				time.Sleep(test.joins)
				second := s.fetch(sessions, test.limit)
				equal(t, "who was first", (<-first).outcomes(), test.first)
				equal(t, "who joined", second.outcomes(), test.second)
				time.Sleep(time.Minute)
				equal(t, "requests", s.sent(), test.sent)
			})
		})
	}
}

// All fetches that joined a failed request share one more request, and use its answer.
func TestJoinedFailuresShareTheSecondRequest(t *testing.T) {
	for _, second := range []struct {
		reply   reply
		outcome string
	}{
		{reply{after: time.Second, session: counting(2)}, "finish 2"},
		{reply{after: time.Second, err: failure(rufus.ServerError)}, "finish server_error"},
		{reply{err: failure(rufus.ServerError)}, "finish server_error"}, // arrives before some of them have seen the first answer
	} {
		inFakeTime(t, func(t *testing.T) {
			replies := []reply{{after: 2 * time.Second, err: failure(rufus.Timeout)}, second.reply}
			s := newStand(func(r request) reply { return replies[r.nth-1] })
			sessions := s.Sessions(tokens("finish"))
			s.start(sessions, 10*time.Second)
			time.Sleep(time.Second)
			var joined []<-chan fetched
			for range 50 {
				joined = append(joined, s.start(sessions, 10*time.Second))
			}
			for _, scrape := range joined {
				equal(t, "outcome", (<-scrape).outcomes(), second.outcome)
			}
			equal(t, "requests", s.sent(), []string{"0s finish", "2s finish"})
		})
	}
}

// A fetch that joined while the request was still queued uses its failure, which is newer than the fetch.
func TestAFailureYoungerThanTheQuestionIsNotAskedAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, err: failure(rufus.ServerError)}), width(1))
		sessions := s.Sessions(tokens("first", "queued"))
		first, _ := sessions.Only("first")
		queued, _ := sessions.Only("queued")
		s.start(first, 10*time.Second)
		s.start(queued, 10*time.Second)
		equal(t, "outcome", s.fetch(queued, 10*time.Second).outcomes(), "queued server_error")
		time.Sleep(time.Minute)
		equal(t, "requests", s.sent(), []string{"0s first", "1s queued"})
	})
}

func TestNeverMoreInFlightThanTheLimit(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			return reply{after: time.Duration(100+r.nth%7) * time.Millisecond, session: counting(1)}
		}, width(4), deviceMetrics)
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprint("mat-", i))
		}
		sessions := s.Sessions(append(tokens(names...), device("followed")))
		probe, _ := sessions.Only("followed")

		var all []<-chan fetched
		for range 5 {
			all = append(all, s.start(sessions, time.Minute), s.start(probe, time.Minute))
			time.Sleep(300 * time.Millisecond)
		}
		for _, scrape := range all {
			if outcomes := (<-scrape).outcomes(); strings.Contains(outcomes, "timeout") {
				t.Error(outcomes)
			}
		}
		equal(t, "most in flight", s.peak, 4)
	})
}

// Two concurrent requests of one second each, in 2.5 s: six of twelve sessions are requested, the last two of them too
// late. Those that were not requested come first in the next scrape, so that all get their turn. The log says once what
// to do.
func TestEverySessionHasItsTurnWhenTimeIsShort(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, session: counting(1)}), width(2))
		names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
		sessions := s.Sessions(tokens(names...))
		answered := map[string]bool{}
		for round := range 50 {
			for range 2 {
				for _, status := range s.fetch(sessions, 2500*time.Millisecond).Statuses {
					if status.Err == nil {
						answered[status.Entry.Name] = true
					}
				}
				time.Sleep(12500 * time.Millisecond)
			}
			asked := map[string]bool{}
			for _, line := range s.sent() {
				_, name, _ := strings.Cut(line, " ")
				asked[name] = true
			}
			equal(t, fmt.Sprint("asked in two scrapes, round ", round), slices.Sorted(maps.Keys(asked)), names)
		}
		equal(t, "answered in time", slices.Sorted(maps.Keys(answered)), names)
		equal(t, "log", s.log.Lines(), []string{"level=WARN msg=\"not all sessions can be fetched before the scrape's " +
			"deadline: raise the scrape timeout or api.max_concurrent_requests, or spread the sessions over more " +
			"targets\" missed=6"})

		s.Sessions(tokens(names...)) // after a reload the warning is logged again if nothing has improved
		s.fetch(sessions, 2500*time.Millisecond)
		equal(t, "lines after a reload", len(s.log.Lines()), 1)
	})
}

// Sessions that were never requested start in random order, so that the deadline does not always cut off the end of the
// file.
func TestTheFirstOrderIsRandom(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprint(i))
		}
		order := func() []string {
			s := newStand(every(reply{session: counting(1)}), width(1))
			s.fetch(s.Sessions(tokens(names...)), time.Second)
			return s.sent()
		}
		if first := order(); slices.Equal(first, order()) { // once in 20! times
			t.Error("twice the same order:", first)
		}
	})
}

func TestReportsAreInTheOrderOfTheFile(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			return reply{after: time.Duration(r.nth*7919%11) * time.Second, session: counting(1)}
		})
		sessions := s.Sessions(append(tokens("z", "m", "a", "k"), device("y"), device("b")))
		equal(t, "outcomes", s.fetch(sessions, time.Minute).outcomes(), "z 1, m 1, a 1, k 1, y 1, b 1")
	})
}

// min_interval reuses successes that are younger, and nothing else.
func TestReuse(t *testing.T) {
	const minute = time.Minute
	good, bad := reply{after: time.Second, session: counting(1)}, reply{err: failure(rufus.Network)}
	tests := []struct {
		what     string
		interval time.Duration
		replies  []reply
		pause    time.Duration // from the first answer to the second scrape
		sent     []string
	}{
		{"a younger success", minute, []reply{good}, minute - 1, []string{"0s finish"}},
		{"not one of that age", minute, []reply{good, good}, minute, []string{"0s finish", "1m1s finish"}},
		{"not without the setting", 0, []reply{good, good}, 0, []string{"0s finish", "1s finish"}},
		{"not a failure", minute, []reply{bad, good}, time.Second, []string{"0s finish", "1s finish"}},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(func(r request) reply { return test.replies[r.nth-1] }, minInterval(test.interval))
				sessions := s.Sessions(tokens("finish"))
				first := s.fetch(sessions, 10*time.Second)
				time.Sleep(test.pause)
				second := s.fetch(sessions, 10*time.Second)
				equal(t, "requests", s.sent(), test.sent)
				if len(test.replies) == 1 {
					equal(t, "what is reused, with the age and duration of its request", second.Report, first.Report)
				}
			})
		})
	}
}

// A success is no longer reused after a failure: the page must not show a session as active while the metrics show a
// failure.
func TestASuccessIsNotReusedAfterAFailure(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		replies := []reply{{session: counting(1)}, {err: failure(rufus.NotFound)}, {err: failure(rufus.NotFound)}}
		s := newStand(func(r request) reply { return replies[r.nth-1] })
		sessions := s.Sessions(tokens("finish"))
		s.fetch(sessions, time.Second)
		time.Sleep(5 * time.Second)
		s.fetch(sessions, time.Second)

		page := fetched{Report: sessions.Fetch(t.Context(), 15*time.Second)}
		equal(t, "outcome", page.outcomes(), "finish not_found")
	})
}

// A panic while decoding an answer harms neither the process nor other sessions, and does not reduce the limit.
func TestAPanicIsContained(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.name == "lying" {
				return reply{panics: "about " + secretPrefix + "lying"}
			}
			return reply{after: time.Second, session: counting(1)}
		}, width(1))
		sessions := s.Sessions(tokens("start", "lying", "finish"))
		for range 3 {
			scrape := s.fetch(sessions, 10*time.Second)
			equal(t, "outcomes", scrape.outcomes(), "start 1, lying invalid_response, finish 1")
		}
		log := strings.Join(s.log.Lines(), "\n")
		for _, part := range []string{`level=ERROR msg="panic while fetching" type=string stack="goroutine `, "/collector."} {
			if !strings.Contains(log, part) {
				t.Errorf("the log lacks %q:\n%s", part, log)
			}
		}
		if strings.Contains(log, secretPrefix) {
			t.Error("the log has the value of the panic:\n", log)
		}
	})
}

// An error that is not an *rufus.Error still counts as a failure.
func TestAnErrorWithoutReason(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{err: fmt.Errorf("not an error of rufus: %w", context.Canceled)}))
		scrape := s.fetch(s.Sessions(tokens("finish")), time.Second)
		equal(t, "outcomes", scrape.outcomes(), "finish invalid_response")
	})
}

func TestOnlyKnowsTheConfiguredNames(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{}))
		sessions := s.Sessions(tokens("start", "finish"))
		for _, name := range []string{"", "Finish", "finish ", secretPrefix + "finish"} {
			if _, ok := sessions.Only(name); ok {
				t.Errorf("%q is found", name)
			}
		}
		one, ok := sessions.Only("finish")
		equal(t, "found", ok, true)
		equal(t, "entries", len(one.Entries()), 1)
		equal(t, "name", one.Entries()[0].Name, "finish")
		equal[*collector.Fetcher](t, "fetcher", one.Fetcher(), s.Fetcher)
	})
}
