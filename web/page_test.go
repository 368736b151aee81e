package web

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
	"rufus_exporter/state"
	"rufus_exporter/window"
)

var (
	matPattern = regexp.MustCompile(`(?s)<li class="mat ([a-z -]+)">(.*?)</li>`)
	tagPattern = regexp.MustCompile(`<[^>]*>`)
)

// plain returns what a reader sees of a piece of HTML.
func plain(markup string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(markup, " "))), " ")
}

// mats returns what a reader sees of each session, in the order of the page, with its classes before it.
func mats(page string) []string {
	var all []string
	for _, mat := range matPattern.FindAllStringSubmatch(page, -1) {
		all = append(all, mat[1]+": "+plain(mat[2]))
	}
	return all
}

// headline returns the first line and its colour.
func headline(page string) string {
	found := regexp.MustCompile(`(?s)<header class="([a-z]+)">.*?<h1>(.*?)</h1>`).FindStringSubmatch(page)
	if found == nil {
		return ""
	}
	return found[1] + ": " + plain(found[2])
}

// notices returns what is said above the mats.
func notices(page string) []string {
	all := []string{}
	for _, notice := range regexp.MustCompile(`(?s)<p class="notice">(.*?)</p>`).FindAllStringSubmatch(page, -1) {
		all = append(all, plain(notice[1]))
	}
	return all
}

// before returns the instant that lies so far back.
func before(d time.Duration) rufus.Option[time.Time] { return rufus.Some(noon.Add(-d)) }

// Each state in its words, without anything seen before.
func TestThePageSaysHowEachSessionIs(t *testing.T) {
	passed := func(n int64, last time.Duration) rufus.Session {
		return rufus.Session{Active: true, Passings: rufus.Some(n), Last: before(last)}
	}
	closed := passed(84, 3*time.Hour)
	closed.Active = false
	aliased := passed(31, 12*time.Second)
	aliased.Alias = "FINISH-10K"
	silent := follow(rufus.Token, "turn")
	silent.SilentAfter = 10 * time.Minute
	const compare = "Compare the token or device id of x with RUFUS: was the box unbound?"
	const check = "Check the exporter's internet connection and api.url, and watch the box of x itself."

	for _, test := range []struct {
		entry   entry.Entry
		session rufus.Session
		err     error
		mat     string
	}{
		{follow(rufus.Token, "finish", "race", "10k", "point", "finish"), aliased, nil,
			"ok calm: finish FINISH-10K 31 ok last passing 12 s ago point=finish"},
		{follow(rufus.Token, "finish-10K"), aliased, nil, "ok calm: finish-10K 31 ok last passing 12 s ago"},
		{follow(rufus.Token, "start"), rufus.Session{Active: true, Passings: rufus.Some[int64](0)}, nil,
			"ok calm: start 0 ok no passing yet"},
		{follow(rufus.Token, "kids"), closed, nil, "finished calm: kids 84 finished last passing 3 h ago"},
		{follow(rufus.Device, "new"), rufus.Session{}, nil, "waiting calm: new waiting the device has no session yet"},

		// Clocks of devices.
		{follow(rufus.Token, "ahead"), passed(7, -3*time.Hour), nil,
			"ok calm: ahead 7 ok last passing 3 h ahead : check the device's clock"},
		{follow(rufus.Token, "a little"), passed(7, -5*time.Second), nil, "ok calm: a little 7 ok last passing just now"},
		{follow(rufus.Token, "six"), passed(7, -6*time.Second), nil,
			"ok calm: six 7 ok last passing 6 s ahead : check the device's clock"},

		// Silence, where somebody said how long is too long.
		{silent, passed(7, 10*time.Minute-1), nil, "ok calm: turn 7 ok last passing 9 min ago"},
		{silent, passed(7, 11*time.Minute), nil,
			"silent warning: turn 7 silent since 11:49 (11 min, limit 10 min) " +
				"Go to turn: hold a chip over the mat. No beep: reader or antenna. A beep: network. " +
				"by the clock of the box, which may be wrong: it was silent when the exporter started " +
				"last passing 11 min ago Runbook: what to do"},
		{silent, closed, nil, "finished calm: turn 84 finished last passing 3 h ago"},
		{follow(rufus.Token, "turn"), passed(7, 24*time.Hour), nil, "ok calm: turn 7 ok last passing 24 h ago"},

		// Failures: nothing of what was known before, and the reason in plain words.
		{follow(rufus.Token, "x", "race", "5k"), aliased, &rufus.Error{Reason: rufus.Unauthorized, Detail: "status 403"},
			"failing warning: x failing since 12:00 (0 s) Check the API key, and whether the box of x is still in your account. " +
				"API key rejected unauthorized: status 403 5k Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.NotFound, Detail: "no such session"},
			"failing warning: x failing since 12:00 (0 s) " + compare + " unknown to the API not_found: no such session Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.RateLimited, Detail: "status 429"},
			"failing warning: x failing since 12:00 (0 s) Send fewer requests: raise the scrape interval or set api.min_interval. " +
				"the API asked us to wait rate_limited: status 429 Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.ServerError, Detail: "status 500"},
			"failing warning: x failing since 12:00 (0 s) " + check + " the API has a fault server_error: status 500 Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.UnexpectedStatus, Detail: "status 302"},
			"failing warning: x failing since 12:00 (0 s) " + check + " unexpected reply: wrong api.url, or a Wi-Fi login page? " +
				"unexpected_status: status 302 Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.Timeout, Detail: "no answer"},
			"failing warning: x failing since 12:00 (0 s) " + check + " no answer in time timeout: no answer Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.Network, Detail: "connection refused"},
			"failing warning: x failing since 12:00 (0 s) " + check + " the API cannot be reached network: connection refused Runbook: what to do"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.InvalidResponse, Detail: "no JSON"},
			"failing warning: x failing since 12:00 (0 s) " + check + " the API's answer cannot be read invalid_response: no JSON Runbook: what to do"},
	} {
		source := &api{answers: func(string) (rufus.Session, error) { return test.session, test.err }}
		s := newStand(source, []entry.Entry{test.entry})
		equal(t, "mat", mats(s.record("/").Body.String()), []string{test.mat})
	}
}

