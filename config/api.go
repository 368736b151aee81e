package config

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"rufus_exporter/rufus"
)

// keyHeaders are the two header names the API documents for its key.
var keyHeaders = []string{"api_key", "x-api-key"}

const (
	maxConcurrency = 1024
	maxKey         = 1024
	maxKeyFile     = 64 << 10 // bytes
	maxDevices     = 10_000
	maxTLSFile     = 1 << 20 // bytes: a bundle of all public authorities is a quarter of that
)

func defaultAPI() API {
	return API{
		URL:                   &url.URL{Scheme: "https", Host: "api.runonrufus.com", Path: "/v0"},
		KeyHeader:             keyHeaders[0],
		Timeout:               5 * time.Second,
		MaxConcurrentRequests: 32,
		MaxDevices:            1000,
	}
}

// api decodes the api section, nil when the file has none, over the defaults in api.
func (d *decoder) api(api *API, section *node) {
	var (
		key, keyFile string
		tlsSection   *node
		proxy        proxySettings
		lines        map[string]int
	)
	switch {
	case section == nil || isNull(section):
	case !isMapping(section):
		d.refuse(section.Line, "api is not a mapping", "write its settings below it, each as \"name: value\"")
	default:
		lines = d.mapping(section, "api", append([]field{
			{name: "url", wanted: "an address such as https://api.runonrufus.com/v0", text: baseURL(&api.URL)},
			{name: "key", wanted: "the API key, or better a key_file", text: notEmpty(&key)},
			{name: "key_file", wanted: "the path of a file that holds the API key", text: notEmpty(&keyFile)},
			{name: "key_header", wanted: strings.Join(keyHeaders, " or "), text: oneOf(&api.KeyHeader, keyHeaders)},
			{name: "timeout", wanted: "a duration above zero such as 5s",
				text: duration(&api.Timeout, time.Millisecond)},
			{name: "max_concurrent_requests", wanted: fmt.Sprintf("a number from 1 to %d", maxConcurrency),
				text: number(&api.MaxConcurrentRequests, 1, maxConcurrency)},
			{name: "min_interval", wanted: "a duration such as 10s, or 0s for none",
				text: duration(&api.MinInterval, 0)},
			{name: "device_metrics", wanted: "true or false", text: boolean(&api.DeviceMetrics)},
			{name: "max_devices", wanted: fmt.Sprintf("a number from 1 to %d", maxDevices),
				text: number(&api.MaxDevices, 1, maxDevices)},
			{name: "tls_config", any: func(n *node) { tlsSection = n }},
		}, proxy.fields()...))
	}
	api.Key = d.key(key, keyFile, lines)
	d.apiKey = api.Key.Reveal()
	if len(d.apiKey) >= minSearched {
		d.secrets = append(d.secrets, d.apiKey)
	}
	if lines["url"] != 0 {
		d.public = append(d.public, public{lines["url"], "url", api.URL.String()})
	}
	transport := d.tls(api, tlsSection)
	transport = append(transport, proxy.url, proxy.except, fmt.Sprint(proxy.fromEnvironment))
	d.proxy(api, proxy, lines)
	api.transport = rufus.NewSecret(fmt.Sprintf("%q", transport))
}

// key returns the API key from the one place that has it; the environment comes last. Having none is not refused here.
func (d *decoder) key(inline, file string, lines map[string]int) rufus.Secret {
	inlineLine, fileLine := lines["key"], lines["key_file"]
	switch {
	case inlineLine != 0 && fileLine != 0:
		d.refuse(max(inlineLine, fileLine), "both key and key_file are given", "keep key_file and remove key")
	case file != "":
		content := d.readNamed(promconfig.JoinDir(d.dir, file), maxKeyFile, "key_file", fileLine,
			"give the path of a readable file that holds the API key, absolute or relative to this file")
		return d.checkKey(content, fileLine, "the content of key_file")
	case inline != "":
		return d.checkKey(inline, inlineLine, "key")
	case inlineLine == 0 && fileLine == 0:
		return d.environmentKey()
	}
	return rufus.Secret{}
}

// environmentKey returns the API key from the environment. Variables that are set to nothing count as not set: that is
// what is left of those that compose files and units pass on.
func (d *decoder) environmentKey() rufus.Secret {
	key, file := os.Getenv(KeyVariable), strings.TrimSpace(os.Getenv(KeyFileVariable))
	switch {
	case file == "":
		return d.checkKey(key, 0, "$"+KeyVariable+":")
	case strings.TrimSpace(key) != "":
		d.refuse(0, "$"+KeyFileVariable+": $"+KeyVariable+" is set as well", "keep one of them")
		return rufus.Secret{}
	}
	content := d.readNamed(file, maxKeyFile, "$"+KeyFileVariable+": the file", 0,
		"give the path of a readable file that holds the API key")
	return d.checkKey(content, 0, "$"+KeyFileVariable+": the content of the file")
}

