package main

import (
	"fmt"
	"regexp"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	"gopkg.in/yaml.v3"
)

func validAlertmanager(content string) error {
	_, err := amconfig.Load(content)
	return err
}

// alertmanagerMutants makes mutants of a configuration of Alertmanager.
func alertmanagerMutants(path, content string) ([]mutant, error) {
	l, err := newYAMLLitter("alertmanager", path, content, validAlertmanager)
	if err != nil {
		return nil, err
	}
	l.mutateNode("", l.document.Content[0])
	return l.mutants, nil
}

var matcherOperator = regexp.MustCompile(`!=|=~|!~|=`)

// mutateNode removes each key and each item, swaps neighbouring items and changes values.
func (l *yamlLitter) mutateNode(where string, node *yaml.Node) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			at := strings.TrimPrefix(where+"."+node.Content[i].Value, ".")
			l.remove(at, node, i, 2, "removed")
			l.mutateNode(at, node.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			at := fmt.Sprintf("%s[%d]", where, i)
			if item.Kind == yaml.ScalarNode {
				at = fmt.Sprintf("%s[%s]", where, item.Value)
			}
			l.remove(at, node, i, 1, "removed")
			if i > 0 && strings.HasSuffix(where, "routes") { // the order of anything else does not matter
				l.swap(at, node, i-1, i, "before the one before it")
			}
			l.mutateNode(at, item)
		}
	case yaml.ScalarNode:
		for _, value := range otherScalars(node.Value) {
			l.set(where, node, node.Value+" => "+value, value)
		}
	}
}

func otherScalars(value string) []string {
	switch {
	case value == "true":
		return []string{"false"}
	case value == "false":
		return []string{"true"}
	case matcherOperator.MatchString(value):
		op := matcherOperator.FindString(value)
		others := []string{strings.Replace(value, op, negated[op], 1)}
		// Without one of its alternatives, if it has some.
		for _, part := range regexp.MustCompile(`\w+\||\|\w+`).FindAllString(value, -1) {
			others = append(others, strings.Replace(value, part, "", 1))
		}
		return others
	default:
		return durations(value, 10)
	}
}
