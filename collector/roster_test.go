package collector_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// account is an API with a list of devices that a test can change. Every session is active and has 31 passings, unless
// sessions has another answer.
type account struct {
	stand
	list     reply
	sessions map[string]reply
	roster   *collector.Roster
	longest  time.Duration // the longest duration of the scrapes in after
}

// newAccount returns an account with these devices: see listOf.
func newAccount(t *testing.T, aliases ...string) *account {
	t.Helper()
	a := &account{sessions: map[string]reply{}}
	a.stand = newStand(func(r request) reply {
		if r.name == "devices" {
			return a.list
		}
		if session, ok := a.sessions[r.name]; ok {
			return session
		}
		return reply{session: counting(31)}
	})
	a.list = reply{list: listOf(t, aliases...)}
	return a
}

// listOf returns a complete list of devices, each given as "name" or "name=alias". The id and the serial number are
// made from the name.
func listOf(t *testing.T, devicesOf ...string) rufus.DeviceList {
	t.Helper()
	return devices(t, true, records(devicesOf)...)
}

func records(devicesOf []string) (records []string) {
	for _, d := range devicesOf {
		name, alias, named := strings.Cut(d, "=")
		if !named {
			alias = name
		}
		records = append(records, listed(name, fmt.Sprintf(`,"alias":%q,"serial_number":"SN-%s"`, alias, name)))
	}
	return records
}

// gone is the answer about an unbound device: it has no session.
var gone = reply{}

// rule returns a rule that follows devices by their alias. race is a template.
func rule(t *testing.T, alias, race string) discovery.Rule {
	t.Helper()
	var r discovery.Rule
	var err error
	if r.Alias, err = discovery.NewExpression(alias, false); err != nil {
		t.Fatal(err)
	}
	if race != "" {
		if r.Race, err = discovery.ParseTemplate(race, r.Alias, nil); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// plan returns a plan that follows every device, at most 100.
func plan(rules ...discovery.Rule) *discovery.Plan {
	if rules == nil {
		rules = []discovery.Rule{{}}
	}
	return &discovery.Plan{Rules: rules, MaxDevices: 100}
}

// follow applies a configuration.
func (a *account) follow(p *discovery.Plan, entries ...entry.Entry) {
	a.roster = a.Roster(entries, p, a.roster)
}

// scrape fetches everything, like /metrics.
func (a *account) scrape() fetched {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.fetchUntil(ctx, a.roster.Sessions(ctx))
}

// after scrapes every 15 s for that long, and returns the last report.
func (a *account) after(d time.Duration) (last fetched) {
	a.longest = 0
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(15 * time.Second)
		begun := time.Now()
		last = a.scrape()
		a.longest = max(a.longest, time.Since(begun))
		synctest.Wait() // for the list, which no scrape waits for
	}
	return last
}

// A device that a rule follows has the same series, labels and values as one that is listed under sessions.
func TestADiscoveredDeviceIsLikeAListedOne(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		expected := []window.Window{{From: time.Now(), Until: time.Now().Add(time.Hour)}}
		follows := rule(t, "(?i)TURN-(?P<race>.+)", "$race")
		follows.Expected, follows.SilentAfter = expected, 5*time.Minute
		listed := device("box")
		listed.Name, listed.Labels, listed.Expected = "TURN-5K", map[string]string{"race": "5K"}, expected
		listed.SilentAfter = 5 * time.Minute
		for _, metrics := range []bool{false, true} {
			a := newAccount(t, "box=TURN-5K")
			a.Fetcher = collector.NewFetcher(collector.Options{
				Source: a.api, MaxConcurrentRequests: 8, DeviceMetrics: metrics, Now: time.Now,
				Logger: slog.New(slog.DiscardHandler),
			})
			exposed := func() string {
				ctx := context.Background()
				var b strings.Builder
				for line := range strings.Lines(text(t, scrape(t, a.roster.Sessions(ctx)))) {
					if !strings.Contains(line, "rufus_devices_up") { // absent for listed devices without device metrics
						b.WriteString(line)
					}
				}
				return b.String()
			}
			a.follow(plan(follows))
			discovered := exposed()
			a.follow(nil, listed)
			equal(t, "series", discovered, exposed())
		}
	})
}

