package config

import (
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"
)

// report collects the errors of a file, or the warnings. Only the first ones are kept.
type report struct {
	remarks []remark
	more    int // number of remarks that were not kept
}

type remark struct {
	line int // 0: not in the file; text says where
	text string
}

func (r *report) add(line int, what, remedy string, most int) {
	if len(r.remarks) == most {
		r.more++
		return
	}
	r.remarks = append(r.remarks, remark{line, what + "; " + remedy})
}

// lines returns the remarks about the file at path, sorted by line, nil if there are none. more is the text after the
// number of those that were not kept.
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

// refuse adds an error: what is wrong in a line, and its remedy.
func (d *decoder) refuse(line int, what, remedy string) {
	d.refusals.add(line, what, remedy, maxRefusals)
}

// warn adds a warning: what is valid but probably not intended, and its remedy.
func (d *decoder) warn(line int, what, remedy string) {
	d.warnings.add(line, what, remedy, maxWarnings)
}

// quote returns what followed by the quoted text. If text might be a key or a token, of which at most 8 characters may
// be shown, it leaves text out. Keys and tokens have digits or are one long word; a mistyped setting is a few short
// words.
func quote(what, text string) string {
	if utf8.RuneCountInString(text) <= 8 || words.MatchString(text) {
		return fmt.Sprintf("%s %q", what, text)
	}
	return what + " (not shown, it may be a secret)"
}

var words = regexp.MustCompile(`^[A-Za-z]{1,12}([_ -][A-Za-z]{1,12}){0,3}$`)
