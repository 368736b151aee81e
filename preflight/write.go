package preflight

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// JSON writes the report as JSON, for scripts.
func (r *Report) JSON(w io.Writer) error {
	full := *r
	full.Sessions = append([]Session{}, r.Sessions...) // never null
	full.Notes = append([]Note{}, r.Notes...)
	full.Unfollowed = append([]Device{}, r.Unfollowed...)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(full)
}

// Text writes the report for humans: a table, the notes, and a summary in the last line. Times are in the time zone of
// At.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) }
	row("SESSION", "STATE", "ALIAS", "PASSINGS", "LAST PASSING", "CLOCK", "BATTERY", "WHAT TO DO")
	readable := 0
	for _, s := range r.Sessions {
		toDo := strings.Join(s.ToDo, " ")
		if s.State == Failing {
			toDo = s.Error + ". " + toDo
		} else {
			readable++
		}
		row(s.Name, s.State, cmp.Or(s.Alias, "-"), count(s.Passings), r.when(s.LastPassing), clock(s.ClockAhead),
			percent(s.BatteryRatio), toDo)
	}
	_ = table.Flush()
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\n* %s", note.Text)
	}
	if len(r.Notes) > 0 {
		b.WriteByte('\n')
	}
	if len(r.Unfollowed) > 0 {
		b.WriteString("\nDevices of the account that no entry follows:\n")
		for _, d := range r.Unfollowed {
			fmt.Fprintf(&b, "  %s\n", describe(d))
		}
	}
	verdict := "ready"
	if !r.Readable {
		verdict = "NOT READY"
	}
	fmt.Fprintf(&b, "\n%s: %d of %d sessions can be read.\n", verdict, readable, len(r.Sessions))
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

func count(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// when returns the time of day of t, with the date if it is not that of the report.
func (r *Report) when(t *time.Time) string {
	switch {
	case t == nil:
		return "-"
	case anotherDay(t, r.At):
		return t.In(r.At.Location()).Format(time.DateTime)
	default:
		return t.In(r.At.Location()).Format(time.TimeOnly)
	}
}

// clock describes how far a clock is ahead, in seconds.
func clock(ahead float64) string {
	if ahead == 0 {
		return "-"
	}
	span := time.Duration(ahead * float64(time.Second)).Truncate(time.Second).String()
	if strings.HasSuffix(span, "m0s") {
		span = strings.TrimSuffix(span, "0s")
	}
	return "ahead by at least " + span
}

func percent(ratio *float64) string {
	if ratio == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100**ratio)
}
