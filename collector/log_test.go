package collector_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// Sessions that change in the same way in one scrape share a line in the log, with their number and the first names.
func TestOneLineForAllThatChangeAlike(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var down error
		s := newStand(func(r request) reply {
			switch {
			case r.name == "499":
				return reply{err: failure(rufus.NotFound)}
			case down != nil:
				return reply{after: time.Duration(r.nth%7) * time.Millisecond, err: down}
			default:
				return reply{session: counting(1)}
			}
		}, width(32))
		var names []string
		for i := range 500 {
			names = append(names, fmt.Sprintf("%03d", i))
		}
		sessions := s.Sessions(tokens(names...))
		s.fetch(sessions, 10*time.Second)
		equal(t, "one that alone fails", s.log.Lines(),
			[]string{`level=WARN msg="cannot read session" session=499 err="not_found: as the test said"`})

		const who = `sessions=499 first="[000 001 002 003 004 005 006 007 008 009]"`
		for range 5 {
			for _, step := range []struct {
				reason rufus.Reason
				line   string
			}{
				{rufus.Network, `level=WARN msg="cannot read session" ` + who + ` err="network: as the test said"`},
				{rufus.ServerError, `level=WARN msg="cannot read session" ` + who + ` err="server_error: as the test said"`},
				{"", `level=INFO msg="session readable again" ` + who},
			} {
				down = nil
				if step.reason != "" {
					down = failure(step.reason)
				}
				for range 3 {
					s.fetch(sessions, 10*time.Second)
				}
				equal(t, "log", s.log.Lines(), []string{step.line})
			}
		}
	})
}

// Concurrent probes of one session each share a line too.
func TestOneLineForProbesTogether(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(every(reply{after: time.Second, err: failure(rufus.Network)}), width(2))
		sessions := s.Sessions(tokens(mats...))
		for _, name := range mats {
			probe, _ := sessions.Only(name)
			go s.fetch(probe, 10*time.Second)
		}
		time.Sleep(5 * time.Second)
		equal(t, "log", s.log.Lines(), []string{
			`level=WARN msg="cannot read session" sessions=6 first="[a b c d e f]" err="network: as the test said"`,
		})
	})
}

// Even if there is always a fetch in progress, changes are logged.
func TestTheLogDoesNotWaitForever(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.name == "slow" {
				return reply{after: time.Hour, session: counting(1)}
			}
			return reply{err: failure(rufus.Network)}
		})
		sessions := s.Sessions(tokens("slow", "bad"))
		s.start(sessions, time.Minute)
		bad, _ := sessions.Only("bad")
		s.every15s(bad, 2, func(time.Duration, fetched) {})
		equal(t, "lines", len(s.log.Lines()), 1)
	})
}

// If nobody waits for requests any more, their changes are logged when the last one ends.
func TestWhatComesAfterTheScrapeIsLogged(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			return reply{after: time.Duration(r.nth) * time.Second, err: failure(rufus.Network)}
		})
		ctx, hangUp := context.WithCancel(context.Background())
		go s.fetchUntil(ctx, s.Sessions(tokens("start", "finish")))
		synctest.Wait()
		hangUp()
		time.Sleep(1500 * time.Millisecond)
		equal(t, "log while one is on its way", s.log.Lines(), []string{})
		time.Sleep(time.Second)
		equal(t, "log", s.log.Lines(), []string{
			`level=WARN msg="cannot read session" sessions=2 first="[finish start]" err="network: as the test said"`,
		})
	})
}

// The start and the end of a pause are logged once.
func TestTheLogHasTheAccountsWait(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.of == 1 {
				return reply{err: wait(20 * time.Second)}
			}
			return reply{session: counting(1)}
		})
		s.every15s(s.Sessions(tokens("a", "b", "c")), 4, func(time.Duration, fetched) {})
		equal(t, "log", s.log.Lines(), []string{
			`level=WARN msg="cannot read session" sessions=3 first="[a b c]" err="rate_limited: status 429"`,
			`level=WARN msg="API asked to wait, requests paused" until=2000-01-01T00:00:20.000Z`,
			`level=INFO msg="requests resumed"`,
			`level=INFO msg="session readable again" sessions=3 first="[a b c]"`,
		})
	})
}

// Unreadable members of a session are logged once, and again when they change.
func TestTheLogHasWhatIsUnreadable(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		fields := ""
		s := newStand(func(r request) reply {
			session := counting(1)
			if r.name != "good" {
				session.Unreadable = fields
			}
			return reply{session: session}
		})
		sessions := s.Sessions(tokens("good", "a", "b"))
		for _, step := range []struct {
			fields string
			log    []string
		}{
			{"", []string{}},
			{"first last", []string{`level=WARN msg="cannot read time stamps of session" sessions=2 first="[a b]" fields="first last"`}},
			{"first last", []string{}},
			{"", []string{}},
			{"first last", []string{}},
			{"last", []string{`level=WARN msg="cannot read time stamps of session" sessions=2 first="[a b]" fields=last`}},
		} {
			fields = step.fields
			s.fetch(sessions, time.Second)
			equal(t, "log", s.log.Lines(), step.log)
		}
	})
}

// The same goes for the list of devices, whose battery and telemetry would be missing without a word.
func TestTheLogHasWhatIsUnreadableOfDevices(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		list := devices(t, true, `{"deviceid":"A","last_telemetry_at":1675440498}`, `{"deviceid":"B","last_login":"noon"}`,
			`{"deviceid":"C","last_login":"never"}`)
		s := newStand(every(reply{session: counting(1), list: list}), deviceMetrics)
		sessions := s.Sessions([]entry.Entry{device("mat")})
		for _, log := range [][]string{
			{`level=WARN msg="cannot read time stamps in list of devices" fields="last_login last_telemetry_at"`}, {}, {},
		} {
			s.fetch(sessions, time.Second)
			equal(t, "log", s.log.Lines(), log)
			time.Sleep(time.Minute)
		}
	})
}
