package collector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// mats are the names of the sessions in the tests below.
var mats = []string{"a", "b", "c", "d", "e", "f"}

// count returns the number of entries with that outcome.
func (f fetched) count(outcome string) int {
	n := 0
	for one := range strings.SplitSeq(f.outcomes(), ", ") {
		if strings.HasSuffix(one, " "+outcome) {
			n++
		}
	}
	return n
}

// times returns when the requests in a diary were sent.
func times(diary []string) string {
	when := make([]string, len(diary))
	for i, line := range diary {
		when[i], _, _ = strings.Cut(line, " ")
	}
	return strings.Join(when, " ")
}

// throttled returns an API whose first two answers take a second and ask to wait for 30 s. All others take two seconds
// and succeed.
func throttled(r request) reply {
	if r.nth <= 2 {
		return reply{after: time.Second, err: wait(30 * time.Second)}
	}
	return reply{after: 2 * time.Second, session: counting(1)}
}

func TestBackingOff(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(throttled, width(2))
		sessions := s.Sessions(tokens(mats...))

		// After the first wait another request is sent, after the second none. Requests in flight end as usual. Queued ones
		// fail immediately.
		first := s.fetch(sessions, 10*time.Second)
		equal(t, "right", first.count("1"), 1)
		equal(t, "told to wait", first.count("rate_limited"), 5)
		equal(t, "end of the scrape", first.at, 3*time.Second)
		unsent := 0
		for _, status := range first.Statuses {
			if status.At.IsZero() {
				unsent++
				equal(t, "error", status.Err.Error(), "rate_limited: requests paused until 00:00:31 UTC, as the API asked")
				equal(t, "duration", status.Duration, 0)
			}
		}
		equal(t, "not sent", unsent, 3)
		equal(t, "requests", times(s.sent()), "0s 0s 1s")

		// Until then no request is sent, and scrapes are answered immediately.
		time.Sleep(27*time.Second + 999*time.Millisecond)
		second := s.fetch(sessions, 10*time.Second)
		equal(t, "told to wait", second.count("rate_limited"), 6)
		equal(t, "end of the scrape", second.at, 30*time.Second+999*time.Millisecond)
		equal(t, "requests", times(s.sent()), "")

		// Then one request probes the API, and the rest wait for its answer.
		time.Sleep(time.Millisecond)
		third := s.fetch(sessions, 10*time.Second)
		equal(t, "right", third.count("1"), 6)
		equal(t, "requests", times(s.sent()), "31s 33s 33s 35s 35s 37s")

		log := strings.Join(s.log.Lines(), "\n")
		equal(t, "waits in the log", strings.Count(log, `level=WARN msg="API asked to wait, requests paused" `+
			`until=2000-01-01T00:00:31.000Z`), 1)
		equal(t, "ends of a wait", strings.Count(log, `level=INFO msg="requests resumed"`), 1)
	})
}

func TestBackoffUntil(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(throttled)
		sessions := s.Sessions(tokens("a", "b"))
		begin := time.Now()
		never := rufus.Option[time.Time]{}
		equal(t, "before", s.BackoffUntil(), never)
		s.fetch(sessions, 10*time.Second)
		equal(t, "meanwhile", s.BackoffUntil(), rufus.Some(begin.Add(31*time.Second)))
		time.Sleep(30*time.Second - 1)
		equal(t, "to the last moment", s.BackoffUntil(), rufus.Some(begin.Add(31*time.Second)))
		time.Sleep(time.Nanosecond)
		equal(t, "then", s.BackoffUntil(), never)
	})
}

// The probe may have to wait again. Then all must, and nothing new is logged.
func TestASecondWaitExtendsTheFirst(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.nth <= 3 {
				return reply{after: time.Second, err: wait(time.Duration(max(r.nth-1, 1)) * 30 * time.Second)}
			}
			return reply{session: counting(1)}
		}, width(1))
		sessions := s.Sessions(tokens(mats...))
		s.fetch(sessions, 10*time.Second)
		time.Sleep(30 * time.Second)
		equal(t, "told to wait", s.fetch(sessions, 10*time.Second).count("rate_limited"), 6)
		time.Sleep(60*time.Second - 1)
		equal(t, "told to wait", s.fetch(sessions, 10*time.Second).count("rate_limited"), 6)
		equal(t, "requests", times(s.sent()), "0s 1s 32s")
		time.Sleep(time.Nanosecond)
		equal(t, "right", s.fetch(sessions, 10*time.Second).count("1"), 6)
		equal(t, "requests", times(s.sent()), "1m33s 1m33s 1m33s 1m33s 1m33s 1m33s")
		equal(t, "waits in the log", strings.Count(strings.Join(s.log.Lines(), "\n"), "API asked to wait"), 1)
	})
}

