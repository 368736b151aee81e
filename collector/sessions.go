package collector

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"

	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// Source is what the collector needs of the API. Errors are an *rufus.Error.
type Source interface {
	// State returns the session of a target.
	State(context.Context, rufus.Target) (rufus.Session, error)
	// Devices returns the devices of the account.
	Devices(context.Context) (rufus.DeviceList, error)
}

// Options say how to fetch.
type Options struct {
	Source                Source
	MaxConcurrentRequests int           // in the whole process, those of Replaces included
	MinInterval           time.Duration // >0: scrapes reuse a success younger than this
	DeviceMetrics         bool          // also expose what the list of devices says, for entries that follow one
	Now                   func() time.Time
	Logger                *slog.Logger
	// Replaces is the Fetcher before, with which the new one shares the limit; nil for the first. Its scrapes may finish.
	Replaces *Fetcher
}

// listMaxAge is how long the list of devices serves, as it is one answer for the whole account.
const listMaxAge = 30 * time.Second

// Fetcher asks one API. It outlives the list of entries, so that answers and waits survive a reload.
type Fetcher struct {
	source      Source
	minInterval time.Duration
	now         func() time.Time
	logger      *slog.Logger
	scheduler   *scheduler
	devices     *resource // the list
	mask        atomic.Pointer[rufus.Mask]
	memories    *memories // of the entries
	// deviceMetrics: there are series of what the list says about the entries.
	deviceMetrics bool

	// Guarded by the scheduler's lock.
	resources map[rufus.Target]*resource // of the current entries
	inFlight  int
	limited   *request // the last that was told to wait; nil: none since the last backoff or reload
	backoff   wait     // of the account
	probing   bool     // from the begin of backoff until a request sent after it is answered otherwise; one at a time
	saturated bool     // it was logged that not all requests fit
}

// NewFetcher returns a Fetcher that has not asked for anything yet.
func NewFetcher(o Options) *Fetcher {
	f := &Fetcher{
		source: o.Source, minInterval: o.MinInterval, deviceMetrics: o.DeviceMetrics, now: o.Now, logger: o.Logger,
		scheduler: &scheduler{},
	}
	f.devices = &resource{fetcher: f, name: "devices"}
	f.mask.Store(&rufus.Mask{})
	f.memories = &memories{}
	if o.Replaces != nil {
		f.scheduler = o.Replaces.scheduler
		f.memories = o.Replaces.memories
	}
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	if o.Replaces != nil {
		f.devices.list = o.Replaces.devices.list
	}
	f.scheduler.limit = o.MaxConcurrentRequests
	f.scheduler.dispatchLocked()
	return f
}

// Sessions is Roster for entries alone.
func (f *Fetcher) Sessions(entries []entry.Entry) *Sessions {
	return f.Roster(entries, nil, nil).Current()
}

// adopt returns entries to be fetched from now on, with the labels of those names on their series. The list of devices
// is fetched too with needsList, or if it has something to say about an entry. With reload, each wait that the API
// asked for is cut short to one try.
func (f *Fetcher) adopt(entries []entry.Entry, labels []string, needsList, reload bool) *Sessions {
	s := &Sessions{fetcher: f, entries: entries, metrics: sessionMetrics, labels: labelsOf(entries, labels)}
	if f.deviceMetrics {
		s.metrics = slices.Concat(sessionMetrics, deviceMetrics)
	}
	secrets := make([]rufus.Secret, 0, len(entries))
	for _, e := range entries {
		secrets = append(secrets, e.Target.ID)
	}
	if list := f.lastList(); list != nil {
		for id := range list.All() {
			secrets = append(secrets, id)
		}
	}
	mask := rufus.NewMask(secrets)
	f.mask.Store(&mask)
	f.memories.keep(entries)

	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	now := f.now()
	if reload {
		f.backoff.expire(now)
		f.devices.wait.expire(now)
		f.limited = nil
		f.saturated = false
	}
	before, added := f.resources, false
	f.resources = make(map[rufus.Target]*resource, len(entries))
	for _, e := range entries {
		r, unchanged := before[e.Target]
		if !unchanged {
			r, added = &resource{fetcher: f, target: e.Target}, true
		}
		delete(before, e.Target)
		r.name = e.Name
		if reload {
			r.wait.expire(now)
		}
		if r.latest != nil && mask.Contains(r.latest.answer.Session.Alias) {
			r.latest = nil // it shows the token or id of an entry that is new
		}
		f.resources[e.Target] = r
		s.resources = append(s.resources, r)
	}
	for _, removed := range before {
		removed.name = ""
	}
	if reload && added {
		f.devices.hideLocked(mask)
	}
	if needsList || f.deviceMetrics && slices.ContainsFunc(entries, followsDevice) {
		s.resources = append(s.resources, f.devices)
	}
	return s
}

// hideLocked hides the tokens and ids of new entries in a list that is older than they are.
func (r *resource) hideLocked(mask rufus.Mask) {
	if r.latest != nil {
		hidden := *r.latest
		hidden.answer.devices = hidden.answer.devices.Hide(mask)
		r.latest = &hidden
	}
	if r.list != nil {
		hidden := r.list.Hide(mask)
		r.list = &hidden
	}
}

// expire ends w now.
func (w *wait) expire(now time.Time) {
	if now.Before(w.until) {
		w.until = now
	}
}

