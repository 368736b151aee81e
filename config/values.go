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

// The functions in this file parse one value. Most of them return a parser for field.text, which sets dst and returns
// what is wrong with the value, "" if it is valid.

// notEmpty accepts any text that is not blank.
func notEmpty(dst *string) func(string) string {
	return func(value string) string {
		*dst = value
		if strings.TrimSpace(value) == "" {
			return "is empty"
		}
		return ""
	}
}

// contentOf accepts the path of a file that is not empty, and sets dst to its content. A change of the file counts as a
// change of the configuration.
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

// oneOf accepts the keys of known, and sets dst to the value in known.
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

// duration accepts a duration in Prometheus' notation, such as 1h30m, not below least.
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

// notDuration returns what is wrong with a value that is not a duration.
func notDuration(value string) string {
	if _, err := strconv.ParseUint(value, 10, 64); err == nil {
		return noUnit
	}
	return "is not a duration"
}

// number accepts a decimal number from least to most.
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

// text accepts 1 to most printable characters.
func text(dst *string, most int) func(string) string {
	return func(value string) string {
		switch {
		case value == "":
			return "is empty"
		case !printable(value):
			return "has non-printable characters"
		case utf8.RuneCountInString(value) > most:
			return fmt.Sprintf("is longer than %d characters", most)
		}
		*dst = value
		return ""
	}
}

// printable reports whether text is valid UTF-8 and all its characters are printable: letters, marks, numbers,
// punctuation, symbols, and the ASCII space.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
