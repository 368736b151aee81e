// Package window handles the periods in which passings are expected at a mat, as the crew declares them.
package window

import (
	"slices"
	"sort"
	"time"
)

// Window is the period from From, inclusive, to Until, exclusive.
type Window struct {
	From, Until time.Time
}

// Merge returns the windows sorted, with those that overlap or touch joined into one. It does not modify windows.
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

// At returns the window to report at now: the open one, else the next, else the last. ok is false if there are no
// windows. The windows must be merged.
func At(windows []Window, now time.Time) (w Window, ok bool) {
	if len(windows) == 0 {
		return Window{}, false
	}
	i := sort.Search(len(windows), func(i int) bool { return now.Before(windows[i].Until) })
	return windows[min(i, len(windows)-1)], true
}
