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

// Bounds that no honest file reaches: 10,000 entries with everything that they can have stay below.
const (
	// maxNodes bounds what the YAML package has to build, before it begins: it takes some 400 bytes for each node, of
	// which two bytes of a file can be enough.
	maxNodes = 300_000
	// maxValues bounds what is read of that. Aliases count each time they are followed, so that a small file cannot
	// unfold into a huge one.
	maxValues   = 1 << 18
	maxRefusals = 1000
	maxWarnings = 100 // in the log at every load
)

// decoder walks the YAML nodes rather than decoding into structs: nodes know their line and their literal text, so
// that an all-digit token stays text, and every message is our own, so that none quotes what it should not.
type decoder struct {
	dir      string // relative paths start here
	read     snapshot
	raw      [][]byte // the lines of the file
	refusals report
	warnings report
	apiKey   string
	values   int            // visited so far
	secrets  []rufus.Secret // all in the file, and the API key
	public   []public       // must contain none of them

	labelNames map[string]bool // of all entries
	races      map[string]race // by name; nil when the file lists none
	windows    int             // of all entries
}

// visit counts a value and reports whether to go on.
func (d *decoder) visit(n *node) bool {
	d.values++
	if d.values == maxValues+1 {
		d.refuse(n.Line, "the file holds too many values (an alias counts each time it is used)",
			remedySplit)
	}
	return d.values <= maxValues
}

// document returns the root value of the only document in data, or nil after refusing it.
func (d *decoder) document(data []byte) *node {
	if line := unprintable(data); line != 0 {
		d.refuse(line, "there is a byte that is not valid UTF-8, or a control character", "save the file as UTF-8 text")
		return nil
	}
	if line := crowded(data); line != 0 {
		d.refuse(line, "the file holds too many values", remedySplit)
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
		d.refuse(documents[1].Line, "a second YAML document begins here", "keep one: delete the line with ---")
	default:
		return documents[0].Content[0]
	}
	return nil
}

// unprintable returns the first line with a byte that YAML does not allow, 0 when all are allowed. The YAML package
// would refuse it too, but without saying where.
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

const remedySplit = "write the sessions out, or split them over several exporters"

// crowded returns the line in which data begins to hold more than maxNodes nodes, 0 if it does not. It counts what can
// begin a node, and so never too few: in a flow list or mapping a key and a value, elsewhere one.
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
			if next < '0' || next > 'z' { // rather than within a word
				nodes++
			}
		}
		if nodes > maxNodes {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
	}
	return 0
}

// parseYAML returns the first two documents in data, or what is wrong with its syntax, without a line.
func parseYAML(data []byte) (documents []*node, problem string) {
	// The package panics on what it holds impossible. That must not end the exporter on a reload.
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

// syntax notes a syntax error. The line the package gives is where the surrounding block begins, if it gives one at
// all, so the line is searched for: it is the last one of the shortest beginning of the file that shows the same
// problem.
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
		problem = "an alias (*name) has no anchor (&name) before it" // the package's own text quotes the file
	}
	if d.slipInSyntax(i) {
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

// syntaxRemedies are for parts of what the YAML package reports.
var syntaxRemedies = map[string]string{
	"expected '-' indicator": "begin each entry with \"- \", and indent the settings of an entry alike",
	"expected key":           "indent the settings of an entry alike, each as \"name: value\"",
	"expected ',' or": "close every [ and {, put commas between what is in them, and put quotes around values with " +
		"special characters",
	"mapping values are not allowed": "put quotes around a value with \": \" in it, and indent the settings of an entry " +
		"alike",
	"cannot start any token":   "put quotes around a value that begins with @, %, ` or a tab",
	"unknown escape character": "put single quotes around a value with backslashes",
}

// follow returns the value an alias stands for, at the alias's line: usually it is the use that is wrong. What is
// inside a list or mapping keeps its own line.
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
	// text takes a scalar and returns what is wrong with it, "" when nothing is; valid completes "give ...". Without
	// text, the caller of mapping reads the value.
	text  func(value string) (problem string)
	valid string
	// ${...} in the text stands for a group.
	template bool
}

// scalar gives a value to its field, and reports whether nothing is wrong with it.
func (d *decoder) scalar(line int, value *node, name string, f field) bool {
	set, remedy := f.text, "give "+f.valid
	if isVariable(value.Value) && !f.template {
		set, remedy = func(string) string { return holdsVariable }, remedyNoVariable
		if name == "key" || name == "key_file" {
			remedy = remedyKey
		}
	}
	problem := read(value, set)
	switch {
	case d.slip(value, problem != ""):
		return false
	case problem != "":
		d.refuse(line, name+" "+problem, remedy)
		return false
	}
	if quotedAtOneEnd(value) {
		d.warn(line, name+" has a quote at one end only, or one that is not \" or '",
			"put the same \" or ' at both ends, or none")
	}
	return true
}

// section is mapping for settings that may all be missing: n may be nil or null.
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

// mapping gives each scalar of n to its field. It returns the lines of the keys that were there, and the values of the
// fields without text. Keys of which there is no field are refused.
func (d *decoder) mapping(n *node, where string, fields []field) (lines map[string]int, values map[string]*node) {
	lines, values = map[string]int{}, map[string]*node{}
	d.pairs(n, func(key, value *node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		if i < 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.name
			}
			d.refuse(key.Line, quote("unknown key", key.Value)+" in "+where, "known here: "+strings.Join(names, ", "))
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

// items returns the values of a list, which must have some.
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

// pairs calls each with the keys and values of a mapping. A key that appears again is refused, as is one that is
// not text.
func (d *decoder) pairs(n *node, each func(key, value *node)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := follow(n.Content[i]), follow(n.Content[i+1])
		if !d.visit(key) {
			return
		}
		slip := keptSlip
		if isNull(value) {
			slip = keySlip
		}
		switch line := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.refuse(key.Line, "a key is a list or a mapping", "write \"key: value\"")
		case key.Tag == "!!merge":
			d.refuse(key.Line, "merge keys (<<) are not supported", "repeat the keys; aliases of single values work")
		case d.refuseSlip(slip, key):
		case line != 0:
			d.refuse(key.Line, fmt.Sprintf("%s again, after line %d", quote("key", key.Value), line), "keep one of them")
		default:
			lines[key.Value] = key.Line
			each(key, value)
		}
	}
}

// read gives a scalar's literal text to set and returns what is wrong, "" when nothing is.
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

// lineOf is where to fix a value. A missing one has the line in which the parser noticed that it is missing.
func lineOf(key, value *node) int {
	if isNull(value) {
		return key.Line
	}
	return value.Line
}

// foreignTag reports whether a scalar was given an explicit type other than string, such as !!binary: its literal
// text would not be what was meant.
func foreignTag(n *node) bool { return n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != "!!str" }
