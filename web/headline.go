package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rufus_exporter/state"
)

// tone is the one colour that answers whether everything is all right.
type tone string

const (
	bad  tone = "bad"  // passings, or the sight of them, are being lost
	look tone = "look" // someone should look
	well tone = "well" // passings are due, and nothing is wrong
	idle tone = "idle" // nothing is due
)

// summary is what the page says first.
type summary struct {
	tone     tone
	headline string
	outage   *fact // nearly no mat can be read: why, and since when
}

// title returns what a phone shows in its list of tabs.
func (s summary) title() string {
	if runes := []rune(s.headline); len(runes) > 50 {
		return strings.TrimSpace(string(runes[:49])) + "…"
	}
	return s.headline
}

// outageShare is the share of mats that cannot be read from which on it is one outage, as in RufusAllSessionsFailing.
const outageShare = .8

// summarize says in one line and one colour whether everything is all right.
func summarize(mats []mat, old bool, oldest time.Duration, w writer) summary {
	outage, failed := outageOf(mats, w)
	var urgent, minor []string
	for _, m := range troubled(mats, outage != nil) {
		if m.severity == state.Critical {
			urgent = append(urgent, m.trouble())
		} else {
			minor = append(minor, m.trouble())
		}
	}
	needs := strings.Join(nonempty(need(urgent, "you", "need you"), need(minor, "a look", "need a look")), "; ")
	s := summary{tone: look, outage: outage}
	if slices.ContainsFunc(mats, func(m mat) bool { return m.severity == state.Critical }) {
		s.tone = bad
	}
	switch {
	case outage != nil:
		s.headline = strings.Join(nonempty(failed, needs), "; before that, ")
	case needs != "":
		s.headline = needs
	case old:
		_, before := calm(mats, w)
		s.headline = fmt.Sprintf("Nothing new for %s. Before that: %s", span(oldest), before)
	default:
		s.tone, s.headline = calm(mats, w)
	}
	return s
}

// outageOf returns what to say of an outage, in full and as a headline; nil if there is none.
func outageOf(mats []mat, w writer) (banner *fact, headline string) {
	failed, since := 0, time.Time{}
	for _, m := range mats {
		if !m.failed {
			continue
		}
		failed++
		if m.read.After(since) {
			since = m.read
		}
	}
	if failed < 2 || float64(failed) < outageShare*float64(len(mats)) {
		return nil, ""
	}
	banner = &fact{Before: "Nothing is known", After: ": " + strings.Join(reasons(mats), ", ") + ". " +
		"Check the exporter's internet connection and the API key, and watch the boxes themselves: they go on recording."}
	if !since.IsZero() {
		banner.Before, banner.At = "Nothing is known since", w.clock(since)
	}
	if failed == len(mats) {
		return banner, fmt.Sprintf("None of the %d mats can be read", failed)
	}
	return banner, fmt.Sprintf("%d of %d mats cannot be read", failed, len(mats))
}

// reasons returns why mats cannot be read, each reason once.
func reasons(mats []mat) []string {
	var all []string
	for _, m := range mats {
		if m.why != "" && !slices.Contains(all, m.why) {
			all = append(all, m.why)
		}
	}
	return all
}

// mostNamed bounds the mats that the headline names.
const mostNamed = 3

// need says how many mats need something, and names the first.
func need(troubles []string, one, many string) string {
	if len(troubles) == 0 {
		return ""
	}
	named := strings.Join(troubles[:min(len(troubles), mostNamed)], ", ")
	if more := len(troubles) - mostNamed; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	if len(troubles) == 1 {
		return "1 mat needs " + one + ": " + named
	}
	return fmt.Sprintf("%d mats %s: %s", len(troubles), many, named)
}

func nonempty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

// calm says how mats are of which none needs anyone.
func calm(mats []mat, w writer) (tone, string) {
	counts := map[state.Word]int{}
	var first time.Time // that something is due
	for _, m := range mats {
		word := m.Word
		switch {
		case word == state.OK && m.counting:
			word = "counting"
		case word == state.OK:
			word = "ready"
		}
		counts[word]++
		if word == state.Waiting && !m.due.IsZero() && (first.IsZero() || m.due.Before(first)) {
			first = m.due
		}
	}
	n := len(mats)
	due := ""
	if !first.IsZero() {
		due = "; the next is due at " + w.clock(first).Text
	}
	switch {
	case n == 0:
		return idle, "No mats are followed yet"
	case n == 1 && counts["counting"] == 1:
		return well, mats[0].Name + " is counting"
	case counts["counting"] == n:
		return well, fmt.Sprintf("All %d mats are counting", n)
	case n > 1 && counts[state.Waiting] == n:
		return idle, fmt.Sprintf("All %d mats are waiting%s", n, due)
	case n > 1 && counts[state.Finished] == n:
		return idle, fmt.Sprintf("All %d mats have finished", n)
	}
	t := idle
	if counts["counting"]+counts["ready"] > 0 {
		t = well
	}
	return t, "All is well: " + listing(counts, "counting", "ready", state.Waiting, state.Finished) + due
}
