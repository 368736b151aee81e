// Package discovery decides which devices of an account are followed, and as what. It is pure: the devices come from
// the API's list, the rules from the configuration, and nothing here makes requests or reads the clock.
//
// A Plan has rules. Each Rule has expressions that the alias and the serial number of a device must match, and
// templates for the name and the race of its entry, with groups of the expressions in them. Plan.Follow applies the
// rules to all devices at once, because the names must differ.
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

// Device is one entry of the account's list of devices. Its texts are safe to show, as those of rufus.DeviceHealth are.
type Device struct {
	ID           rufus.Secret
	Alias        string
	SerialNumber string
	Model        string
}

// Rule says which devices it is for, and as what they are followed.
type Rule struct {
	// Alias and SerialNumber must both match; nil matches every device.
	Alias, SerialNumber *Expression
	// Ignore: the devices are not followed. The other settings have no effect then.
	Ignore bool
	// Name is the name of the entry; the zero Template is the device's alias.
	Name Template
	// Race is the value of the label race, which picks the race of that name; the zero Template is no race.
	Race Template
	// Expected is when passings are due whatever the race.
	Expected []window.Window
	// ExpectedByRace is when passings are due in each race that has a start; nil when the rule does not count from the
	// gun. Each is merged.
	ExpectedByRace map[string][]window.Window
	SilentAfter    time.Duration
}

// Bounds of an expression. Matching takes time in proportion to the length of the text times the size of the
// expression, so both are bounded.
const (
	maxExpression   = 500  // characters
	maxInstructions = 5000 // x{1000} is 1000 instructions
)

// Expression is a condition on a text: a regular expression in RE2 syntax that matches the whole text, whatever the
// case of its letters.
type Expression struct {
	source string
	re     *regexp.Regexp
	exact  bool
}

// ExpressionError is what is wrong with an expression. Neither part quotes more than a few characters of it.
type ExpressionError struct {
	Problem string // as in "alias has no closing parenthesis"
	Remedy  string
}

// Error returns the problem and its remedy.
func (e *ExpressionError) Error() string { return e.Problem + "; " + e.Remedy }

// NewExpression compiles an expression. If exact is set, a text that equals source matches as well, whatever the
// expression means by it. The error is an *ExpressionError.
func NewExpression(source string, exact bool) (*Expression, error) {
	if source == "" {
		return nil, &ExpressionError{"is empty", "give an expression such as 'FINISH-.+', or remove the setting"}
	}
	if utf8.RuneCountInString(source) > maxExpression {
		return nil, errTooLong
	}
	// Alone first: within parentheses, "a)(b" would be fine.
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

const remedyExpression = "give a regular expression in RE2 syntax such as 'FINISH-.+'"

var (
	errTooLong  = &ExpressionError{"is longer than 500 characters", "write a shorter expression, or several rules"}
	errTooLarge = &ExpressionError{"is too large an expression", "use smaller repeat counts"}
	errRange    = &ExpressionError{"has a character class or range that does not exist",
		"write ranges from low to high such as [0-9]"}
)

// expressionError returns in a few words what Go says about an expression. Go's own message quotes the expression.
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

// MatchesAll reports whether the expression is one for any text.
func (e *Expression) MatchesAll() bool { return e == nil || e.source == ".*" }

// Equal reports whether both were written alike.
func (e *Expression) Equal(other *Expression) bool {
	if e == nil || other == nil {
		return e == other
	}
	return e.source == other.source
}

// LooksLikeGlob reports whether the expression was probably meant as a pattern of a shell, such as FINISH-*, which as
// a regular expression stands for FINISH and any number of dashes.
func (e *Expression) LooksLikeGlob() bool { return e != nil && glob.MatchString(e.source) }

var glob = regexp.MustCompile(`^[\w -]+\*$`)

// match returns the groups of the expression in text, and whether it matches the whole of it.
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

// match returns the groups of both expressions, and whether the rule is for the device.
func (r *Rule) match(d Device) (groups matches, ok bool) {
	alias, aliasOK := r.Alias.match(d.Alias)
	if !aliasOK {
		return matches{}, false
	}
	serial, serialOK := r.SerialNumber.match(d.SerialNumber)
	return matches{alias, serial}, serialOK
}
