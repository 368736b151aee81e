package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"
)

var promql = parser.NewParser(parser.Options{})

// validRules is what promtool check rules says.
func validRules(content string) error {
	_, errs := rulefmt.Parse([]byte(content), false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	return errors.Join(errs...)
}

// ruleMutants makes mutants of a file of rules.
func ruleMutants(path, content string) ([]mutant, error) {
	l, err := newYAMLLitter("rules", path, content, validRules)
	if err != nil {
		return nil, err
	}
	for _, group := range field(l.document.Content[0], "groups").Content {
		name := field(group, "name").Value
		if interval := field(group, "interval"); interval != nil {
			for _, d := range durations(interval.Value, 4) {
				l.set("group "+name, interval, "", d)
			}
		}
		rules := field(group, "rules")
		for i, rule := range rules.Content {
			if err := l.mutateRule(rule); err != nil {
				return nil, err
			}
			if i > 0 && orderMatters(rules.Content[i-1], rule) {
				l.swap(ruleName(rule), rules, i-1, i, "before "+ruleName(rules.Content[i-1]))
			}
		}
	}
	return l.mutants, nil
}

// ruleName returns the name of a rule and the severity of an alert: two alerts can have one name.
func ruleName(rule *yaml.Node) string {
	if alert := field(rule, "alert"); alert != nil {
		return alert.Value + " " + field(field(rule, "labels"), "severity").Value
	}
	return field(rule, "record").Value
}

// orderMatters reports whether both rules record and one of them uses the other's result.
func orderMatters(a, b *yaml.Node) bool {
	record := func(rule *yaml.Node) string {
		if name := field(rule, "record"); name != nil {
			return name.Value
		}
		return ""
	}
	return record(a) != "" && record(b) != "" &&
		(strings.Contains(field(a, "expr").Value, record(b)) || strings.Contains(field(b, "expr").Value, record(a)))
}

func (l *yamlLitter) mutateRule(rule *yaml.Node) error {
	name, expr := ruleName(rule), field(rule, "expr")
	// Removed as a whole, it would take the anchors of its texts along.
	l.set(name, expr, "removed", "vector(1) < 0")

	edits, err := exprEdits(expr.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, e := range edits {
		l.set(name, expr, "", expr.Value[:e.from]+e.text+expr.Value[e.to:])
	}

	for _, key := range []string{"for", "keep_firing_for"} {
		if i := fieldIndex(rule, key); i >= 0 {
			l.remove(name, rule, i, 2, key+" removed")
			for _, d := range durations(rule.Content[i+1].Value, 4) {
				l.set(name, rule.Content[i+1], "", d)
			}
		}
	}
	if severity := field(field(rule, "labels"), "severity"); severity != nil {
		other := "warning"
		if severity.Value == other {
			other = "critical"
		}
		l.set(name, severity, "severity "+other, other)
	}
	return nil
}

// edit replaces a part of a text.
type edit struct {
	from, to int
	text     string
}

// swaps are operators and functions with what takes their place.
var swaps = map[string][]string{
	"and": {"unless"}, "unless": {"and"},
	"==": {"!="}, "!=": {"=="},
	"<": {"<=", ">"}, "<=": {"<", ">="}, ">": {">=", "<"}, ">=": {">", "<="},
	"+": {"-"}, "-": {"+"}, "*": {"/"}, "/": {"*"},
	"bool": {""},
	"max":  {"min"}, "min": {"max"}, "avg": {"max"}, "sum": {"max"},
	"max_over_time": {"min_over_time"}, "min_over_time": {"max_over_time"}, "avg_over_time": {"max_over_time"},
}

// negated are the operators of matchers.
var negated = map[string]string{"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}

// exprEdits returns what makes another expression of one.
func exprEdits(expr string) ([]edit, error) {
	root, err := promql.ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	edits := tokenEdits(tokens(expr))
	text := func(n parser.Node) (from, to int, text string) {
		r := n.PositionRange()
		return int(r.Start), int(r.End), expr[r.Start:r.End]
	}
	parser.Inspect(root, func(n parser.Node, _ []parser.Node) error {
		b, ok := n.(*parser.BinaryExpr)
		filter := ok && b.Op.IsComparisonOperator() && !b.ReturnBool
		if !filter && (!ok || !b.Op.IsSetOperator()) {
			return nil
		}
		from, to, _ := text(b)
		_, _, left := text(b.LHS)
		_, _, right := text(b.RHS)
		for side, operand := range map[string]parser.Expr{left: b.LHS, right: b.RHS} {
			if again, failed := promql.ParseExpr(side); failed != nil || again.String() != operand.String() {
				err = fmt.Errorf("%q is not where it should be, but %q", operand, side)
			}
		}
		edits = append(edits, edit{from, to, left})
		if b.Op.IsSetOperator() && b.Op != parser.LUNLESS { // of which the right operand is the opposite
			edits = append(edits, edit{from, to, right})
		}
		return nil
	})
	return edits, err
}

func tokens(expr string) []parser.Item {
	var all []parser.Item
	lexer := parser.Lex(expr)
	for {
		var item parser.Item
		lexer.NextItem(&item)
		switch item.Typ {
		case parser.EOF, parser.ERROR:
			return all
		case parser.COMMENT:
		default:
			all = append(all, item)
		}
	}
}

// tokenEdits returns the edits that concern a token or a few.
func tokenEdits(all []parser.Item) []edit {
	var edits []edit
	for i := 0; i < len(all); i++ {
		item := all[i]
		var others []string
		switch item.Typ {
		case parser.LEFT_BRACE:
			closing := until(all, i, parser.RIGHT_BRACE)
			edits = append(edits, matcherEdits(all[i+1:closing])...)
			i = closing
		case parser.BY, parser.ON:
			closing := until(all, i, parser.RIGHT_PAREN)
			edits = append(edits, listEdits(all[i+2:closing])...)
			i = closing
		case parser.OFFSET:
			edits = append(edits, edit{int(item.Pos), end(all[i+1]), ""})
		case parser.DURATION:
			others = durations(item.Val, 4)
		case parser.NUMBER:
			others = numbers(item.Val)
		default:
			others = swaps[item.Val]
		}
		for _, other := range others {
			edits = append(edits, edit{int(item.Pos), end(item), other})
		}
	}
	return edits
}

// until returns the index of the next token of a type.
func until(all []parser.Item, i int, typ parser.ItemType) int {
	for all[i].Typ != typ {
		i++
	}
	return i
}

// matcherEdits removes and negates each of a list of matchers.
func matcherEdits(list []parser.Item) []edit {
	edits := listEdits(list)
	for _, item := range list {
		if other := negated[item.Val]; other != "" {
			edits = append(edits, edit{int(item.Pos), end(item), other})
		}
	}
	return edits
}

func end(item parser.Item) int { return int(item.Pos) + len(item.Val) }

// listEdits removes each item of a list with the comma before or after it.
func listEdits(list []parser.Item) []edit {
	var edits []edit
	for start := 0; start < len(list); {
		stop := start
		for stop < len(list) && list[stop].Typ != parser.COMMA {
			stop++
		}
		from, to := int(list[start].Pos), end(list[stop-1])
		switch {
		case stop < len(list)-1:
			to = int(list[stop+1].Pos)
		case start > 0:
			from = int(list[start-1].Pos)
		}
		edits = append(edits, edit{from, to, ""})
		start = stop + 1
	}
	return edits
}

// numbers returns others: those beside a small one, smaller and larger ones than a large one.
func numbers(value string) []string {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return nil
	}
	var others []float64
	switch {
	case n == 0:
		others = []float64{1}
	case n != float64(int(n)):
		others = []float64{n * 0.8, n * 1.25}
	case n < 10:
		others = []float64{n - 1, n + 1}
	default:
		others = []float64{n / 10, n * 0.8, n * 1.25, n * 10}
	}
	texts := make([]string, len(others))
	for i, other := range others {
		texts[i] = strconv.FormatFloat(other, 'g', 6, 64)
	}
	return texts
}
