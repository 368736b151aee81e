// Package window is about the times in which passings are due at a mat, as the crew declares them.
package window

import (
	"slices"
	"sort"
	"time"
)

// Window is a stretch of time. It is open from From on and no longer at Until.
type Window struct {
	From, Until time.Time
}

// Merge returns the same time in as few windows as possible, sorted: those that overlap or touch become one. The
// windows themselves are not changed.
func Merge(windows []Window) []Window {
	var merged []Window
	for _, w := range slices.SortedFunc(slices.Values(windows), byFrom) {
		if last := len(merged) - 1; last >= 0 && !w.From.After(merged[last].Until) {
			if w.Until.After(merged[last].Until) {
				merged[last].Until = w.Until
			}
			continue
		}
		merged = append(merged, w)
	}
	return merged
}

func byFrom(a, b Window) int { return a.From.Compare(b.From) }

// At returns the window that matters at an instant: the open one, else the next, else the last. The windows must be
// merged. It reports whether there is any.
func At(windows []Window, now time.Time) (Window, bool) {
	if len(windows) == 0 {
		return Window{}, false
	}
	i := sort.Search(len(windows), func(i int) bool { return now.Before(windows[i].Until) })
	return windows[min(i, len(windows)-1)], true
}