// The list takes one request in 30 s, regardless of the number of scrapes and of failures. Only a scrape before the
// first list waits for it.
func TestTheListIsReadOnceIn30Seconds(t *testing.T) {
	for _, outcome := range []error{nil, failure(rufus.ServerError)} {
		inFakeTime(t, func(t *testing.T) {
			a := newAccount(t, "turn")
			a.follow(plan())
			a.list.err, a.list.after = outcome, 5*time.Second
			for range 60 {
				for range 3 {
					go a.scrape()
					go a.roster.Sessions(context.Background())
				}
				time.Sleep(5 * time.Second)
			}
			var lists []string
			for _, line := range a.sent() {
				if strings.HasSuffix(line, "devices") {
					lists = append(lists, line)
				}
			}
			equal(t, "first requests", times(lists[:3]), "0s 35s 1m10s") // 30 s after each answer
			equal(t, "requests in 5 min", len(lists), 9)
		})
	}
}

func TestOnlyTheFirstListIsWaitedFor(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn")
		a.follow(plan(), token("start"))
		a.list.after = 3 * time.Second
		scrape := a.scrape()
		equal(t, "first scrape", scrape.outcomes(), "start 31, turn 31")
		equal(t, "its time", scrape.at, 3*time.Second)

		// A new device appears in the scrape after the one that requested the list.
		a.list.list = listOf(t, "turn", "finish")
		a.list.after = 4 * time.Second
		time.Sleep(40 * time.Second)
		scrape = a.scrape()
		equal(t, "while it is read", scrape.outcomes(), "start 31, turn 31")
		equal(t, "its time", scrape.at, 43*time.Second)
		time.Sleep(15 * time.Second)
		equal(t, "afterwards", a.scrape().outcomes(), "start 31, finish 31, turn 31")
	})
}

// If the first list is slow, half of the scrape is left for the entries under sessions.
func TestASlowFirstList(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn")
		a.follow(plan(), token("start"))
		a.list.after = 20 * time.Second
		scrape := a.scrape()
		equal(t, "outcomes", scrape.outcomes(), "start 31")
		equal(t, "devices up", scrape.DevicesUp, rufus.Some(false))
		equal(t, "error", a.roster.Current().Err(), collector.ErrNoList)
		time.Sleep(15 * time.Second)
		equal(t, "when it has come", a.scrape().outcomes(), "start 31, turn 31")
		equal(t, "error", a.roster.Current().Err(), nil)
		equal(t, "requests for the list", strings.Count(strings.Join(a.sent(), "\n"), "devices"), 1)
	})
}

// While the list cannot be read, the devices of the last list are still followed, and a device that was missing then
// stays not found.
func TestBlindnessChangesNothing(t *testing.T) {
	for what, failed := range map[string]reply{
		"fails":        {err: failure(rufus.ServerError)},
		"hangs":        {after: 5 * time.Second, err: failure(rufus.Timeout)},
		"asks to wait": {err: wait(20 * time.Second)},
		"panics":       {panics: "surprise"},
	} {
		t.Run(what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				a := newAccount(t, "turn", "finish", "start")
				a.follow(plan())
				a.scrape()
				a.list.list, a.sessions["finish"] = listOf(t, "turn", "start"), gone
				scrape := a.after(time.Minute)
				equal(t, "before", scrape.outcomes(), "finish not_found, start 31, turn 31")
				equal(t, "devices up", scrape.DevicesUp, rufus.Some(true))

				a.list = failed
				for range 3 {
					scrape = a.after(time.Hour)
					equal(t, "meanwhile", scrape.outcomes(), "finish not_found, start 31, turn 31")
					equal(t, "devices up", scrape.DevicesUp, rufus.Some(false))
					equal(t, "waiting for the list", a.longest, 0)
				}

				a.list = reply{list: listOf(t, "turn", "start")}
				scrape = a.after(2 * time.Minute)
				equal(t, "afterwards", scrape.outcomes(), "start 31, turn 31") // it was missing for an hour
				equal(t, "devices up", scrape.DevicesUp, rufus.Some(true))
			})
		})
	}
}

