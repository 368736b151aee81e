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
	// missingFor is how long a device stays after the account no longer has it, so that unbinding one in a race rings.
	missingFor = time.Hour
	// quietFor is how long a renamed device keeps its name after its last passing, so that a rename in a race breaks no
	// alert.
	quietFor = time.Hour
)

// Roster decides which sessions there are: the entries under sessions, and those of the devices that a plan follows. It
// reads the list of devices from its Fetcher and makes new Sessions whenever there is a new list.
//
// While the list cannot be read, nothing changes.
type Roster struct {
	fetcher *Fetcher
	listed  []entry.Entry
	plan    *discovery.Plan // nil: no devices are followed
	current atomic.Pointer[Sessions]

	mu       sync.Mutex // is never taken while the scheduler's lock is held
	replaced bool       // by another Roster; from then on nothing changes
	list     *rufus.DeviceList
	devices  map[rufus.Secret]*knownDevice // of the account, by id in upper case
	problem  string                        // of the plan, according to the log
}

// knownDevice is what a Roster knows of a device.
type knownDevice struct {
	discovery.Device                    // as last listed
	missingSince     time.Time          // since which complete lists lack it; zero: it is listed
	followed         discovery.Followed // by a rule; without a name if by none
	named            discovery.Device   // what it was when followed was decided

	passings rufus.Option[int64] // of its session, as last seen
	// lastPassing is when the last passing was seen, or the device was first; zero: there was none since then.
	lastPassing time.Time
}

// Roster returns the sessions of these entries and of what plan follows, which may be nil. They are fetched through f
// from now on. What f knows of other targets is forgotten, and each wait that the API asked for is cut short to one
// try, since a human may have fixed its cause.
//
// What before knows of devices is known to the new Roster, so that no device is lost when the list cannot be read at
// the time of a reload. All names are decided anew. before may be nil, and must not be used for anything else.
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

// Sessions returns the sessions to be asked for now, and sends for the list of devices if that is due. If the list
// could never be read, it waits for it: for half of the time until ctx ends, as the other half is for the sessions.
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

// unchangedLocked reports whether the list says the same as the one before, and nothing else is left to decide. That is
// so for almost every list.
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

// Current returns the sessions that were last asked for.
func (r *Roster) Current() *Sessions { return r.current.Load() }

// replaceLocked makes new Sessions out of the list.
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

// followLocked brings what is known of the devices up to date and applies the plan to them.
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

// readLocked takes what the list says. A device that is not in it may be in the rest of an incomplete one.
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

// observeLocked notes passings, and that devices are there whatever the list says because their sessions are active.
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

// logLocked logs what has changed between the two. What a reload changes is logged by whoever reloads.
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

func first(names []string) slog.Value { return slog.AnyValue(names[:min(len(names), maxNames)]) }

// ErrNoList says that there may be more devices to follow than are known.
var ErrNoList = errors.New("the list of devices could not be read yet")
