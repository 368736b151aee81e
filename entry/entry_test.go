package entry

import (
	"slices"
	"testing"
	"time"

	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	gun := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	full := func() Entry {
		return Entry{
			Name:        "same",
			Target:      rufus.Target{ID: rufus.NewSecret("TOKEN-OF-A-SESSION")},
			Labels:      map[string]string{"race": "5k"},
			Expected:    []window.Window{{From: gun, Until: gun.Add(time.Hour)}},
			SilentAfter: time.Minute,
		}
	}
	before := []Entry{{Name: "z"}, full(), {Name: "b", SilentAfter: 1}, {Name: "a"}}
	after := []Entry{{Name: "y"}, {Name: "b", SilentAfter: 2}, full(), {Name: "c"}}
	added, removed, changed := Compare(before, after)
	for what, c := range map[string]struct{ got, want []string }{
		"added": {added, []string{"y", "c"}}, "removed": {removed, []string{"z", "a"}}, "changed": {changed, []string{"b"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: got %q, want %q", what, c.got, c.want)
		}
	}

	for what, change := range map[string]func(*Entry){
		"target":       func(e *Entry) { e.Target.ID = rufus.NewSecret("ANOTHER-SESSION-S-TOKEN") },
		"follows":      func(e *Entry) { e.Target.Follows = rufus.Device },
		"labels":       func(e *Entry) { e.Labels["race"] = "10k" },
		"expected":     func(e *Entry) { e.Expected[0].Until = gun.Add(time.Minute) },
		"silent after": func(e *Entry) { e.SilentAfter = 0 },
	} {
		other := full()
		change(&other)
		if _, _, changed := Compare([]Entry{full()}, []Entry{other}); !slices.Equal(changed, []string{"same"}) {
			t.Errorf("another %s: changed are %q", what, changed)
		}
	}
}
