package simulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

var start = time.Date(2026, 5, 10, 9, 0, 0, 0, time.UTC)

// clock is a fake clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// play serves day over HTTP. Its clock starts at start.
func play(t *testing.T, day simulator.Day) (api *simulator.Server, url string, at *clock) {
	t.Helper()
	api, at = simulator.New(day), &clock{now: start}
	api.Now = at.Now
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return api, server.URL + "/v0", at
}

// received is an answer as a client gets it.
type received struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with the demo's key. header is pairs of name and value.
func ask(t *testing.T, method, url string, header ...string) received {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("api_key", simulator.DemoKey)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return received{resp.StatusCode, resp.Header, string(body)}
}

// noSleep sends slow answers without delay.
func noSleep(context.Context, time.Duration) error { return nil }

// small returns a day with one session of each kind.
func small() simulator.Day {
	passings := make([]simulator.Passing, 3)
	for i := range passings {
		stamp := start.Add(time.Duration(i)*time.Minute - 90*time.Second + 263*time.Millisecond)
		passings[i] = simulator.Passing{Arrived: stamp.Add(time.Second), Stamp: stamp}
	}
	return simulator.Day{Devices: []simulator.Device{{
		ID: "DEVICE-A", Alias: "Start",
		Type: "One4All", Model: "One4All 5 PRO", Firmware: "1.0.1", SerialNumber: "SIM-1",
		Created:   time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC),
		LastLogin: start.Add(-time.Hour),
		Battery:   simulator.Battery{From: start.Add(-time.Hour), To: start.Add(time.Hour), Start: 90, End: 70},
		Sessions: []simulator.Session{
			{Token: "TOKEN-A2", Alias: "START-5K", Created: start.Add(-time.Hour), Passings: passings},
			{Token: "TOKEN-A1", Alias: "Test", Created: start.Add(-2 * time.Hour), Passings: passings},
			{Token: "TOKEN-A3", Created: start.Add(time.Hour)},
		},
	}, {
		ID: "DEVICE-B", Alias: "Turn", Enveloped: true,
		Sessions: []simulator.Session{{Token: "TOKEN-B", Alias: "Intermediate 21K", Created: start.Add(-time.Hour)}},
	}, {
		ID: "DEVICE-C", Alias: "Finish",
		Sessions: []simulator.Session{{
			Token: "TOKEN-C", Alias: "FINISH-10K", Created: start.Add(-time.Hour), Closed: start, Passings: passings,
		}},
	}, {
		ID: "DEVICE-D", Alias: "Spare", Sessions: []simulator.Session{{
			Token: "TOKEN-D", Created: start.Add(-time.Hour), Deleted: start,
		}},
	}}}
}

