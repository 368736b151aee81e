package config

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Slips are what people type that YAML takes for something else: it either makes text of it, or reports an error in a
// place further down. What they have in common is that the lines of the file, rather than its values, tell what
// happened.

// settings are all keys that the file may have.
const settings = `api|sessions|races|devices|` +
	`url|key|key_file|key_header|timeout|max_concurrent_requests|min_interval|device_metrics|max_devices|tls_config|` +
	`proxy_url|no_proxy|proxy_from_environment|` +
	`ca|ca_file|cert|cert_file|server_name|insecure_skip_verify|min_version|max_version|` +
	`token|device|name|race|labels|expected|silent_after|from|until|start|alias|serial_number|ignore`

var (
	// settingSlip is a setting without its ": ". The groups are the setting and what is there instead.
	settingSlip = regexp.MustCompile(`^(?:- +)?(` + settings + `)(:[^\s]|\s*=|\s+[^\s:=#])`)
	// keptSlip is the same for a setting whose value has a ": " in it, so that both became a key.
	keptSlip = regexp.MustCompile(`^(` + settings + `)(:[^\s]|\s*=|\s+[{\[])`)
	// keySlip is the same for a key of any name, such as {from:14m}, where nothing else can be meant.
	keySlip = regexp.MustCompile(`^(\w+)(:[^\s]|\s*=|\s+[^\s:=])`)
	// swallowed is a setting within a text.
	swallowed = regexp.MustCompile(`\s(?:` + settings + `):(?:\s|$)`)
	variable  = regexp.MustCompile(`\$[{(]|\{\{|^\$[A-Za-z_][A-Za-z0-9_]*$`)
)

const (
	holdsVariable = "holds a variable, which nothing replaces"
	remedyKey     = "set $" + KeyVariable + " or $" + KeyFileVariable + " in the environment and remove the setting, " +
		"or give key_file the path of a file that holds the key"
	remedyNoVariable = "write the value itself; only the API key can come from the environment, by $" + KeyVariable +
		" or $" + KeyFileVariable
	remedyQuote = "put the same quote at both ends of the value"
)

// isVariable reports whether text was meant to be replaced by something else, as a shell or a template would.
func isVariable(text string) bool { return variable.MatchString(text) }

// refuseSetting refuses a setting without its ": ".
func (d *decoder) refuseSetting(line int, setting, instead string) {
	what := "there is no colon after "
	switch {
	case instead[0] == ':':
		what = "there is no space after the colon of "
	case strings.Contains(instead, "="):
		what = "there is = instead of a colon after "
	}
	d.refuse(line, what+quote("key", setting), `write it as "name: value", with a colon and a space`)
}

// refuseSlip refuses a text that is one only because a setting in it lacks the ": ", and reports whether it did.
func (d *decoder) refuseSlip(pattern *regexp.Regexp, n *node) bool {
	if n.Kind != yaml.ScalarNode || n.Style != 0 {
		return false
	}
	match := pattern.FindStringSubmatch(n.Value)
	if match == nil {
		return false
	}
	d.refuseSetting(n.Line, match[1], match[2])
	return true
}

// slip refuses a value that took the lines below it in. One that is wrong for another reason may go on over several
// lines for no other reason than a quote that is not closed.
func (d *decoder) slip(value *node, wrong bool) bool {
	first := value.Line - 1
	if value.Kind != yaml.ScalarNode || first < 0 || first >= len(d.raw) {
		return false
	}
	switch value.Style {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		if leavesOpen(d.raw[first]) != 0 && (wrong || swallowed.MatchString(value.Value)) {
			d.refuse(value.Line, "a quote is not closed in this line", remedyQuote)
			return true
		}
	case 0:
		found := false
		for i := first + 1; i < len(d.raw); i++ {
			line := string(bytes.TrimSpace(d.raw[i]))
			if line == "" || !strings.Contains(value.Value, line) {
				break
			}
			if match := settingSlip.FindStringSubmatch(line); match != nil {
				d.refuseSetting(i+1, match[1], match[2])
				found = true
			}
		}
		return found
	}
	return false
}

// slipInSyntax looks for the cause of a syntax error in the line with that index and in those above it.
func (d *decoder) slipInSyntax(at int) bool {
	// A quote that is not closed ends where the next one begins, which may be many lines below.
	for i, seen := at, []byte(nil); i >= 0; i-- {
		if quote := leavesOpen(d.raw[i]); quote != 0 && !bytes.ContainsRune(seen, rune(quote)) {
			d.refuse(i+1, "a quote is not closed in this line", remedyQuote)
			return true
		}
		if i < at {
			seen = append(seen, d.raw[i]...)
		}
	}
	if isVariable(string(d.raw[at])) {
		d.refuse(at+1, "there is a variable, which nothing replaces", remedyNoVariable)
		return true
	}
	found := false
	for i := at; i >= 0; i-- {
		match := settingSlip.FindSubmatch(bytes.TrimSpace(d.raw[i]))
		if match != nil {
			d.refuseSetting(i+1, string(match[1]), string(match[2]))
			found = true
		} else if i < at {
			break
		}
	}
	return found
}

// leavesOpen returns the quote that a line opens and does not close, 0 when there is none. A quote opens a value only
// at the value's beginning.
func leavesOpen(line []byte) byte {
	open, fresh := byte(0), true
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case open == '"' && c == '\\':
			i++
		case open != 0 && c == open:
			open, fresh = 0, false
		case open != 0:
		case c == '#' && (i == 0 || line[i-1] == ' '):
			return 0
		case c == ' ' || c == '\t' || c == '\r':
		case fresh && (c == '"' || c == '\''):
			open = c
		default:
			fresh = strings.IndexByte("{[,", c) >= 0 ||
				strings.IndexByte(":-?", c) >= 0 && (i+1 == len(line) || line[i+1] == ' ')
		}
	}
	return open
}

// quotes are the characters that people put around a value, those of word processors among them.
const quotes = `"'` + "`“”„‘’«»"

// quotedAtOneEnd reports whether a plain value has a quote at an end: YAML takes it for a part of the text.
func quotedAtOneEnd(value *node) bool {
	if value.Kind != yaml.ScalarNode || value.Style != 0 || value.Value == "" {
		return false
	}
	first, _ := utf8.DecodeRuneInString(value.Value)
	last, _ := utf8.DecodeLastRuneInString(value.Value)
	return strings.ContainsRune(quotes, first) || strings.ContainsRune(quotes, last)
}
