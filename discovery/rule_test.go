package discovery

import (
	"errors"
	"strings"
	"testing"
)

func TestExpressions(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"FINISH-.+": "", "(?P<a>x)": "", "(?<a>x)": "", `\d{3}`: "", "a|b": "", `a\Qx+\E`: "",
		"x{1000}": "", "(?P<a>x)|(?P<a>y)": "",
		"":                                 "is empty",
		"a)(b":                             "has a closing parenthesis without an opening one",
		"(a":                               "has an opening parenthesis without a closing one",
		"*":                                "has a *, + or ? with nothing before it",
		"[a":                               "has a [ without a closing ]",
		`a\`:                               "ends with a backslash",
		"(?!a)":                            "uses syntax that RE2 does not have, such as lookahead",
		`\1`:                               "has a backslash before a character that needs none",
		"(?P<a b>x)":                       "has a group whose name is not valid",
		"x**":                              "has two repeat operators in a row",
		"[b-a]":                            "has a character class or range that does not exist",
		"x{1001}":                          "is too complex",
		"(x{999}){9}":                      "is too complex",
		"\xff":                             "is not a valid expression",
		strings.Repeat("(", 500):           "has an opening parenthesis without a closing one",
		strings.Repeat("x?{900}", 6)[:41]:  "has two repeat operators in a row",
		strings.Repeat("(x?){900}", 6):     "is too complex",
		strings.Repeat("ß", maxExpression): "",
		strings.Repeat("ß", 501):           "is longer than 500 characters",
	} {
		e, err := NewExpression(source, false)
		got := ""
		if failed, ok := errors.AsType[*ExpressionError](err); ok {
			got = failed.Problem
			if failed.Remedy == "" || err.Error() != failed.Problem+"; "+failed.Remedy {
				t.Errorf("%.30q: %v", source, err)
			}
		}
		if got != want || (e == nil) != (want != "") {
			t.Errorf("%.30q: got %q, want %q", source, got, want)
		}
	}
}

func TestMatchIsWholeAndIgnoresCase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		source, text string
		exact, want  bool
	}{
		{"finish", "FINISH", false, true},
		{"finish", "FINISH-1", false, false},
		{"finish", "a finish", false, false},
		{"a|b", "ab", false, false},
		{"a|b", "B", false, true},
		{"^a$", "A", false, true},
		{"(?-i)a", "A", false, false},
		{".*", "", false, true},
		{"a+1", "A+1", false, false},
		{"a+1", "A+1", true, true},
	} {
		e, err := NewExpression(c.source, c.exact)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := e.match(c.text); got != c.want {
			t.Errorf("%s in %q: %t", c.source, c.text, got)
		}
	}
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]bool{
		"FINISH-*": true, "5K*": true, "FINISH .*": false, ".*": false, "(a|b)*": false, `\d*`: false, "a*b": false,
	} {
		e, err := NewExpression(source, false)
		if err != nil || e.LooksLikeGlob() != want {
			t.Errorf("%s: %t, %v", source, !want, err)
		}
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	alias, serial := expression(t, "(?P<point>a|b)-(?P<race>.*)"), expression(t, "(?P<box>.)(?P<race>.*)")
	unknown := func(group string) string { return "no expression has the group " + group }
	for _, c := range []struct {
		text          string
		alias, serial *Expression
		want          string // of alias "b-5k" and serial number "x1", or the error
	}{
		{"plain", nil, nil, "plain"},
		{"$point", alias, nil, "b"},
		{"$point-$race", alias, nil, "b-5k"},
		{"${point}_$2$1", alias, nil, "b_5kb"},
		{"$$$point$$", alias, nil, "$b$"},
		{"$0", alias, serial, "b-5k"},
		{"$0", nil, serial, "x1"},
		{"$0", nil, nil, "b-5k"},
		{"$1", alias, serial, "b"},
		{"$1", nil, serial, "x"},
		{"$box $point", alias, serial, "x b"},
		{"$race", alias, serial, "both expressions have the group race"},
		{"$race", nil, serial, "1"},
		{"$1", nil, nil, unknown("1")},
		{"$3", alias, nil, unknown("3")},
		{"$point_", alias, nil, unknown("point_")},
		{"$Point", alias, nil, unknown("Point")},
		{"$99999999999999999999", alias, nil, unknown("99999999999999999999")},
		{"5$", nil, nil, ErrDollar.Error()},
		{"$-", nil, nil, ErrDollar.Error()},
		{"${point", alias, nil, ErrDollar.Error()},
		{"${}", alias, nil, ErrDollar.Error()},
		{"", nil, nil, ErrNoText.Error()},
		{" \t", nil, nil, ErrNoText.Error()},
	} {
		r := Rule{Alias: c.alias, SerialNumber: c.serial}
		parsed, err := ParseTemplate(c.text, c.alias, c.serial)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			groups, ok := r.match(Device{Alias: "b-5k", SerialNumber: "x1"})
			if !ok {
				t.Fatal("no match")
			}
			got = parsed.expand(groups)
			text, constant := parsed.Constant()
			if constant != (text != "") || constant && text != got || parsed.IsZero() {
				t.Errorf("%q: constant %q, zero %t", c.text, text, parsed.IsZero())
			}
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}
