package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
	"rufus_exporter/test/lab"
)

func TestMain(m *testing.M) {
	if os.Getenv(benchmarkAPI) != "" {
		_ = serveBenchmarkAPI() // ends with its standard input
		return
	}
	goleak.VerifyTestMain(m)
}

// noon is when the tests take place, unless they turn the clock.
var noon = time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC)

// clock is one that a test turns.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// answers is what an API says about a session.
type answers func(name string) (rufus.Session, error)

// api is a collector.Source that answers as a test says.
type api struct {
	answers answers
	list    func() (rufus.DeviceList, error) // of devices; nil: none

	mu    sync.Mutex
	asked []string // the names, in the order of the requests
}

// State implements collector.Source.
func (a *api) State(_ context.Context, target rufus.Target) (rufus.Session, error) {
	name := strings.TrimPrefix(target.ID.Reveal(), secretPrefix)
	a.mu.Lock()
	a.asked = append(a.asked, name)
	a.mu.Unlock()
	return a.answers(name)
}

// Devices implements collector.Source.
func (a *api) Devices(context.Context) (rufus.DeviceList, error) {
	if a.list == nil {
		return rufus.DeviceList{}, nil
	}
	return a.list()
}

// requests returns how many there were.
func (a *api) requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// secretPrefix makes secrets of names: what no answer may contain.
const secretPrefix = "5EC2E7-"

func follow(what rufus.Follows, name string, labels ...string) entry.Entry {
	e := entry.Entry{
		Name:   name,
		Target: rufus.Target{Follows: what, ID: rufus.NewSecret(secretPrefix + name)},
		Labels: map[string]string{},
	}
	for i := 0; i < len(labels); i += 2 {
		e.Labels[labels[i]] = labels[i+1]
	}
	return e
}

// settings are what a stand is made of.
type settings struct {
	Options
	collector collector.Options
	entries   []entry.Entry
}

// stand is the handler of all paths before an API.
type stand struct {
	settings
	handler  http.Handler
	clock    *clock
	log      *lab.Log
	exporter *collector.Exporter
}

// newStand returns one before source. Its clocks are those of the test, and stand still, unless change says otherwise.
func newStand(source collector.Source, entries []entry.Entry, change ...func(*settings)) *stand {
	at, log := &clock{now: noon}, &lab.Log{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &stand{clock: at, log: log, settings: settings{
		Options: Options{
			Exporter:      prometheus.NewRegistry(),
			Reload:        func() error { return nil },
			ReloadError:   func() error { return nil },
			TelemetryPath: "/metrics",
			TimeoutOffset: 500 * time.Millisecond,
			MaxRequests:   40,
			Version:       "1.2.3",
			Now:           at.Now,
			Logger:        logger,
		},
		collector: collector.Options{Source: source, MaxConcurrentRequests: 8, Now: at.Now, Logger: logger},
		entries:   entries,
	}}
	for _, f := range change {
		f(&s.settings)
	}
	sessions := collector.NewFetcher(s.collector).Sessions(s.entries)
	s.Sessions = func(context.Context) *collector.Sessions { return sessions }
	s.exporter = collector.NewExporter(func() *collector.Sessions { return sessions })
	s.Exporter.MustRegister(s.exporter)
	s.handler = NewHandler(s.Options)
	return s
}

// serve serves the stand on this machine and returns where.
func (s *stand) serve(t *testing.T) (base string) {
	t.Helper()
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	return server.URL
}

// simulated returns what a client reads of a simulated API, over HTTP, with the sessions start (active, 2 passings),
// finish (closed, 3 passings), turn (a followed device) and mistyped (unknown).
func simulated(t *testing.T) (*simulator.Server, *stand) {
	t.Helper()
	passings := make([]simulator.Passing, 3)
	for i := range passings {
		stamp := noon.Add(time.Duration(i)*time.Minute - 90*time.Second)
		passings[i] = simulator.Passing{Arrived: stamp, Stamp: stamp}
	}
	session := func(name string) simulator.Session {
		return simulator.Session{
			Token: secretPrefix + name, Alias: strings.ToUpper(name), Created: noon.Add(-time.Hour), Passings: passings,
		}
	}
	start, turn, finish := session("start"), session("turn-token"), session("finish")
	finish.Closed, finish.Passings = noon.Add(-time.Second), []simulator.Passing{passings[0], passings[0], passings[1]}
	mats := simulator.New(simulator.Day{Devices: []simulator.Device{
		{ID: "A", Alias: "Start", Sessions: []simulator.Session{start}},
		{ID: secretPrefix + "turn", Alias: "Turn", Enveloped: true, Sessions: []simulator.Session{turn}},
		{ID: "C", Alias: "Finish", Sessions: []simulator.Session{finish}},
	}})
	mats.Now = func() time.Time { return noon }
	server := httptest.NewServer(mats)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL + "/v0")
	if err != nil {
		t.Fatal(err)
	}
	transport := rufus.NewTransport(rufus.TransportOptions{MaxConns: 8, Timeout: 10 * time.Second})
	t.Cleanup(transport.CloseIdleConnections)
	var s *stand
	client := rufus.NewClient(rufus.Options{
		URL: base, Key: rufus.NewSecret(simulator.DemoKey), KeyHeader: "api_key", UserAgent: "test",
		Timeout: 10 * time.Second, Transport: transport,
		Observe: func() func(error) { return s.exporter.Observe() },
	})
	s = newStand(client, []entry.Entry{
		follow(rufus.Token, "start", "race", "5k"),
		follow(rufus.Token, "finish", "race", "5k", "point", "finish"),
		follow(rufus.Device, "turn"),
		follow(rufus.Token, "mistyped"),
	})
	return mats, s
}

// get asks for base + path with header as pairs of name and value, and reads the answer as it comes.
func get(t *testing.T, base, path string, header ...string) (*http.Response, string) {
	t.Helper()
	return send(t, http.MethodGet, base, path, header...)
}

func send(t *testing.T, method, base, path string, header ...string) (*http.Response, string) {
	t.Helper()
	response, body, err := ask(t.Context(), method, base+path, header...)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// ask is send for other goroutines than the test's own.
func ask(ctx context.Context, method, address string, header ...string) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// record asks the handler itself, without a network, as fake time needs it.
func (s *stand) record(path string, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, request)
	return recorder
}

// lines returns those that begin so, without comments.
func lines(text, prefix string) []string {
	all := []string{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) && !strings.HasPrefix(line, "#") {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

func lacks(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%s has %q:\n%s", what, part, text)
		}
	}
}

var errBroken = errors.New("sessions.yml:3: the list of sessions is empty; list one")