func TestAnswers(t *testing.T) {
	const (
		key   = simulator.DemoKey
		found = `{"description":"Success","result":[`
		first = `"first":"2026-05-10T08:58:30.263Z","last":"2026-05-10T08:59:30.263Z"`
		a2    = `"token_session":"TOKEN-A2","alias":"START-5K","creation_date":"2026-05-10T08:00:00.000Z"`
		a     = `{"description":"Success","result":[{` + a2 +
			`,"duration":"2026-05-10T10:00:00.000Z","active":true,"passings":2,` + first + `}]}`
		b = `{"body":{"description":"Success","result":[{"token_session":"TOKEN-B","alias":"Intermediate 21K",` +
			`"creation_date":"2026-05-10T08:00:00.000Z","duration":"2026-05-10T10:00:00.000Z",` +
			`"active":true,"passings":0}]}}`
	)
	tests := []struct {
		path   string
		header []string
		status int
		body   string
	}{
		{path: "/sessions/TOKEN-A2", status: 200, body: a},
		{path: "/sessions/token-a2", status: 200, body: a},
		{path: "/sessions/TOKEN-A2", header: []string{"api_key", "", "x-api-key", key}, status: 200, body: a},
		{path: "/sessions/TOKEN-B", status: 200, body: b},
		{path: "/sessions/TOKEN-C", status: 200, body: found + `{"token_session":"TOKEN-C",` +
			`"alias":"FINISH-10K","creation_date":"2026-05-10T08:00:00.000Z","duration":"2026-05-10T10:00:00.000Z",` +
			`"active":false,"passings":2,` + first + `}]}`},
		{path: "/sessions/TOKEN-A1", status: 200, body: found + `{"token_session":"TOKEN-A1",` +
			`"alias":"Test","creation_date":"2026-05-10T07:00:00.000Z","duration":"2026-05-10T09:00:00.000Z",` +
			`"active":false,"passings":0}]}`},
		{
			path: "/sessions/TOKEN-A3", status: 404,
			body: `{description: "Session not found", token_session: "TOKEN-A3"}`,
		},
		{path: "/sessions/TOKEN-D", status: 404, body: `{description: "Session not found", token_session: "TOKEN-D"}`},
		{path: "/sessions/nobody", status: 404, body: `{description: "Session not found", token_session: "NOBODY"}`},
		{path: "/sessions/", status: 400, body: `{description: "Missing parameter"}`},

		{path: "/sessions/device/DEVICE-A/active", status: 200, body: a},
		{path: "/sessions/device/device-b/active", status: 200, body: b},
		{
			path: "/sessions/device/DEVICE-C/active", status: 404,
			body: `{description: "Sessions not found", deviceid: "DEVICE-C"}`,
		},
		{
			path: "/sessions/device/NOBODY/active", status: 404,
			body: `{description: "Sessions not found", deviceid: "NOBODY"}`,
		},
		{path: "/sessions/device/DEVICE-A", status: 200, body: found +
			`{"token_session":"TOKEN-A1","alias":"Test","creation_date":"2026-05-10T07:00:00.000Z",` +
			`"active":false,"passings":0},{` + a2 + `,"active":true,"passings":2}]}`},
		{path: "/sessions/device/DEVICE-B", status: 200, body: `{"body":{"description":"Success","result":[` +
			`{"token_session":"TOKEN-B","alias":"Intermediate 21K","creation_date":"2026-05-10T08:00:00.000Z",` +
			`"active":true,"passings":0}]}}`},
		{
			path: "/sessions/device/DEVICE-D", status: 404,
			body: `{description: "Sessions not found", deviceid: "DEVICE-D"}`,
		},
		{path: "/sessions/device/DEVICE-A/closed", status: 404, body: `{description: "Not found"}`},

		{path: "/devices?page=1&limit=1", status: 200, body: `{"body":{"description":"Success","result":[` +
			`{"deviceid":"DEVICE-A","type":"One4All","model":"One4All 5 PRO","alias":"Start","firmware":"1.0.1",` +
			`"serial_number":"SIM-1","last_login":"2026-05-10T08:00:00.000Z",` +
			`"creation_date":"2025-01-02T03:04:05.000Z","sessions":2,"device_status":"ONLINE",` +
			`"battery_percentage":80,"charging":false,` +
			`"last_telemetry_at":"2026-05-10T09:00:00.000Z"}],` +
			`"pagination":{"page":1,"limit":1,"total":4,"has_more":true}}}`},
		{path: "/devices?page=4&limit=1", status: 200, body: `{"body":{"description":"Success","result":[` +
			`{"deviceid":"DEVICE-D","type":"","model":"","alias":"Spare","firmware":null,"serial_number":"",` +
			`"last_login":null,"creation_date":null,"sessions":0,"device_status":null,"battery_percentage":null,` +
			`"charging":null,"last_telemetry_at":null}],` +
			`"pagination":{"page":4,"limit":1,"total":4,"has_more":false}}}`},
		{
			path: "/devices?page=2", status: 200,
			body: `{"body":{"description":"Success","pagination":{"page":2,"limit":5000,"total":4,"has_more":false}}}`,
		},
		{path: "/devices?page=0", status: 400, body: `{description: "Wrong parameter"}`},
		{path: "/devices?limit=-1", status: 400, body: `{description: "Wrong parameter"}`},

		{
			path: "/sessions/TOKEN-A2", header: []string{"api_key", "wrong"}, status: 403,
			body: `{description: "Forbidden"}`,
		},
		{
			path: "/sessions/TOKEN-A2", header: []string{"api_key", ""}, status: 400,
			body: `{description: "Missing parameter api_key"}`,
		},
		{path: "/devices", header: []string{"api_key", "wrong"}, status: 403, body: `{description: "Forbidden"}`},
		{path: "/sessions/TOKEN-A2/passings", status: 404, body: `{description: "Not found"}`},
		{path: "/sessions", status: 404, body: `{description: "Not found"}`},
		{path: "/../sessions/TOKEN-A2", status: 404, body: `{description: "Not found"}`},
	}
	_, url, _ := play(t, small())
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			resp := ask(t, http.MethodGet, url+test.path, test.header...)
			if resp.status != test.status || resp.body != test.body {
				t.Errorf("got %d\n%s\nwant %d\n%s", resp.status, resp.body, test.status, test.body)
			}
			if got, want := resp.header.Get("Date"), "Sun, 10 May 2026 09:00:00 GMT"; got != want {
				t.Errorf("Date is %q, want that of the API's own clock, %q", got, want)
			}
		})
	}
}