// Every reason has its plain words: none is left blank on the page.
func TestPlainWords(t *testing.T) {
	for _, reason := range rufus.Reasons() {
		if plainWords[reason] == "" {
			t.Error(reason, "has none")
		}
	}
	equal(t, "number", len(plainWords), len(rufus.Reasons()))
}

// What the page says to do is what the alerts say.
func TestWordsOfTheRules(t *testing.T) {
	text, err := os.ReadFile("../monitoring/rufus.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "{{ $labels.session }}", "MAT")), " ")
	var said []string
	for _, reason := range rufus.Reasons() {
		said = append(said, toRead(reason, "MAT"))
	}
	w := writer{now: noon, zone: time.UTC}
	for _, write := range []func(*mat, *collector.Seen){
		func(m *mat, seen *collector.Seen) { w.closed(m, &collector.Status{}, seen) }, w.notStarted, w.silent,
	} {
		m := mat{card: card{Name: "MAT"}}
		write(&m, &collector.Seen{})
		said = append(said, m.Do)
	}
	for _, do := range said {
		if !strings.Contains(rules, strings.TrimSuffix(do, ".")) {
			t.Errorf("no alert says %q", do)
		}
	}
	contains(t, "the rules", rules, "Bring power to MAT: its battery is at {{ $value | humanizePercentage }} and not charging.")
}

func TestAgo(t *testing.T) {
	const second, minute, hour = time.Second, time.Minute, time.Hour
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{-48 * hour, "2 days ahead"},
		{-48*hour + 1, "47 h ahead"},
		{-5*second - 1, "5 s ahead"},
		{-5 * second, "just now"},
		{0, "just now"},
		{second - 1, "just now"},
		{second, "1 s ago"},
		{12500 * time.Millisecond, "12 s ago"},
		{119 * second, "119 s ago"},
		{2 * minute, "2 min ago"},
		{2*hour - 1, "119 min ago"},
		{2 * hour, "2 h ago"},
		{48*hour - 1, "47 h ago"},
		{48 * hour, "2 days ago"},
		{10000 * 24 * hour, "10000 days ago"},
	} {
		equal(t, test.d.String(), ago(test.d), test.want)
	}
}

