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

// Source provides the API's answers. Its errors are an *rufus.Error.
type Source interface {
	// State returns the session of a target.
	State(context.Context, rufus.Target) (rufus.Session, error)
	// Devices returns the devices of the account.
	Devices(context.Context) (rufus.DeviceList, error)
}

// Options configure a Fetcher.
type Options struct {
	Source                Source
	MaxConcurrentRequests int           // in the whole process, including requests of Replaces
	MinInterval           time.Duration // scrapes reuse successes younger than this; 0 disables it
	DeviceMetrics         bool          // expose battery and telemetry of followed devices
	Now                   func() time.Time
	Logger                *slog.Logger
	// Replaces is the previous Fetcher, with which the new one shares the limit; nil for the first. Scrapes of the
	// previous Fetcher continue.
	Replaces *Fetcher
}

// listMaxAge is the maximum age of the list of devices. It limits requests: one list serves the whole account.
const listMaxAge = 30 * time.Second

// Fetcher sends requests to one API. It is kept on a reload that does not change the API, so that answers and waits
// survive.
type Fetcher struct {
	source      Source
	minInterval time.Duration
	now         func() time.Time
	logger      *slog.Logger
	scheduler   *scheduler
	devices     *resource // the list of devices
	mask        atomic.Pointer[rufus.Mask]
	memories    *memories // of the entries

	deviceMetrics bool

	// Guarded by the scheduler's lock.
	resources map[rufus.Target]*resource // of the current entries
	inFlight  int
	limited   *request // the last one with a wait; nil if there was none since the last backoff or reload
	backoff   wait     // of the account
	probing   bool     // from the start of backoff until a later request gets an answer without a wait; one at a time
	saturated bool     // it was logged that some sessions missed the deadline
}

// NewFetcher returns a Fetcher without answers.
func NewFetcher(o Options) *Fetcher {
	f := &Fetcher{
		source: o.Source, minInterval: o.MinInterval, deviceMetrics: o.DeviceMetrics, now: o.Now, logger: o.Logger,
		scheduler: &scheduler{}, memories: &memories{},
	}
	f.devices = &resource{fetcher: f, name: "devices"}
	f.mask.Store(&rufus.Mask{})
	if o.Replaces != nil {
		f.scheduler, f.memories, f.devices.list = o.Replaces.scheduler, o.Replaces.memories, o.Replaces.lastList()
	}
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	f.scheduler.limit = o.MaxConcurrentRequests
	f.scheduler.dispatchLocked()
	return f
}

// Sessions is Roster for entries alone.
func (f *Fetcher) Sessions(entries []entry.Entry) *Sessions {
	return f.Roster(entries, nil, nil).Current()
}

// adopt returns Sessions of the entries, whose series have the given label names besides their own. f forgets the state
// of all other targets. The list of devices is fetched too if needsList is set, or if device metrics need it. With
// reload, each wait that the API asked for ends now.
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
			r.latest = nil // its alias contains the token or id of a new entry
		}
		f.resources[e.Target] = r
		s.resources = append(s.resources, r)
	}
	for _, removed := range before {
		removed.name = ""
	}
	if list := f.devices.list; reload && added && list != nil {
		hidden := list.Hide(mask)
		f.devices.list = &hidden
	}
	if needsList || f.deviceMetrics && slices.ContainsFunc(entries, followsDevice) {
		s.resources = append(s.resources, f.devices)
	}
	return s
}

// expire ends the wait if it has not ended yet.
func (w *wait) expire(now time.Time) {
	if now.Before(w.until) {
		w.until = now
	}
}

// MinInterval returns the age below which scrapes reuse a success; 0 if they do not.
func (f *Fetcher) MinInterval() time.Duration { return f.minInterval }

// BackoffUntil returns the time until which all requests are paused because the API asked for it; absent if they are
// not paused, or only those for a single session.
func (f *Fetcher) BackoffUntil() rufus.Option[time.Time] {
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	if !f.now().Before(f.backoff.until) {
		return rufus.Option[time.Time]{}
	}
	return rufus.Some(f.backoff.until)
}

// Mask returns a mask for the tokens and ids of the current entries. See rufus.Options.
func (f *Fetcher) Mask() rufus.Mask { return *f.mask.Load() }

// Sessions is an immutable list of entries that can be fetched.
type Sessions struct {
	fetcher   *Fetcher
	entries   []entry.Entry
	resources []*resource // of each entry, and then the list of devices if it is needed
	metrics   []metric
	labels    [][]*dto.LabelPair // of each entry

	discovered discovery.Result
	err        error
}

// Entries returns the entries in the order of the configuration.
func (s *Sessions) Entries() []entry.Entry { return s.entries }

// Discovered returns which devices of the account are followed, and which are not. The entries include those that are.
func (s *Sessions) Discovered() discovery.Result { return s.discovered }

// Err returns why devices are missing from the entries: ErrNoList or a *discovery.TooManyError. It returns nil if none
// is missing.
func (s *Sessions) Err() error { return s.err }

// Fetcher returns the Fetcher of the entries.
func (s *Sessions) Fetcher() *Fetcher { return s.fetcher }

// Only returns Sessions with only the entry of that name, and whether there is such an entry. The labels on its series
// stay the same.
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

// Status is the result of fetching one entry.
type Status struct {
	Entry    entry.Entry
	Session  rufus.Session // valid if Err is nil
	Err      error         // an *rufus.Error
	At       time.Time     // when the answer arrived; zero if no request was made
	Duration time.Duration // of the request
	Health   rufus.Option[rufus.DeviceHealth]
	Window   rufus.Option[window.Window] // of Entry.Expected: the open one, else the next, else the last
	devices  rufus.DeviceList            // instead of Session, if this is the status of the list
}

// Report is the result of fetching all entries.
type Report struct {
	Statuses   []Status           // in the order of the configuration
	DevicesUp  rufus.Option[bool] // whether the list of devices could be read; absent if it is not needed
	DevicesErr error              // why it could not, an *rufus.Error
	list       []Status           // the status of the list of devices; empty if it is not needed
}

// Fetch fetches every entry, reusing successes younger than maxAge. An entry without an answer when ctx is done fails
// with rufus.Timeout, because a scrape must not return old values.
func (s *Sessions) Fetch(ctx context.Context, maxAge time.Duration) Report {
	return s.fetch(ctx, maxAge, false)
}

// Newest is Fetch for a page that shows how old each answer is. An entry without an answer when ctx is done has its
// previous answer, success or failure, if there is one.
func (s *Sessions) Newest(ctx context.Context, maxAge time.Duration) Report {
	return s.fetch(ctx, maxAge, true)
}

func (s *Sessions) fetch(ctx context.Context, maxAge time.Duration, allowStale bool) Report {
	now := s.fetcher.now() // before the requests: Prometheus too stamps samples with the start of the scrape
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
		report.DevicesUp, report.DevicesErr = rufus.Some(list.Err == nil), list.Err
		if last := s.fetcher.lastList(); last != nil {
			addHealth(report.Statuses, last, list.Err == nil)
		}
	}
	s.fetcher.memories.observe(report.Statuses, s.fetcher.now(), allowStale)
	return report
}

// addHealth adds the list's data to the entries that follow a device. If list is not current, because the latest
// request for it failed, it adds none. An entry without an active session whose device is not in the account becomes
// NotFound, even if list is not current: its id is mistyped, or the device was unbound.
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
