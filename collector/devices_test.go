package collector_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// devices returns the list that a client creates from these records, complete or not.
func devices(t *testing.T, complete bool, records ...string) rufus.DeviceList {
	t.Helper()
	body := `{"body":{"result":[` + strings.Join(records, ",") + `]`
	if complete {
		body += `,"pagination":{"has_more":false}`
	}
	body += `}}`
	client := rufus.NewClient(rufus.Options{
		URL: &url.URL{Scheme: "http", Host: "localhost"}, Key: rufus.NewSecret("key"), KeyHeader: "api_key",
		Timeout: time.Minute,
		Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
		}),
	})
	list, err := client.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list.Complete != complete {
		t.Fatalf("complete is %v", list.Complete)
	}
	return list
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// listed returns the record of the device with that name.
func listed(name, rest string) string {
	return `{"deviceid":"` + secretPrefix + name + `"` + rest + `}`
}

// The list is one request for the whole account. It is sent if an entry follows a device and device metrics are on, and
// then at most once in 30 s or in the minimum interval, even if it fails.
func TestTheListOfDevicesIsAskedForSeldom(t *testing.T) {
	followed := []entry.Entry{token("start"), device("finish")}
	good, bad := reply{after: time.Second}, reply{after: time.Second, err: failure(rufus.ServerError)}
	tests := []struct {
		what     string
		entries  []entry.Entry
		options  []func(*collector.Options)
		list     reply
		requests string
	}{
		{"every 30 s", followed, []func(*collector.Options){deviceMetrics}, good, "0s 45s 1m30s"},
		{"also when it fails", followed, []func(*collector.Options){deviceMetrics}, bad, "0s 45s 1m30s"},
		{"at min_interval if that is longer", followed,
			[]func(*collector.Options){deviceMetrics, minInterval(time.Minute)}, good, "0s 1m15s"},
		{"not when no device is followed", tokens("start"), []func(*collector.Options){deviceMetrics}, good, ""},
		{"not without the setting", followed, nil, good, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(func(r request) reply {
					if r.name == "devices" {
						return test.list
					}
					return reply{session: counting(1)}
				}, test.options...)
				sessions := s.Sessions(test.entries)
				next := time.NewTicker(15 * time.Second)
				defer next.Stop()
				for range 8 { // until 1m45s
					s.fetch(sessions, 10*time.Second)
					<-next.C
				}
				var asked []string
				for _, line := range s.sent() {
					if strings.HasSuffix(line, "devices") {
						asked = append(asked, line)
					}
				}
				equal(t, "requests", times(asked), test.requests)
			})
		})
	}
}

// Unlike for a session, a fetch that joined a failed request for the list does not send another one.
func TestAFailedListIsNotAskedForAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.name == "devices" {
				return reply{after: 2 * time.Second, err: failure(rufus.ServerError)}
			}
			return reply{session: counting(1)}
		}, deviceMetrics)
		sessions := s.Sessions([]entry.Entry{device("finish")})
		first := s.start(sessions, 10*time.Second)
		time.Sleep(time.Second)
		second := s.fetch(sessions, 10*time.Second)
		for _, scrape := range []fetched{<-first, second} {
			equal(t, "devices up", scrape.DevicesUp, rufus.Some(false))
			equal(t, "outcomes", scrape.outcomes(), "finish 1")
			equal(t, "end of the scrape", scrape.at, 2*time.Second)
		}
		requests := s.sent()
		slices.Sort(requests)
		equal(t, "requests", requests, []string{"0s devices", "0s finish", "1s finish"})
	})
}

// If the list arrives too late or not at all, only the health of the devices is missing.
func TestAMissingListHarmsNothing(t *testing.T) {
	for what, list := range map[string]reply{
		"fails":         {list: devices(t, true), err: failure(rufus.InvalidResponse)},
		"is late":       {after: time.Minute},
		"panics":        {panics: "surprise"},
		"asks to wait":  {after: time.Second, err: wait(time.Minute)},
		"is incomplete": {list: devices(t, false)},
		"is not there":  {err: failure(rufus.NotFound)},
	} {
		t.Run(what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(func(r request) reply {
					if r.name == "devices" {
						return list
					}
					return reply{session: rufus.Session{}}
				}, deviceMetrics)
				scrape := s.fetch(s.Sessions([]entry.Entry{token("start"), device("idle")}), 5*time.Second)
				equal(t, "outcomes", scrape.outcomes(), "start 0, idle 0")
				equal(t, "devices up", scrape.DevicesUp, rufus.Some(what == "is incomplete"))
				_, known := scrape.Statuses[1].Health.Get()
				equal(t, "health is known", known, false)
			})
		})
	}
}