// A declared window says whether a session should be active, and whether silence matters: at both its ends, and where it
// begins to be armed.
func TestThePageKnowsWhatIsDue(t *testing.T) {
	last := func(ago time.Duration) rufus.Session {
		return rufus.Session{Active: true, Passings: rufus.Some[int64](7), Last: before(ago)}
	}
	closed := last(time.Hour)
	closed.Active = false
	const minute = time.Minute
	const press = "Go to mat: press START if the box is not recording. "
	for _, test := range []struct {
		from, until time.Duration // of the window, after now
		session     rufus.Session
		mat         string
	}{
		{5*minute + 1, time.Hour, closed, "waiting calm: mat 7 waiting due from 12:05 " +
			"not active yet: press START before 12:00 last passing 60 min ago"},
		{5 * minute, time.Hour, closed, "closed critical: mat 7 closed before the exporter started " + press +
			"last passing 60 min ago Runbook: what to do"},
		{-time.Hour, 1, closed, "closed critical: mat 7 closed before the exporter started " + press +
			"last passing 60 min ago Runbook: what to do"},
		{-time.Hour, 0, closed, "finished calm: mat 7 finished was due until 12:00 last passing 60 min ago"},
		{-time.Hour, time.Hour, rufus.Session{}, "not-started critical: mat not started due since 11:00 (60 min) " +
			"Go to mat: press START. Runbook: what to do"},
		{minute, time.Hour, rufus.Session{}, "not-started critical: mat not started due from 12:01 " +
			"Go to mat: press START. Runbook: what to do"},
		{7 * 24 * time.Hour, 8 * 24 * time.Hour, last(time.Hour),
			"waiting calm: mat 7 waiting due from 17 May, 12:00 last passing 60 min ago"},
		{1, time.Hour, last(time.Hour), "waiting calm: mat 7 waiting due from 12:00 last passing 60 min ago"},
		{0, time.Hour, last(time.Hour), "ok calm: mat 7 ok last passing 60 min ago"},
		{-10*minute + 1, time.Hour, last(time.Hour), "ok calm: mat 7 ok last passing 60 min ago"},
		{-time.Hour, time.Hour, last(10*minute - 1), "ok calm: mat 7 ok last passing 9 min ago"},
		{-time.Hour, 0, last(time.Hour), "finished calm: mat 7 finished was due until 12:00 last passing 60 min ago"},
	} {
		followed := follow(rufus.Device, "mat")
		followed.SilentAfter = 10 * minute
		followed.Expected = []window.Window{{From: noon.Add(test.from), Until: noon.Add(test.until)}}
		s := newStand(&api{answers: func(string) (rufus.Session, error) { return test.session, nil }},
			[]entry.Entry{followed})
		equal(t, "mat", mats(s.record("/").Body.String()), []string{test.mat})
	}
}

// What scrapes have seen decides, and the page says since when.
func TestThePageKnowsWhatWasSeen(t *testing.T) {
	session := rufus.Session{Active: true, Passings: rufus.Some[int64](7), Last: before(0)}
	var err error
	followed := follow(rufus.Token, "mat")
	followed.SilentAfter = 5 * time.Minute
	followed.Expected = []window.Window{{From: noon, Until: noon.Add(time.Hour)}}
	s := newStand(&api{answers: func(string) (rufus.Session, error) { return session, err }}, []entry.Entry{followed})
	step := func(what, path, headlined, mat string) {
		t.Helper()
		s.record(path)
		page := s.record("/").Body.String()
		equal(t, what+": headline", headline(page), headlined)
		equal(t, what+": mat", mats(page), []string{mat})
	}
	step("counts", "/metrics", "well: mat is counting", "ok calm: mat 7 ok last passing just now")
	s.clock.turn(5 * time.Minute)
	step("silent", "/probe?target=mat", "bad: 1 mat needs you: mat silent",
		"silent critical: mat 7 silent due since 12:00 (5 min, limit 5 min) Go to mat: hold a chip over the mat. "+
			"No beep: reader or antenna. A beep: network. last passing 5 min ago Runbook: what to do")
	s.clock.turn(time.Minute)
	session.Active = false
	step("closed a moment ago", "/metrics", "bad: 1 mat needs you: mat silent",
		"silent critical: mat 7 silent due since 12:00 (6 min, limit 5 min) Go to mat: hold a chip over the mat. "+
			"No beep: reader or antenna. A beep: network. last passing 6 min ago Runbook: what to do")
	s.clock.turn(30 * time.Second)
	step("closed", "/metrics", "bad: 1 mat needs you: mat closed",
		"closed critical: mat 7 closed since 12:06 (30 s) Go to mat: press START if the box is not recording. "+
			"If it is recording, START was pressed again: this entry follows the old token. last passing 6 min ago "+
			"Runbook: what to do")
	err = &rufus.Error{Reason: rufus.Network, Detail: "refused"}
	s.clock.turn(20 * time.Minute)
	step("closed and not readable", "/metrics", "bad: 1 mat needs you: mat closed",
		"closed critical: mat closed since 12:06 (20 min) Go to mat: press START if the box is not recording. "+
			"If it is recording, START was pressed again: this entry follows the old token. last known 7 at 12:06 "+
			"Runbook: what to do")
	err, session.Active, session.Passings = nil, true, rufus.Some[int64](9)
	s.clock.turn(time.Minute)
	step("readable, but was not for most of the time", "/metrics", "bad: 1 mat needs you: mat failing",
		"failing critical: mat 9 failing can be read again, but not steadily yet Check the exporter's internet connection "+
			"and api.url, and watch the box of mat itself. last passing 27 min ago Runbook: what to do")
	s.clock.turn(33 * time.Minute)
	step("over", "/metrics", "idle: All is well: 1 finished",
		"finished calm: mat 9 finished was due until 13:00 last passing 60 min ago")
}