// An unbound device is not found for an hour and then forgotten. If it is bound again in time, everything is as before.
func TestADeviceThatIsUnbound(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn", "finish")
		a.follow(plan())
		a.scrape()
		a.list.list, a.sessions["finish"] = listOf(t, "turn"), gone
		equal(t, "at once", a.after(time.Minute).outcomes(), "finish not_found, turn 31")
		equal(t, "after 55 minutes", a.after(54*time.Minute).outcomes(), "finish not_found, turn 31")
		a.list.list = listOf(t, "turn", "finish")
		delete(a.sessions, "finish")
		equal(t, "bound again", a.after(time.Minute).outcomes(), "finish 31, turn 31")

		a.list.list, a.sessions["finish"] = listOf(t, "turn"), gone
		equal(t, "after another 55 minutes", a.after(55*time.Minute).outcomes(), "finish not_found, turn 31")
		equal(t, "after an hour", a.after(6*time.Minute).outcomes(), "turn 31")
		equal(t, "log", a.log.Lines(), []string{
			`level=INFO msg="followed devices changed" devices=2 added="[finish turn]" removed=[]`,
			`level=INFO msg="followed devices changed" devices=1 added=[] removed=[finish]`,
		})
	})
}

// The hour begins anew if the device was bound in between, even if it had no session then.
func TestADeviceThatIsUnboundAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "finish")
		a.sessions["finish"] = gone
		a.follow(plan())
		a.scrape()
		for range 2 {
			a.list.list = listOf(t)
			equal(t, "after 55 minutes", a.after(55*time.Minute).outcomes(), "finish not_found")
			a.list.list = listOf(t, "finish")
			equal(t, "bound again", a.after(time.Minute).outcomes(), "finish 0")
		}
	})
}

// A list can be wrong: a device whose session is active exists, and an incomplete list does not show which devices are
// missing.
func TestADeviceThatIsOnlyMissingInTheList(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn", "finish")
		a.follow(plan())
		a.scrape()
		a.list.list = listOf(t, "turn")
		equal(t, "active", a.after(3*time.Hour).outcomes(), "finish 31, turn 31")
		a.sessions["finish"] = gone
		equal(t, "closed", a.after(time.Minute).outcomes(), "finish not_found, turn 31")
		a.list.list = devices(t, false, records([]string{"turn"})...)
		equal(t, "incomplete list", a.after(3*time.Hour).outcomes(), "finish 0, turn 31")
	})
}

// Renaming a device during a race changes its name only after an hour without a passing, or at the next reload.
func TestADeviceThatIsRenamed(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		passings := int64(100)
		a := newAccount(t, "box=TURN-5K", "other=START-5K")
		a.follow(plan(rule(t, `(?P<point>\w+)-(?P<race>\w+)`, "$race")))
		count := func() { a.sessions["box"] = reply{session: counting(passings)} }
		count()
		equal(t, "before", a.after(time.Minute).outcomes(), "START-5K 31, TURN-5K 100")

		a.list.list = listOf(t, "box=FINISH-10K", "other=START-5K")
		for range 3 { // a passing every 50 minutes
			equal(t, "renamed", a.after(50*time.Minute).outcomes(), fmt.Sprint("START-5K 31, TURN-5K ", passings))
			passings++
			count()
		}
		equal(t, "log", a.log.Lines(),
			[]string{`level=INFO msg="followed devices changed" devices=2 added="[START-5K TURN-5K]" removed=[]`})
		equal(t, "with its last passing", a.after(59*time.Minute).outcomes(), "START-5K 31, TURN-5K 103")
		scrape := a.after(2 * time.Minute)
		equal(t, "an hour without a passing", scrape.outcomes(), "FINISH-10K 103, START-5K 31")
		equal(t, "its race", scrape.Statuses[0].Entry.Labels["race"], "10K")

		a.list.list = listOf(t, "box=SPARE", "other=START-5K")
		passings++
		count()
		equal(t, "renamed again", a.after(time.Minute).outcomes(), "FINISH-10K 104, START-5K 31")
		a.follow(plan())
		equal(t, "after a reload", a.scrape().outcomes(), "SPARE 104, START-5K 31")
	})
}

// A device that never had a passing is renamed immediately.
func TestANewDeviceIsRenamedAtOnce(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "box=")
		a.sessions["box"] = reply{session: counting(0)}
		a.follow(plan())
		equal(t, "without an alias", a.scrape().outcomes(), "SN-box 0")
		a.list.list = listOf(t, "box=FINISH")
		equal(t, "renamed", a.after(time.Minute).outcomes(), "FINISH 0")
		a.sessions["box"] = reply{session: counting(1)}
		a.scrape()
		a.list.list = listOf(t, "box=TURN")
		equal(t, "renamed after a passing", a.after(time.Minute).outcomes(), "FINISH 1")
		equal(t, "an hour later", a.after(time.Hour).outcomes(), "TURN 1")
	})
}