// If several answers ask to wait, the latest end counts.
func TestAShorterWaitDoesNotEndALongerOne(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			return reply{after: time.Duration(r.nth) * time.Second, err: wait(time.Minute / time.Duration(r.nth))}
		}, width(3))
		begin := time.Now()
		s.fetch(s.Sessions(tokens("a", "b", "c")), 10*time.Second)
		equal(t, "until", s.BackoffUntil(), rufus.Some(begin.Add(61*time.Second)))
		equal(t, "waits in the log", strings.Count(strings.Join(s.log.Lines(), "\n"), "API asked to wait"), 1)
	})
}

// A success that was in flight before the API asked to wait does not end the wait.
func TestALateSuccessDoesNotEndTheWait(t *testing.T) {
	late := func(r request) reply {
		switch r.nth {
		case 1, 2:
			return reply{after: time.Second, err: wait(5 * time.Second)}
		case 3:
			return reply{after: 10 * time.Second, session: counting(1)}
		default:
			return reply{after: 3 * time.Second, session: counting(1)}
		}
	}
	for _, test := range []struct {
		what   string
		at     time.Duration // of the scrape
		reload bool
	}{
		{"nor let all go when it has passed", 7 * time.Second, false},
		{"nor after a reload", 3 * time.Second, true},
	} {
		t.Run(test.what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(late, width(3))
				sessions := s.Sessions(tokens(mats...))
				s.start(sessions, 10*time.Second)
				time.Sleep(test.at)
				if test.reload {
					sessions = s.Sessions(tokens(mats...))
				}
				scrape := s.fetch(sessions, time.Minute)
				equal(t, "right", scrape.count("1"), 6)
				equal(t, "requests", times(s.sent())[:len("0s 0s 0s 1s 10s 13s 13s")], "0s 0s 0s 1s 10s 13s 13s")
			})
		})
	}
}

// A reload may have fixed the cause, so one request probes the API, and only one.
func TestAReloadEndsTheWait(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(throttled)
		s.fetch(s.Sessions(tokens("a", "b")), 10*time.Second)
		time.Sleep(9 * time.Second)
		sessions := s.Sessions(tokens(mats...))
		equal(t, "until", s.BackoffUntil(), rufus.Option[time.Time]{})
		equal(t, "right", s.fetch(sessions, 10*time.Second).count("1"), 6)
		equal(t, "requests", times(s.sent()), "0s 0s 10s 12s 12s 12s 12s 12s")
	})
}

// Any other failure of the probe ends the backoff too, because a longer wait would not help.
func TestATryThatFailsOtherwise(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.nth <= 2 {
				return throttled(r)
			}
			return reply{after: 2 * time.Second, err: failure(rufus.ServerError)}
		})
		sessions := s.Sessions(tokens(mats[:2]...))
		s.fetch(sessions, 10*time.Second)
		time.Sleep(30 * time.Second)
		all := s.Sessions(tokens(mats...))
		equal(t, "failed", s.fetch(all, 10*time.Second).count("server_error"), 6)
		equal(t, "requests", times(s.sent()), "0s 0s 31s 33s 33s 33s 33s 33s")
	})
}

// Sessions that are not sent because of the probe do not count as missed.
func TestNoAdviceWhileOneTries(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.nth <= 2 {
				return reply{err: wait(time.Second)}
			}
			return reply{after: 5 * time.Second, err: failure(rufus.Timeout)}
		})
		sessions := s.Sessions(tokens(mats...))
		s.fetch(sessions, time.Second)
		time.Sleep(10 * time.Second)
		equal(t, "not in time", s.fetch(sessions, 2*time.Second).count("timeout"), 6)
		for _, line := range s.log.Lines() {
			if strings.Contains(line, "not all sessions can be fetched") {
				t.Error(line)
			}
		}
	})
}

