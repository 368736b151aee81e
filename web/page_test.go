package web

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
	"rufus_exporter/window"
)

var (
	rowPattern = regexp.MustCompile(`(?s)<tr class="([a-z]+)">(.*?)</tr>`)
	tagPattern = regexp.MustCompile(`<[^>]*>`)
)

// plain returns what a reader sees of a piece of HTML.
func plain(markup string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(markup, " "))), " ")
}

// rows returns what a reader sees of each session, with the class of its row before it.
func rows(page string) []string {
	var all []string
	for _, row := range rowPattern.FindAllStringSubmatch(page, -1) {
		all = append(all, row[1]+": "+plain(row[2]))
	}
	return all
}

// notices returns what is said above the table.
func notices(page string) []string {
	all := []string{}
	for _, notice := range regexp.MustCompile(`(?s)<p class="notice">(.*?)</p>`).FindAllStringSubmatch(page, -1) {
		all = append(all, plain(notice[1]))
	}
	return all
}

// before returns the instant that lies so far back.
func before(d time.Duration) rufus.Option[time.Time] { return rufus.Some(noon.Add(-d)) }

// Each state in its words.
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

	for _, test := range []struct {
		entry   entry.Entry
		session rufus.Session
		err     error
		row     string
	}{
		{follow(rufus.Token, "finish", "race", "10k", "point", "finish"), aliased, nil,
			"active: active finish FINISH-10K 31 12 s ago point=finish race=10k just now"},
		{follow(rufus.Device, "finish"), passed(1, time.Second), nil,
			"active: active finish 1 1 s ago just now"},
		{follow(rufus.Token, "start"), rufus.Session{Active: true, Passings: rufus.Some[int64](0)}, nil,
			"active: active start 0 just now"},
		{follow(rufus.Token, "kids"), closed, nil,
			"closed: closed kids 84 3 h ago just now"},
		{follow(rufus.Device, "kids"), closed, nil,
			"closed: closed the device has no active session; this was its last kids 84 3 h ago just now"},
		{follow(rufus.Device, "new"), rufus.Session{}, nil,
			"closed: closed the device has no session yet new just now"},

		// Clocks of devices.
		{follow(rufus.Token, "ahead"), passed(7, -3*time.Hour), nil,
			"active: active ahead 7 3 h ahead: check the device's clock just now"},
		{follow(rufus.Token, "a little"), passed(7, -5*time.Second), nil, "active: active a little 7 just now just now"},
		{follow(rufus.Token, "six"), passed(7, -6*time.Second), nil,
			"active: active six 7 6 s ahead: check the device's clock just now"},

		// Silence, where somebody said how long is too long.
		{silent, passed(7, 10*time.Minute), nil, "active: active turn 7 10 min ago just now"},
		{silent, passed(7, 11*time.Minute), nil,
			"active: active turn 7 11 min ago silent for over 10 min, or clock behind just now"},
		{silent, closed, nil, "closed: closed turn 84 3 h ago just now"},
		{follow(rufus.Token, "turn"), passed(7, 24*time.Hour), nil, "active: active turn 7 24 h ago just now"},

		// Failures: nothing of what was known before, and the reason in plain words.
		{follow(rufus.Token, "x", "race", "5k"), aliased, &rufus.Error{Reason: rufus.Unauthorized, Detail: "status 403"},
			"failing: failing API key rejected unauthorized: status 403 x race=5k just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.NotFound, Detail: "no such session"},
			"failing: failing unknown to the API: check the token or device id not_found: no such session x just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.RateLimited, Detail: "status 429"},
			"failing: failing the API asked us to wait rate_limited: status 429 x just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.ServerError, Detail: "status 500"},
			"failing: failing the API has a fault server_error: status 500 x just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.UnexpectedStatus, Detail: "status 302"},
			"failing: failing the API refused in an unexpected way unexpected_status: status 302 x just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.Timeout, Detail: "no answer"},
			"failing: failing no answer in time timeout: no answer x just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.Network, Detail: "connection refused"},
			"failing: failing the API cannot be reached network: connection refused x just now"},
		{follow(rufus.Token, "x"), aliased, &rufus.Error{Reason: rufus.InvalidResponse, Detail: "no JSON"},
			"failing: failing the API's answer cannot be read invalid_response: no JSON x just now"},
	} {
		source := &api{answers: func(string) (rufus.Session, error) { return test.session, test.err }}
		s := newStand(source, []entry.Entry{test.entry})
		equal(t, "row", rows(s.record("/").Body.String()), []string{test.row})
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
	for _, test := range []struct {
		from, until time.Duration // of the window, after now
		session     rufus.Session
		row         string
	}{
		{5*minute + 1, time.Hour, closed, "closed: closed passings are due from 12:05 UTC mat 7 60 min ago just now"},
		{5 * minute, time.Hour, closed,
			"failing: closed while due press START: passings are due until 13:00 UTC mat 7 60 min ago just now"},
		{-time.Hour, 1, closed,
			"failing: closed while due press START: passings are due until 12:00 UTC mat 7 60 min ago just now"},
		{-time.Hour, 0, closed, "closed: finished no passings were due after 12:00 UTC mat 7 60 min ago just now"},
		{-time.Hour, time.Hour, rufus.Session{},
			"failing: not started press START: passings are due until 13:00 UTC mat just now"},
		{7 * 24 * time.Hour, 8 * 24 * time.Hour, last(time.Hour),
			"active: waiting passings are due from 17 May, 12:00 UTC mat 7 60 min ago just now"},
		{1, time.Hour, last(time.Hour), "active: waiting passings are due from 12:00 UTC mat 7 60 min ago just now"},
		{0, time.Hour, last(time.Hour), "active: active mat 7 60 min ago just now"},
		{-10 * minute, time.Hour, last(time.Hour), "active: active mat 7 60 min ago just now"},
		{-10*minute - 1, time.Hour, last(time.Hour),
			"active: active mat 7 60 min ago silent for over 10 min, or clock behind just now"},
		{-time.Hour, time.Hour, last(10 * minute), "active: active mat 7 10 min ago just now"},
		{-time.Hour, 0, last(time.Hour), "closed: finished no passings were due after 12:00 UTC mat 7 60 min ago just now"},
	} {
		mat := follow(rufus.Token, "mat")
		mat.SilentAfter = 10 * minute
		mat.Expected = []window.Window{{From: noon.Add(test.from), Until: noon.Add(test.until)}}
		s := newStand(&api{answers: func(string) (rufus.Session, error) { return test.session, nil }},
			[]entry.Entry{mat})
		equal(t, "row", rows(s.record("/").Body.String()), []string{test.row})
	}
}

