package collector

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

const (
	// missingFor is how long a device is kept after it has left the account, so that an alert fires if somebody unbinds it
	// during a race.
	missingFor = time.Hour
	// quietFor is how long a renamed device keeps its old name after its last passing, so that renaming it during a race
	// breaks no alert.
	quietFor = time.Hour
)

// Roster decides which sessions to fetch: the entries under sessions, and those of the devices that a plan follows. It
// gets the list of devices from its Fetcher and creates new Sessions when the list changes. While the list cannot be
// read, the Sessions stay the same.
type Roster struct {
	fetcher *Fetcher
	listed  []entry.Entry
	plan    *discovery.Plan // nil: no devices are followed
	current atomic.Pointer[Sessions]

	mu       sync.Mutex // must not be locked while the scheduler's lock is held
	replaced bool       // by another Roster; this one no longer changes
	list     *rufus.DeviceList
	devices  map[rufus.Secret]*knownDevice // of the account, by id in upper case
	problem  string                        // with the plan, as last logged
}

// knownDevice is the state of a device in a Roster.
type knownDevice struct {
	discovery.Device                    // as last listed
	missingSince     time.Time          // when it disappeared from the list; zero while it is listed
	followed         discovery.Followed // its entry; without a name if no rule follows it
	named            discovery.Device   // what it was when followed was decided

	passings rufus.Option[int64] // of its session, as last seen
	// lastPassing is when the last new passing was seen. Until then it is when the device was first listed, or zero if its
	// session had no passings.
	lastPassing time.Time
}

