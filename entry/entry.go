// Package entry is what an operator declares about one session to watch. config makes entries of sessions.yml,
// discovery makes them of the account's devices, and the collector fetches them. None of the three knows which of the
// other two it works with.
package entry

import (
	"reflect"
	"time"

	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// Entry is one session to watch. Names and targets are unique among the entries of a configuration.
type Entry struct {
	// Name is the value of the label session: 1 to 100 printable characters, free of tokens, ids and of the API key.
	Name string
	// Target is the token or the device to ask for, unique whatever its letter case.
	Target rufus.Target
	// Labels are on every series of the session, its race among them; nil if it has none.
	Labels map[string]string
	// Expected is when passings are due, merged; nil if that is not declared.
	Expected []window.Window
	// SilentAfter is how long an active session may go without a new passing; 0 is for ever.
	SilentAfter time.Duration
}

// Compare returns the names of the entries that are only in after, only in before, and in both but different. Each list
// is in the order of the entries.
func Compare(before, after []Entry) (added, removed, changed []string) {
	old := make(map[string]Entry, len(before))
	for _, e := range before {
		old[e.Name] = e
	}
	for _, e := range after {
		was, known := old[e.Name]
		switch {
		case !known:
			added = append(added, e.Name)
		case !reflect.DeepEqual(was, e):
			changed = append(changed, e.Name)
		}
		delete(old, e.Name)
	}
	for _, e := range before {
		if _, left := old[e.Name]; left {
			removed = append(removed, e.Name)
		}
	}
	return added, removed, changed
}
