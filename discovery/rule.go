// Package discovery decides which devices of an account are followed, and creates an entry for each of them. The
// devices come from the API's list, the rules from the configuration. This package makes no requests and does not read
// the clock.
//
// A Plan has rules. Each Rule has expressions that the alias and the serial number of a device must match. It also has
// templates for the name and the race of the entry, which may refer to groups of the expressions. Plan.Follow applies
// the rules to all devices at once, because the names must be unique.
package discovery

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
	"unicode/utf8"

	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// Device is one entry of the account's list of devices. Its texts are safe to show, like those of rufus.DeviceHealth.
type Device struct {
	ID           rufus.Secret
	Alias        string
	SerialNumber string
	Model        string
}

// Rule selects devices and describes their entries.
type Rule struct {
	// Alias and SerialNumber must both match; nil matches every device.
	Alias, SerialNumber *Expression
	// Ignore is set if the devices are not followed. Then the fields below have no effect.
	Ignore bool
	// Name is the name of the entry; the zero Template stands for the device's alias.
	Name Template
	// Race is the value of the label race, and the name of the race for ExpectedByRace; the zero Template is no race.
	Race Template
	// Expected is when passings are expected, merged. It is used if ExpectedByRace is nil.
	Expected []window.Window
	// ExpectedByRace is when passings are expected in each race that has a start, merged; nil if the rule's window is not
	// relative to a start.
	ExpectedByRace map[string][]window.Window
	SilentAfter    time.Duration
}

// Limits of an expression. The time to match is proportional to the length of the text times the size of the
// expression, so both are limited.
const (
	maxExpression   = 500  // characters
	maxInstructions = 5000 // x{1000} is 1000 instructions
)

// Expression is a regular expression in RE2 syntax that must match a whole text, ignoring case.
type Expression struct {
	source string
	re     *regexp.Regexp
	exact  bool
}

// ExpressionError describes what is wrong with an expression. It quotes no more than a few characters of it.
type ExpressionError struct {
	Problem string // such as "is empty"; completes "alias ..."
	Remedy  string
}

// Error returns the problem and its remedy.
func (e *ExpressionError) Error() string { return e.Problem + "; " + e.Remedy }

// NewExpression compiles an expression. If exact is set, a text that equals source matches too, even if source has
// special characters. The error is an *ExpressionError.
func NewExpression(source string, exact bool) (*Expression, error) {
	if source == "" {
		return nil, &ExpressionError{"is empty", "use an expression such as 'FINISH-.+', or remove the setting"}
	}
	if utf8.RuneCountInString(source) > maxExpression {
		return nil, errTooLong
	}
	// Parse it without the parentheses first: inside them, "a)(b" would be valid.
	parsed, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, expressionError(err)
	}
	if program, err := syntax.Compile(parsed.Simplify()); err != nil || len(program.Inst) > maxInstructions {
		return nil, errTooLarge
	}
	re, err := regexp.Compile(`(?i)\A(?:` + source + `)\z`)
	if err != nil {
		return nil, expressionError(err)
	}
	return &Expression{source: source, re: re, exact: exact}, nil
}

const remedyExpression = "use a regular expression in RE2 syntax such as 'FINISH-.+'"

var (
	errTooLong  = &ExpressionError{"is longer than 500 characters", "write a shorter expression, or several rules"}
	errTooLarge = &ExpressionError{"is too complex", "use smaller repeat counts"}
	errRange    = &ExpressionError{"has a character class or range that does not exist",
		"write ranges from low to high such as [0-9]"}
)

// expressionError returns a short message for an error of package regexp, whose own message quotes the expression.
func expressionError(err error) *ExpressionError {
	parse, ok := err.(*syntax.Error) //nolint:errorlint // regexp and syntax return it as it is
	if ok && expressionErrors[parse.Code] != nil {
		return expressionErrors[parse.Code]
	}
	return &ExpressionError{"is not a valid expression", remedyExpression}
}

var expressionErrors = map[syntax.ErrorCode]*ExpressionError{
	syntax.ErrMissingRepeatArgument: {"has a *, + or ? with nothing before it", "write .* for any text"},
	syntax.ErrMissingParen: {"has an opening parenthesis without a closing one",
		`add the closing parenthesis, or write \( for the character itself`},
	syntax.ErrUnexpectedParen: {"has a closing parenthesis without an opening one",
		`remove it, or write \) for the character itself`},
	syntax.ErrMissingBracket:    {"has a [ without a closing ]", `add the ], or write \[ for the character itself`},
	syntax.ErrTrailingBackslash: {"ends with a backslash", `write \\ for the character itself`},
	syntax.ErrInvalidPerlOp:     {"uses syntax that RE2 does not have, such as lookahead", remedyExpression},
	syntax.ErrInvalidNamedCapture: {"has a group whose name is not valid",
		"write (?P<name>...), with letters, digits and _ in the name"},
	syntax.ErrInvalidEscape:     {"has a backslash before a character that needs none", "remove the backslash"},
	syntax.ErrInvalidRepeatSize: errTooLarge,
	syntax.ErrLarge:             errTooLarge,
	syntax.ErrNestingDepth:      errTooLarge,
	syntax.ErrInvalidRepeatOp: {"has two repeat operators in a row",
		`keep one of them, or write \*, \+ or \? for the character itself`},
	syntax.ErrInvalidCharClass: errRange,
	syntax.ErrInvalidCharRange: errRange,
}

// MatchesAll reports whether the expression is known to match any text.
func (e *Expression) MatchesAll() bool { return e == nil || e.source == ".*" }

// Equal reports whether both expressions have the same source text.
func (e *Expression) Equal(other *Expression) bool {
	if e == nil || other == nil {
		return e == other
	}
	return e.source == other.source
}

// LooksLikeGlob reports whether the expression was probably meant as a shell pattern, such as FINISH-*. As a regular
// expression, that matches FINISH and any number of dashes.
func (e *Expression) LooksLikeGlob() bool { return e != nil && glob.MatchString(e.source) }

var glob = regexp.MustCompile(`^[\w -]+\*$`)

// match returns the groups of the expression in text, and whether it matches all of text.
func (e *Expression) match(text string) (groups []string, ok bool) {
	if e == nil {
		return []string{text}, true
	}
	if groups := e.re.FindStringSubmatch(text); groups != nil {
		return groups, true
	}
	if e.exact && strings.EqualFold(e.source, text) {
		groups = make([]string, e.re.NumSubexp()+1)
		groups[0] = text
		return groups, true
	}
	return nil, false
}

// match returns the groups of both expressions, and whether the rule matches the device.
func (r *Rule) match(d Device) (groups matches, ok bool) {
	alias, aliasOK := r.Alias.match(d.Alias)
	if !aliasOK {
		return matches{}, false
	}
	serial, serialOK := r.SerialNumber.match(d.SerialNumber)
	return matches{alias, serial}, serialOK
}