// Answers depend only on the day and the time, not on the order of requests or on the server.
func TestSameTimeSameAnswer(t *testing.T) {
	day := simulator.Demo(start, simulator.DemoSpeed)
	_, one, oneAt := play(t, day)
	_, two, twoAt := play(t, day)
	paths := []string{"/devices", "/sessions/" + simulator.ID("nobody")}
	for _, d := range day.Devices {
		if d.Latency == 0 {
			ofDevice := "/sessions/device/" + d.ID
			paths = append(paths, "/sessions/"+d.Sessions[0].Token, ofDevice, ofDevice+"/active")
		}
	}
	const steps = 20
	answers := make(map[string]string)
	for i := range steps {
		oneAt.set(start.Add(time.Duration(i) * 37 * time.Second))
		for _, path := range paths {
			answers[fmt.Sprint(i, path)] = ask(t, http.MethodGet, one+path).body
		}
	}
	for i := steps - 1; i >= 0; i-- {
		twoAt.set(start.Add(time.Duration(i) * 37 * time.Second))
		for _, path := range paths {
			if got := ask(t, http.MethodGet, two+path).body; got != answers[fmt.Sprint(i, path)] {
				t.Fatalf("%s at step %d: %s, and before: %s", path, i, got, answers[fmt.Sprint(i, path)])
			}
		}
	}
}

func TestOnlyGetIsAnswered(t *testing.T) {
	api, url, _ := play(t, small())
	methods := []string{"POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"}
	for _, method := range methods {
		resp := ask(t, method, url+"/sessions/TOKEN-A2")
		if resp.status != http.StatusMethodNotAllowed || resp.header.Get("Allow") != "GET" {
			t.Errorf("%s: status %d, Allow %q", method, resp.status, resp.header.Get("Allow"))
		}
	}
	if r := api.Requests(); r.Refused != len(methods) || r.Total() != len(methods) || len(r.By) != 0 {
		t.Errorf("counted %+v", r)
	}
}

func TestRequestsAndServed(t *testing.T) {
	api, url, at := play(t, small())
	for _, path := range []string{
		"/sessions/TOKEN-A2", "/sessions/token-a2", "/sessions/nobody",
		"/sessions/device/DEVICE-B/active", "/sessions/device/DEVICE-C/active", "/sessions/device/DEVICE-C",
		"/devices", "/passings",
	} {
		ask(t, http.MethodGet, url+path)
	}
	r := api.Requests()
	if r.Session != 3 || r.Active != 2 || r.History != 1 || r.Devices != 1 || r.Other != 1 || r.Total() != 8 ||
		r.Peak != 1 || r.By["TOKEN-A2"] != 2 || r.By["NOBODY"] != 1 || r.By["DEVICE-C"] != 2 {
		t.Errorf("counted %+v", r)
	}
	r.By["TOKEN-A2"] = 0
	if api.Requests().By["TOKEN-A2"] != 2 {
		t.Error("the counts are not a copy")
	}

	for id, want := range map[string]simulator.Answer{
		"token-a2": {At: start, Token: "TOKEN-A2", Active: true, Passings: 2},
		"DEVICE-B": {At: start, Token: "TOKEN-B", Active: true},
		"DEVICE-C": {At: start, Token: "TOKEN-C", Passings: 2},
	} {
		if got, ok := api.Served(id); !ok || got != want {
			t.Errorf("%s: served %+v, %t, want %+v", id, got, ok, want)
		}
	}
	if _, ok := api.Served("nobody"); ok {
		t.Error("an unknown token was served")
	}
	later := start.Add(time.Minute)
	at.set(later)
	ask(t, http.MethodGet, url+"/sessions/TOKEN-A2")
	want := simulator.Answer{At: later, Token: "TOKEN-A2", Active: true, Passings: 3}
	if got, _ := api.Served("TOKEN-A2"); got != want {
		t.Errorf("served %+v, want %+v", got, want)
	}
}