var (
	// keyAssignment is a line of an environment file or of YAML where the key alone is due. A key may end with "=", as
	// base64 does.
	keyAssignment = regexp.MustCompile(`^(?:export\s+)?[A-Za-z_][A-Za-z0-9_-]*\s*(?:=\s*[^\s=]|:\s)`)
	keyScheme     = regexp.MustCompile(`(?i)^(?:bearer|basic|token|apikey)\s`)
)

// checkKey trims a key and refuses what cannot be one. Only visible ASCII passes every proxy in a header.
func (d *decoder) checkKey(key string, line int, where string) rufus.Secret {
	key = strings.TrimSpace(key)
	const alone = "give the API key alone"
	switch {
	case len(key) > maxKey:
		d.refuse(line, fmt.Sprintf("%s is longer than %d characters", where, maxKey), alone)
	case strings.HasPrefix(key, "\ufeff"):
		d.refuse(line, where+" begins with a byte order mark", "save the file as UTF-8 without one")
	case isVariable(key):
		d.refuse(line, where+" "+holdsVariable, wantedKey)
	case keyAssignment.MatchString(key):
		d.refuse(line, where+" has a name before the key", alone+", without NAME=")
	case keyScheme.MatchString(key):
		d.refuse(line, where+" has a word before the key", alone)
	case quotedKey(key):
		d.refuse(line, where+" has quotes around the key", alone+", without quotes")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		d.refuse(line, where+" has spaces, line breaks or characters outside ASCII", alone)
	}
	return rufus.NewSecret(key)
}

// readNamed returns the content of a file that the configuration names, "" after refusing it. The file becomes one
// to watch either way.
func (d *decoder) readNamed(path string, limit int64, key string, line int, remedy string) string {
	if !slices.Contains(d.files, path) {
		d.files = append(d.files, path)
	}
	data, problem := readFile(path, limit)
	if problem == "" && strings.TrimSpace(string(data)) == "" {
		problem = "is empty"
	}
	if problem != "" {
		d.refuse(line, key+" "+problem, remedy)
		return ""
	}
	return string(data)
}

// tls sets api.TLS from the tls_config section, which may be nil, and returns all that went into it.
func (d *decoder) tls(api *API, section *node) (settings []string) {
	var (
		cfg                            promconfig.TLSConfig
		caFile, certFile, key, keyFile string
		minVersion, maxVersion         string
		lines                          map[string]int
		before                         = len(d.refusals)
	)
	switch {
	case section == nil || isNull(section):
	case !isMapping(section):
		d.refuse(section.Line, "tls_config is not a mapping", "write its settings below it, each as \"name: value\"")
	default:
		versions := []string{"TLS10", "TLS11", "TLS12", "TLS13"}
		wantedVersion := "one of " + strings.Join(versions, ", ")
		lines = d.mapping(section, "tls_config", []field{
			{name: "ca", wanted: "a certificate as PEM text", text: notEmpty(&cfg.CA)},
			{name: "ca_file", wanted: "the path of a PEM file", text: notEmpty(&caFile)},
			{name: "cert", wanted: "a certificate as PEM text", text: notEmpty(&cfg.Cert)},
			{name: "cert_file", wanted: "the path of a PEM file", text: notEmpty(&certFile)},
			{name: "key", wanted: "a private key as PEM text", text: notEmpty(&key)},
			{name: "key_file", wanted: "the path of a PEM file", text: notEmpty(&keyFile)},
			{name: "server_name", wanted: "the host name in the server's certificate", text: notEmpty(&cfg.ServerName)},
			{name: "insecure_skip_verify", wanted: "true or false", text: boolean(&cfg.InsecureSkipVerify)},
			{name: "min_version", wanted: wantedVersion, text: oneOf(&minVersion, versions)},
			{name: "max_version", wanted: wantedVersion, text: oneOf(&maxVersion, versions)},
		})
	}
	cfg.MinVersion, cfg.MaxVersion = promconfig.TLSVersions[minVersion], promconfig.TLSVersions[maxVersion]

	// Files are read here, once and bounded, and handed on as text: what is compared on a reload is then exactly what
	// is in use, and a certificate replaced before its key cannot break connections in between.
	for _, f := range []struct {
		name string
		path string
		text *string
	}{
		{"ca", caFile, &cfg.CA}, {"cert", certFile, &cfg.Cert}, {"key", keyFile, &key},
	} {
		inline, file := lines[f.name], lines[f.name+"_file"]
		if inline != 0 && file != 0 {
			d.refuse(max(inline, file), "both "+f.name+" and "+f.name+"_file are given", "keep one of them")
		} else if f.path != "" {
			*f.text = d.readNamed(promconfig.JoinDir(d.dir, f.path), maxTLSFile, f.name+"_file", file,
				"give the path of a readable PEM file, absolute or relative to this file")
		}
	}
	cfg.Key = promconfig.Secret(key)

	var err error
	if api.TLS, err = promconfig.NewTLSConfig(&cfg); err != nil && len(d.refusals) == before {
		// Its parts say which of them is wrong, and so in words of our own: the error may quote what it read.
		line := func(name string) int { return max(lines[name], lines[name+"_file"]) }
		for _, part := range []struct {
			settings     promconfig.TLSConfig
			line         int
			what, remedy string
		}{
			{promconfig.TLSConfig{CA: cfg.CA}, line("ca"),
				"the ca holds no certificate that can be read", "give certificates in PEM form"},
			{promconfig.TLSConfig{Cert: cfg.Cert, Key: cfg.Key}, max(line("cert"), line("key")),
				"the client's cert and key do not match",
				"give both in PEM form, the key unencrypted and of that certificate"},
			{promconfig.TLSConfig{MinVersion: cfg.MinVersion, MaxVersion: cfg.MaxVersion}, lines["max_version"],
				"max_version is below min_version", "raise it, or remove one of them"},
		} {
			if _, err := promconfig.NewTLSConfig(&part.settings); err != nil {
				d.refuse(part.line, part.what, part.remedy)
			}
		}
	}
	return []string{
		cfg.CA, cfg.Cert, key, cfg.ServerName, minVersion, maxVersion, fmt.Sprint(cfg.InsecureSkipVerify),
	}
}

