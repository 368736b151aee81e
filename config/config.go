// Package config reads sessions.yml: which sessions to scrape, and how to reach the RUFUS Cloud API.
//
// Whatever Load and Parse return is valid: no caller checks it again. All errors are reported together, each as
// "file:line: what is wrong; what to do", and no report shows a key, a whole token or a whole device id.
//
// A decoder (yaml.go) walks the YAML nodes and collects what is wrong with them (report.go). api.go, sessions.go,
// races.go and devices.go decode the sections of the file: each kind of mapping has a table of its fields, with a
// function that reads the value of a field and returns what is wrong with it (values.go). slips.go finds what people
// type that YAML takes for something else, such as "name:value".
//
// A Source (source.go) loads the configuration again and again. It notices when one of the files has changed, and does
// not wait for a file system that hangs.
package config

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// The environment variables that give the API key when the file does not: the key itself, or the path of a file that
// holds it. A relative path starts at the working directory.
const (
	KeyVariable     = "RUFUS_API_KEY"
	KeyFileVariable = "RUFUS_API_KEY_FILE"
)

// Config is a whole configuration.
type Config struct {
	API API
	// Sessions are the entries in the file's order. There are none if the file only follows devices of the account.
	Sessions []entry.Entry
	// Discovery says how to follow devices of the account; nil if the file has no devices list. It has at least one rule
	// that is not to ignore devices, or there is a session.
	Discovery *discovery.Plan
	// Warnings are about what is valid but probably not meant. They are sorted by line, each as in Error.
	Warnings []string
	// Files are the paths the configuration was read from: sessions.yml, then the key file and the TLS files. When the
	// content of one changes, loading again may give another configuration.
	Files []string

	contents fingerprint // of Files
}

// API is how the RUFUS Cloud API is reached.
type API struct {
	// URL is the base that request paths are appended to, without a trailing slash: http or https with a host, and
	// neither user info nor query nor fragment.
	URL *url.URL
	// Key is the zero Secret when neither the file nor the environment gave one; otherwise it is visible ASCII.
	Key rufus.Secret
	// KeyHeader is "api_key" or "x-api-key", the two header names the API documents.
	KeyHeader string
	// Timeout bounds one request; above zero.
	Timeout time.Duration
	// MaxConcurrentRequests bounds the requests in flight in the whole process; 1 to 1024.
	MaxConcurrentRequests int
	// MinInterval is the age below which a successful answer is used again; 0 asks anew for every scrape.
	MinInterval time.Duration
	// DeviceMetrics asks for battery and telemetry of the followed devices.
	DeviceMetrics bool
	// MaxDevices bounds the devices that are followed by the devices list; 1 to 10000.
	MaxDevices int
	// TLS is never nil. Certificates are read when the configuration is loaded, not when a connection is made.
	TLS *tls.Config
	// Proxy is nil when no proxy was asked for. It can hold a password: its result and its error are not for printing.
	Proxy func(*http.Request) (*url.URL, error)

	// transport is everything that went into TLS and Proxy, the content of files included. It is there for Digest, as
	// neither of the two can be compared, and a secret because it holds a private key and a proxy's password.
	transport rufus.Secret
}

// Digest identifies how the API is reached: where two are equal, connections, answers and backoff serve both. It covers
// every field, which a test makes sure of, secrets and the content of files included, and so is a secret itself.
func (a API) Digest() rufus.Secret {
	all := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d %d %d %t %d",
		a.transport.Reveal(), a.URL.String(), a.Key.Reveal(), a.KeyHeader, a.Timeout, a.MaxConcurrentRequests,
		a.MinInterval, a.DeviceMetrics, a.MaxDevices))
	return rufus.NewSecret(string(all[:]))
}

// Error is what is wrong with a configuration.
type Error struct {
	// Problems are sorted by line, each "file:line: what is wrong; what to do".
	Problems []string
	// Files are the paths that were read, or that could not be: when one changes, loading again may succeed. They are
	// not for printing: somebody may have put the key itself where its path belongs.
	Files []string

	contents fingerprint // of Files
}

// Error returns the problems, one per line.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// maxFile bounds each file, in bytes. In sessions.yml 10,000 full entries are 2 MiB, and the YAML package takes up to
// 200 times the file when it holds nothing but short values.
const maxFile = 4 << 20

// Load reads the configuration at path, the files it names, and $RUFUS_API_KEY or $RUFUS_API_KEY_FILE. Relative paths
// in it start at its own directory. The error is an *Error.
func Load(path string) (*Config, error) {
	var read snapshot
	data, problem := read.file(path)
	if problem != "" {
		problem = path + ": " + problem + "; give the path of your sessions.yml with --config.file"
		return nil, &Error{Problems: []string{problem}, Files: read.files, contents: read.contents}
	}
	return decode(data, path, read)
}

// Parse is Load for the content of a file, which path names in messages and whose directory relative paths start at. A
// Source does not notice when it changes.
func Parse(data []byte, path string) (*Config, error) {
	return decode(data, path, snapshot{files: []string{path}})
}

func decode(data []byte, path string, read snapshot) (*Config, error) {
	d := &decoder{dir: filepath.Dir(path), read: read, labelNames: map[string]bool{}}
	cfg := d.config(data)
	cfg.Files, cfg.contents, cfg.Warnings = d.read.files, d.read.contents, d.warnings.lines(path, "more warnings")
	if problems := d.refusals.lines(path, "more errors; fix these first"); problems != nil {
		return nil, &Error{Problems: problems, Files: cfg.Files, contents: cfg.contents}
	}
	return cfg, nil
}

const (
	remedyList = "list at least one session, for example \"- token: ...\", below \"sessions:\""
	remedyAny  = remedyList + ", or follow devices of the account with \"devices:\""
)

// config decodes the whole file. What it returns is of use only when nothing was refused.
func (d *decoder) config(data []byte) *Config {
	cfg := &Config{API: defaultAPI()}
	root := d.document(data)
	if root == nil {
		return cfg
	}
	switch {
	case isNull(root):
		d.refuse(1, "the file is empty", remedyList)
	case isList(root):
		d.api(&cfg.API, nil)
		cfg.Sessions = d.sessions(root)
	case isMapping(root):
		lines, sections := d.mapping(root, "the file",
			[]field{{name: "api"}, {name: "sessions"}, {name: "races"}, {name: "devices"}})
		d.api(&cfg.API, sections["api"])
		d.readRaces(sections["races"])
		d.entries(cfg, sections["sessions"], sections["devices"], root.Line, lines)
	default:
		d.refuse(root.Line, "the file is neither a list of sessions nor a mapping with api and sessions", remedyList)
	}
	d.checkPublic()
	return cfg
}

// entries decodes the lists of sessions and of devices. Either may be missing, or have all its lines commented out.
func (d *decoder) entries(cfg *Config, sessions, devices *node, line int, lines map[string]int) {
	switch {
	case !isUnset(sessions) || !isUnset(devices):
	case sessions != nil:
		d.refuse(lines["sessions"], "the list of sessions is empty", remedyList)
	case devices != nil:
		d.refuse(lines["devices"], "the list of devices is empty", remedyRules)
	default:
		d.refuse(line, "the file has neither sessions nor devices", remedyAny)
	}
	if !isUnset(sessions) {
		cfg.Sessions = d.sessions(sessions)
	}
	if !isUnset(devices) {
		cfg.Discovery = d.plan(devices, cfg)
	}
}
