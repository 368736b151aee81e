package collector_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/rufus"
)

// every15s scrapes every 15 s from now on. It calls look with the start of each scrape and the scrape.
func (s stand) every15s(sessions *collector.Sessions, scrapes int, look func(time.Duration, fetched)) {
	next := time.NewTicker(15 * time.Second)
	defer next.Stop()
	for range scrapes {
		began := time.Since(s.begun)
		look(began, s.fetch(sessions, 10*time.Second))
		<-next.C
	}
}

// of returns the requests for that name in a diary.
func of(name string, diary []string) []string {
	requests := []string{}
	for _, line := range diary {
		if strings.HasSuffix(line, " "+name) {
			requests = append(requests, line)
		}
	}
	return requests
}

// A session that must wait again and again does not delay others. Nor does the list of devices.
func TestWhoAloneIsToldToWaitWaitsAlone(t *testing.T) {
	for _, bad := range []string{"c", "devices"} {
		t.Run(bad, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(func(r request) reply {
					if r.name == bad {
						return reply{after: time.Second, err: wait(29 * time.Second)}
					}
					return reply{after: time.Second, session: counting(1)}
				}, deviceMetrics)
				sessions := s.Sessions(append(tokens(mats...), device("g")))
				right, every := 7, 45*time.Second // a list that cannot be read is not requested again for 30 s
				if bad == "c" {
					right, every = 6, 30*time.Second
				}
				s.every15s(sessions, 20, func(began time.Duration, scrape fetched) {
					equal(t, fmt.Sprint("right at ", began), scrape.count("1"), right)
					equal(t, "rate limited", scrape.count("rate_limited"), 7-right)
					equal(t, "the account's wait", s.BackoffUntil(), rufus.Option[time.Time]{})
				})
				want := []string{}
				for at := time.Duration(0); at < 5*time.Minute; at += every {
					want = append(want, fmt.Sprint(at, " ", bad))
				}
				sent := s.sent()
				equal(t, "requests that are told to wait", of(bad, sent), want)
				equal(t, "requests of another", len(of("a", sent)), 20)
				equal(t, "lines in the log", len(s.log.Lines()), 1)
			})
		})
	}
}

// If two resources must wait within a minute, the whole account must, whatever they are.
func TestTwoWhoAreToldToWaitMeanTheAccount(t *testing.T) {
	for _, test := range []struct {
		first, second string
		between       time.Duration
		account       bool
	}{
		{"a", "b", 0, true},
		{"a", "b", 45 * time.Second, true},
		{"a", "b", 75 * time.Second, false},
		{"a", "devices", 30 * time.Second, true},
		{"a", "a", 30 * time.Second, false},
	} {
		t.Run(fmt.Sprint(test.first, ", ", test.between, " later ", test.second), func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				begun, told := time.Now(), 0
				s := newStand(func(r request) reply {
					if told < 2 && r.name == []string{test.first, test.second}[told] &&
						time.Since(begun) >= time.Duration(told)*test.between {
						told++
						return reply{err: wait(10 * time.Second)}
					}
					return reply{session: counting(1)}
				}, deviceMetrics)
				sessions := s.Sessions(append(tokens("a", "b", "c"), device("g")))
				account := false
				s.every15s(sessions, 12, func(time.Duration, fetched) {
					synctest.Wait() // for the list, which no scrape waits for
					_, waits := s.BackoffUntil().Get()
					account = account || waits
				})
				equal(t, "told", told, 2)
				equal(t, "the account waits", account, test.account)
			})
		})
	}
}

// After the account's wait, the probe is not the request for the resource that must always wait. Otherwise the pause
// would never end.
func TestWhoIsToldToWaitForGoodBlindsNobodyForLong(t *testing.T) {
	for seed := range 20 { // the order is random
		inFakeTime(t, func(t *testing.T) {
			s := newStand(func(r request) reply {
				if r.name == "bad" || r.name == "unlucky" && r.of == 2 {
					return reply{err: wait(20 * time.Second)}
				}
				return reply{session: counting(1)}
			})
			sessions := s.Sessions(tokens("bad", "unlucky", "c", "d"))
			var right []int
			s.every15s(sessions, 8, func(_ time.Duration, scrape fetched) { right = append(right, scrape.count("1")) })
			// At 15 s bad waits alone, and unlucky must wait until 35 s.
			equal(t, fmt.Sprint("right, seed ", seed), fmt.Sprint(right), "[3 2 0 3 3 3 3 3]")
		})
	}
}

// A reload also ends the wait of a single resource. Earlier waits no longer count.
func TestAReloadEndsALoneWait(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			switch {
			case r.nth == 1:
				return reply{err: wait(time.Minute)}
			case r.name != "a":
				return reply{err: wait(10 * time.Second)}
			default:
				return reply{session: counting(1)}
			}
		}, width(1))
		sessions := s.Sessions(tokens("a"))
		for range 2 {
			scrape := s.fetch(sessions, time.Second)
			equal(t, "outcome", scrape.outcomes(), "a rate_limited")
			time.Sleep(10 * time.Second)
		}
		equal(t, "requests", s.sent(), []string{"0s a"})
		equal(t, "after a reload", s.fetch(s.Sessions(tokens("a")), time.Second).outcomes(), "a 1")
		s.fetch(s.Sessions(tokens("a", "b")), time.Second)
		equal(t, "the account's wait", s.BackoffUntil(), rufus.Option[time.Time]{})
		s.fetch(s.Sessions(tokens("c", "d")), time.Second)
		equal(t, "the account's wait", s.BackoffUntil(), rufus.Some(time.Now().Add(10*time.Second)))
	})
}
