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

// inFakeTime runs f with a clock that stands while anything runs and jumps when all is waiting. It then lets every
// request come to its end; a goroutine that is left over fails the test as a deadlock.
func inFakeTime(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(time.Hour)
	})
}

// request is one that the API was sent.
type request struct {
	name string // of the session, or "devices" for their list
	nth  int    // of all requests, from 1
	of   int    // of those for the same name, from 1
}

// reply is what comes of a request.
type reply struct {
	after   time.Duration
	session rufus.Session
	list    rufus.DeviceList
	err     error
	panics  any
}

// api is a collector.Source that says what a test makes it say. It keeps a diary of when it was asked for what.
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

// every request is answered alike.
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
		return reply{err: err} // a request belongs to no scrape: nobody may cancel it
	}
	if r.panics != nil {
		panic(r.panics)
	}
	return r
}

// sent returns the diary, "when name" for each request in their order, and begins a new one.
func (a *api) sent() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	diary := a.diary
	a.diary = nil
	return diary
}

// secretPrefix makes secrets of names: what a log or a label must not contain.
const secretPrefix = "5EC2E7-"

// token returns an entry that follows the token of that name.
func token(name string) entry.Entry {
	return entry.Entry{Name: name, Target: rufus.Target{Follows: rufus.Token, ID: rufus.NewSecret(secretPrefix + name)}}
}

// device returns an entry that follows the device of that name.
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

// counting returns a session that is active and has so many passings.
func counting(passings int64) rufus.Session {
	return rufus.Session{Active: true, Passings: rufus.Some(passings)}
}

// failure returns an error with that reason.
func failure(reason rufus.Reason) error {
	return &rufus.Error{Reason: reason, Detail: "as the test said"}
}

// wait returns the error of an API that wants to be left alone.
func wait(d time.Duration) error {
	return &rufus.Error{Reason: rufus.RateLimited, Detail: "status 429", Wait: d}
}

// stand is an API with the fetcher before it, and the log of both.
type stand struct {
	*api
	*collector.Fetcher
	log   *lab.Log
	level *slog.LevelVar // of the log
}

// newStand returns one in the synctest bubble of its caller. At most eight requests are in flight unless options say
// otherwise.
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

// fetched is a report and when it came.
type fetched struct {
	collector.Report
	at time.Duration // since the beginning of the API's diary
}

// fetch asks for all entries with the scrape's time limit.
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
