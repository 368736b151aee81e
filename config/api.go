package config

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"

	"rufus_exporter/rufus"
)

var (
	// keyHeaders are the two header names the API documents for its key.
	keyHeaders = map[string]string{"api_key": "api_key", "x-api-key": "x-api-key"}
	// booleans are the spellings that YAML 1.2 allows.
	booleans = map[string]bool{
		"true": true, "True": true, "TRUE": true, "false": false, "False": false, "FALSE": false,
	}
	proxySchemes = []string{"http", "https", "socks5", "socks5h"}
)

const (
	maxConcurrency = 1024
	maxKey         = 1024
	maxDevices     = 10_000
)

func defaultAPI() API {
	return API{
		URL:                   &url.URL{Scheme: "https", Host: "api.runonrufus.com", Path: "/v0"},
		KeyHeader:             "api_key",
		Timeout:               5 * time.Second,
		MaxConcurrentRequests: 32,
		MaxDevices:            1000,
	}
}

const (
	validBoolean = "true or false"
	validKeyFile = "the path of a readable file that contains the API key, absolute or relative to this file"
	validPEM     = "a certificate as PEM text"
	validPEMFile = "the path of a readable PEM file, absolute or relative to this file"
)

// api decodes the api section into api, which holds the defaults. section is nil if the file has none.
func (d *decoder) api(api *API, section *node) {
	var (
		key   string
		proxy promconfig.ProxyConfig
	)
	lines, values := d.section(section, "api", []field{
		{name: "url", valid: "an address such as https://api.runonrufus.com/v0", text: baseURL(&api.URL)},
		{name: "key", valid: "the API key, or better a key_file", text: notEmpty(&key)},
		{name: "key_file", valid: validKeyFile, text: d.contentOf(&key)},
		{name: "key_header", valid: "api_key or x-api-key", text: oneOf(&api.KeyHeader, keyHeaders)},
		{name: "timeout", valid: "a duration above zero such as 5s", text: duration(&api.Timeout, time.Millisecond)},
		{name: "max_concurrent_requests", valid: fmt.Sprintf("a number from 1 to %d", maxConcurrency),
			text: number(&api.MaxConcurrentRequests, 1, maxConcurrency)},
		{name: "min_interval", valid: "a duration such as 10s, or 0s for none", text: duration(&api.MinInterval, 0)},
		{name: "device_metrics", valid: validBoolean, text: oneOf(&api.DeviceMetrics, booleans)},
		{name: "max_devices", valid: fmt.Sprintf("a number from 1 to %d", maxDevices),
			text: number(&api.MaxDevices, 1, maxDevices)},
		{name: "tls_config"},
		{name: "proxy_url", valid: "scheme://host:port with one of the schemes " + strings.Join(proxySchemes, ", "),
			text: proxyURL(&proxy.ProxyURL)},
		{name: "no_proxy", valid: "host names and networks, separated by commas",
			text: func(value string) string { proxy.NoProxy = value; return "" }},
		{name: "proxy_from_environment", valid: validBoolean, text: oneOf(&proxy.ProxyFromEnvironment, booleans)},
	})
	api.Key = d.key(key, lines)
	d.apiKey = api.Key.Reveal()
	d.secrets = append(d.secrets, api.Key)
	if lines["url"] != 0 {
		d.public = append(d.public, public{lines["url"], "url", api.URL.String()})
	}
	d.checkProxy(proxy, lines)
	api.Proxy = proxy.Proxy()
	transport := append(d.tls(api, values["tls_config"]),
		fmt.Sprint(proxy.ProxyURL.URL), proxy.NoProxy, fmt.Sprint(proxy.ProxyFromEnvironment))
	api.transport = rufus.NewSecret(fmt.Sprintf("%q", transport))
}

// key returns the API key. given is the key from the file; if the file has none, key uses the environment. A missing
// key is not an error here.
func (d *decoder) key(given string, lines map[string]int) rufus.Secret {
	switch inline, file := lines["key"], lines["key_file"]; {
	case d.both(lines, "key", "key_file", "keep key_file and remove key"):
		return rufus.Secret{}
	case file != 0:
		return d.checkKey(given, file, "the content of key_file")
	case inline != 0:
		return d.checkKey(given, inline, "key")
	default:
		return d.environmentKey()
	}
}