// An outage has one banner. Each card keeps the last count that is known, and what was wrong before stays trouble.
func TestAnOutage(t *testing.T) {
	down := false
	source := &api{answers: func(name string) (rufus.Session, error) {
		if down && name != "third" || name == "never" {
			return rufus.Session{}, &rufus.Error{Reason: rufus.Network, Detail: "connection refused"}
		}
		return rufus.Session{Active: true, Passings: rufus.Some[int64](692)}, nil
	}}
	for _, test := range []struct {
		what     string
		entries  []entry.Entry
		headline string
		banner   string
		mats     []string
	}{
		{"all", []entry.Entry{follow(rufus.Token, "first"), follow(rufus.Token, "second")},
			"look: None of the 2 mats can be read",
			"Nothing is known since 12:00 : the API cannot be reached. Check the exporter's internet connection and the API key, and watch the boxes " +
				"themselves: they go on recording. Runbook: what to do",
			[]string{
				"failing warning: first failing last known 692 at 12:00",
				"failing warning: second failing last known 692 at 12:00",
			}},
		{"all, and one was never read", []entry.Entry{follow(rufus.Token, "never"), follow(rufus.Token, "second")},
			"look: None of the 2 mats can be read",
			"Nothing is known since 12:00 : the API cannot be reached. Check the exporter's internet connection and the API " +
				"key, and watch the boxes themselves: they go on recording. Runbook: what to do",
			[]string{
				"failing warning: never failing", "failing warning: second failing last known 692 at 12:00",
			}},
		{"two of three are two failures", []entry.Entry{
			follow(rufus.Token, "first"), follow(rufus.Token, "second"), follow(rufus.Token, "third"),
		}, "look: 2 mats need a look: first failing, second failing", "", nil},
		{"one alone is a failure", []entry.Entry{follow(rufus.Token, "first")},
			"look: 1 mat needs a look: first failing", "", nil},
	} {
		down = false
		s := newStand(source, test.entries)
		s.record("/metrics")
		down = true
		s.clock.turn(time.Minute)
		page := s.record("/").Body.String()
		equal(t, test.what+": headline", headline(page), test.headline)
		banner := regexp.MustCompile(`(?s)<p class="outage">(.*?)</p>`).FindStringSubmatch(page)
		equal(t, test.what+": banner", banner != nil, test.banner != "")
		if test.banner != "" && banner != nil {
			equal(t, test.what+": banner", plain(banner[1]), test.banner)
			equal(t, test.what+": mats", mats(page), test.mats)
		}
	}
}

// The title, which a phone shows in its list of tabs, is the headline.
func TestTheSummary(t *testing.T) {
	_, s := simulated(t)
	response, body := get(t, s.serve(t), "/")
	equal(t, "status", response.StatusCode, http.StatusOK)
	equal(t, "content type", response.Header.Get("Content-Type"), "text/html; charset=utf-8")
	equal(t, "cache control", response.Header.Get("Cache-Control"), "no-store")
	contains(t, "page", body, "<title>2 mats need a look: finish closed, mistyped faili… · RUFUS timing</title>", "12:00:00",
		"rufus_exporter 1.2.3", `<meta http-equiv="refresh" content="15">`, `<a href="./metrics">`, `<a href="./sd">`,
		"<h2>5k</h2> <span class=\"sum\">1 ok</span>", "<h2>Other mats</h2>")
	equal(t, "headline", headline(body), "look: 2 mats need a look: finish closed, mistyped failing")
	equal(t, "mats, trouble first, then by race, in the order of the file", mats(body), []string{
		"closed warning: finish 3 closed before the exporter started " +
			"Go to finish: press START if the box is not recording. " +
			"If it is recording, START was pressed again: this entry follows the old token. last passing 30 s ago " +
			"5k point=finish Runbook: what to do",
		"failing warning: mistyped failing since 12:00 (0 s) " +
			"Compare the token or device id of mistyped with RUFUS: was the box unbound? unknown to the API " +
			"not_found: the API knows no such session Runbook: what to do",
		"ok calm: start 2 ok last passing 30 s ago",
		"ok calm: turn TURN-TOKEN 2 ok last passing 30 s ago",
	})
	equal(t, "notices", notices(body), []string{})
}

