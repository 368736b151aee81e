package main

import (
	"slices"
	"strings"
	"testing"
)

// What becomes of an expression: each change, and nothing else.
func TestExpressions(t *testing.T) {
	for expr, want := range map[string][]string{
		`a > 0`:  {`a >= 0`, `a < 0`, `a > 1`, `a`},
		`a == 3`: {`a != 3`, `a == 2`, `a == 4`, `a`},
		`a >= bool 20`: {
			`a > bool 20`, `a <= bool 20`, `a >=  20`,
			`a >= bool 2`, `a >= bool 16`, `a >= bool 25`, `a >= bool 200`,
		},
		`a and on (x, y) b`:    {`a unless on (x, y) b`, `a and on (y) b`, `a and on (x) b`, `a`, `b`},
		`a unless on (x) b`:    {`a and on (x) b`, `a unless on () b`, `a`},
		`a or b`:               {`a`, `b`},
		`max by (x) (a)`:       {`min by (x) (a)`, `max by () (a)`},
		`a{x="1"}`:             {`a{}`, `a{x!="1"}`},
		`a{x="1",y!~"2"}`:      {`a{y!~"2"}`, `a{x="1"}`, `a{x!="1",y!~"2"}`, `a{x="1",y=~"2"}`},
		`a offset 2m`:          {`a `, `a offset 8m`, `a offset 30s`},
		`max_over_time(a[1h])`: {`min_over_time(a[1h])`, `max_over_time(a[4h])`, `max_over_time(a[15m])`},
		`(a or b) * 0.5`:       {`(a or b) / 0.5`, `(a or b) * 0.4`, `(a or b) * 0.625`, `(a) * 0.5`, `(b) * 0.5`},
	} {
		edits, err := exprEdits(expr)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, len(edits))
		for i, e := range edits {
			got[i] = expr[:e.from] + e.text + expr[e.to:]
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", expr, got, want)
		}
	}
}

// Rules as a whole: removed, later, of another severity, in another order.
func TestRules(t *testing.T) {
	const rules = `
groups:
  - name: test
    rules:
      - record: a:b
        expr: x
      - record: c:d
        expr: a:b
      - alert: Alert
        expr: c:d
        for: 1m
        labels: {severity: critical}
`
	mutants, err := ruleMutants("rules.yml", rules)
	if err != nil {
		t.Fatal(err)
	}
	checkNames(t, mutants, []string{
		"rules a:b: removed",
		"rules c:d: removed",
		"rules c:d: before a:b",
		"rules Alert critical: removed",
		"rules Alert critical: for removed",
		"rules Alert critical: for: 1m => for: 4m",
		"rules Alert critical: for: 1m => for: 15s",
		"rules Alert critical: severity warning",
	})
}

func TestCode(t *testing.T) {
	const code = `package p

func f(a int) (bool, error) {
	if ok, err := g(); !ok && a < 2 {
		return ok, err
	}
	a += h("x" + "y")
	return true, nil
}
`
	mutants, err := codeMutants("../p/p.go", code)
	if err != nil {
		t.Fatal(err)
	}
	const condition = "code p/p.go f: if ok, err := g(); !ok && a < 2 { => if ok, err := g(); "
	checkNames(t, mutants, []string{
		"code p/p.go f: if ok, err := g(); !ok && a < 2 { return ok, err } => ",
		condition + "!ok || a < 2 {",
		condition + "ok && a < 2 {",
		condition + "!ok && a <= 2 {",
		condition + "!ok && a >= 2 {",
		condition + "!ok && a < 3 {",
		condition + "!ok && a < 1 {",
		"code p/p.go f: return ok, err => return !ok, err",
		"code p/p.go f: return ok, err => return ok, nil",
		`code p/p.go f: a += h("x" + "y") => `,
		"code p/p.go f: return true, nil => return false, nil",
	})
}

func checkNames(t *testing.T, mutants []mutant, want []string) {
	t.Helper()
	got := make([]string, len(mutants))
	for i, m := range mutants {
		got[i] = m.name
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
