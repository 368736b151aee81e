package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"rufus_exporter/rufus"
)

type node = yaml.Node

// Limits that no real file reaches: 10,000 full entries stay below them.
const (
	// maxNodes limits the YAML nodes. It is checked before parsing, because the YAML package allocates about 400 bytes
	// for a node, and two bytes of a file can be enough for one.
	maxNodes = 300_000
	// maxValues limits the values that are decoded. An alias counts each time it is followed, so that a small file cannot
	// expand into a huge one.
	maxValues   = 1 << 18
	maxRefusals = 1000
	maxWarnings = 100 // because they are logged at every load
)

// decoder walks the YAML nodes instead of decoding into structs. Nodes have their line and their literal text, so an
// all-digit token stays text. And all messages are our own, so none of them quotes a secret.
type decoder struct {
	dir      string // relative paths are relative to it
	read     snapshot
	raw      [][]byte // the lines of the file
	refusals report
	warnings report
	apiKey   string
	values   int            // number visited so far
	secrets  []rufus.Secret // the API key, and all tokens and ids of the file
	public   []public       // texts that must not contain a secret

	labelNames map[string]bool // of all entries
	races      map[string]race // by name; nil if the file lists none
	windows    int             // number of all entries' windows
}

// visit counts a value and reports whether to continue.
func (d *decoder) visit(n *node) bool {
	d.values++
	if d.values == maxValues+1 {
		d.refuse(n.Line, "the file has too many values (an alias counts each time it is used)",
			remedySplit)
	}
	return d.values <= maxValues
}

// document returns the root value of data, which must be a single YAML document. If it is not, document refuses it and
// returns nil.
func (d *decoder) document(data []byte) *node {
	if line := unprintable(data); line != 0 {
		d.refuse(line, "there is a byte that is not valid UTF-8, or a control character", "save the file as UTF-8 text")
		return nil
	}
	if line := crowded(data); line != 0 {
		d.refuse(line, "the file has too many values", remedySplit)
		return nil
	}
	d.raw = bytes.Split(data, []byte("\n"))
	documents, problem := parseYAML(data)
	switch {
	case problem != "":
		d.syntax(data, problem)
	case len(documents) == 0:
		d.refuse(1, "the file is empty", remedyList)
	case len(documents) > 1:
		d.refuse(documents[1].Line, "a second YAML document starts here", "keep one: delete the line with ---")
	default:
		return documents[0].Content[0]
	}
	return nil
}

// unprintable returns the first line with a byte that YAML does not allow, 0 if there is none. The YAML package would
// refuse it too, but without a line.
func unprintable(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		broken := r == utf8.RuneError && size == 1
		if broken || r == 0x7f || r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
		i += size
	}
	return 0
}

const remedySplit = "write the sessions without aliases, or split them over several exporters"