// A device that is not in a complete list is mistyped or unbound. But if its session is active, the device exists, and
// if the session fails, that error is reported.
func TestADeviceThatIsNotInTheAccount(t *testing.T) {
	idle, active, failed := reply{}, reply{session: counting(31)}, reply{err: failure(rufus.Timeout)}
	another := listed("another", `,"battery_percentage":50`)
	tests := []struct {
		what    string
		list    rufus.DeviceList
		state   reply
		entry   func(string) entry.Entry
		outcome string
	}{
		{"idle and unlisted", devices(t, true, another), idle, device, "mat not_found"},
		{"its last session is shown", devices(t, true), reply{session: rufus.Session{Passings: rufus.Some[int64](9)}},
			device, "mat not_found"},
		{"the list may go on", devices(t, false, another), idle, device, "mat 0"},
		{"it is listed, in whatever case", devices(t, true, strings.ToLower(listed("mat", ""))), idle, device, "mat 0"},
		{"it is active", devices(t, true, another), active, device, "mat 31"},
		{"it fails", devices(t, true, another), failed, device, "mat timeout"},
		{"it is a token", devices(t, true, another), idle, token, "mat 0"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				s := newStand(func(r request) reply {
					if r.name == "devices" {
						return reply{list: test.list}
					}
					return test.state
				}, deviceMetrics)
				entries := []entry.Entry{test.entry("mat"), device("another")}
				scrape := s.fetch(s.Sessions(entries), time.Second)
				first, _, _ := strings.Cut(scrape.outcomes(), ", ")
				equal(t, "outcome", first, test.outcome)
				if test.outcome == "mat not_found" {
					equal(t, "error", scrape.Statuses[0].Err.Error(), "not_found: no such device in this account")
				}
			})
		})
	}
}

// A probe of one device gets its health from the same list.
func TestAProbeOfADevice(t *testing.T) {
	list := devices(t, true, listed("turn", `,"battery_percentage":50`), listed("finish", `,"battery_percentage":80`))
	inFakeTime(t, func(t *testing.T) {
		s := newStand(func(r request) reply {
			if r.name == "devices" {
				return reply{list: list}
			}
			return reply{session: counting(1)}
		}, deviceMetrics)
		sessions := s.Sessions([]entry.Entry{device("turn"), token("start"), device("finish")})
		for name, battery := range map[string]rufus.Option[float64]{
			"turn": rufus.Some(.5), "start": {}, "finish": rufus.Some(.8),
		} {
			one, _ := sessions.Only(name)
			report := one.Fetch(context.Background(), 0)
			health, _ := report.Statuses[0].Health.Get()
			equal(t, name, health.Battery, battery)
			_, asked := report.DevicesUp.Get()
			equal(t, name+" needs the list", asked, name != "start")
		}
		lists := 0
		for _, line := range s.sent() {
			lists += strings.Count(line, "devices")
		}
		equal(t, "requests for the list", lists, 1)
	})
}

// Anyone who writes an alias, or a text about a device, may know the token or id of another entry. When such an entry
// is added, known answers that contain it are dropped.
func TestNoEntryShowsTheSecretOfAnother(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		secret := strings.ToLower(secretPrefix) + "finish"
		var s stand
		client := rufus.NewClient(rufus.Options{
			URL: &url.URL{Scheme: "http", Host: "localhost"}, Key: rufus.NewSecret("key"), KeyHeader: "api_key",
			Timeout: time.Minute,
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				body := `{"result":[` + listed("turn", `,"model":"`+secret+`","firmware":"v`+secret+`","device_status":"`+secret+
					`!","alias":"like `+secret+`","active":true,"passings":1`) + `]}`
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
			}),
			Mask: func() rufus.Mask { return s.Fetcher.Mask() },
		})
		s = newStand(every(reply{}), deviceMetrics, minInterval(time.Hour), func(o *collector.Options) { o.Source = client })
		texts := func(report fetched) []string {
			health, _ := report.Statuses[0].Health.Get()
			return []string{report.Statuses[0].Session.Alias, health.Model, health.Firmware, health.Status}
		}
		report := s.fetch(s.Sessions([]entry.Entry{device("turn")}), time.Second)
		equal(t, "texts before", texts(report), []string{"like " + secret, secret, "v" + secret, secret + "!"})
		time.Sleep(time.Minute)
		report = s.fetch(s.Sessions([]entry.Entry{device("turn"), token("finish")}), time.Second)
		equal(t, "texts", texts(report), []string{"like <secret>", "<secret>", "v<secret>", "<secret>!"})
	})
}