// both reports whether two keys are set that exclude each other, and refuses them.
func (d *decoder) both(lines map[string]int, one, other, remedy string) bool {
	if lines[one] == 0 || lines[other] == 0 {
		return false
	}
	d.refuse(max(lines[one], lines[other]), "both "+one+" and "+other+" are set", remedy)
	return true
}

// environmentKey returns the API key from the environment. An empty variable counts as not set, because compose files
// and systemd units pass on unset variables as empty ones.
func (d *decoder) environmentKey() rufus.Secret {
	key, file := os.Getenv(KeyVariable), strings.TrimSpace(os.Getenv(KeyFileVariable))
	switch {
	case file == "":
		return d.checkKey(key, 0, "$"+KeyVariable+":")
	case strings.TrimSpace(key) != "":
		d.refuse(0, "$"+KeyFileVariable+": $"+KeyVariable+" is set as well", "keep one of them")
		return rufus.Secret{}
	}
	content, problem := d.read.file(file)
	if problem == "" && strings.TrimSpace(string(content)) == "" {
		problem = "is empty"
	}
	if problem != "" {
		d.refuse(0, "$"+KeyFileVariable+": the file "+problem, "use the path of a readable file that contains the API key")
		return rufus.Secret{}
	}
	return d.checkKey(string(content), 0, "$"+KeyFileVariable+": the content of the file")
}

var (
	// keyAssignment matches a line of an environment file or of YAML, where only the key is expected. A key may end with
	// "=", as base64 does.
	keyAssignment = regexp.MustCompile(`^(?:export\s+)?[A-Za-z_][A-Za-z0-9_-]*\s*(?:=\s*[^\s=]|:\s)`)
	keyScheme     = regexp.MustCompile(`(?i)^(?:bearer|basic|token|apikey)\s`)
)

// checkKey trims a key and refuses what cannot be one. Only visible ASCII passes every proxy in a header.
func (d *decoder) checkKey(key string, line int, where string) rufus.Secret {
	key = strings.TrimSpace(key)
	const alone = "write only the API key"
	switch {
	case len(key) > maxKey:
		d.refuse(line, fmt.Sprintf("%s is longer than %d characters", where, maxKey), alone)
	case strings.HasPrefix(key, "\ufeff"):
		d.refuse(line, where+" starts with a byte order mark", "save the file as UTF-8 without one")
	case isVariable(key):
		d.refuse(line, where+" "+hasVariable, remedyKey)
	case keyAssignment.MatchString(key):
		d.refuse(line, where+" has a name before the key", alone+", without NAME=")
	case keyScheme.MatchString(key):
		d.refuse(line, where+" has a word before the key", alone)
	case key != strings.Trim(key, quotes):
		d.refuse(line, where+" has quotes around the key", alone+", without quotes")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		d.refuse(line, where+" has spaces, line breaks or characters outside ASCII", alone)
	}
	return rufus.NewSecret(key)
}