// Roster returns a Roster of these entries and of the devices that plan follows. plan may be nil. f forgets the state
// of all other targets. It also ends each wait that the API asked for, because the reload may have fixed the cause: a
// single request probes the API.
//
// The new Roster takes over the known devices of before, so that no device is lost if the list cannot be read at the
// time of a reload. All names are decided again. before may be nil. It no longer follows changes of the list.
func (f *Fetcher) Roster(entries []entry.Entry, plan *discovery.Plan, before *Roster) *Roster {
	r := &Roster{fetcher: f, listed: entries, plan: plan, devices: map[rufus.Secret]*knownDevice{}}
	if before != nil {
		before.mu.Lock()
		before.replaced = true
		if plan != nil {
			r.devices = before.devices
		}
		before.mu.Unlock()
	}
	for _, d := range r.devices {
		d.followed = discovery.Followed{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = f.lastList()
	r.replaceLocked(true)
	return r
}

// Sessions returns the sessions to fetch now, and requests the list of devices if it is too old. If the list has never
// been read, Sessions waits for it, but only for half of the time until ctx is done: the other half is for the
// sessions.
func (r *Roster) Sessions(ctx context.Context) *Sessions {
	if r.plan != nil {
		r.fetcher.refreshList(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		if list := r.fetcher.lastList(); list != r.list && !r.replaced {
			r.list = list
			if !r.unchangedLocked() {
				r.replaceLocked(false)
			}
		}
	}
	return r.current.Load()
}

// unchangedLocked reports whether the new list has the same content as the previous one and no decision is pending.
// This is the case for almost every list.
func (r *Roster) unchangedLocked() bool {
	n := 0
	for id, health := range r.list.All() {
		d := r.devices[id]
		if d == nil || d.Device != deviceOf(health) || d.Device != d.named || !d.missingSince.IsZero() {
			return false
		}
		n++
	}
	if n != len(r.devices) || errors.Is(r.current.Load().err, ErrNoList) {
		return false
	}
	r.observeLocked(r.fetcher.now())
	return true
}

func deviceOf(h rufus.DeviceHealth) discovery.Device {
	return discovery.Device{ID: h.ID, Alias: h.Alias, SerialNumber: h.SerialNumber, Model: h.Model}
}

// Current returns the latest sessions, without a request.
func (r *Roster) Current() *Sessions { return r.current.Load() }

// replaceLocked creates new Sessions from the list.
func (r *Roster) replaceLocked(reload bool) {
	var result discovery.Result
	entries := slices.Clone(r.listed)
	var labels []string
	if r.plan != nil {
		labels = r.plan.LabelNames()
		result = r.followLocked(r.fetcher.now())
		for _, f := range result.Followed {
			entries = append(entries, f.Entry)
		}
	}
	sessions := r.fetcher.adopt(entries, labels, r.plan != nil, reload)
	sessions.discovered, sessions.err = result, result.Err()
	if r.plan != nil && r.list == nil {
		sessions.err = ErrNoList
	}
	before := r.current.Swap(sessions)
	r.logLocked(before, sessions)
}

// followLocked updates the known devices and applies the plan to them.
func (r *Roster) followLocked(now time.Time) discovery.Result {
	r.observeLocked(now)
	if r.list != nil {
		r.readLocked(now)
	}
	var devices []discovery.Device
	var kept []discovery.Followed
	for _, d := range r.devices {
		devices = append(devices, d.Device)
		switch {
		case d.followed.Entry.Name == "":
		case d.Device == d.named, now.Sub(d.lastPassing) < quietFor:
			kept = append(kept, d.followed)
			continue
		}
		d.followed, d.named = discovery.Followed{}, d.Device
	}
	result := r.plan.Follow(r.listed, devices, kept)
	for _, f := range result.Followed {
		r.devices[f.Entry.Target.ID.Upper()].followed = f
	}
	return result
}

// readLocked updates the known devices from the list. If the list is incomplete, a device that is not in it may still
// belong to the account.
func (r *Roster) readLocked(now time.Time) {
	for id, health := range r.list.All() {
		d := r.devices[id]
		if d == nil {
			d = &knownDevice{lastPassing: now}
			r.devices[id] = d
		}
		d.missingSince = time.Time{}
		d.Device = deviceOf(health)
	}
	if !r.list.Complete {
		return
	}
	for id, d := range r.devices {
		if _, listed := r.list.Health(id); listed {
			continue
		}
		if d.missingSince.IsZero() {
			d.missingSince = now
		}
		if now.Sub(d.missingSince) >= missingFor {
			delete(r.devices, id)
		}
	}
}

// observeLocked updates the time of the last passing. It also restarts the time that a device is missing while its
// session is active, because the list may be wrong.
func (r *Roster) observeLocked(now time.Time) {
	f := r.fetcher
	f.scheduler.mu.Lock()
	defer f.scheduler.mu.Unlock()
	for _, d := range r.devices {
		resource := f.resources[d.followed.Entry.Target]
		if resource == nil || resource.latest == nil || resource.latest.answer.Err != nil {
			continue
		}
		session := resource.latest.answer.Session
		if session.Active && !d.missingSince.IsZero() {
			d.missingSince = now
		}
		passings, ok := session.Passings.Get()
		switch {
		case !ok || session.Passings == d.passings:
			continue
		case d.passings == (rufus.Option[int64]{}) && passings == 0:
			d.lastPassing = time.Time{}
		default:
			d.lastPassing = now
		}
		d.passings = session.Passings
	}
}

// logLocked logs the differences between two Sessions. before is nil after a reload, whose changes the caller logs.
func (r *Roster) logLocked(before, after *Sessions) {
	logger := r.fetcher.logger
	problem := ""
	if err := after.discovered.Err(); err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != r.problem {
		logger.Error("cannot follow all devices", "err", problem)
	}
	r.problem = problem
	if before == nil {
		return
	}
	added, removed, _ := entry.Compare(before.entries, after.entries)
	if len(added)+len(removed) > 0 {
		logger.Info("followed devices changed", "devices", len(after.discovered.Followed),
			"added", first(added), "removed", first(removed))
	}
}

// first returns the first names for a log line. If some are left out, the last element is "…".
func first(names []string) slog.Value {
	if len(names) > maxNames {
		names = append(slices.Clone(names[:maxNames]), "…")
	}
	return slog.AnyValue(names)
}

// ErrNoList means that devices may be missing from the sessions.
var ErrNoList = errors.New("the list of devices could not be read yet")
