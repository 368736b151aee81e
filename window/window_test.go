package window_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"rufus_exporter/window"
)

var gun = time.Date(2026, time.November, 29, 9, 0, 0, 0, time.FixedZone("", -3*60*60))

// minutes returns windows from pairs of minutes after the gun.
func minutes(pairs ...int) []window.Window {
	var windows []window.Window
	for i := 0; i < len(pairs); i += 2 {
		windows = append(windows, window.Window{From: minute(pairs[i]), Until: minute(pairs[i+1])})
	}
	return windows
}

func minute(n int) time.Time { return gun.Add(time.Duration(n) * time.Minute) }

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct{ given, want []window.Window }{
		"none":             {nil, nil},
		"one":              {minutes(14, 100), minutes(14, 100)},
		"apart":            {minutes(0, 10, 11, 20), minutes(0, 10, 11, 20)},
		"touching":         {minutes(0, 10, 10, 20), minutes(0, 20)},
		"overlapping":      {minutes(0, 10, 5, 20), minutes(0, 20)},
		"nested":           {minutes(0, 20, 5, 10), minutes(0, 20)},
		"nested, then on":  {minutes(0, 20, 5, 10, 15, 30), minutes(0, 30)},
		"same":             {minutes(0, 10, 0, 10), minutes(0, 10)},
		"same begin":       {minutes(0, 10, 0, 20), minutes(0, 20)},
		"same end":         {minutes(0, 20, 10, 20), minutes(0, 20)},
		"unordered":        {minutes(40, 50, 0, 10, 20, 30), minutes(0, 10, 20, 30, 40, 50)},
		"unordered, mixed": {minutes(40, 50, 9, 21, 0, 10, 20, 30), minutes(0, 30, 40, 50)},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(c.given)
			if got := window.Merge(c.given); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if !slices.Equal(c.given, before) {
				t.Errorf("the argument became %v", c.given)
			}
		})
	}
}

// Time zones do not matter.
func TestMergeAcrossZones(t *testing.T) {
	got := window.Merge([]window.Window{
		{From: minute(0), Until: minute(10).UTC()},
		{From: minute(10).In(time.FixedZone("", 2*60*60)), Until: minute(20)},
	})
	if len(got) != 1 || !got[0].From.Equal(minute(0)) || !got[0].Until.Equal(minute(20)) {
		t.Errorf("got %v", got)
	}
}

func TestAt(t *testing.T) {
	if w, ok := window.At(nil, gun); ok {
		t.Errorf("no windows gave %v", w)
	}
	windows := minutes(10, 20, 30, 40)
	first, second := windows[0], windows[1]
	for _, c := range []struct {
		now  time.Time
		want window.Window
	}{
		{time.Time{}, first},
		{minute(0), first},
		{minute(10).Add(-1), first},
		{minute(10), first},
		{minute(20).Add(-1), first},
		{minute(20), second}, // the first is no longer open, the second is the next
		{minute(25), second},
		{minute(30).Add(-1), second},
		{minute(30), second},
		{minute(40).Add(-1), second},
		{minute(40), second}, // the last
		{minute(1e6), second},
	} {
		if got, ok := window.At(windows, c.now); !ok || got != c.want {
			t.Errorf("at %s: %v, %t, want %v", c.now, got, ok, c.want)
		}
	}
}

// Merged windows cover the same minutes as the windows, and neither overlap nor touch.
func TestMergeRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var windows []window.Window
		for range rng.IntN(8) {
			from := rng.IntN(40)
			windows = append(windows, minutes(from, from+1+rng.IntN(10))...)
		}
		merged := window.Merge(windows)
		for m := range 60 {
			if open(windows, minute(m)) != open(merged, minute(m)) {
				t.Fatalf("minute %d of %v and %v", m, windows, merged)
			}
			w, ok := window.At(merged, minute(m))
			if ok != (len(windows) > 0) || open(merged, minute(m)) != open([]window.Window{w}, minute(m)) {
				t.Fatalf("at minute %d of %v: %v, %t", m, merged, w, ok)
			}
		}
		for i := 1; i < len(merged); i++ {
			if !merged[i-1].Until.Before(merged[i].From) {
				t.Fatalf("%v overlap or touch", merged)
			}
		}
	}
}

func open(windows []window.Window, now time.Time) bool {
	return slices.ContainsFunc(windows, func(w window.Window) bool {
		return !now.Before(w.From) && now.Before(w.Until)
	})
}
