package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"rufus_exporter/collector"
	"rufus_exporter/rufus"
)

const (
	pageMaxAge  = 15 * time.Second // younger answers are shown as they are
	pageFetch   = 5 * time.Second  // how long to wait for those that are older
	pageRefresh = 15 * time.Second
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
)

// page is the status page: what someone beside the track opens on a phone.
type page struct {
	template *template.Template
	policy   string
}

func newPage() *page {
	style := sha256.Sum256([]byte(pageCSS))
	return &page{
		template: template.Must(template.New("status").Parse(pageHTML)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
			"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// view is what the template shows.
type view struct {
	Style          template.CSS
	RefreshSeconds int
	Summary        string
	Time           string
	Notices        []string
	Rows           []row
	TelemetryPath  string
	Version        string
}

// row is one session.
type row struct {
	Class         string // active, closed or failing: the colour
	State, Detail string // a word of states, and what else there is to say in plain words
	Error         string // in the words of the log and the metrics
	Name, Alias   string
	Passings      string
	Last, Warning string
	Labels        []string
	Age           string
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageFetch)
	defer cancel()
	sessions := h.Sessions(ctx)
	maxAge := max(pageMaxAge, sessions.Fetcher().MinInterval())
	report := sessions.Newest(ctx, maxAge)
	now := h.Now()

	v := view{
		Style:          template.CSS(pageCSS), //nolint:gosec // embedded
		RefreshSeconds: int(pageRefresh.Seconds()),
		Summary:        summary(report.Statuses, now),
		Time:           now.UTC().Format(time.TimeOnly),
		TelemetryPath:  h.TelemetryPath,
		Version:        h.Version,
	}
	if until, ok := sessions.Fetcher().BackoffUntil().Get(); ok {
		v.Notices = append(v.Notices, fmt.Sprintf("The API asked us to wait: no requests for another %s, until %s UTC.",
			span(until.Sub(now)), until.UTC().Format(time.TimeOnly)))
	}
	if up, ok := report.DevicesUp.Get(); ok && !up {
		v.Notices = append(v.Notices,
			"The list of devices cannot be read: batteries, telemetry and new devices are unknown.")
	}
	if err := sessions.Err(); err != nil {
		v.Notices = append(v.Notices, "Not all devices are followed: "+err.Error()+".")
	}
	if err := h.ReloadError(); err != nil {
		v.Notices = append(v.Notices, "The last reload failed; the configuration before it is in use. "+err.Error())
	}
	old := 0
	for _, s := range report.Statuses {
		v.Rows = append(v.Rows, newRow(s, now))
		if !s.At.IsZero() && collector.Age(now, s.At) > maxAge+2*pageFetch {
			old++
		}
	}
	if old > 0 {
		v.Notices = append(v.Notices, fmt.Sprintf(
			"The API does not answer in time: %d of %d answers are old, and so is what is counted above.",
			old, len(report.Statuses)))
	}

	var body bytes.Buffer
	if err := h.page.template.Execute(&body, v); err != nil {
		h.Logger.Error("status page", "err", err)
		http.Error(w, "The page could not be made: see the exporter's log.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", h.page.policy)
	w.Header().Set("Cache-Control", "no-store")
	limitWrite(w)
	_, _ = body.WriteTo(w)
}

// states are the words for how a session is, trouble first, each with the class of its row.
var states = []struct{ word, class string }{
	{"failing", "failing"},
	{"closed while due", "failing"},
	{"not started", "failing"},
	{"active", "active"},
	{"waiting", "active"},
	{"finished", "closed"},
	{"closed", "closed"},
}

// armedBefore is how long before its window a mat should be active, as in the alert rules.
const armedBefore = 5 * time.Minute

// state returns one of the words of states, and in plain words what else there is to say. The declared window decides
// whether a session should be active; without one nobody can tell.
func state(s collector.Status, now time.Time) (word, detail string) {
	_, known := s.Session.Passings.Get()
	expected, declared := s.Window.Get()
	over := declared && !now.Before(expected.Until)
	armed := declared && !over && !now.Before(expected.From.Add(-armedBefore))
	switch {
	case s.Err != nil:
		return "failing", plainWords[rufus.ReasonOf(s.Err)]
	case !s.Session.Active && armed && !known:
		return "not started", "press START: passings are due until " + when(expected.Until, now)
	case !s.Session.Active && armed:
		return "closed while due", "press START: passings are due until " + when(expected.Until, now)
	case over:
		return "finished", "no passings were due after " + when(expected.Until, now)
	case s.Session.Active && declared && now.Before(expected.From):
		return "waiting", "passings are due from " + when(expected.From, now)
	case s.Session.Active:
		return "active", ""
	case declared:
		return "closed", "passings are due from " + when(expected.From, now)
	case !known:
		return "closed", "the device has no session yet"
	case s.Entry.Target.Follows == rufus.Device:
		return "closed", "the device has no active session; this was its last"
	default:
		return "closed", ""
	}
}

// when writes an instant with as much of it as a reader needs today.
func when(t, now time.Time) string {
	layout := "15:04 UTC"
	if t.Sub(now).Abs() > 12*time.Hour {
		layout = "2 January, " + layout
	}
	return t.UTC().Format(layout)
}

// silent reports whether the last passing was longer ago than the entry allows. Only the device says when it was, and
// nothing is remembered here, so its clock may be behind as well. Before a declared window nothing is due.
func silent(s collector.Status, last, now time.Time) bool {
	limit := s.Entry.SilentAfter
	if expected, declared := s.Window.Get(); declared {
		if now.Before(expected.From) || !now.Before(expected.Until) {
			return false
		}
		if last.Before(expected.From) {
			last = expected.From
		}
	}
	return s.Session.Active && limit > 0 && now.Sub(last) > limit
}

// plainWords says what a reason means to someone beside the track.
var plainWords = map[rufus.Reason]string{
	rufus.Unauthorized:     "API key rejected",
	rufus.NotFound:         "unknown to the API: check the token or device id",
	rufus.RateLimited:      "the API asked us to wait",
	rufus.ServerError:      "the API has a fault",
	rufus.UnexpectedStatus: "the API refused in an unexpected way",
	rufus.Timeout:          "no answer in time",
	rufus.Network:          "the API cannot be reached",
	rufus.InvalidResponse:  "the API's answer cannot be read",
}

func newRow(s collector.Status, now time.Time) row {
	r := row{Name: s.Entry.Name}
	r.State, r.Detail = state(s, now)
	for _, known := range states {
		if known.word == r.State {
			r.Class = known.class
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Entry.Labels)) {
		r.Labels = append(r.Labels, name+"="+s.Entry.Labels[name])
	}
	if !s.At.IsZero() {
		r.Age = ago(collector.Age(now, s.At))
	}
	if s.Err != nil {
		r.Error = s.Err.Error()
		return r
	}
	r.Alias = s.Session.Alias
	if passings, ok := s.Session.Passings.Get(); ok {
		r.Passings = fmt.Sprint(passings)
	}
	if last, ok := s.Session.Last.Get(); ok {
		since := now.Sub(last)
		r.Last = ago(since)
		switch {
		case since < -clockTolerance:
			r.Last += ": check the device's clock"
		case silent(s, last, now):
			r.Warning = "silent for over " + span(s.Entry.SilentAfter) + ", or clock behind"
		}
	}
	if health, ok := s.Health.Get(); ok {
		if charge, ok := health.Battery.Get(); ok {
			r.Labels = append(r.Labels, fmt.Sprintf("battery %.0f %%", 100*charge))
		}
	}
	return r
}

// clockTolerance is how far ahead of ours a device's clock may be without a word.
const clockTolerance = 5 * time.Second

// ago says how long ago something was, or how far ahead it lies.
func ago(d time.Duration) string {
	d = max(d, -math.MaxInt64) // what lies too far ahead for a Duration has no opposite
	switch {
	case d < -clockTolerance:
		return span(-d) + " ahead"
	case d < time.Second:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// span writes a positive duration in its largest whole unit, which is all that one reads at a glance.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// summary counts the sessions by state, trouble first: "2 failing, 7 active, 1 closed".
func summary(statuses []collector.Status, now time.Time) string {
	count := map[string]int{}
	for _, s := range statuses {
		word, _ := state(s, now)
		count[word]++
	}
	var parts []string
	for _, known := range states {
		if count[known.word] > 0 {
			parts = append(parts, fmt.Sprint(count[known.word], " ", known.word))
		}
	}
	return strings.Join(parts, ", ")
}