// The hour begins with the last passing, not when the device is renamed, nor when its count is known again.
func TestAQuietDeviceIsRenamedAtOnce(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "box=TURN")
		a.follow(plan())
		a.scrape()
		a.sessions["box"] = reply{session: counting(40)}
		equal(t, "a passing", a.after(time.Minute).outcomes(), "TURN 40")
		a.after(time.Hour)
		a.list.list = listOf(t, "box=FINISH")
		equal(t, "renamed", a.after(time.Minute).outcomes(), "FINISH 40")

		a.sessions["box"] = reply{session: rufus.Session{Active: true}}
		a.after(time.Minute)
		a.sessions["box"] = reply{session: counting(40)}
		a.after(time.Minute)
		a.list.list = listOf(t, "box=SPLIT")
		equal(t, "renamed again", a.after(time.Minute).outcomes(), "SPLIT 40")
	})
}

// A reload ends the wait for the list.
func TestAReloadAsksForTheListAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t)
		a.list = reply{err: wait(5 * time.Minute)}
		a.follow(plan())
		a.after(time.Minute)
		a.list = reply{list: listOf(t, "turn")}
		a.sent()
		a.follow(plan())
		equal(t, "outcomes", a.scrape().outcomes(), "turn 31")
	})
}

// A wait that the API asked for lasts though the list changes.
func TestWaitsSurviveANewList(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn")
		a.sessions["turn"] = reply{err: wait(5 * time.Minute)}
		a.follow(plan())
		a.scrape()
		a.list.list = listOf(t, "turn", "finish")
		a.after(4 * time.Minute)
		var turn []string
		for _, request := range a.sent() {
			if strings.HasSuffix(request, " turn") {
				turn = append(turn, request)
			}
		}
		equal(t, "requests", turn, []string{"0s turn"})
	})
}

// A new or renamed device never gets the name of a device that is counting.
func TestEqualAliasesInARace(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "one=FINISH")
		a.follow(plan())
		equal(t, "one", a.scrape().outcomes(), "FINISH 31")
		a.after(61 * time.Minute) // the first of two keeps its name, though it is quiet
		a.list.list = listOf(t, "one=FINISH", "two=FINISH")
		equal(t, "two", a.after(time.Minute).outcomes(), "FINISH 31, FINISH-SN-two 31")
		a.follow(plan())
		equal(t, "after a reload", a.scrape().outcomes(), "FINISH-SN-one 31, FINISH-SN-two 31")
	})
}

// Label names depend only on the configuration, not on the devices.
func TestLabelNamesOfRules(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t)
		a.follow(plan(rule(t, "TURN-(.+)", "$1")), token("start"))
		series := text(t, scrape(t, a.roster.Sessions(context.Background())))
		if want := `rufus_session_up{race="",session="start"} 1`; !strings.Contains(series, want) {
			t.Errorf("no %s in\n%s", want, series)
		}
	})
}

// More devices than may be followed are an error, which is logged once.
func TestMoreDevicesThanMayBeFollowed(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "a", "b", "c")
		p := plan()
		p.MaxDevices = 2
		a.follow(p)
		equal(t, "outcomes", a.after(time.Hour).outcomes(), "a 31, b 31")
		const problem = "rules match 3 devices, but only the first 2 are followed; raise api.max_devices, or match fewer devices"
		equal(t, "error", fmt.Sprint(a.roster.Current().Err()), problem)
		equal(t, "log", a.log.Lines(), []string{
			`level=ERROR msg="cannot follow all devices" err="` + problem + `"`,
			`level=INFO msg="followed devices changed" devices=2 added="[a b]" removed=[]`,
		})
		a.list.list = listOf(t, "a", "b", "c=d")
		equal(t, "outcomes", a.after(time.Minute).outcomes(), "a 31, b 31")
		equal(t, "lines in the log after another list", len(a.log.Lines()), 0)
		a.list.list = listOf(t, "a", "c")
		equal(t, "outcomes", a.after(62*time.Minute).outcomes(), "a 31, b 31")
		a.sessions["b"] = gone
		equal(t, "outcomes", a.after(62*time.Minute).outcomes(), "a 31, c 31")
		equal(t, "error", a.roster.Current().Err(), nil)
	})
}

