// Package entry defines Entry, the settings of one session to monitor. Package config creates entries from
// sessions.yml, package discovery creates them from the account's devices, and package collector fetches them.
package entry

import (
	"reflect"
	"time"

	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// Entry is one session to monitor. Names and targets are unique among the entries of a configuration.
type Entry struct {
	// Name is the value of the label session: 1 to 100 printable characters, without tokens, ids and the API key.
	Name string
	// Target is the token or the device to fetch. Its ID is unique, ignoring case.
	Target rufus.Target
	// Labels are on every series of the session, and include its race; nil if it has none.
	Labels map[string]string
	// Expected is when passings are expected, merged; nil if no window is declared.
	Expected []window.Window
	// SilentAfter is how long an active session may go without a new passing before it counts as silent; 0 means no limit.
	SilentAfter time.Duration
}

// Compare returns the names of the entries that are only in after (added), only in before (removed), and in both but
// different (changed). Each list keeps the order of the entries.
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
