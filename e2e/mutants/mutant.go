package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

// mutant is a file that was changed in one place.
type mutant struct {
	kind   string
	path   string // of the file
	name   string // unique: kind, where, and what was changed
	before string // content of the file
	after  string
	argued *argument // why it may survive, if that is known
}

// litter collects the mutants of one file.
type litter struct {
	kind, path string
	before     string
	valid      func(content string) error // what is not valid is not a mutant
	mutants    []mutant
}

// add adds a mutant unless it is not valid, or the same as the file or another mutant. Without a name for the change,
// its lines are the name.
func (l *litter) add(where, change, after string) {
	same := func(m mutant) bool { return m.after == after }
	if after == l.before || slices.ContainsFunc(l.mutants, same) || l.valid(after) != nil {
		return
	}
	m := mutant{kind: l.kind, path: l.path, before: l.before, after: after}
	if change == "" {
		_, removed, added := m.change()
		change = oneLine(removed) + " => " + oneLine(added)
	}
	m.name = l.kind + " " + where + ": " + change
	again := 1
	for _, other := range l.mutants {
		if other.name == m.name || strings.HasPrefix(other.name, m.name+" #") {
			again++
		}
	}
	if again > 1 {
		m.name += " #" + strconv.Itoa(again)
	}
	l.mutants = append(l.mutants, m)
}

// rule returns the name and severity of the only rule in which the mutant differs, and whether there is one.
func (m *mutant) rule() (string, bool) {
	rule, change, _ := strings.Cut(strings.TrimPrefix(m.name, m.kind+" "), ": ")
	return rule, m.kind == "rules" && !strings.HasPrefix(rule, "group ") && !strings.HasPrefix(change, "before ")
}

func oneLine(lines []string) string {
	return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
}

// change returns the lines that differ, and the number of the first of them.
func (m *mutant) change() (line int, removed, added []string) {
	removed, added = strings.Split(m.before, "\n"), strings.Split(m.after, "\n")
	for len(removed) > 0 && len(added) > 0 && removed[0] == added[0] {
		removed, added = removed[1:], added[1:]
		line++
	}
	for len(removed) > 0 && len(added) > 0 && removed[len(removed)-1] == added[len(added)-1] {
		removed, added = removed[:len(removed)-1], added[:len(added)-1]
	}
	return line + 1, removed, added
}

// diff shows the change to people.
func (m *mutant) diff() string {
	line, removed, added := m.change()
	lines := []string{fmt.Sprintf("%s:%d", m.path, line)}
	for _, l := range removed {
		lines = append(lines, "-"+l)
	}
	for _, l := range added {
		lines = append(lines, "+"+l)
	}
	return strings.Join(lines, "\n")
}

// yamlLitter makes mutants of a YAML file by changes to its nodes.
type yamlLitter struct {
	litter

	document yaml.Node
}

func newYAMLLitter(kind, path, content string, valid func(string) error) (*yamlLitter, error) {
	l := &yamlLitter{litter: litter{kind: kind, path: path, valid: valid}}
	if err := yaml.Unmarshal([]byte(content), &l.document); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.before = l.encode()
	if err := valid(l.before); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// encode writes the document as it is now, so that a mutant and what it was made of differ in one place only.
func (l *yamlLitter) encode() string {
	var text strings.Builder
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(&l.document); err != nil { // of what was just decoded
		panic(err)
	}
	return text.String()
}

// set makes a mutant with another value of a scalar.
func (l *yamlLitter) set(where string, node *yaml.Node, change, value string) {
	old := *node
	node.Value = value
	l.add(where, change, l.encode())
	*node = old
}

// remove makes a mutant without n of a node's children: an item of a sequence, or a key of a mapping and its value.
func (l *yamlLitter) remove(where string, node *yaml.Node, i, n int, change string) {
	old := node.Content
	node.Content = slices.Delete(slices.Clone(old), i, i+n)
	l.add(where, change, l.encode())
	node.Content = old
}

// swap makes a mutant with two children in the other order.
func (l *yamlLitter) swap(where string, node *yaml.Node, i, j int, change string) {
	swap := func() { node.Content[i], node.Content[j] = node.Content[j], node.Content[i] }
	swap()
	l.add(where, change, l.encode())
	swap()
}

// field returns the value of a key, nil when the mapping does not have it.
func field(mapping *yaml.Node, key string) *yaml.Node {
	if i := fieldIndex(mapping, key); i >= 0 {
		return mapping.Content[i+1]
	}
	return nil
}

func fieldIndex(mapping *yaml.Node, key string) int {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// durations returns shorter and longer ones than a duration of Prometheus, none for 0 and what is not a duration.
func durations(value string, factor time.Duration) []string {
	d, err := model.ParseDuration(value)
	if err != nil || d == 0 {
		return nil
	}
	return []string{
		(d * model.Duration(factor)).String(),
		max(d/model.Duration(factor), model.Duration(time.Millisecond)).String(),
	}
}