// A line of the log names at most ten devices, and shows that there are more.
func TestNamesOfManyDevicesAreCut(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		for aliases, added := range map[string]string{
			"a b c d e f g h i j":   "[a b c d e f g h i j]",
			"a b c d e f g h i j k": "[a b c d e f g h i j …]",
		} {
			devices := strings.Fields(aliases)
			a := newAccount(t, devices...)
			a.follow(plan())
			a.after(time.Minute)
			equal(t, "log", a.log.Lines(), []string{fmt.Sprintf(
				"level=INFO msg=\"followed devices changed\" devices=%d added=%q removed=[]", len(devices), added)})
		}
	})
}

// No text contains the id of a device of the account, followed or not.
func TestTheMaskHasAllDevices(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn", "ignored-box")
		equal(t, "before there are entries", a.Mask().Hide("turn"), "turn")
		a.follow(plan(rule(t, "turn", "")))
		a.scrape()
		equal(t, "a device", a.Mask().Hide("like "+secretPrefix+"ignored-box"), "like <secret>")
	})
}

// Answers about devices survive a reload and a new list.
func TestAnswersSurviveANewList(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn")
		a.Fetcher = collector.NewFetcher(collector.Options{
			Source: a.api, MaxConcurrentRequests: 8, MinInterval: time.Hour, Now: time.Now,
			Logger: slog.New(slog.DiscardHandler),
		})
		a.follow(plan())
		a.scrape()
		a.sent()
		a.follow(plan(), token("start"))
		equal(t, "error", a.roster.Current().Err(), nil)
		equal(t, "outcomes", a.scrape().outcomes(), "start 31, turn 31")
		equal(t, "requests", a.sent(), []string{"0s start"})
		a.follow(plan(rule(t, "turn", "5k")))
		equal(t, "outcomes", a.scrape().outcomes(), "turn 31")
		equal(t, "requests", a.sent(), []string(nil))
	})
}

// After a change of the key, the exporter still follows the known devices, even if the list cannot be read with the new
// key. It does not wait for the list either.
func TestANewFetcherKnowsTheDevices(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn", "finish")
		a.follow(plan())
		a.scrape()
		a.list.list, a.sessions["finish"] = listOf(t, "turn"), gone
		a.after(45 * time.Minute)
		a.list = reply{after: 8 * time.Second, err: failure(rufus.Unauthorized)}
		a.stand = a.replaced(8)
		a.follow(plan())
		equal(t, "outcomes", a.scrape().outcomes(), "finish not_found, turn 31")
		a.list = reply{list: listOf(t, "turn")}
		equal(t, "readable again", a.after(10*time.Minute).outcomes(), "finish not_found, turn 31")
		equal(t, "an hour after it was unbound", a.after(10*time.Minute).outcomes(), "turn 31")
	})
}

// A scrape that started before a reload changes nothing after it.
func TestARosterThatWasReplaced(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn", "finish")
		a.follow(plan())
		a.list.after = time.Second
		old := a.roster
		late := make(chan *collector.Sessions)
		go func() { late <- old.Sessions(context.Background()) }() // waits for the list
		synctest.Wait()
		a.follow(plan(rule(t, "turn", "")))
		equal(t, "new", a.scrape().outcomes(), "turn 31")
		equal(t, "old", a.fetch(<-late, time.Second).outcomes(), "")
		equal(t, "the old roster", len(old.Sessions(context.Background()).Entries()), 0)
		a.sent()
		equal(t, "new", a.scrape().outcomes(), "turn 31")
	})
}

func TestDiscoveredDevicesAreCounted(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		a := newAccount(t, "turn", "finish", "start")
		a.follow(plan(rule(t, "turn|finish", "")), token("listed"))
		exporter := collector.NewExporter(func() *collector.Sessions { return a.roster.Current() })
		for _, want := range []string{"1 0", "3 2"} {
			var got []string
			for _, name := range []string{"rufus_exporter_sessions", "rufus_exporter_discovered_devices"} {
				for _, family := range exporterMetrics(t, exporter) {
					if family.GetName() == name {
						got = append(got, fmt.Sprint(family.GetMetric()[0].GetGauge().GetValue()))
					}
				}
			}
			equal(t, "sessions and devices", strings.Join(got, " "), want)
			a.scrape()
		}
	})
}
