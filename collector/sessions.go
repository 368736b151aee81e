package collector

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

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

// Entry is one configured session. Names and targets are unique among the entries.
type Entry struct {
	Name        string            // the session label
	Target      rufus.Target      // what to ask for
	Labels      map[string]string // on every series of this session
	Expected    []window.Window   // when passings are due, merged; nil: not declared
	SilentAfter time.Duration     // 0: no such limit
}

// Options say how to fetch.
type Options struct {
	Source                Source
	MaxConcurrentRequests int
	MinInterval           time.Duration // >0: scrapes reuse a success younger than this
	DeviceMetrics         bool          // also fetch the list of devices, for entries that follow one
	Now                   func() time.Time
	Logger                *slog.Logger
}

// devicesMaxAge is how long the list of devices serves, as it is one answer for the whole account.
const devicesMaxAge = 30 * time.Second

// Fetcher asks one API. It outlives the list of entries, so that answers and waits survive a reload.
type Fetcher struct {
	pool        *pool
	states      *cache[rufus.Target, rufus.Session]
	devices     *cache[devices, rufus.DeviceList] // nil without device metrics
	minInterval time.Duration
	logger      *slog.Logger

	names   map[rufus.Target]string // of the current entries; guarded by pool.mu
	failing map[any]rufus.Reason    // as last logged, by the key of the cache; guarded by pool.mu
}

// devices is the key of the one list of devices.
type devices struct{}

// NewFetcher returns a Fetcher that has not asked for anything yet.
func NewFetcher(o Options) *Fetcher {
	f := &Fetcher{
		pool:        &pool{limit: o.MaxConcurrentRequests, now: o.Now, logger: o.Logger},
		minInterval: o.MinInterval,
		logger:      o.Logger,
		failing:     make(map[any]rufus.Reason),
	}
	f.states = newCache(f.pool, o.Source.State)
	f.states.settled = func(target rufus.Target, a answer[rufus.Session]) {
		if name, configured := f.names[target]; configured {
			f.log(target, slog.String("session", name), a.err, a.duration)
		} else {
			delete(f.states.latest, target)
		}
	}
	if o.DeviceMetrics {
		f.devices = newCache(f.pool, func(ctx context.Context, _ devices) (rufus.DeviceList, error) {
			return o.Source.Devices(ctx)
		})
		f.devices.keepFailures = true // at most one call per devicesMaxAge, whatever comes of it
		f.devices.settled = func(key devices, a answer[rufus.DeviceList]) {
			f.log(key, slog.String("list", "devices"), a.err, a.duration)
		}
	}
	return f
}

// log writes each answer at debug level, and a line where a key begins to fail, changes its reason or recovers.
func (f *Fetcher) log(key any, what slog.Attr, err error, duration time.Duration) {
	ctx := context.Background()
	reason, before := rufus.ReasonOf(err), f.failing[key]
	f.logger.LogAttrs(ctx, slog.LevelDebug, "fetched", what,
		slog.String("reason", string(reason)), slog.Duration("duration", duration))
	switch reason {
	case before:
	case "":
		delete(f.failing, key)
		f.logger.LogAttrs(ctx, slog.LevelInfo, "fetching works again", what)
	default:
		f.failing[key] = reason
		f.logger.LogAttrs(ctx, slog.LevelWarn, "fetching fails", what, slog.Any("err", err))
	}
}

// Sessions returns entries to be fetched through f from now on. What f knows of other targets is forgotten, and a
// wait that the API asked for is cut short to one try, since a human may have mended its cause.
func (f *Fetcher) Sessions(entries []Entry) *Sessions {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	f.pool.hurry()
	f.pool.narrow = false
	f.names = make(map[rufus.Target]string, len(entries))
	for _, e := range entries {
		f.names[e.Target] = e.Name
	}
	forgotten := func(target rufus.Target) bool {
		_, configured := f.names[target]
		return !configured
	}
	clear(f.states.missed)
	maps.DeleteFunc(f.states.latest, func(t rufus.Target, _ answer[rufus.Session]) bool { return forgotten(t) })
	maps.DeleteFunc(f.failing, func(key any, _ rufus.Reason) bool {
		target, ok := key.(rufus.Target)
		return ok && forgotten(target)
	})
	return newSessions(f, entries)
}

// MinInterval returns how old a success may be that a scrape reuses; 0: none is.
func (f *Fetcher) MinInterval() time.Duration { return f.minInterval }

// BackoffUntil returns until when no request is sent because the API asked so; absent when that is not the case now.
func (f *Fetcher) BackoffUntil() rufus.Option[time.Time] {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if !f.pool.now().Before(f.pool.until) {
		return rufus.Option[time.Time]{}
	}
	return rufus.Some(f.pool.until)
}

