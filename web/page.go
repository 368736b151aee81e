package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/rufus"
	"rufus_exporter/state"
)

const (
	pageMaxAge  = 15 * time.Second // younger answers are shown as they are
	pageFetch   = 5 * time.Second  // how long to wait for answers if there are no older ones
	pageWait    = time.Second      // how long if there are
	pageRefresh = 15 * time.Second

	// mostOpen is how many mats are shown without folding the calm ones.
	mostOpen = 60
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
)

// pagePolicy is the Content-Security-Policy of the pages: they have their style and nothing else.
var pagePolicy = func() string {
	style := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// view is what the template of the status page shows.
type view struct {
	Style          template.CSS
	RefreshSeconds int
	Title          string
	Tone           tone
	Headline       string
	Now            *instant
	Zone           string
	Outage         *fact // one banner in place of a sentence on each card
	OutageRunbook  string
	Notices        []fact
	Trouble        []card // the worst first
	Races          []race // the calm mats
	Metrics        string
	Runbook        string
	Version        string
}

// race is the calm mats of one race.
type race struct {
	Name, Summary string
	Open          bool
	Keep          string // where the race stays open; empty if it is open anyway
	Mats          []card
}

// fact is a sentence that may have an instant in it.
type fact struct {
	Before string
	At     *instant
	After  string
}

// status serves the status page: what someone beside the track opens on a phone.
func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	sessions, report := h.newest(r.Context())
	now := h.Now()
	words := writer{now: now, zone: h.TimeZone, runbook: h.runbook()}
	mats := words.mats(report.Statuses, sessions.States(now))
	// An API that takes longer than pageWait answers in time for the next page.
	tolerated := max(pageMaxAge, sessions.Fetcher().MinInterval()) + pageRefresh + 2*pageWait
	old, oldest := oldAnswers(report.Statuses, now, tolerated)
	summary := summarize(mats, old > 0, oldest, words)

	v := view{
		Style:          template.CSS(pageCSS), //nolint:gosec // embedded
		RefreshSeconds: int(pageRefresh.Seconds()),
		Title:          summary.title() + " · RUFUS timing",
		Tone:           summary.tone,
		Headline:       summary.headline,
		Now:            instantOf(now, now.In(h.TimeZone).Format("15:04:05")),
		Zone:           zoneName(now.In(h.TimeZone)),
		Notices:        h.notices(sessions, report, summary.outage != nil, words),
		Outage:         summary.outage,
		OutageRunbook:  words.runbook + "#rufusallsessionsfailing",
		Races:          races(mats, summary.outage != nil, r.URL.Query()["open"]),
		Metrics:        "." + h.TelemetryPath,
		Runbook:        words.runbook,
		Version:        h.Version,
	}
	for _, m := range troubled(mats, summary.outage != nil) {
		if m.race != "" { // which no heading says here
			m.Labels = append([]string{m.race}, m.Labels...)
		}
		v.Trouble = append(v.Trouble, m.card)
	}
	if old > 0 {
		v.Notices = append(v.Notices, fact{Before: fmt.Sprintf(
			"The API does not answer in time: %d of %d answers are old, up to %s.", old, len(mats), span(oldest))})
	}

	var body bytes.Buffer
	if err := h.page.Execute(&body, v); err != nil {
		h.Logger.Error("status page", "err", err)
		http.Error(w, "The page could not be made: see the exporter's log.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Cache-Control", "no-store")
	limitWrite(w)
	_, _ = body.WriteTo(w)
}

// newest asks for all sessions. Where there is an older answer to show, it does not wait for long.
func (h *handler) newest(ctx context.Context) (*collector.Sessions, collector.Report) {
	long, cancelLong := context.WithTimeout(ctx, pageFetch)
	defer cancelLong()
	short, cancelShort := context.WithTimeout(long, pageWait)
	defer cancelShort()
	sessions := h.Sessions(short)
	if len(sessions.Entries()) == 0 && sessions.Err() != nil { // the first list of devices may need more time
		sessions = h.Sessions(long)
	}
	if !sessions.Answered() {
		short = long
	}
	return sessions, sessions.Newest(short, max(pageMaxAge, sessions.Fetcher().MinInterval()))
}

// oldAnswers returns how many answers are older than the page wants them, and the age of the oldest.
func oldAnswers(statuses []collector.Status, now time.Time, limit time.Duration) (n int, oldest time.Duration) {
	for _, s := range statuses {
		if s.At.IsZero() {
			continue
		}
		if age := collector.Age(now, s.At); age > limit {
			n++
			oldest = max(oldest, age)
		}
	}
	return n, oldest
}

// notices returns what is to be said about the exporter itself.
func (h *handler) notices(sessions *collector.Sessions, report collector.Report, outage bool, w writer) []fact {
	var notices []fact
	if until, ok := sessions.Fetcher().BackoffUntil().Get(); ok {
		notices = append(notices, fact{
			"The API asked us to wait: no requests for another " + span(until.Sub(w.now)) + ", until",
			instantOf(until, until.In(w.zone).Format(time.TimeOnly)), ".",
		})
	}
	if up, ok := report.DevicesUp.Get(); ok && !up && !outage {
		notices = append(notices, fact{
			Before: "The list of devices cannot be read, so batteries, telemetry and new devices are unknown: " +
				plainWords[rufus.ReasonOf(report.DevicesErr)] + ".",
		})
	}
	if err := sessions.Err(); err != nil {
		notices = append(notices, fact{Before: "Not all devices are followed: " + err.Error() + "."})
	}
	if err := h.ReloadError(); err != nil {
		notices = append(notices, fact{
			Before: "The last reload failed; the configuration before it is in use. " + err.Error(),
		})
	}
	return notices
}

// runbook returns the address of the runbook, relative to the page unless it is elsewhere.
func (h *handler) runbook() string {
	if h.RunbookURL != "" {
		return h.RunbookURL
	}
	return "." + runbookPath
}

// races returns the mats that are not listed as trouble, by race, in the order of the configuration. If there are many,
// only those are open that a reader opened.
func races(mats []mat, outage bool, opened []string) []race {
	var all []race
	for _, m := range mats {
		if m.troubles(outage) {
			continue
		}
		i := slices.IndexFunc(all, func(r race) bool { return r.Name == m.race })
		if i < 0 {
			i = len(all)
			all = append(all, race{Name: m.race})
		}
		if outage && m.failed && !m.stopped {
			m.Do, m.Since, m.Facts, m.Error, m.Runbook = "", nil, nil, "", "" // the banner says it
		}
		all[i].Mats = append(all[i].Mats, m.card)
	}
	// Of what a link says only names of races are passed on.
	opened = slices.DeleteFunc(opened, func(name string) bool {
		return !slices.ContainsFunc(all, func(r race) bool { return r.Name == name })
	})
	for i := range all {
		r := &all[i]
		r.Open = len(mats) <= mostOpen || slices.Contains(opened, r.Name)
		if !r.Open {
			r.Keep = "./?" + url.Values{"open": append(slices.Clone(opened), r.Name)}.Encode()
		}
		count := map[state.Word]int{}
		for _, m := range r.Mats {
			count[m.Word]++
		}
		r.Summary = listing(count, state.Words()...)
		switch {
		case r.Name == "" && len(all) == 1:
			r.Name = "All mats"
		case r.Name == "":
			r.Name = "Other mats"
		}
	}
	return all
}

// listing writes how many mats there are of each word, in that order: "2 ok, 1 waiting".
func listing(count map[state.Word]int, words ...state.Word) string {
	var parts []string
	for _, word := range words {
		if count[word] > 0 {
			parts = append(parts, fmt.Sprint(count[word], " ", word))
		}
	}
	return strings.Join(parts, ", ")
}

// zoneName names a time zone for a reader: "America/Sao_Paulo (-03)".
func zoneName(t time.Time) string {
	short, _ := t.Zone()
	name := t.Location().String()
	if name == "Local" {
		name = "this machine"
	}
	if name == short {
		return name
	}
	return name + " (" + short + ")"
}
