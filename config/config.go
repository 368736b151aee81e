// Package config reads sessions.yml: which sessions to scrape, and how to reach the RUFUS Cloud API.
//
// A Config that Load or Parse returns is valid, so callers need not check it again. All errors are reported together,
// each as "file:line: what is wrong; what to do". No message shows a key, a whole token or a whole device id.
//
// A decoder (yaml.go) walks the YAML nodes and collects errors and warnings (report.go). api.go, sessions.go, races.go
// and devices.go decode the sections of the file. Each kind of mapping has a table of its fields. Each field has a
// function that parses its value (values.go). typos.go finds common typing errors that YAML reads as something else,
// such as "name:value".
//
// A Source (source.go) reloads the configuration. It detects when one of the files has changed, and it does not block
// on a file system that hangs.
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

// The environment variables for the API key, used if the file does not set it: the key itself, or the path of a file
// that contains it. A relative path is relative to the working directory.
const (
	KeyVariable     = "RUFUS_API_KEY"
	KeyFileVariable = "RUFUS_API_KEY_FILE"
)

// Config is a whole configuration.
type Config struct {
	API API
	// Sessions are the entries in the file's order. It is empty if the file only follows devices of the account.
	Sessions []entry.Entry
	// Discovery holds the rules for following devices of the account; nil if the file has no devices list. If there are
	// no Sessions, at least one rule follows devices.
	Discovery *discovery.Plan
	// Warnings are about settings that are valid but probably not intended. They are sorted by line and have the form of
	// Error.Problems.
	Warnings []string

	snapshot
}

// API holds the settings for requests to the RUFUS Cloud API.
type API struct {
	// URL is the base URL for request paths: http or https with a host, without a trailing slash, user info, query or
	// fragment.
	URL *url.URL
	// Key is visible ASCII. It is the zero Secret if neither the file nor the environment has a key.
	Key rufus.Secret
	// KeyHeader is "api_key" or "x-api-key", the two header names the API documents.
	KeyHeader string
	// Timeout is the limit for one request; above zero.
	Timeout time.Duration
	// MaxConcurrentRequests limits the requests in flight in the whole process; 1 to 1024.
	MaxConcurrentRequests int
	// MinInterval is the age below which a successful answer is reused; with 0, every scrape fetches a new one.
	MinInterval time.Duration
	// DeviceMetrics enables metrics about battery and telemetry of the followed devices.
	DeviceMetrics bool
	// MaxDevices limits how many devices the rules follow; 1 to 10000.
	MaxDevices int
	// TLS is never nil. Certificates are read when the configuration is loaded, not when a connection is made.
	TLS *tls.Config
	// Proxy is nil if no proxy is configured. Do not print its result or its error: they may contain a password.
	Proxy func(*http.Request) (*url.URL, error)

	// transport is everything that TLS and Proxy were made from, including the content of files. Digest needs it because
	// TLS and Proxy cannot be compared. It is a secret because it contains a private key and a proxy's password.
	transport rufus.Secret
}

// Digest returns a hash of all fields, including secrets and the content of files, so it is a secret itself. If the
// digests of two configurations are equal, connections, answers and backoff can be kept.
func (a API) Digest() rufus.Secret {
	all := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d %d %d %t %d",
		a.transport.Reveal(), a.URL.String(), a.Key.Reveal(), a.KeyHeader, a.Timeout, a.MaxConcurrentRequests,
		a.MinInterval, a.DeviceMetrics, a.MaxDevices))
	return rufus.NewSecret(string(all[:]))
}

// Error lists what is wrong with a configuration.
type Error struct {
	// Problems are sorted by line, each as "file:line: what is wrong; what to do".
	Problems []string

	snapshot
}

// Error returns the problems, one per line.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// maxFile is the maximum size of each file, in bytes. 10,000 full entries take 2 MiB. The YAML package uses up to 200
// times the size of a file that contains only short values.
const maxFile = 4 << 20

// Load reads the configuration at path, the files that it refers to, and $RUFUS_API_KEY or $RUFUS_API_KEY_FILE.
// Relative paths in the configuration are relative to its directory. The error is an *Error.
func Load(path string) (*Config, error) {
	var read snapshot
	data, problem := read.file(path)
	if problem != "" {
		problem = path + ": " + problem + "; set --config.file to the path of your sessions.yml"
		return nil, &Error{[]string{problem}, read}
	}
	return decode(data, path, read)
}

// Parse is Load for the content of a file. path is the file's name in messages, and relative paths are relative to its
// directory. A Source does not detect changes of data.
func Parse(data []byte, path string) (*Config, error) {
	return decode(data, path, snapshot{Files: []string{path}})
}

func decode(data []byte, path string, read snapshot) (*Config, error) {
	d := &decoder{dir: filepath.Dir(path), read: read, labelNames: map[string]bool{}}
	cfg := d.config(data)
	cfg.snapshot, cfg.Warnings = d.read, d.warnings.lines(path, "more warnings")
	if problems := d.refusals.lines(path, "more errors; fix these first"); problems != nil {
		return nil, &Error{problems, d.read}
	}
	return cfg, nil
}

const (
	remedyList = "list at least one session, for example \"- token: ...\", below \"sessions:\""
	remedyAny  = remedyList + ", or follow devices of the account with \"devices:\""
)

// config decodes the whole file. Its result must be used only if nothing was refused.
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

// entries decodes the lists of sessions and devices. One of them may be missing, or have all its lines commented out.
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
