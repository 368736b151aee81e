//go:build unix

package test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

// The demo says in its first lines what to open and what to type, and is scraping its race at once.
func TestDemo(t *testing.T) {
	t.Parallel()
	address := freeAddress(t) // the demo names the port of its flag
	e := start(t, "neither a configuration", "--demo", "--web.listen-address="+address)
	lines := strings.SplitN(e.output.String(), "\n", 5)
	if !regexp.MustCompile(`msg=starting version=\S+ api=127.0.0.1:\d+ sessions=2 device_rules=12$`).MatchString(lines[0]) {
		t.Errorf("the first line does not say what starts: %s", lines[0])
	}
	if !strings.Contains(lines[1], "http://"+address+"/") {
		t.Errorf("the second line names no page: %s", lines[1])
	}
	if !strings.Contains(lines[2], "curl -s http://"+address+"/metrics") {
		t.Errorf("the third line has no command: %s", lines[2])
	}
	api := regexp.MustCompile(`api_url=(http://127.0.0.1:\d+/v0)$`).FindStringSubmatch(lines[3])
	if api == nil {
		t.Fatalf("the fourth line does not say how to reach the API: %s", lines[3])
	}
	cmd := preflight(t, "api: {url: "+api[1]+", key: "+simulator.DemoKey+"}\ndevices: [{}]\n")
	if code, table, stderr := finish(t, cmd); code != exitStopped || !strings.Contains(table, "TURN-10K") {
		t.Errorf("with the demo's API, preflight exits with %d:\n%s%s", code, table, stderr)
	}
	if resp, page := e.get("/"); resp.StatusCode != http.StatusOK || !strings.Contains(page, "turn-10k-token") {
		t.Errorf("the page has status %d and no session", resp.StatusCode)
	}
	scrape := e.scrape("/metrics")
	scrape.expect(t, series{
		`rufus_session_up{race="5k",session="finish-5k"}`:                       "1",
		`rufus_session_active{race="5k",session="start-5k"}`:                    "1",
		`rufus_session_error{race="10k",reason="not_found",session="mistyped"}`: "1",
		"rufus_devices_up": "1",
	})
	passings := `rufus_session_passings{race="5k",session="start-5k"}`
	for deadline := time.Now().Add(patience); ; scrape = e.scrape("/probe?target=start-5k") {
		if n, err := strconv.Atoi(scrape[passings]); err == nil && n > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody has started")
		}
	}
}

// When START is pressed again, an entry that follows the device goes on counting, and an entry with its token freezes.
func TestRollover(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, time.May, 3, 9, 0, 0, 0, time.UTC)
	var minutes atomic.Int64 // into the demo's day, which is played by this clock
	api := simulator.New(simulator.Demo(began, 1))
	api.Now = func() time.Time { return began.Add(time.Duration(minutes.Load()) * time.Minute) }
	api.Sleep = func(context.Context, time.Duration) error { return nil }
	e := start(t, string(simulator.DemoConfig(serveAPI(t, api).url, began, 1)))

	const labels = `{race="10k",session="turn-10k%s"}`
	scrape := func(minute int64) (device, token map[string]float64) {
		t.Helper()
		minutes.Store(minute)
		all := e.scrape("/metrics")
		device, token = map[string]float64{}, map[string]float64{}
		for _, name := range []string{"up", "active", "passings", "creation_timestamp"} {
			for suffix, values := range map[string]map[string]float64{"": device, "-token": token} {
				value, err := strconv.ParseFloat(all["rufus_session_"+name+fmt.Sprintf(labels, suffix)], 64)
				if err != nil {
					t.Fatalf("minute %d: turn-10k%s has no %s", minute, suffix, name)
				}
				values[name] = value
			}
		}
		return device, token
	}
	device, token := scrape(31)
	if !maps.Equal(device, token) || device["active"] != 1 || device["passings"] == 0 {
		t.Fatalf("before START is pressed again: device %v, token %v", device, token)
	}
	created := device["creation_timestamp"]
	_, frozen := scrape(33)
	if frozen["up"] != 1 || frozen["active"] != 0 || frozen["creation_timestamp"] != created {
		t.Errorf("the token is not closed: %v", frozen)
	}
	last := -1.0
	for _, minute := range []int64{34, 36, 40, 50} {
		device, token = scrape(minute)
		if !maps.Equal(token, frozen) {
			t.Errorf("minute %d: the token is %v and was %v", minute, token, frozen)
		}
		if device["active"] != 1 || device["creation_timestamp"] <= created || device["passings"] <= last {
			t.Errorf("minute %d: the device does not count on from %v: %v", minute, last, device)
		}
		last = device["passings"]
	}
}