// tls sets api.TLS from the tls_config section, which may be nil. It returns everything that TLS was made from.
func (d *decoder) tls(api *API, section *node) (settings []string) {
	var (
		cfg          promconfig.TLSConfig
		key          string
		before       = len(d.refusals.remarks)
		validVersion = "one of " + strings.Join(slices.Sorted(maps.Keys(promconfig.TLSVersions)), ", ")
	)
	// Files are read here, not when a connection is made. So a reload compares exactly what is in use, and connections do
	// not break when a certificate has been replaced but its key has not.
	lines, _ := d.section(section, "tls_config", []field{
		{name: "ca", valid: validPEM, text: notEmpty(&cfg.CA)},
		{name: "ca_file", valid: validPEMFile, text: d.contentOf(&cfg.CA)},
		{name: "cert", valid: validPEM, text: notEmpty(&cfg.Cert)},
		{name: "cert_file", valid: validPEMFile, text: d.contentOf(&cfg.Cert)},
		{name: "key", valid: "a private key as PEM text", text: notEmpty(&key)},
		{name: "key_file", valid: validPEMFile, text: d.contentOf(&key)},
		{name: "server_name", valid: "the host name in the server's certificate", text: notEmpty(&cfg.ServerName)},
		{name: "insecure_skip_verify", valid: validBoolean, text: oneOf(&cfg.InsecureSkipVerify, booleans)},
		{name: "min_version", valid: validVersion, text: oneOf(&cfg.MinVersion, promconfig.TLSVersions)},
		{name: "max_version", valid: validVersion, text: oneOf(&cfg.MaxVersion, promconfig.TLSVersions)},
	})
	for _, name := range []string{"ca", "cert", "key"} {
		d.both(lines, name, name+"_file", "keep one of them")
	}
	cfg.Key = promconfig.Secret(key)

	var err error
	if api.TLS, err = promconfig.NewTLSConfig(&cfg); err != nil && len(d.refusals.remarks) == before {
		// Check each part on its own to find the wrong one. The error itself may quote the file, so it is not shown.
		check := func(part promconfig.TLSConfig, line int, what, remedy string) {
			if _, err := promconfig.NewTLSConfig(&part); err != nil {
				d.refuse(line, what, remedy)
			}
		}
		check(promconfig.TLSConfig{CA: cfg.CA}, max(lines["ca"], lines["ca_file"]),
			"the ca has no readable certificate", "use certificates in PEM form")
		check(promconfig.TLSConfig{Cert: cfg.Cert, Key: cfg.Key},
			max(lines["cert"], lines["cert_file"], lines["key"], lines["key_file"]),
			"the client's cert and key do not match", "use a certificate and its own unencrypted key, both in PEM form")
		check(promconfig.TLSConfig{MinVersion: cfg.MinVersion, MaxVersion: cfg.MaxVersion}, lines["max_version"],
			"max_version is below min_version", "raise it, or remove one of them")
	}
	return []string{
		cfg.CA, cfg.Cert, key, cfg.ServerName, fmt.Sprint(cfg.MinVersion, cfg.MaxVersion, cfg.InsecureSkipVerify),
	}
}

// checkProxy refuses proxy settings that exclude each other.
func (d *decoder) checkProxy(proxy promconfig.ProxyConfig, lines map[string]int) {
	switch {
	case proxy.ProxyFromEnvironment && proxy.ProxyURL.URL != nil:
		d.refuse(lines["proxy_from_environment"], "both proxy_url and proxy_from_environment are set",
			"keep one of them")
	case proxy.ProxyFromEnvironment && proxy.NoProxy != "":
		d.refuse(lines["no_proxy"], "no_proxy has no effect together with proxy_from_environment",
			"remove it and set $NO_PROXY")
	case proxy.NoProxy != "" && proxy.ProxyURL.URL == nil:
		d.refuse(lines["no_proxy"], "no_proxy has no effect without proxy_url", "add proxy_url or remove no_proxy")
	}
}

// proxyURL sets dst to the address of a proxy. The address can contain a password, so no message quotes it.
func proxyURL(dst *promconfig.URL) func(string) string {
	return func(value string) string {
		if value == "" {
			return ""
		}
		u, err := url.Parse(value)
		dst.URL = u
		if err != nil || u.Hostname() == "" || !slices.Contains(proxySchemes, u.Scheme) {
			return "is not a valid proxy address"
		}
		return ""
	}
}

// baseURL sets dst to an address that request paths can be appended to.
func baseURL(dst **url.URL) func(string) string {
	return func(value string) string {
		u, err := url.Parse(value)
		if err != nil {
			return "is not a valid address"
		}
		port, err := strconv.Atoi("0" + u.Port())
		switch {
		case u.Scheme != "http" && u.Scheme != "https":
			return "does not start with http:// or https://"
		case u.Hostname() == "":
			return "has no host"
		case err != nil || port > 65535 || strings.HasSuffix(u.Host, ":"):
			return "has an invalid port"
		case u.User != nil:
			return "has a user or password"
		case strings.ContainsAny(value, "?#"):
			return "has a query or fragment"
		}
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
		*dst = u
		return ""
	}
}
