package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"
)

// Most of what promtool does for a mutant it does for all: it evaluates the rules that the mutation does not concern.
// So many mutants of rules are tested in one run. Each is a clone of the mutated rule and of those that depend on it,
// beside the originals, under names of its own, with the tests of the originals.

// clonedName matches the end of a clone's name.
var clonedName = regexp.MustCompile(`__m(\d+)\b`)

// clone is the mutated rule and those that depend on it under other names.
type clone struct {
	suffix string
	names  []string       // of the originals
	groups [][]*yaml.Node // all rules of each group, as they are with the mutation
	mutant *mutant        // nil for clones of the original, which show that a clone passes
}

// newClone returns the clone with a number of the mutation of a rule, given by its name.
func newClone(content, mutated string, number int, m *mutant) (*clone, error) {
	c := &clone{suffix: "__m" + strconv.Itoa(number), names: []string{mutated}, mutant: m}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(content), &document); err != nil {
		return nil, err
	}
	for _, rules := range ruleGroups(&document) {
		c.groups = append(c.groups, rules.Content)
	}
	for c.grow() {
	}
	return c, nil
}

// grow adds the names of the rules that depend on those that it has. It reports whether there are any.
func (c *clone) grow() (grown bool) {
	for _, rule := range slices.Concat(c.groups...) {
		uses := func(name string) bool { return mentions(name).MatchString(ruleText(rule)) }
		if !slices.Contains(c.names, title(rule)) && slices.ContainsFunc(c.names, uses) {
			c.names = append(c.names, title(rule))
			grown = true
		}
	}
	return grown
}

// ruleGroups returns the list of rules of each group.
func ruleGroups(document *yaml.Node) []*yaml.Node {
	var all []*yaml.Node
	for _, group := range field(document.Content[0], "groups").Content {
		all = append(all, field(group, "rules"))
	}
	return all
}

// title returns the name of what a rule records, or of its alert.
func title(rule *yaml.Node) string {
	for _, key := range []string{"record", "alert"} {
		if name := field(rule, key); name != nil {
			return name.Value
		}
	}
	return ""
}

// mentions matches the name of a rule where another uses it.
func mentions(name string) *regexp.Regexp {
	if strings.Contains(name, ":") {
		return regexp.MustCompile(`(` + regexp.QuoteMeta(name) + `)([^\w:]|$)`)
	}
	return regexp.MustCompile(`(alertname="` + regexp.QuoteMeta(name) + `)(")`)
}

// ruleText returns what can mention other rules: the expression and the annotations.
func ruleText(rule *yaml.Node) string {
	texts := []string{field(rule, "expr").Value}
	if annotations := field(rule, "annotations"); annotations != nil {
		if annotations.Kind == yaml.AliasNode {
			annotations = annotations.Alias
		}
		for _, node := range annotations.Content {
			texts = append(texts, node.Value)
		}
	}
	return strings.Join(texts, "\n")
}

// rename lets a text mention the clones in place of the originals.
func (c *clone) rename(text string) string {
	for _, name := range c.names {
		text = mentions(name).ReplaceAllString(text, "${1}"+c.suffix+"${2}")
	}
	return text
}

// of returns the clone of a rule.
func (c *clone) of(rule *yaml.Node) *yaml.Node {
	var walk func(node *yaml.Node) *yaml.Node
	walk = func(node *yaml.Node) *yaml.Node {
		if node.Kind == yaml.AliasNode {
			return walk(node.Alias)
		}
		other := *node
		other.Anchor, other.Value = "", c.rename(node.Value)
		other.Content = nil
		for _, child := range node.Content {
			other.Content = append(other.Content, walk(child))
		}
		return &other
	}
	other := walk(rule)
	for _, key := range []string{"record", "alert"} {
		if name := field(other, key); name != nil {
			name.Value = title(rule) + c.suffix
		}
	}
	return other
}

// rulesWith returns a file of rules with clones. A clone stands behind its original, so that what is evaluated before
// and after it is the same.
func rulesWith(content string, clones []*clone) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(content), &document); err != nil {
		return "", err
	}
	for i, group := range ruleGroups(&document) {
		rules := group.Content
		group.Content = nil
		for first := 0; first < len(rules); {
			end := first + 1 // two rules of one alert stay together: the second reads what the first has done
			for end < len(rules) && title(rules[end]) == title(rules[first]) {
				end++
			}
			group.Content = append(group.Content, rules[first:end]...)
			for _, c := range clones {
				if slices.Contains(c.names, title(rules[first])) {
					for _, rule := range c.groups[i][first:end] {
						group.Content = append(group.Content, c.of(rule))
					}
				}
			}
			first = end
		}
	}
	with, err := yaml.Marshal(&document)
	return string(with), err
}