// A thousand sessions with the default settings: in time, over 32 connections that serve the next scrape too.
func TestThousandSessions(t *testing.T) {
	t.Parallel()
	const n = 1000
	began := time.Now().Add(-30 * time.Minute)
	race := simulator.New(simulator.Many(n, began))
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond) // of latency
		race.ServeHTTP(w, r)
	}))
	var list strings.Builder
	fmt.Fprintf(&list, "api: {url: %q, key: %s}\nsessions:\n", api.url, simulator.DemoKey)
	for i := range n {
		fmt.Fprintf(&list, "  - {name: %d, token: %s}\n", i+1, simulator.ID(fmt.Sprintf("session MAT-%05d", i+1)))
	}
	e := start(t, list.String())
	// net/http gives up a connection whose goroutine was not run for 50 ms after it wrote the request, which happens to
	// some of thousands on a machine that has much else to do.
	const replaced = 8
	opened, fastest := 0, time.Hour
	for i := range 2 {
		from := time.Now()
		scrape := e.scrape("/metrics")
		fastest = min(fastest, time.Since(from))
		for i := range n {
			name := fmt.Sprint(i + 1)
			answer, _ := race.Served(simulator.ID(fmt.Sprintf("session MAT-%05d", i+1)))
			scrape.expect(t, series{
				`rufus_session_up{session="` + name + `"}`:       "1",
				`rufus_session_passings{session="` + name + `"}`: fmt.Sprint(answer.Passings),
			})
		}
		requests, connections := api.asked()
		if len(requests) != n {
			t.Errorf("scrape %d asked %d times", i+1, len(requests))
		}
		if i == 0 && connections > 32+replaced || i > 0 && connections > opened+replaced {
			t.Errorf("after scrape %d there were %d connections, before it %d", i+1, connections, opened)
		}
		opened = connections
	}
	t.Logf("%d connections; the faster scrape took %s", opened, fastest)
	if !raced && fastest > 2500*time.Millisecond {
		t.Errorf("it took %s", fastest)
	}
}

// Those who hang up in the middle of a scrape leave nothing behind, even while the API goes on being slow.
func TestHangUps(t *testing.T) {
	t.Parallel()
	const sessions, hangUps = 3, 200
	list := ""
	for i := range sessions {
		list += "  - " + simulator.ID(fmt.Sprint(i)) + "\n"
	}
	g := newGate(t)
	api := serveAPI(t, g.before(healthy))
	e := start(t, settings(api.url)+list, "--web.max-requests=1000")
	// A request in flight takes a worker of the pool and three goroutines of net/http, and a descriptor.
	most := e.usage()
	most.goroutines += 4*sessions + 2
	most.descriptors += sessions + 1

	for i := range hangUps {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		path := []string{"/metrics", "/probe?target=" + simulator.ID("0")[:8], "/"}[i%3]
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			await(t, g.arrived, "a request to the API")
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	e.returns(most)
	if requests, _ := api.asked(); len(requests) > sessions {
		t.Errorf("%d requests to the API for %d sessions", len(requests), sessions)
	}
	g.open()
	e.scrape("/metrics").expect(t, series{`rufus_session_up{session="` + simulator.ID("0")[:8] + `"}`: "1"})
}
