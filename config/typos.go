package config

import (
	"bytes"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// This file finds typing errors that YAML reads as something else. YAML either accepts them as text, or reports an
// error further down. They are visible only in the lines of the file, not in its values.

// settings are all keys that the file may have.
const settings = `api|sessions|races|devices|` +
	`url|key|key_file|key_header|timeout|max_concurrent_requests|min_interval|device_metrics|max_devices|tls_config|` +
	`proxy_url|no_proxy|proxy_from_environment|` +
	`ca|ca_file|cert|cert_file|server_name|insecure_skip_verify|min_version|max_version|` +
	`token|device|name|race|labels|expected|silent_after|from|until|start|alias|serial_number|ignore`

var (
	// settingTypo matches a setting without its ": ". Its groups are the setting and what is there instead.
	settingTypo = regexp.MustCompile(`^(?:- +)?(` + settings + `)(:[^\s]|\s*=|\s+[^\s:=#])`)
	// mergedTypo is the same for a setting whose value contains ": ", so that YAML merges both into a key.
	mergedTypo = regexp.MustCompile(`^(` + settings + `)(:[^\s]|\s*=|\s+[{\[])`)
	// keyTypo is the same for any key, such as {from:14m}, in places where only a key is allowed.
	keyTypo = regexp.MustCompile(`^(\w+)(:[^\s]|\s*=|\s+[^\s:=])`)
	// swallowed matches a setting inside a text.
	swallowed = regexp.MustCompile(`\s(?:` + settings + `):(?:\s|$)`)
	variable  = regexp.MustCompile(`\$[{(]|\{\{|^\$[A-Za-z_][A-Za-z0-9_]*$`)
)

const (
	hasVariable = "contains a variable, but variables are not expanded"
	remedyKey   = "set $" + KeyVariable + " or $" + KeyFileVariable + " in the environment and remove the setting, " +
		"or set key_file to the path of a file that contains the key"
	remedyNoVariable = "write the value itself; only the API key can come from the environment, from $" + KeyVariable +
		" or $" + KeyFileVariable
	unclosedQuote = "a quote is not closed in this line"
	remedyQuote   = "put the same quote at both ends of the value"
)

// isVariable reports whether text looks like a variable that a shell or a template would expand.
func isVariable(text string) bool { return variable.MatchString(text) }

// refuseSetting refuses a setting without its ": ". instead is what follows the setting.
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

// refuseTypo refuses a plain text that matches pattern: it was meant as a setting but lacks the ": ". It reports
// whether it did.
func (d *decoder) refuseTypo(pattern *regexp.Regexp, n *node) bool {
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

// typo refuses a value that includes lines below it because of a typing error, and reports whether it did. wrong is
// whether the value is invalid for another reason; then an unclosed quote is the more likely cause.
func (d *decoder) typo(value *node, wrong bool) bool {
	first := value.Line - 1
	if value.Kind != yaml.ScalarNode || first < 0 || first >= len(d.raw) {
		return false
	}
	switch value.Style {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		if leavesOpen(d.raw[first]) != 0 && (wrong || swallowed.MatchString(value.Value)) {
			d.refuse(value.Line, unclosedQuote, remedyQuote)
			return true
		}
	case 0:
		found := false
		for i := first + 1; i < len(d.raw); i++ {
			line := string(bytes.TrimSpace(d.raw[i]))
			if line == "" || !strings.Contains(value.Value, line) {
				break
			}
			if match := settingTypo.FindStringSubmatch(line); match != nil {
				d.refuseSetting(i+1, match[1], match[2])
				found = true
			}
		}
		return found
	}
	return false
}

// typoInSyntax searches the line with index at, and those above it, for a typing error that explains a syntax error. It
// refuses the error and reports whether it found one.
func (d *decoder) typoInSyntax(at int) bool {
	// An unclosed quote ends where the next one starts, which may be many lines below.
	for i, seen := at, []byte(nil); i >= 0; i-- {
		if quote := leavesOpen(d.raw[i]); quote != 0 && !bytes.ContainsRune(seen, rune(quote)) {
			d.refuse(i+1, unclosedQuote, remedyQuote)
			return true
		}
		if i < at {
			seen = append(seen, d.raw[i]...)
		}
	}
	if isVariable(string(d.raw[at])) {
		d.refuse(at+1, "the line "+hasVariable, remedyNoVariable)
		return true
	}
	found := false
	for i := at; i >= 0; i-- {
		match := settingTypo.FindSubmatch(bytes.TrimSpace(d.raw[i]))
		if match != nil {
			d.refuseSetting(i+1, string(match[1]), string(match[2]))
			found = true
		} else if i < at {
			break
		}
	}
	return found
}

// leavesOpen returns the quote that a line opens and does not close, 0 if there is none. Only at the start of a value
// does a quote open anything.
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

// quotes are the characters that people put around a value, including those of word processors.
const quotes = `"'` + "`“”„‘’«»"

// quotedAtOneEnd reports whether a plain value starts or ends with a quote. YAML reads that quote as part of the text.
func quotedAtOneEnd(value *node) bool {
	return value.Kind == yaml.ScalarNode && value.Style == 0 && value.Value != strings.Trim(value.Value, quotes)
}