// Times are those of the reader, with UTC in their title.
func TestTimeZone(t *testing.T) {
	zone, err := time.LoadLocation("America/Sao_Paulo")
	if err != nil {
		t.Fatal(err)
	}
	followed := follow(rufus.Token, "mat")
	followed.Expected = []window.Window{{From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)}}
	s := newStand(&api{answers: func(string) (rufus.Session, error) { return rufus.Session{Active: true}, nil }},
		[]entry.Entry{followed}, func(s *settings) { s.TimeZone = zone })
	contains(t, "page", s.record("/").Body.String(),
		`due from <time datetime="2026-05-10T13:00:00Z" title="2026-05-10 13:00:00 UTC">10:00</time>`,
		">09:00:00</time>", "Times are in America/Sao_Paulo (-03).")
}

func TestZoneName(t *testing.T) {
	for zone, want := range map[*time.Location]string{
		time.UTC: "UTC", time.FixedZone("Local", -3*60*60): "this machine (Local)", time.FixedZone("X", 0): "X",
	} {
		equal(t, "name", zoneName(noon.In(zone)), want)
	}
}

// Of many mats the calm ones are folded, but for the races that a reader opened.
func TestManyMats(t *testing.T) {
	var entries []entry.Entry
	for i := range 300 {
		entries = append(entries, follow(rufus.Token, fmt.Sprint("mat-", i), "race", fmt.Sprint(i%3, "k & more")))
	}
	s := newStand(&api{answers: func(name string) (rufus.Session, error) {
		if name == "mat-7" {
			return rufus.Session{}, &rufus.Error{Reason: rufus.NotFound}
		}
		return rufus.Session{Active: true, Passings: rufus.Some[int64](7)}, nil
	}}, entries)
	page := s.record("/").Body.String()
	equal(t, "mats", len(mats(page)), 300)
	equal(t, "trouble first", strings.HasPrefix(mats(page)[0], "failing warning: mat-7 "), true)
	equal(t, "races", strings.Count(page, `<details class="race">`), 3)
	contains(t, "page", html.UnescapeString(page), `<a href="./?open=1k+%26+more">Keep this race open`,
		`<h2>1k & more</h2> <span class="sum">99 ok</span>`)
	page = s.record("/?open=1k+%26+more&open=nobody").Body.String()
	equal(t, "folded", strings.Count(page, `<details class="race">`), 2)
	equal(t, "open", strings.Count(page, `<details class="race" open>`), 1)
	contains(t, "page", html.UnescapeString(page), `<a href="./?open=1k+%26+more&open=2k+%26+more">Keep this race open`)

	s = newStand(s.collector.Source, entries[:60])
	equal(t, "open races of few mats", strings.Count(s.record("/").Body.String(), `<details class="race" open>`), 3)
}

// The headline in all its variants.
func TestHeadline(t *testing.T) {
	of := func(n int, word state.Word, change ...func(*mat)) []mat {
		var all []mat
		for i := range n {
			m := mat{card: card{Name: fmt.Sprint(strings.ReplaceAll(string(word), " ", "-"), i+1), Word: word}}
			for _, f := range change {
				f(&m)
			}
			all = append(all, m)
		}
		return all
	}
	counting := func(m *mat) { m.counting = true }
	critical := func(m *mat) { m.severity, m.stopped = state.Critical, true }
	warning := func(m *mat) { m.severity, m.stopped = state.Warning, true }
	unread := func(m *mat) { m.severity, m.failed = state.Critical, true }
	battery := func(m *mat) { warning(m); m.Battery = "battery 9 %" }
	next := func(m *mat) { m.due = noon.Add(time.Hour) }
	old := func(m *mat) { m.failed = true }
	for _, test := range []struct {
		mats []mat
		old  bool
		want string
	}{
		{nil, false, "idle: No mats are followed yet"},
		{of(11, state.OK, counting), false, "well: All 11 mats are counting"},
		{of(1, state.OK, counting), false, "well: ok1 is counting"},
		{of(2, state.OK), false, "well: All is well: 2 ready"},
		{of(3, state.Waiting, next), false, "idle: All 3 mats are waiting; the next is due at 13:00"},
		{of(3, state.Finished), false, "idle: All 3 mats have finished"},
		{slices.Concat(of(2, state.OK, counting), of(1, state.OK), of(3, state.Waiting, next), of(1, state.Finished)), false,
			"well: All is well: 2 counting, 1 ready, 3 waiting, 1 finished; the next is due at 13:00"},
		{slices.Concat(of(1, state.Waiting), of(1, state.Finished)), false, "idle: All is well: 1 waiting, 1 finished"},
		{of(2, state.OK, counting), true, "look: Nothing new for 40 s. Before that: All 2 mats are counting"},
		{slices.Concat(of(1, state.Silent, warning), of(9, state.OK), of(1, state.Closed, critical)), false,
			"bad: 1 mat needs you: closed1 closed; 1 mat needs a look: silent1 silent"},
		{of(5, state.NotStarted, critical), false,
			"bad: 5 mats need you: not-started1 not started, not-started2 not started, not-started3 not started and 2 more"},
		{of(1, state.OK, battery), false, "look: 1 mat needs a look: ok1 battery 9 %"},
		{of(1, state.Closed, battery), false, "look: 1 mat needs a look: closed1 closed"},
		{slices.Concat(of(4, state.Failing, unread), of(1, state.OK)), false, "bad: 4 of 5 mats cannot be read"},
		{slices.Concat(of(4, state.Failing, unread), of(1, state.Closed, critical, old)), false,
			"bad: None of the 5 mats can be read; before that, 1 mat needs you: closed1 closed"},
		{slices.Concat(of(3, state.Failing, unread), of(1, state.OK)), false,
			"bad: 3 mats need you: failing1 failing, failing2 failing, failing3 failing"},
		{of(1, state.Failing, unread), false, "bad: 1 mat needs you: failing1 failing"},
	} {
		s := summarize(test.mats, test.old, 40*time.Second, writer{now: noon, zone: time.UTC})
		equal(t, "headline", string(s.tone)+": "+s.headline, test.want)
	}
}