func TestPages(t *testing.T) {
	day := simulator.Many(23, start)
	day.PageSize = 10
	day.Devices[4].Unbound = start
	_, url, _ := play(t, day)
	seen := make(map[string]bool)
	sizes := []int{10, 10, 2}
	for i, size := range sizes {
		body := ask(t, http.MethodGet, fmt.Sprintf("%s/devices?page=%d&limit=5000", url, i+1)).body
		var answer struct {
			Body struct {
				Result []struct {
					ID string `json:"deviceid"`
				} `json:"result"`
				Pagination struct {
					Page, Limit, Total int
					HasMore            bool `json:"has_more"`
				} `json:"pagination"`
			} `json:"body"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		p := answer.Body.Pagination
		if p.Page != i+1 || p.Limit != 10 || p.Total != 22 || p.HasMore != (i+1 < len(sizes)) ||
			len(answer.Body.Result) != size {
			t.Errorf("page %d has %d devices and says %+v", i+1, len(answer.Body.Result), p)
		}
		for _, d := range answer.Body.Result {
			seen[d.ID] = true
		}
	}
	if len(seen) != 22 || seen[day.Devices[4].ID] {
		t.Errorf("%d different devices on all pages, unbound one among them: %t", len(seen), seen[day.Devices[4].ID])
	}
	beyond := ask(t, http.MethodGet, url+"/devices?page=2147483647&limit=10").body
	if !strings.Contains(beyond, `"pagination":{"page":2147483647,"limit":10,"total":22,"has_more":false}`) {
		t.Errorf("far beyond the last page: %s", beyond)
	}
}

// Devices are added, removed and renamed. Some have no alias, or the same alias as another.
func TestListOfDevicesOfADay(t *testing.T) {
	day := simulator.Many(5, start)
	day.Devices[0].Rename(start.Add(2*time.Minute), "THIRD")
	day.Devices[0].Rename(start.Add(time.Minute), "SECOND")
	day.Devices[1].Bind(start.Add(time.Minute))
	day.Devices[2].Unbind(start.Add(time.Minute))
	day.Devices[3].Alias = ""
	day.Devices[4].Alias = "MAT-00001"
	_, url, turn := play(t, day)
	aliases := func(at time.Time) string {
		turn.set(at)
		return strings.Join(regexp.MustCompile(`"alias":"[^"]*"`).FindAllString(ask(t, http.MethodGet, url+"/devices").body, -1), " ")
	}
	for minute, want := range []string{
		`"alias":"MAT-00001" "alias":"MAT-00003" "alias":"" "alias":"MAT-00001"`,
		`"alias":"SECOND" "alias":"MAT-00002" "alias":"" "alias":"MAT-00001"`,
		`"alias":"THIRD" "alias":"MAT-00002" "alias":"" "alias":"MAT-00001"`,
	} {
		if got := aliases(start.Add(time.Duration(minute) * time.Minute)); got != want {
			t.Errorf("minute %d: got %s, want %s", minute, got, want)
		}
	}
	token := day.Devices[1].Sessions[0].Token
	turn.set(start)
	if status := ask(t, http.MethodGet, url+"/sessions/"+token).status; status != http.StatusNotFound {
		t.Errorf("the session of a device that is not bound yet has status %d", status)
	}
}