// testGroup is a test of promtool.
type testGroup struct {
	Name     string         `yaml:"name"`
	Interval string         `yaml:"interval,omitempty"`
	Input    []inputSeries  `yaml:"input_series"`
	Exprs    []exprTest     `yaml:"promql_expr_test,omitempty"`
	Alerts   []alertTest    `yaml:"alert_rule_test,omitempty"`
	Others   map[string]any `yaml:",inline"`
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type exprTest struct {
	Expr    string `yaml:"expr"`
	At      string `yaml:"eval_time"`
	Samples any    `yaml:"exp_samples"`
}

type alertTest struct {
	Alert  string `yaml:"alertname"`
	At     string `yaml:"eval_time"`
	Alerts any    `yaml:"exp_alerts"`
}

// testOf returns a test that asks of clones what the originals are asked. What it cannot ask is left out.
func testOf(of *testGroup, clones []*clone) testGroup {
	group := *of
	group.Input, group.Exprs, group.Alerts = slices.Clone(of.Input), nil, nil
	for _, c := range clones {
		for _, series := range of.Input { // what rules recorded before the test
			name, rest, _ := strings.Cut(series.Series, "{")
			if slices.Contains(c.names, name) {
				series.Series = name + c.suffix + "{" + rest
				group.Input = append(group.Input, series)
			}
		}
		for _, test := range of.Exprs {
			if expr, ok := c.expr(test.Expr); ok {
				test.Expr = expr
				group.Exprs = append(group.Exprs, test)
			}
		}
		for _, test := range of.Alerts {
			if slices.Contains(c.names, test.Alert) {
				test.Alert += c.suffix
				group.Alerts = append(group.Alerts, test)
			}
		}
	}
	return group
}

// whole reports whether clones can be asked all that the test asks of rules.
func (g *testGroup) whole() bool {
	return !slices.ContainsFunc(g.Exprs, func(test exprTest) bool { return !askable(test.Expr) })
}

// askable reports whether clone.expr can rewrite an expression: it has no range of what rules make, each of its
// selectors has a name, and none matches all alerts by a regular expression.
func askable(expr string) bool {
	root, err := promql.ParseExpr(expr)
	possible := err == nil
	if possible {
		parser.Inspect(root, func(n parser.Node, path []parser.Node) error {
			if selector, ok := n.(*parser.VectorSelector); ok {
				made := strings.HasPrefix(selector.Name, "ALERTS") || strings.Contains(selector.Name, ":")
				ranged := len(path) > 0
				if ranged {
					_, ranged = path[len(path)-1].(*parser.MatrixSelector)
				}
				possible = possible && selector.Name != "" && !(made && ranged) && !matchesClones(selector)
			}
			return nil
		})
	}
	return possible
}

// matchesClones reports whether a selector by alertname may match clones as it is.
func matchesClones(selector *parser.VectorSelector) bool {
	return slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
		return m.Name == "alertname" && m.Type != labels.MatchEqual && m.Matches("RufusWatchdog__m0")
	})
}

// expr returns an expression that asks of clones what another asks of the originals, and whether there is one and it
// concerns them.
func (c *clone) expr(original string) (string, bool) {
	root, err := promql.ParseExpr(original)
	if err != nil || !askable(original) {
		return "", false
	}
	world := fmt.Sprintf("(%s)%s", strings.Join(c.names, "|"), c.suffix)
	var edits []edit
	concerned := false
	parser.Inspect(root, func(n parser.Node, _ []parser.Node) error {
		selector, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		other, label := *selector, "alertname"
		other.LabelMatchers = slices.Clone(selector.LabelMatchers)
		switch {
		case strings.HasPrefix(selector.Name, "ALERTS"):
			i := slices.IndexFunc(other.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == label })
			if i < 0 {
				// The clones of this mutant, and the originals that have none.
				other.LabelMatchers = append(other.LabelMatchers,
					labels.MustNewMatcher(labels.MatchRegexp, label, world+"|[^_]*"),
					labels.MustNewMatcher(labels.MatchNotRegexp, label, strings.Join(c.names, "|")))
				concerned = true
				break
			}
			if of := other.LabelMatchers[i]; of.Type == labels.MatchRegexp { // as above, of those that it matches
				other.LabelMatchers[i] = labels.MustNewMatcher(labels.MatchRegexp, label, "("+of.Value+")("+c.suffix+")?")
				other.LabelMatchers = append(other.LabelMatchers,
					labels.MustNewMatcher(labels.MatchNotRegexp, label, strings.Join(c.names, "|")))
				concerned = true
				break
			}
			if !slices.Contains(c.names, other.LabelMatchers[i].Value) {
				return nil
			}
			other.LabelMatchers[i] = labels.MustNewMatcher(labels.MatchEqual, label, other.LabelMatchers[i].Value+c.suffix)
			concerned = true
		case slices.Contains(c.names, selector.Name):
			label = "__name__"
			other.Name += c.suffix
			other.LabelMatchers = slices.DeleteFunc(other.LabelMatchers, func(m *labels.Matcher) bool {
				return m.Name == label
			})
			concerned = true
		default:
			return nil
		}
		r := n.PositionRange()
		edits = append(edits, edit{
			int(r.Start), int(r.End),
			fmt.Sprintf("label_replace(%s, %q, `$1`, %q, `(.+)%s`)", other.String(), label, label, c.suffix),
		})
		return nil
	})
	slices.SortFunc(edits, func(a, b edit) int { return b.from - a.from })
	for _, e := range edits {
		original = original[:e.from] + e.text + original[e.to:]
	}
	return original, concerned
}