// Free text of the API and of the configuration stays text, whatever it looks like. Package rufus bounds that of the API.
func TestHostileText(t *testing.T) {
	const attack = `"'></td></tr><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}&lt;`
	followed := follow(rufus.Token, attack, "race", attack)
	for _, alias := range []string{attack, "a\x00b\xff\u202ec\n<b>", strings.Repeat("<", 200)} {
		source := &api{answers: func(string) (rufus.Session, error) { return rufus.Session{Alias: alias}, nil }}
		s := newStand(source, []entry.Entry{followed}, func(s *settings) {
			s.Version, s.TelemetryPath = attack, `/"onmouseover="alert(1)`
			s.ReloadError = func() error { return &url.Error{Op: attack, URL: attack, Err: io.EOF} }
		})
		page := s.record("/").Body.String()
		lacks(t, "page", page, "<script", "<img", "<b>", "\x00", `"onmouseover`, "javascript:", "&amp;lt;script")
		contains(t, "page", page, "&lt;script&gt;alert(1)&lt;/script&gt;")
		equal(t, "number of mats", len(mats(page)), 1)
	}
}

// The policy allows the page its own style, by its hash, and nothing else; and the page needs nothing else.
func TestContentSecurityPolicy(t *testing.T) {
	_, s := simulated(t)
	response, body := get(t, s.serve(t), "/")
	_, style, _ := strings.Cut(body, "<style>")
	style, _, found := strings.Cut(style, "</style>")
	equal(t, "the page has a style", found, true)
	sum := sha256.Sum256([]byte(style))
	equal(t, "policy", response.Header.Get("Content-Security-Policy"),
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
			"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")

	lacks(t, "page", strings.ToLower(body), "<script", "style=", "javascript:", "http:", "https:", "//", "@import", "<iframe",
		"<object", "<form", "<base")
	for _, match := range regexp.MustCompile(`(?i)\b(?:src|href|action|url)\s*[=(]\s*["']?([^"')\s>]*)`).
		FindAllStringSubmatch(body, -1) {
		target, _, _ := strings.Cut(match[1], "#")
		if !slices.Contains([]string{"data:,", "./metrics", "./sd", "./-/healthy", "./runbook"}, target) {
			t.Error("the page refers to", match[1])
		}
	}
	for _, match := range regexp.MustCompile(`(?i)\son[a-z]+\s*=`).FindAllString(body, -1) {
		t.Error("the page has a handler:", match)
	}
}