// proxySettings are the keys about a proxy, as written.
type proxySettings struct {
	url, except     string
	fromEnvironment bool
}

func (p *proxySettings) fields() []field {
	text := func(dst *string) func(string) string {
		return func(value string) string {
			*dst = value
			return ""
		}
	}
	return []field{
		{name: "proxy_url", wanted: "the proxy's address such as http://proxy:3128", text: text(&p.url)},
		{name: "no_proxy", wanted: "host names and networks, with commas between them", text: text(&p.except)},
		{name: "proxy_from_environment", wanted: "true or false", text: boolean(&p.fromEnvironment)},
	}
}

// proxy sets api.Proxy. No message quotes a value: the address can hold a password.
func (d *decoder) proxy(api *API, settings proxySettings, lines map[string]int) {
	cfg := promconfig.ProxyConfig{NoProxy: settings.except, ProxyFromEnvironment: settings.fromEnvironment}
	if settings.url != "" {
		address, err := url.Parse(settings.url)
		schemes := []string{"http", "https", "socks5", "socks5h"}
		if err != nil || address.Hostname() == "" || !slices.Contains(schemes, address.Scheme) {
			d.refuse(lines["proxy_url"], "proxy_url is not a valid proxy address",
				"write scheme://host:port with one of the schemes "+strings.Join(schemes, ", "))
			return
		}
		cfg.ProxyURL.URL = address
	}
	switch {
	case cfg.ProxyFromEnvironment && settings.url != "":
		d.refuse(lines["proxy_from_environment"], "both proxy_url and proxy_from_environment are given",
			"keep one of them")
	case cfg.ProxyFromEnvironment && settings.except != "":
		d.refuse(lines["no_proxy"], "no_proxy has no effect together with proxy_from_environment",
			"remove it and set $NO_PROXY")
	case settings.except != "" && settings.url == "":
		d.refuse(lines["no_proxy"], "no_proxy has no effect without proxy_url", "add proxy_url or remove no_proxy")
	}
	api.Proxy = cfg.Proxy()
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
			return "does not begin with http:// or https://"
		case u.Hostname() == "":
			return "has no host"
		case err != nil || port > 65535 || strings.HasSuffix(u.Host, ":"):
			return "has a bad port"
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

// notEmpty sets dst to any text but the empty one.
func notEmpty(dst *string) func(string) string {
	return func(value string) string {
		*dst = value
		if strings.TrimSpace(value) == "" {
			return "is empty"
		}
		return ""
	}
}

// oneOf sets dst to one of the known values.
func oneOf(dst *string, known []string) func(string) string {
	return func(value string) string {
		if !slices.Contains(known, value) {
			return "has an unknown value"
		}
		*dst = value
		return ""
	}
}

// duration sets dst to a duration in Prometheus' notation, such as 1h30m, of at least least.
func duration(dst *time.Duration, least time.Duration) func(string) string {
	return func(value string) string {
		parsed, err := model.ParseDuration(value)
		if err != nil {
			return notDuration(value)
		}
		if time.Duration(parsed) < least {
			return "is too short"
		}
		*dst = time.Duration(parsed)
		return ""
	}
}

const noUnit = "is a number without a unit (ms, s, m, h, d)"

// notDuration says what is wrong with a duration.
func notDuration(value string) string {
	if _, err := strconv.ParseUint(value, 10, 64); err == nil {
		return noUnit
	}
	return "is not a duration"
}

// number sets dst to a decimal number from least to most.
func number(dst *int, least, most int) func(string) string {
	return func(value string) string {
		parsed, err := strconv.Atoi(value)
		if err != nil {
			return "is not a number"
		}
		if parsed < least || parsed > most {
			return "is out of range"
		}
		*dst = parsed
		return ""
	}
}

// boolean sets dst to true or false.
func boolean(dst *bool) func(string) string {
	return func(value string) string {
		switch strings.ToLower(value) {
		case "true":
			*dst = true
		case "false":
			*dst = false
		default:
			return "is neither true nor false"
		}
		return ""
	}
}