// newClones returns clones of the rules that the mutants concern, one without a mutation and one of each mutant. Their
// indices are their numbers.
func newClones(mutants []*mutant) ([]*clone, error) {
	var clones []*clone
	originals := map[string]bool{}
	add := func(content, rule string, m *mutant) error {
		c, err := newClone(content, rule, len(clones), m)
		clones = append(clones, c)
		return err
	}
	for _, m := range mutants {
		rule, _ := m.rule()
		rule, _, _ = strings.Cut(rule, " ") // without the severity
		if !originals[rule] {
			originals[rule] = true
			if err := add(m.before, rule, nil); err != nil {
				return nil, err
			}
		}
		if err := add(m.after, rule, m); err != nil {
			return nil, err
		}
	}
	return clones, nil
}

// promtoolAll runs promtool's tests on mutants of one rule at once. It returns which test kills which mutant.
func (t *tests) promtoolAll(ctx context.Context, mutants []*mutant) (map[*mutant]string, error) {
	var file struct{ Tests []testGroup }
	if err := yaml.Unmarshal(t.ruleTests, &file); err != nil {
		return nil, err
	}
	clones, err := newClones(mutants)
	if err != nil {
		return nil, err
	}
	rule, _ := mutants[0].rule()
	killers := map[*mutant]string{}
	for _, next := range t.inOrder(rule) {
		of := file.Tests[slices.IndexFunc(file.Tests, func(g testGroup) bool { return g.Name == next.name })]
		for again := true; again && len(killers) < len(mutants); { // a rule that fails ends a test early
			left := slices.DeleteFunc(slices.Clone(clones), func(c *clone) bool { return killers[c.mutant] != "" })
			var failed []int
			if failed, again, err = t.runClones(ctx, mutants[0].before, &of, left); err != nil {
				return nil, err
			}
			for _, number := range failed {
				if clones[number].mutant == nil {
					return nil, fmt.Errorf("%q fails on a clone without a mutation", of.Name)
				}
				killers[clones[number].mutant] = of.Name
				t.killed(next, rule)
			}
		}
	}
	return killers, nil
}

// runClones runs one test on clones. It returns the numbers of those that fail, and whether an error ended the test
// before it was through.
func (t *tests) runClones(
	ctx context.Context, before string, of *testGroup, clones []*clone,
) (failed []int, again bool, err error) {
	test := testOf(of, clones)
	if len(test.Exprs)+len(test.Alerts) == 0 {
		return nil, false, nil
	}
	rules, err := rulesWith(before, clones)
	if err != nil {
		return nil, false, err
	}
	content, err := yaml.Marshal(map[string]any{
		"rule_files":          []string{rulesFile},
		"evaluation_interval": "15s",
		"tests":               []testGroup{test},
	})
	if err != nil {
		return nil, false, err
	}
	dir, err := os.MkdirTemp(t.dir, "")
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is within another that goes
	path := filepath.Join(dir, ruleTestsFile)
	err = errors.Join(
		os.WriteFile(path, content, 0o600), os.WriteFile(filepath.Join(dir, rulesFile), []byte(rules), 0o600))
	if err != nil {
		return nil, false, err
	}
	passes := t.command(ctx, ".", nil, "promtool", "test", "rules", path)
	if exit := (*exec.ExitError)(nil); passes == nil || !errors.As(passes, &exit) || !exit.Exited() || ctx.Err() != nil {
		return nil, false, passes
	}
	for _, found := range clonedName.FindAllStringSubmatch(passes.Error(), -1) {
		number, err := strconv.Atoi(found[1])
		if err != nil {
			return nil, false, err
		}
		if !slices.Contains(failed, number) {
			failed = append(failed, number)
		}
	}
	if len(failed) == 0 {
		return nil, false, passes
	}
	return failed, strings.Contains(passes.Error(), "    rule: "), nil
}