// A list can fail in the middle.
func TestFaultOfAPage(t *testing.T) {
	day := simulator.Many(3, start)
	day.PageSize = 1
	day.Faults = []simulator.Fault{{From: start, To: start.Add(time.Hour), Page: 2, Status: http.StatusBadGateway}}
	_, url, _ := play(t, day)
	for path, want := range map[string]int{
		"/devices": 200, "/devices?page=1": 200, "/devices?page=2": 502, "/devices?page=3": 200, "/devices?page=x": 400,
		"/sessions/" + day.Devices[0].Sessions[0].Token: 200,
	} {
		if got := ask(t, http.MethodGet, url+path).status; got != want {
			t.Errorf("%s has status %d, want %d", path, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	from, to := start, start.Add(time.Minute)
	tests := map[string]struct {
		fault      simulator.Fault
		path       string
		status     int
		retryAfter string
		body       string
		waited     time.Duration
	}{
		"revoked": {fault: simulator.Fault{Status: 403}, status: 403},
		"broken":  {fault: simulator.Fault{Status: 500}, status: 500, body: `{"body": null}`},
		"no gateway": {
			fault:  simulator.Fault{Status: 502},
			status: 502, body: "<html><body><h1>502 Bad Gateway</h1></body></html>",
		},
		"maintained": {
			fault:  simulator.Fault{Status: 503, RetryAfter: 90 * time.Second},
			status: 503, retryAfter: "90", body: "<html><body><h1>503 Service Unavailable</h1></body></html>",
		},
		"throttled": {fault: simulator.Fault{Status: 429}, status: 429},
		"throttled, seconds": {
			fault:  simulator.Fault{Status: 429, RetryAfter: 1001 * time.Millisecond},
			status: 429, retryAfter: "2",
		},
		"throttled, date": {
			fault:  simulator.Fault{Status: 429, RetryAfter: 90*time.Second + 1, RetryAfterDate: true},
			status: 429, retryAfter: "Sun, 10 May 2026 09:01:31 GMT",
		},
		"throttled slowly": {
			fault:  simulator.Fault{Latency: time.Second, Status: 429},
			status: 429, waited: time.Second,
		},
		"slow": {fault: simulator.Fault{Latency: time.Minute}, status: 200, waited: time.Minute},
		"slow device and slow": {
			fault: simulator.Fault{Latency: 2 * time.Minute}, path: "DEVICE-B",
			status: 200, waited: 2*time.Minute + 1,
		},
		"one token":     {fault: simulator.Fault{Only: "token-a2", Status: 500}, status: 500, body: `{"body": null}`},
		"another token": {fault: simulator.Fault{Only: "TOKEN-B", Status: 500}, status: 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			day := small()
			day.Devices[1].Latency = 1
			test.fault.From, test.fault.To = from, to
			day.Faults = []simulator.Fault{test.fault}
			api, url, at := play(t, day)
			var waited time.Duration
			api.Sleep = func(_ context.Context, d time.Duration) error { waited += d; return nil }
			path := "/sessions/TOKEN-A2"
			if test.path != "" {
				path = "/sessions/device/" + test.path + "/active"
			}

			resp := ask(t, http.MethodGet, url+path)
			retryAfter := resp.header.Get("Retry-After")
			if resp.status != test.status || retryAfter != test.retryAfter || waited != test.waited {
				t.Errorf("status %d, Retry-After %q, waited %s", resp.status, retryAfter, waited)
			}
			if test.status != 200 && resp.body != test.body {
				t.Errorf("body %q, want %q", resp.body, test.body)
			}
			throttled := 0
			if test.status == 429 {
				throttled = 1
			}
			if got := api.Requests().Throttled; got != throttled {
				t.Errorf("%d counted as throttled", got)
			}
			for _, outside := range []time.Time{from.Add(-1), to} {
				at.set(outside)
				waited = 0
				if resp := ask(t, http.MethodGet, url+"/sessions/TOKEN-A2"); resp.status != 200 || waited != 0 {
					t.Errorf("at %s: status %d, waited %s", outside, resp.status, waited)
				}
			}
		})
	}
}

func TestFaultsOverlap(t *testing.T) {
	day := small()
	hour := start.Add(time.Hour)
	day.Faults = []simulator.Fault{
		{From: start, To: hour, Latency: time.Second},
		{From: start, To: hour, Latency: time.Second, Status: 500},
		{From: start, To: hour, Latency: time.Second, Status: 403},
	}
	api, url, _ := play(t, day)
	var waited time.Duration
	api.Sleep = func(_ context.Context, d time.Duration) error { waited = d; return nil }
	if resp := ask(t, http.MethodGet, url+"/devices"); resp.status != 500 || waited != 3*time.Second {
		t.Errorf("status %d after %s", resp.status, waited)
	}
}

func TestOutageDropsTheConnection(t *testing.T) {
	day := small()
	day.Faults = []simulator.Fault{{From: start, To: start.Add(time.Minute), Drop: true}}
	api, url, at := play(t, day)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/sessions/TOKEN-A2", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("api_key", simulator.DemoKey)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("answered with %d", resp.StatusCode)
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v", err)
	}
	if _, ok := api.Served("TOKEN-A2"); ok || api.Requests().Session != 1 {
		t.Errorf("counted %+v, served: %t", api.Requests(), ok)
	}
	at.set(start.Add(time.Minute))
	if resp := ask(t, http.MethodGet, url+"/sessions/TOKEN-A2"); resp.status != 200 {
		t.Errorf("status %d after the outage", resp.status)
	}
}

// A slow answer must end when its client leaves. Otherwise tests would not end.
func TestSlowAnswerEndsWithItsClient(t *testing.T) {
	day := small()
	day.Devices[0].Latency = time.Hour
	api, url, _ := play(t, day)
	wait, waiting, ended := api.Sleep, make(chan struct{}), make(chan error, 1)
	api.Sleep = func(ctx context.Context, d time.Duration) error {
		close(waiting)
		err := wait(ctx, d)
		ended <- err
		return err
	}
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-waiting
		leave()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/sessions/TOKEN-A2", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("api_key", simulator.DemoKey)
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
		t.Fatalf("answered with %d", resp.StatusCode)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
	if _, ok := api.Served("TOKEN-A2"); ok {
		t.Error("counted as served")
	}
}

func TestRealWait(t *testing.T) {
	day := small()
	day.Devices[0].Latency = time.Millisecond
	_, url, _ := play(t, day)
	began := time.Now()
	resp := ask(t, http.MethodGet, url+"/sessions/TOKEN-A2")
	if took := time.Since(began); resp.status != 200 || took < time.Millisecond {
		t.Errorf("status %d after %s", resp.status, took)
	}
}

func TestSet(t *testing.T) {
	day := small()
	api, url, _ := play(t, day)
	status := func(path string) int {
		t.Helper()
		return ask(t, http.MethodGet, url+path).status
	}
	day.Devices[0].Sessions[0].Token = "CHANGED FROM OUTSIDE"
	if got := status("/sessions/TOKEN-A2"); got != 200 {
		t.Errorf("the server uses the caller's copy of the day: status %d", got)
	}
	var next string
	api.Set(func(day *simulator.Day) { next = day.Device("start").PressStart(start, 0) })
	if got := status("/sessions/" + next); got != 200 {
		t.Errorf("new session: status %d", got)
	}
	if body := ask(t, http.MethodGet, url+"/sessions/TOKEN-A2").body; !strings.Contains(body, `"active":false`) {
		t.Errorf("old session: %s", body)
	}
	// Passings that the API's rules removed come back when the cause is removed.
	api.Set(func(day *simulator.Day) {
		d := day.Device("start")
		d.Sessions = d.Sessions[:1]
		d.Sessions[0].Closed = time.Time{}
	})
	again := ask(t, http.MethodGet, url+"/sessions/TOKEN-A2").body
	if !strings.Contains(again, `"active":true,"passings":2`) {
		t.Errorf("old session again: %s", again)
	}
	api.Set(func(day *simulator.Day) { day.Key = "another" })
	if got := status("/sessions/TOKEN-A2"); got != 403 {
		t.Errorf("old key: status %d", got)
	}
	if resp := ask(t, http.MethodGet, url+"/sessions/TOKEN-A2", "api_key", "another"); resp.status != 200 {
		t.Errorf("new key: status %d", resp.status)
	}
}

func TestSetWhileServing(t *testing.T) {
	api, url, _ := play(t, small())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 50 {
				if resp := ask(t, http.MethodGet, url+"/sessions/device/DEVICE-A/active"); resp.status != 200 {
					t.Errorf("status %d", resp.status)
				}
			}
		})
	}
	for range 50 {
		api.Set(func(day *simulator.Day) {
			day.Device("Start").Skew(start.Add(-time.Hour), time.Second)
			day.Device("Start").Alias = "start"
		})
		api.Requests()
		api.Served("DEVICE-A")
	}
	clients.Wait()
	if r := api.Requests(); r.Active != 200 || r.Peak < 1 || r.Peak > 4 {
		t.Errorf("counted %+v", r)
	}
}