// The title, which a phone shows in its list of tabs, counts the states.
func TestTheSummary(t *testing.T) {
	_, s := simulated(t)
	response, body := get(t, s.serve(t), "/")
	equal(t, "status", response.StatusCode, http.StatusOK)
	equal(t, "content type", response.Header.Get("Content-Type"), "text/html; charset=utf-8")
	equal(t, "cache control", response.Header.Get("Cache-Control"), "no-store")
	contains(t, "page", body, "<title>1 failing, 2 active, 1 closed · RUFUS timing</title>", "12:00:00 UTC",
		"rufus_exporter 1.2.3", `<meta http-equiv="refresh" content="15">`, `<a href="/metrics">`, `<a href="/sd">`)
	equal(t, "rows, in the order of the file", rows(body), []string{
		"active: active start START 2 30 s ago race=5k just now",
		"closed: closed finish FINISH 3 30 s ago point=finish race=5k just now",
		"active: active turn TURN-TOKEN 2 30 s ago just now",
		"failing: failing unknown to the API: check the token or device id " +
			"not_found: the API knows no such session mistyped just now",
	})
	equal(t, "notices", notices(body), []string{})
}

// Free text of the API and of the configuration stays text, whatever it looks like. Package rufus bounds that of the API.
func TestHostileText(t *testing.T) {
	const attack = `"'></td></tr><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}&lt;`
	hostile := follow(rufus.Token, attack, "race", attack)
	for _, alias := range []string{attack, "a\x00b\xff\u202ec\n<b>", strings.Repeat("<", 200)} {
		source := &api{answers: func(string) (rufus.Session, error) { return rufus.Session{Alias: alias}, nil }}
		s := newStand(source, []entry.Entry{hostile}, func(s *settings) {
			s.Version, s.TelemetryPath = attack, `/"onmouseover="alert(1)`
			s.ReloadError = func() error { return &url.Error{Op: attack, URL: attack, Err: io.EOF} }
		})
		page := s.record("/").Body.String()
		lacks(t, "page", page, "<script", "<img", "<b>", "\x00", `"onmouseover`, "javascript:", "&amp;lt;script")
		contains(t, "page", page, "&lt;script&gt;alert(1)&lt;/script&gt;")
		equal(t, "number of rows", len(rows(page)), 1)
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
		if !slices.Contains([]string{"data:,", "/metrics", "/sd", "/-/healthy"}, match[1]) {
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
			[]string{"The API asked us to wait: no requests for another 90 s, until 12:01:30 UTC."}},
		{"no list of devices", &api{answers: unwell(nil), list: func() (rufus.DeviceList, error) {
			return rufus.DeviceList{}, &rufus.Error{Reason: rufus.Network}
		}}, func(s *settings) { s.collector.DeviceMetrics = true },
			[]string{"The list of devices cannot be read: batteries, telemetry and new devices are unknown."}},
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

// The battery of a followed device stands next to its labels.
func TestTheBattery(t *testing.T) {
	mats, s := simulated(t)
	mats.Set(func(day *simulator.Day) {
		day.Device("turn").Battery = simulator.Battery{From: noon.Add(-time.Hour), To: noon, Start: 90, End: 58}
	})
	source := s.collector.Source
	s = newStand(source, s.entries, func(settings *settings) { settings.collector.DeviceMetrics = true })
	// The client observes through the exporter of the first stand, which is still there.
	page := s.record("/").Body.String()
	equal(t, "row", rows(page)[2], "active: active turn TURN-TOKEN 2 30 s ago battery 58 % just now")
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
		{"young", 15*time.Second - 1, 0, 1, "14 s ago"},
		{"old", 15 * time.Second, 0, 2, "just now"},
		{"young for a longer min_interval", 59 * time.Second, time.Minute, 1, "59 s ago"},
		{"old for it", time.Minute, time.Minute, 2, "just now"},
		{"a shorter min_interval counts for scrapes only", 14 * time.Second, 5 * time.Second, 1, "14 s ago"},
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
		if row := rows(page)[0]; !strings.HasSuffix(row, " "+test.age2) {
			t.Errorf("%s: %q does not end with %q", test.what, row, test.age2)
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

// Where the API does not answer within these five seconds, the page shows the newest answer there is and how old it is,
// be it good or bad. Scrapes have more time: the log does not warn of settings on account of the page.
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
		time.Sleep(30 * time.Second)
		begin := time.Now()
		page := s.record("/").Body.String()
		equal(t, "the page took", time.Since(begin), 5*time.Second)
		equal(t, "rows", rows(page), []string{
			"active: active good 31 35 s ago",
			"failing: failing unknown to the API: check the token or device id not_found: no such session bad 35 s ago",
			"active: active third 31 35 s ago",
		})
		contains(t, "page", page, "The API does not answer in time: 3 of 3 answers are old")
		lacks(t, "log", s.log.String(), "not all sessions")

		// A scrape has nothing to do with what is old.
		contains(t, "metrics", s.record("/metrics").Body.String(), `rufus_session_error{reason="timeout",session="good"} 1`)
		contains(t, "log", s.log.String(), "not all sessions")
		time.Sleep(time.Hour)
	})
}

// The page waits for five seconds at most, and then shows what has come.
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
		equal(t, "rows", rows(page), []string{
			"failing: failing no answer in time timeout: no answer before the scrape's deadline slow just now",
			"active: active quick 31 5 s ago",
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
	h := &handler{Options: s.Options, page: newPage()}
	if _, err := h.page.template.Parse(`half a page {{.Nothing}}`); err != nil {
		t.Fatal(err)
	}
	s.handler = http.HandlerFunc(h.status)
	response := s.record("/")
	equal(t, "status", response.Code, http.StatusInternalServerError)
	equal(t, "body", response.Body.String(), "The page could not be made: see the exporter's log.\n")
	contains(t, "log", s.log.String(), `level=ERROR msg="status page"`)
}