// crowded returns the line in which data exceeds maxNodes nodes, 0 if it does not. It counts the characters that can
// start a node: two nodes, a key and a value, in a flow list or mapping, and one elsewhere. So it may count too many,
// but never too few.
func crowded(data []byte) (line int) {
	nodes := 0
	for i, c := range data {
		next := byte('\n')
		if i+1 < len(data) {
			next = data[i+1]
		}
		switch c {
		case ',', '[', '{':
			nodes += 2
		case '\n':
			nodes++
		case '\r', 0x85, 0xa8, 0xa9: // the other line breaks, or their last bytes
			if next != '\n' {
				nodes++
			}
		case '-', ':', '?':
			if next < '0' || next > 'z' { // not inside a word
				nodes++
			}
		}
		if nodes > maxNodes {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
	}
	return 0
}

// parseYAML returns the first two documents in data, or what is wrong with the syntax, without a line.
func parseYAML(data []byte) (documents []*node, problem string) {
	// The package panics on internal errors. A reload must not crash the exporter.
	defer func() {
		if recover() != nil {
			problem = "the YAML cannot be read"
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for len(documents) < 2 {
		document := &node{}
		err := decoder.Decode(document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntaxLine.ReplaceAllString(err.Error(), "")
		}
		documents = append(documents, document)
	}
	return documents, ""
}

var syntaxLine = regexp.MustCompile(`^yaml: (line \d+: )?`)

// syntax refuses a syntax error. The package reports the line where the surrounding block starts, or none. So syntax
// searches for the shortest prefix of the file that has the same problem: the error is in its last line.
func (d *decoder) syntax(data []byte, problem string) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	i := sort.Search(len(lines)-1, func(i int) bool {
		_, p := parseYAML(bytes.Join(lines[:i+1], nil))
		return p == problem
	})
	text := bytes.TrimLeft(lines[i], " ")
	switch {
	case bytes.HasPrefix(text, []byte("\t")):
		problem = "a tab is used to indent"
	case strings.HasPrefix(problem, "unknown anchor"):
		problem = "an alias (*name) has no anchor (&name) before it" // the package's message quotes the file
	}
	if d.typoInSyntax(i) {
		return
	}
	remedy := "indent with spaces, and put quotes around values with special characters"
	for part, better := range syntaxRemedies {
		if strings.Contains(problem, part) {
			remedy = better
		}
	}
	d.refuse(i+1, "YAML: "+problem, remedy)
}

// syntaxRemedies maps parts of the YAML package's messages to remedies.
var syntaxRemedies = map[string]string{
	"expected '-' indicator": "start each entry with \"- \", and indent all settings of an entry equally",
	"expected key":           "write each setting as \"name: value\", and indent all settings of an entry equally",
	"expected ',' or": "close every [ and {, separate the values in them by commas, and put quotes around values with " +
		"special characters",
	"mapping values are not allowed": "put quotes around a value that contains \": \", and indent all settings of an " +
		"entry equally",
	"cannot start any token":   "put quotes around a value that starts with @, %, ` or a tab",
	"unknown escape character": "put single quotes around a value with backslashes",
}

// follow returns the value that an alias stands for, with the line of the alias, because an error is usually in its
// use. Values inside a list or mapping keep their own line.
func follow(n *node) *node {
	if n.Kind != yaml.AliasNode {
		return n
	}
	target := *n.Alias
	target.Line = n.Line
	return &target
}

func isMapping(n *node) bool { return n.Kind == yaml.MappingNode }
func isList(n *node) bool    { return n.Kind == yaml.SequenceNode }
func isNull(n *node) bool    { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
func isUnset(n *node) bool   { return n == nil || isNull(n) }

// field is a key that a mapping may have.
type field struct {
	name string
	// text parses a scalar and returns what is wrong with it, "" if it is valid. If text is nil, the caller of mapping
	// decodes the value.
	text func(value string) (problem string)
	// valid describes valid values; it completes "use ...".
	valid string
	// template is set if ${...} in the value is a reference to a group.
	template bool
}

// scalar decodes a value and reports whether it is valid.
func (d *decoder) scalar(line int, value *node, name string, f field) bool {
	set, remedy := f.text, "use "+f.valid
	if isVariable(value.Value) && !f.template {
		set, remedy = func(string) string { return hasVariable }, remedyNoVariable
		if name == "key" || name == "key_file" {
			remedy = remedyKey
		}
	}
	problem := read(value, set)
	switch {
	case d.typo(value, problem != ""):
		return false
	case problem != "":
		d.refuse(line, name+" "+problem, remedy)
		return false
	}
	if quotedAtOneEnd(value) {
		d.warn(line, name+" has a quote at one end only, or a quote other than \" and '",
			"put the same \" or ' at both ends, or remove the quote")
	}
	return true
}

// section is mapping for a section that may be missing or empty: n may be nil or null.
func (d *decoder) section(n *node, name string, fields []field) (lines map[string]int, values map[string]*node) {
	switch {
	case isUnset(n):
		return nil, nil
	case !isMapping(n):
		d.refuse(n.Line, name+" is not a mapping", "write its settings below it, each as \"name: value\"")
		return nil, nil
	}
	return d.mapping(n, name, fields)
}

// mapping decodes n, whose keys must be among fields. where names the mapping in messages. It returns the lines of the
// keys that n has, and the values of fields without text.
func (d *decoder) mapping(n *node, where string, fields []field) (lines map[string]int, values map[string]*node) {
	lines, values = map[string]int{}, map[string]*node{}
	d.pairs(n, func(key, value *node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		if i < 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.name
			}
			d.refuse(key.Line, quote("unknown key", key.Value)+" in "+where, "valid keys: "+strings.Join(names, ", "))
			return
		}
		f := fields[i]
		lines[f.name] = key.Line
		if f.text == nil {
			values[f.name] = value
		} else {
			d.scalar(lineOf(key, value), value, f.name, f)
		}
	})
	return lines, values
}

// items returns the values of a list. It refuses anything else, and an empty list.
func (d *decoder) items(n *node, name, remedy string) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		switch {
		case !isList(n) && !isNull(n):
			d.refuse(n.Line, name+" is not a list", remedy)
			return
		case len(n.Content) == 0:
			d.refuse(n.Line, "the list of "+name+" is empty", remedy)
		}
		for _, item := range n.Content {
			if !d.visit(item) || !yield(follow(item)) {
				return
			}
		}
	}
}

// pairs calls each for the keys and values of a mapping. It refuses duplicate keys and keys that are not text.
func (d *decoder) pairs(n *node, each func(key, value *node)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := follow(n.Content[i]), follow(n.Content[i+1])
		if !d.visit(key) {
			return
		}
		typo := mergedTypo
		if isNull(value) {
			typo = keyTypo
		}
		switch line := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.refuse(key.Line, "a key is a list or a mapping", "write \"key: value\"")
		case key.Tag == "!!merge":
			d.refuse(key.Line, "merge keys (<<) are not supported", "repeat the keys; aliases of single values work")
		case d.refuseTypo(typo, key):
		case line != 0:
			d.refuse(key.Line, fmt.Sprintf("%s, first in line %d", quote("duplicate key", key.Value), line),
				"keep one of them")
		default:
			lines[key.Value] = key.Line
			each(key, value)
		}
	}
}

// read calls set with the literal text of a scalar. It returns what is wrong with value, "" if it is valid.
func read(value *node, set func(string) string) (problem string) {
	switch {
	case value.Kind != yaml.ScalarNode:
		return "is a list or a mapping"
	case isNull(value):
		return "has no value"
	case foreignTag(value):
		return "has a YAML tag (!...)"
	}
	return set(value.Value)
}

// lineOf returns the line in which to fix a value. If the value is missing, that is the key's line: value.Line is where
// the parser noticed it.
func lineOf(key, value *node) int {
	if isNull(value) {
		return key.Line
	}
	return value.Line
}

// foreignTag reports whether a scalar has an explicit type other than string, such as !!binary. Its literal text is not
// what was intended.
func foreignTag(n *node) bool { return n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != "!!str" }
