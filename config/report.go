package config

import (
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"
)

// report is what is wrong with a file, or is probably not meant. Of a large number, only the first are kept.
type report struct {
	remarks []remark
	more    int // that are not kept
}

type remark struct {
	line int // 0: not in the file, and text names the place
	text string
}

func (r *report) add(line int, what, remedy string, most int) {
	if len(r.remarks) == most {
		r.more++
		return
	}
	r.remarks = append(r.remarks, remark{line, what + "; " + remedy})
}

// lines returns the remarks about the file at path by line, nil when there are none. more is about those not kept.
func (r *report) lines(path, more string) (lines []string) {
	slices.SortStableFunc(r.remarks, func(a, b remark) int { return a.line - b.line })
	for _, m := range r.remarks {
		if m.line == 0 {
			lines = append(lines, m.text)
		} else {
			lines = append(lines, fmt.Sprintf("%s:%d: %s", path, m.line, m.text))
		}
	}
	if r.more > 0 {
		lines = append(lines, fmt.Sprintf("%s: %d %s", path, r.more, more))
	}
	return lines
}

// refuse notes what is wrong in a line.
func (d *decoder) refuse(line int, what, remedy string) {
	d.refusals.add(line, what, remedy, maxRefusals)
}

// warn notes what is valid but probably not meant.
func (d *decoder) warn(line int, what, remedy string) {
	d.warnings.add(line, what, remedy, maxWarnings)
}

// quote returns what followed by text if text can be neither a key nor a token, of which at most 8 characters may be
// shown, and else what alone. Keys and tokens have digits or are one long word; a mistyped setting is a few short ones.
func quote(what, text string) string {
	if utf8.RuneCountInString(text) <= 8 || words.MatchString(text) {
		return fmt.Sprintf("%s %q", what, text)
	}
	return what + " (not shown, it may be a secret)"
}

var words = regexp.MustCompile(`^[A-Za-z]{1,12}([_ -][A-Za-z]{1,12}){0,3}$`)