func TestNotices(t *testing.T) {
	unwell := func(err error) func(string) (rufus.Session, error) {
		return func(string) (rufus.Session, error) { return rufus.Session{}, err }
	}
	for _, test := range []struct {
		what    string
		source  *api
		change  func(*settings)
		notices []string
	}{
		{"all is well", &api{answers: unwell(nil)}, func(*settings) {}, []string{}},
		{"one backs off alone", &api{answers: unwell(&rufus.Error{Reason: rufus.RateLimited, Wait: 90 * time.Second})},
			func(*settings) {}, []string{}},
		{"all back off", &api{answers: unwell(&rufus.Error{Reason: rufus.RateLimited, Wait: 90 * time.Second})},
			func(s *settings) { s.entries = append(s.entries, follow(rufus.Token, "finish")) },
			[]string{"The API asked us to wait: no requests for another 90 s, until 12:01:30 ."}},
		{"no list of devices", &api{answers: unwell(nil), list: func() (rufus.DeviceList, error) {
			return rufus.DeviceList{}, &rufus.Error{Reason: rufus.Network}
		}}, func(s *settings) { s.collector.DeviceMetrics = true },
			[]string{"The list of devices cannot be read, so batteries, telemetry and new devices are unknown: " +
				"the API cannot be reached."}},
		{"a list of devices", &api{answers: unwell(nil)}, func(s *settings) { s.collector.DeviceMetrics = true },
			[]string{}},
		{"a failed reload", &api{answers: unwell(nil)},
			func(s *settings) { s.ReloadError = func() error { return errBroken } },
			[]string{"The last reload failed; the configuration before it is in use. " + errBroken.Error()}},
	} {
		s := newStand(test.source, []entry.Entry{follow(rufus.Device, "turn")}, test.change)
		equal(t, test.what, notices(s.record("/").Body.String()), test.notices)
	}
}

// The battery of a followed device stands next to its labels, unless it is trouble.
func TestTheBattery(t *testing.T) {
	api, s := simulated(t)
	source := s.collector.Source
	for charge, want := range map[int]string{
		58: "ok calm: turn TURN-TOKEN 2 ok last passing 30 s ago battery 58 %",
		19: "ok warning: turn TURN-TOKEN 2 ok battery 19 % last passing 30 s ago " +
			"Bring power to turn: its battery is at 19 % and not charging. Runbook: what to do",
	} {
		api.Set(func(day *simulator.Day) {
			day.Device("turn").Battery = simulator.Battery{
				From: noon.Add(-time.Hour), To: noon, Start: float64(charge + 1), End: float64(charge),
			}
		})
		s = newStand(source, s.entries, func(settings *settings) { settings.collector.DeviceMetrics = true })
		// The client observes through the exporter of the first stand, which is still there.
		if all := mats(s.record("/").Body.String()); !slices.Contains(all, want) {
			t.Errorf("%q lacks %q", all, want)
		}
	}
}

// The page shows answers that are younger than 15 s as they are, and asks for the rest.
func TestThePageAsksForWhatIsOld(t *testing.T) {
	for _, test := range []struct {
		what     string
		age      time.Duration
		interval time.Duration
		requests int
		age2     string
	}{
		{"young", 15*time.Second - 1, 0, 1, "read 14 s ago"},
		{"old", 15 * time.Second, 0, 2, "last passing 27 s ago"},
		{"young for a longer min_interval", 59 * time.Second, time.Minute, 1, "read 59 s ago"},
		{"old for it", time.Minute, time.Minute, 2, "last passing 72 s ago"},
		{"a shorter min_interval counts for scrapes only", 14 * time.Second, 5 * time.Second, 1, "read 14 s ago"},
	} {
		source := &api{answers: func(string) (rufus.Session, error) {
			return rufus.Session{Active: true, Passings: rufus.Some[int64](31), Last: before(12 * time.Second)}, nil
		}}
		s := newStand(source, []entry.Entry{follow(rufus.Token, "finish")},
			func(s *settings) { s.collector.MinInterval = test.interval })
		s.record("/metrics")
		s.clock.turn(test.age)
		page := s.record("/").Body.String()
		equal(t, test.what+": requests", source.requests(), test.requests)
		if mat := mats(page)[0]; !strings.HasSuffix(mat, " "+test.age2) {
			t.Errorf("%s: %q does not end with %q", test.what, mat, test.age2)
		}
		// The other way round a scrape never takes what only the page may.
		s.record("/metrics")
		want := test.requests
		if test.interval == 0 || test.age >= test.interval && test.requests == 1 {
			want++
		}
		equal(t, test.what+": requests after another scrape", source.requests(), want)
	}
}

// Failures are asked for again with every page: they may be over.
func TestThePageReusesNoFailure(t *testing.T) {
	source := &api{answers: func(string) (rufus.Session, error) { return rufus.Session{}, &rufus.Error{Reason: rufus.Network} }}
	s := newStand(source, []entry.Entry{follow(rufus.Token, "finish")})
	s.record("/")
	s.record("/")
	equal(t, "requests", source.requests(), 2)
}