// Sessions is a list of entries and the way to fetch them. It does not change.
type Sessions struct {
	fetcher *Fetcher
	entries []Entry
	targets []rufus.Target
	schema  *schema
	labels  [][]*dto.LabelPair // of each entry, in the order of schema.labels
	mask    rufus.Mask         // of all targets: whoever writes an alias may know another's
}

func newSessions(f *Fetcher, entries []Entry) *Sessions {
	s := &Sessions{fetcher: f, entries: entries, schema: newSchema(entries, f.devices != nil)}
	var secrets []rufus.Secret
	for _, e := range entries {
		secrets = append(secrets, e.Target.ID)
		s.targets = append(s.targets, e.Target)
		s.labels = append(s.labels, s.schema.labelsOf(e))
	}
	s.mask = rufus.NewMask(secrets)
	return s
}

// Entries returns the entries in the order of the configuration.
func (s *Sessions) Entries() []Entry { return s.entries }

// Fetcher returns what fetches the entries.
func (s *Sessions) Fetcher() *Fetcher { return s.fetcher }

// Only returns the one entry of that name, with the same labels on its series, and whether there is one.
func (s *Sessions) Only(name string) (*Sessions, bool) {
	i := slices.IndexFunc(s.entries, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return nil, false
	}
	one := *s
	one.entries, one.targets, one.labels = s.entries[i:i+1], s.targets[i:i+1], s.labels[i:i+1]
	return &one, true
}

// Status is what came of asking for one entry.
type Status struct {
	Entry    Entry
	Session  rufus.Session // valid while Err is nil
	Err      error         // an *rufus.Error
	At       time.Time     // when the answer came; zero when no request was made
	Duration time.Duration // of the request
	Health   rufus.Option[rufus.DeviceHealth]
	Window   rufus.Option[window.Window] // of Entry.Expected: the one open now, else the next, else the last
}

// Report is what came of asking for all entries.
type Report struct {
	Statuses  []Status           // in the order of the configuration
	DevicesUp rufus.Option[bool] // whether the list of devices could be read; absent when nobody needs it
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

func (s *Sessions) fetch(ctx context.Context, maxAge time.Duration, orOlder bool) Report {
	now := s.fetcher.pool.now() // the time that Prometheus gives to the samples
	list := make(chan []answer[rufus.DeviceList], 1)
	go func() { list <- s.fetchDevices(ctx, maxAge) }()
	states := s.fetcher.states.want(ctx, s.targets, maxAge, orOlder)

	report := Report{Statuses: make([]Status, len(s.entries))}
	for i, a := range states {
		status := &report.Statuses[i]
		*status = Status{Entry: s.entries[i], Session: a.value, Err: a.err, At: a.at, Duration: a.duration}
		status.Session.Alias = s.mask.Hide(a.value.Alias)
		if w, declared := window.At(s.entries[i].Expected, now); declared {
			status.Window = rufus.Some(w)
		}
	}
	for _, a := range <-list {
		report.DevicesUp = rufus.Some(a.err == nil)
		if a.err == nil {
			s.addHealth(report.Statuses, a.value)
		}
	}
	return report
}

// fetchDevices asks for the list of devices if any entry needs it: one answer or none. Never an older one: nobody sees
// how old a battery is.
func (s *Sessions) fetchDevices(ctx context.Context, maxAge time.Duration) []answer[rufus.DeviceList] {
	follows := func(t rufus.Target) bool { return t.Follows == rufus.Device }
	if s.fetcher.devices == nil || !slices.ContainsFunc(s.targets, follows) {
		return nil
	}
	return s.fetcher.devices.want(ctx, []devices{{}}, max(maxAge, devicesMaxAge), false)
}

// addHealth adds what the list says to the entries that follow a device. One that looks idle but is not in the
// account at all is not found: a mistyped id, or a device that was unbound.
func (s *Sessions) addHealth(statuses []Status, list rufus.DeviceList) {
	for i := range statuses {
		status := &statuses[i]
		if status.Entry.Target.Follows != rufus.Device {
			continue
		}
		health, listed := list.Health(status.Entry.Target.ID)
		switch {
		case listed:
			for _, text := range []*string{&health.Model, &health.Firmware, &health.Status} {
				*text = s.mask.Hide(*text)
			}
			status.Health = rufus.Some(health)
		case list.Complete && status.Err == nil && !status.Session.Active:
			status.Err = &rufus.Error{Reason: rufus.NotFound, Detail: "no such device in this account"}
		}
	}
}