func TestSameIDTwicePanics(t *testing.T) {
	for name, spoil := range map[string]func(*simulator.Day){
		"devices":  func(d *simulator.Day) { d.Devices[1].ID = "device-a" },
		"sessions": func(d *simulator.Day) { d.Devices[1].Sessions[0].Token = "token-c" },
	} {
		day := small()
		spoil(&day)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("two %s with one id went unnoticed", name)
				}
			}()
			simulator.New(day)
		}()
	}
}

// ExampleServer shows what the API answers half an hour into a simulated 5K.
func ExampleServer() {
	gun := time.Date(2026, 5, 10, 9, 0, 0, 0, time.UTC)
	day := simulator.NewDay(simulator.FiveK(gun, 500))
	turn := day.Device("TURN-5K")
	turn.Close(gun.Add(20 * time.Minute)) // by mistake

	api := simulator.New(day)
	api.Now = func() time.Time { return gun.Add(30 * time.Minute) }
	server := httptest.NewServer(api)
	defer server.Close()

	url := server.URL + "/v0/sessions/" + turn.Sessions[0].Token
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set("api_key", simulator.DemoKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status)
	fmt.Println(strings.ReplaceAll(string(body), ",", ",\n "))
	// Output:
	// 200 OK
	// {"body":{"description":"Success",
	//  "result":[{"token_session":"02C4EE528F0AF2F0103D38B431C449C9CF21262306293147447CB670A2266F53",
	//  "alias":"TURN-5K",
	//  "creation_date":"2026-05-10T08:00:00.000Z",
	//  "duration":"2026-05-10T10:00:00.000Z",
	//  "active":false,
	//  "passings":411,
	//  "first":"2026-05-10T09:09:32.540Z",
	//  "last":"2026-05-10T09:19:59.432Z"}]}}
}

func BenchmarkServer(b *testing.B) {
	for _, sessions := range []int{100, 10_000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			day := simulator.Many(sessions, start)
			api := simulator.New(day)
			api.Now = func() time.Time { return start.Add(30 * time.Minute) }
			requests := make([]*http.Request, len(day.Devices))
			for i, d := range day.Devices {
				requests[i] = httptest.NewRequest(http.MethodGet, "/v0/sessions/"+d.Sessions[0].Token, http.NoBody)
				requests[i].Header.Set("api_key", simulator.DemoKey)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				api.ServeHTTP(httptest.NewRecorder(), requests[i%len(requests)])
			}
		})
	}
}

func BenchmarkHTTP(b *testing.B) {
	day := simulator.Many(10_000, start)
	api := simulator.New(day)
	api.Now = func() time.Time { return start.Add(30 * time.Minute) }
	server := httptest.NewServer(api)
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	defer transport.CloseIdleConnections()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			url := server.URL + "/v0/sessions/" + day.Devices[i%len(day.Devices)].Sessions[0].Token
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("api_key", simulator.DemoKey)
			resp, err := transport.RoundTrip(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
