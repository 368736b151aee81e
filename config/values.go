package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// The functions of this file read one value. They return the function text of a field.

// notEmpty sets dst to any text but the empty one.
func notEmpty(dst *string) func(string) string {
	return func(value string) string {
		*dst = value
		if strings.TrimSpace(value) == "" {
			return "is empty"
		}
		return ""
	}
}

// contentOf sets dst to the content of a file, which must not be empty. The file becomes one to watch.
func (d *decoder) contentOf(dst *string) func(string) string {
	return func(path string) string {
		if strings.TrimSpace(path) == "" {
			return "is empty"
		}
		content, problem := d.read.file(promconfig.JoinDir(d.dir, path))
		if problem != "" {
			return problem
		}
		return notEmpty(dst)(string(content))
	}
}

// oneOf sets dst to what one of the known values stands for.
func oneOf[T any](dst *T, known map[string]T) func(string) string {
	return func(value string) string {
		meant, ok := known[value]
		if !ok {
			return "has an unknown value"
		}
		*dst = meant
		return ""
	}
}

// duration sets dst to a duration in Prometheus' notation, such as 1h30m, of at least least.
func duration(dst *time.Duration, least time.Duration) func(string) string {
	return func(value string) string {
		parsed, err := model.ParseDuration(value)
		if err != nil {
			return notDuration(value)
		}
		if time.Duration(parsed) < least {
			return "is too short"
		}
		*dst = time.Duration(parsed)
		return ""
	}
}

const noUnit = "is a number without a unit (ms, s, m, h, d)"

// notDuration says what is wrong with a duration.
func notDuration(value string) string {
	if _, err := strconv.ParseUint(value, 10, 64); err == nil {
		return noUnit
	}
	return "is not a duration"
}

// number sets dst to a decimal number from least to most.
func number(dst *int, least, most int) func(string) string {
	return func(value string) string {
		parsed, err := strconv.Atoi(value)
		if err != nil {
			return "is not a number"
		}
		if parsed < least || parsed > most {
			return "is out of range"
		}
		*dst = parsed
		return ""
	}
}

// text sets dst to 1 to most printable characters.
func text(dst *string, most int) func(string) string {
	return func(value string) string {
		switch {
		case value == "":
			return "is empty"
		case !printable(value):
			return "has characters that do not print"
		case utf8.RuneCountInString(value) > most:
			return fmt.Sprintf("is longer than %d characters", most)
		}
		*dst = value
		return ""
	}
}

// printable reports whether every character of text shows: letters, marks, numbers, punctuation, symbols, and the
// ASCII space.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
