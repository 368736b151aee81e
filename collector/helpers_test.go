package collector_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/test/lab"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// inFakeTime runs f with a fake clock that advances when all goroutines wait. Then it waits for all requests to end. A
// goroutine that is left fails the test as a deadlock.
func inFakeTime(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(time.Hour)
	})
}

// request is a request to the API.
type request struct {
	name string // of the session, or "devices" for the list
	nth  int    // counts all requests, from 1
	of   int    // counts those for the same name, from 1
}

// reply is the answer to a request.
type reply struct {
	after   time.Duration
	session rufus.Session
	list    rufus.DeviceList
	err     error
	panics  any
}

// api is a collector.Source whose answers a test determines. It keeps a diary of all requests.
type api struct {
	reply func(request) reply

	mu       sync.Mutex
	begun    time.Time
	diary    []string
	nth      int
	asked    map[string]int
	inFlight int
	peak     int
}

func newAPI(say func(request) reply) *api {
	return &api{reply: say, begun: time.Now(), asked: make(map[string]int)}
}

// every answers all requests in the same way.
func every(r reply) func(request) reply { return func(request) reply { return r } }

// State implements collector.Source.
func (a *api) State(ctx context.Context, target rufus.Target) (rufus.Session, error) {
	r := a.answer(ctx, strings.TrimPrefix(target.ID.Reveal(), secretPrefix))
	return r.session, r.err
}

// Devices implements collector.Source.
func (a *api) Devices(ctx context.Context) (rufus.DeviceList, error) {
	r := a.answer(ctx, "devices")
	return r.list, r.err
}

func (a *api) answer(ctx context.Context, name string) reply {
	a.mu.Lock()
	a.nth++
	a.asked[name]++
	a.diary = append(a.diary, fmt.Sprintf("%v %s", time.Since(a.begun), name))
	a.inFlight++
	a.peak = max(a.peak, a.inFlight)
	r := a.reply(request{name: name, nth: a.nth, of: a.asked[name]})
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.inFlight--
		a.mu.Unlock()
	}()
	time.Sleep(r.after)
	if err := ctx.Err(); err != nil {
		return reply{err: err} // requests do not depend on a scrape, so nobody may cancel them
	}
	if r.panics != nil {
		panic(r.panics)
	}
	return r
}

// sent returns the diary, as "when name" for each request, and starts a new one.
func (a *api) sent() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	diary := a.diary
	a.diary = nil
	return diary
}

// secretPrefix is the prefix of all tokens and ids. No log and no label may contain it.
const secretPrefix = "5EC2E7-"

// token returns an entry that follows a token made from that name.
func token(name string) entry.Entry {
	return entry.Entry{Name: name, Target: rufus.Target{Follows: rufus.Token, ID: rufus.NewSecret(secretPrefix + name)}}
}

// device returns an entry that follows a device whose id is made from that name.
func device(name string) entry.Entry {
	return entry.Entry{Name: name, Target: rufus.Target{Follows: rufus.Device, ID: rufus.NewSecret(secretPrefix + name)}}
}

// tokens returns an entry for each name.
func tokens(names ...string) []entry.Entry {
	entries := make([]entry.Entry, len(names))
	for i, name := range names {
		entries[i] = token(name)
	}
	return entries
}

// counting returns an active session with that many passings.
func counting(passings int64) rufus.Session {
	return rufus.Session{Active: true, Passings: rufus.Some(passings)}
}

// failure returns an error with that reason.
func failure(reason rufus.Reason) error {
	return &rufus.Error{Reason: reason, Detail: "as the test said"}
}

// wait returns the error of an API that asks to wait.
func wait(d time.Duration) error {
	return &rufus.Error{Reason: rufus.RateLimited, Detail: "status 429", Wait: d}
}

// stand is an API, its fetcher and the log.
type stand struct {
	*api
	*collector.Fetcher
	log   *lab.Log
	level *slog.LevelVar // of the log
}

// newStand returns a stand in the synctest bubble of its caller. The limit is eight concurrent requests unless options
// change it.
func newStand(say func(request) reply, options ...func(*collector.Options)) stand {
	s := stand{api: newAPI(say), log: &lab.Log{}, level: new(slog.LevelVar)}
	o := collector.Options{
		Source:                s.api,
		MaxConcurrentRequests: 8,
		Now:                   time.Now,
		Logger:                slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: s.level, ReplaceAttr: withoutTime})),
	}
	for _, option := range options {
		option(&o)
	}
	s.Fetcher = collector.NewFetcher(o)
	return s
}

func width(n int) func(*collector.Options) {
	return func(o *collector.Options) { o.MaxConcurrentRequests = n }
}

func minInterval(d time.Duration) func(*collector.Options) {
	return func(o *collector.Options) { o.MinInterval = d }
}

func deviceMetrics(o *collector.Options) { o.DeviceMetrics = true }

// fetched is a report and when it was returned.
type fetched struct {
	collector.Report
	at time.Duration // since the start of the API's diary
}

// fetch fetches all entries with the deadline of a scrape.
func (s stand) fetch(sessions *collector.Sessions, limit time.Duration) fetched {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return s.fetchUntil(ctx, sessions)
}

func (s stand) fetchUntil(ctx context.Context, sessions *collector.Sessions) fetched {
	report := sessions.Fetch(ctx, s.MinInterval())
	return fetched{report, time.Since(s.begun)}
}

// start is fetch in the background.
func (s stand) start(sessions *collector.Sessions, limit time.Duration) <-chan fetched {
	done := make(chan fetched, 1)
	go func() { done <- s.fetch(sessions, limit) }()
	synctest.Wait()
	return done
}

// outcomes returns each entry's name with its number of passings or the reason of its failure.
func (f fetched) outcomes() string {
	words := make([]string, len(f.Statuses))
	for i, status := range f.Statuses {
		passings, _ := status.Session.Passings.Get()
		words[i] = fmt.Sprint(status.Entry.Name, " ", passings)
		if status.Err != nil {
			words[i] = status.Entry.Name + " " + string(rufus.ReasonOf(status.Err))
		}
	}
	return strings.Join(words, ", ")
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}