// Where the API does not answer within a second, the page shows the newest answer there is and how old it is, be it good
// or bad. Scrapes have more time: the log does not warn of settings on account of the page.
func TestThePageShowsTheNewestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := false
		source := &api{answers: func(name string) (rufus.Session, error) {
			if busy {
				time.Sleep(time.Minute)
			}
			if name == "bad" {
				return rufus.Session{}, &rufus.Error{Reason: rufus.NotFound, Detail: "no such session"}
			}
			return rufus.Session{Active: true, Passings: rufus.Some[int64](31)}, nil
		}}
		entries := []entry.Entry{follow(rufus.Token, "good"), follow(rufus.Token, "bad"), follow(rufus.Token, "third")}
		s := newStand(source, entries, realClocks, func(s *settings) { s.collector.MaxConcurrentRequests = 1 })
		s.record("/metrics")
		busy = true
		time.Sleep(35 * time.Second)
		begin := time.Now()
		page := s.record("/").Body.String()
		equal(t, "the page took", time.Since(begin), time.Second)
		equal(t, "mats", mats(page), []string{
			"failing warning: bad failing since 00:00 (36 s) " +
				"Compare the token or device id of bad with RUFUS: was the box unbound? unknown to the API " +
				"not_found: no such session read 36 s ago Runbook: what to do",
			"ok calm: good 31 ok no passing yet read 36 s ago",
			"ok calm: third 31 ok no passing yet read 36 s ago",
		})
		contains(t, "page", page, "The API does not answer in time: 3 of 3 answers are old, up to 36 s.")
		lacks(t, "log", s.log.String(), "not all sessions")

		// A scrape has nothing to do with what is old.
		contains(t, "metrics", s.record("/metrics").Body.String(), `rufus_session_error{reason="timeout",session="good"} 1`)
		contains(t, "log", s.log.String(), "not all sessions")
		time.Sleep(time.Hour)
	})
}

// Without older answers the page waits for five seconds at most, and then shows what has come.
func TestThePageDoesNotWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &api{answers: func(name string) (rufus.Session, error) {
			if name == "slow" {
				time.Sleep(time.Minute)
			}
			return rufus.Session{Active: true, Passings: rufus.Some[int64](31)}, nil
		}}
		s := newStand(source, []entry.Entry{follow(rufus.Token, "slow"), follow(rufus.Token, "quick")}, realClocks)
		begin := time.Now()
		page := s.record("/").Body.String()
		equal(t, "the page took", time.Since(begin), 5*time.Second)
		equal(t, "mats", mats(page), []string{
			"failing warning: slow failing no answer in time " +
				"Check the exporter's internet connection and api.url, and watch the box of slow itself. " +
				"timeout: no answer before the scrape's deadline Runbook: what to do",
			"ok calm: quick 31 ok no passing yet",
		})
		time.Sleep(time.Minute)
	})
}

// No answer of any kind holds a token, a device id or the key.
func TestNoSecretIsServed(t *testing.T) {
	_, s := simulated(t)
	base := s.serve(t)
	for _, path := range []string{
		"/", "/metrics", "/probe?target=start", "/probe?target=" + secretPrefix + "start", "/sd", "/-/healthy", "/nowhere",
	} {
		_, body := get(t, base, path)
		lacks(t, path, body, secretPrefix, simulator.DemoKey)
	}
	lacks(t, "log", s.log.String(), secretPrefix, simulator.DemoKey)
}

// A template that fails gives an answer that says so, and no half of a page.
func TestAPageThatCannotBeMade(t *testing.T) {
	s := newStand(&api{}, nil)
	h := &handler{Options: s.Options, page: template.Must(template.New("status").Parse(`half a page {{.Nothing}}`))}
	h.TimeZone = time.UTC
	s.handler = http.HandlerFunc(h.status)
	response := s.record("/")
	equal(t, "status", response.Code, http.StatusInternalServerError)
	equal(t, "body", response.Body.String(), "The page could not be made: see the exporter's log.\n")
	contains(t, "log", s.log.String(), `level=ERROR msg="status page"`)
}

// Readers of a page that nobody scrapes for are not alarmed by an API that takes a little longer than the page waits.
func TestASlowAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &api{answers: func(string) (rufus.Session, error) {
			time.Sleep(1500 * time.Millisecond)
			return rufus.Session{Active: true, Passings: rufus.Some[int64](31)}, nil
		}}
		s := newStand(source, []entry.Entry{follow(rufus.Token, "slow")}, realClocks)
		for range 10 {
			page := s.record("/").Body.String()
			equal(t, "headline", headline(page), "well: slow is counting")
			equal(t, "notices", notices(page), []string{})
			time.Sleep(15 * time.Second)
		}
	})
}