// waiting is a wait that the API asked for in an answer about name.
type waiting struct {
	name        string
	from, until time.Time
}

// tooEarly returns how much too early a request for name is sent now. It must not be sent during a wait of name, or
// while the waits of two others overlap.
func tooEarly(told []waiting, name string, now time.Time) (early time.Duration) {
	for _, one := range told {
		if one.name == name && one.from.Before(now) {
			early = max(early, one.until.Sub(now))
		}
		for _, other := range told {
			if other.name != one.name && !one.from.After(other.from) && !other.from.After(one.until) && other.from.Before(now) {
				early = max(early, one.until.Sub(now), other.until.Sub(now))
			}
		}
	}
	return early
}

// Whatever the API and the scrapes do, each scrape is answered by its deadline, the limit holds, nothing is sent during
// a wait, and afterwards everything works as before.
func TestWhateverComes(t *testing.T) {
	for seed := range uint64(100) {
		inFakeTime(t, func(t *testing.T) {
			rng, dice := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // separate random numbers for the API
			limit, calm := 1+rng.IntN(4), false
			var told []waiting
			say := func(r request) reply {
				now := time.Now()
				if early := tooEarly(told, r.name, now); early > 0 {
					t.Errorf("seed %d: %s is sent %v before the wait is over", seed, r.name, early)
				}
				answer := reply{after: time.Duration(dice.IntN(3000)) * time.Millisecond}
				switch chance := dice.IntN(100); {
				case calm || chance >= 35:
					answer.session = counting(1)
				case chance < 10:
					pause := time.Duration(1+dice.IntN(10)) * time.Second
					answer.err = wait(pause)
					told = append(told, waiting{r.name, now.Add(answer.after), now.Add(answer.after + pause)})
				case chance < 30:
					answer.err = failure(rufus.Reasons()[dice.IntN(len(rufus.Reasons()))])
				default:
					answer.panics = "surprise"
				}
				return answer
			}
			s := newStand(say, width(limit), minInterval(time.Duration(rng.IntN(3))*time.Second), deviceMetrics)
			var entries []entry.Entry
			for i := range 1 + rng.IntN(12) {
				entries = append(entries, token(fmt.Sprint("t", i)), device(fmt.Sprint("d", i)))
			}
			sessions := s.Sessions(entries)

			for range 40 {
				patience := time.Duration(rng.IntN(6000)) * time.Millisecond
				hangsUp, reads := rng.IntN(4) == 0, rng.IntN(4) == 0
				wanted := sessions
				if rng.IntN(3) == 0 {
					wanted, _ = sessions.Only(entries[rng.IntN(len(entries))].Name)
				}
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					if hangsUp {
						ctx, cancel = context.WithCancel(context.Background())
						time.AfterFunc(patience, cancel)
					}
					defer cancel()
					begin := time.Now()
					fetch := wanted.Fetch
					if reads {
						fetch = wanted.Newest
					}
					report := fetch(ctx, s.MinInterval())
					if took := time.Since(begin); took > patience {
						t.Errorf("seed %d: a scrape of at most %v took %v", seed, patience, took)
					}
					for _, status := range report.Statuses {
						if passings, _ := status.Session.Passings.Get(); (status.Err == nil) != (passings == 1) {
							t.Errorf("seed %d: %s is neither right nor failing: %+v", seed, status.Entry.Name, status)
						}
					}
				}()
				time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
			}

			time.Sleep(time.Minute)
			s.mu.Lock()
			calm = true
			s.mu.Unlock()
			last := s.fetch(sessions, 10*time.Minute)
			synctest.Wait() // for the list, which perhaps no scrape waits for
			equal(t, fmt.Sprintf("seed %d: right in the end", seed), last.count("1"), len(entries))
			if s.peak > limit {
				t.Errorf("seed %d: %d requests at a time, the limit is %d", seed, s.peak, limit)
			}
			if log := strings.Join(s.log.Lines(), "\n"); strings.Contains(log, secretPrefix) {
				t.Errorf("seed %d: the log holds a secret:\n%s", seed, log)
			}
		})
	}
}
