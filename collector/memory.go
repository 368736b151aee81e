package collector

import (
	"errors"
	"slices"
	"sync"
	"time"

	"rufus_exporter/entry"
	"rufus_exporter/state"
	"rufus_exporter/window"
)

// memories are what the process has seen of each entry, whoever asked: scrapes, probes and pages. They are kept across
// reloads as the alert rules keep theirs, by race and session, and are lost when the process ends. No series shows
// them.
type memories struct {
	mu sync.Mutex
	of map[identity]*state.Memory
}

// identity is what an entry is known by, also when it gets another token or box.
type identity struct{ race, session string }

func identityOf(e entry.Entry) identity { return identity{e.Labels["race"], e.Name} }

// keep forgets what is not among entries.
func (m *memories) keep(entries []entry.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.of
	m.of = make(map[identity]*state.Memory, len(entries))
	for _, e := range entries {
		id := identityOf(e)
		m.of[id] = before[id]
		if m.of[id] == nil {
			m.of[id] = &state.Memory{}
		}
	}
}

// observe takes in what came of asking. A page that did not wait for an answer has read nothing.
func (m *memories) observe(statuses []Status, now time.Time, page bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range statuses {
		s := &statuses[i]
		if page && (errors.Is(s.Err, errNotSent) || errors.Is(s.Err, errNoAnswer)) {
			continue
		}
		if memory := m.of[identityOf(s.Entry)]; memory != nil {
			memory.Observe(readingOf(s, now))
		}
	}
}

func readingOf(s *Status, now time.Time) state.Reading {
	r := state.Reading{At: s.At, Failed: s.Err != nil}
	if r.At.IsZero() {
		r.At = now // no request was made
	}
	if !r.Failed {
		r.Active = s.Session.Active
		r.Passings, r.Counted = s.Session.Passings.Get()
		r.Last, _ = s.Session.Last.Get()
		r.Created, _ = s.Session.Created.Get()
	}
	return r
}

// Seen is how an entry is, and what that was decided from.
type Seen struct {
	state.State
	Memory state.Memory
	Plan   state.Plan
}

// States returns how each entry is, in the order of the configuration, without asking the API. What decides is all that
// scrapes, probes and pages have seen.
func (s *Sessions) States(now time.Time) []Seen {
	m := s.fetcher.memories
	m.mu.Lock()
	defer m.mu.Unlock()
	counting := map[string]int{} // mats that count briskly, by race
	steady := map[string][]window.Window{}
	for _, e := range s.entries {
		memory, race := m.of[identityOf(e)], e.Labels["race"]
		if memory == nil {
			continue
		}
		if memory.Brisk(now) {
			counting[race]++
		}
		steady[race] = append(steady[race], memory.Steady())
	}
	for race, periods := range steady {
		steady[race] = window.Merge(periods)
	}
	all := make([]Seen, len(s.entries))
	for i, e := range s.entries {
		seen := &all[i]
		if memory := m.of[identityOf(e)]; memory != nil {
			seen.Memory = *memory
		}
		others := counting[e.Labels["race"]]
		if seen.Memory.Brisk(now) {
			others--
		}
		seen.Plan = state.Plan{SilentAfter: e.SilentAfter, RaceCounts: others > 0}
		if w, _ := window.At(steady[e.Labels["race"]], now); now.Before(w.Until) {
			seen.Plan.RaceSteady = now.Sub(w.From)
		}
		seen.Plan.Window, seen.Plan.Declared = window.At(e.Expected, now)
		seen.State = state.Of(&seen.Memory, seen.Plan, now)
	}
	return all
}

// Answered reports whether there is an answer about every entry, be it old or bad.
func (s *Sessions) Answered() bool {
	scheduler := s.fetcher.scheduler
	scheduler.mu.Lock()
	defer scheduler.mu.Unlock()
	return !slices.ContainsFunc(s.resources[:len(s.entries)], func(r *resource) bool { return r.latest == nil })
}