// MinInterval returns how old a success may be that a scrape reuses; 0: none is.
func (f *Fetcher) MinInterval() time.Duration { return f.minInterval }

// BackoffUntil returns until when all requests are paused because the API asked for it; absent when they are not. A
// session that waits alone does not count.
func (f *Fetcher) BackoffUntil() rufus.Option[time.Time] {
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	if !f.now().Before(f.backoff.until) {
		return rufus.Option[time.Time]{}
	}
	return rufus.Some(f.backoff.until)
}

// Mask returns what no text of the API may show: the tokens and ids of the current entries. See rufus.Options.
func (f *Fetcher) Mask() rufus.Mask { return *f.mask.Load() }

// Sessions is a list of entries and the way to fetch them. It does not change.
type Sessions struct {
	fetcher   *Fetcher
	entries   []entry.Entry
	resources []*resource        // of each entry, and the list of devices if any needs it
	metrics   []metric           // that they may have
	labels    [][]*dto.LabelPair // of each entry

	discovered discovery.Result
	err        error
}

// Entries returns the entries in the order of the configuration.
func (s *Sessions) Entries() []entry.Entry { return s.entries }

// Discovered returns what became of the devices of the account. Those that are followed are among the entries.
func (s *Sessions) Discovered() discovery.Result { return s.discovered }

// Err returns why devices are missing from the entries: ErrNoList, or there are more than may be followed.
func (s *Sessions) Err() error { return s.err }

// Fetcher returns what fetches the entries.
func (s *Sessions) Fetcher() *Fetcher { return s.fetcher }

// Only returns the one entry of that name, with the same labels on its series, and whether there is one.
func (s *Sessions) Only(name string) (*Sessions, bool) {
	i := slices.IndexFunc(s.entries, func(e entry.Entry) bool { return e.Name == name })
	if i < 0 {
		return nil, false
	}
	one := *s
	one.entries, one.resources, one.labels = s.entries[i:i+1], s.resources[i:i+1:i+1], s.labels[i:i+1]
	if followsDevice(s.entries[i]) {
		one.resources = append(one.resources, s.resources[len(s.entries):]...)
	}
	return &one, true
}

func followsDevice(e entry.Entry) bool { return e.Target.Follows == rufus.Device }

// Status is what came of asking for one entry.
type Status struct {
	Entry    entry.Entry
	Session  rufus.Session // valid while Err is nil
	Err      error         // an *rufus.Error
	At       time.Time     // when the answer came; zero when no request was made
	Duration time.Duration // of the request
	Health   rufus.Option[rufus.DeviceHealth]
	Window   rufus.Option[window.Window] // of Entry.Expected: the one open now, else the next, else the last
	devices  rufus.DeviceList            // what came of asking for the list instead
}

// Report is what came of asking for all entries.
type Report struct {
	Statuses  []Status           // in the order of the configuration
	DevicesUp rufus.Option[bool] // whether the list of devices could be read; absent when nobody needs it
	list      []Status           // that of the list, if anybody needs it
}

// Fetch asks for every entry, reusing successes younger than maxAge. Entries without an answer when ctx ends are
// rufus.Timeout: a scrape takes nothing that is older.
func (s *Sessions) Fetch(ctx context.Context, maxAge time.Duration) Report {
	return s.fetch(ctx, maxAge, false)
}

// Newest is Fetch for a reader, who sees how old an answer is: entries without an answer when ctx ends have the one
// before it, success or failure, if there is any.
func (s *Sessions) Newest(ctx context.Context, maxAge time.Duration) Report {
	return s.fetch(ctx, maxAge, true)
}

func (s *Sessions) fetch(ctx context.Context, maxAge time.Duration, allowStale bool) Report {
	now := s.fetcher.now() // the time that Prometheus gives to the samples
	statuses := make([]Status, len(s.resources))
	s.fetcher.scheduler.do(ctx, s.fetcher, s.resources, statuses, maxAge, allowStale)

	report := Report{Statuses: statuses[:len(s.entries)], list: statuses[len(s.entries):]}
	for i := range report.Statuses {
		status := &report.Statuses[i]
		status.Entry = s.entries[i]
		if w, declared := window.At(s.entries[i].Expected, now); declared {
			status.Window = rufus.Some(w)
		}
	}
	for _, list := range report.list {
		report.DevicesUp = rufus.Some(list.Err == nil)
		if last := s.fetcher.lastList(); last != nil {
			addHealth(report.Statuses, last, list.Err == nil)
		}
	}
	s.fetcher.memories.observe(report.Statuses, s.fetcher.now(), allowStale)
	return report
}

// addHealth adds what the list says to the entries that follow a device, if it is current. One that looks idle but is
// not in the account at all is not found: a mistyped id, or a device that was unbound. That it was unbound remains true
// while the list cannot be read.
func addHealth(statuses []Status, list *rufus.DeviceList, current bool) {
	for i := range statuses {
		status := &statuses[i]
		if !followsDevice(status.Entry) {
			continue
		}
		health, listed := list.Health(status.Entry.Target.ID)
		switch {
		case listed && current:
			status.Health = rufus.Some(health)
		case !listed && list.Complete && status.Err == nil && !status.Session.Active:
			status.Err = &rufus.Error{Reason: rufus.NotFound, Detail: "no such device in this account"}
		}
	}
}
