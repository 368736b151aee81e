package config

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
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
	maxKeyFile     = 64 << 10 // bytes
	maxTLSFile     = 1 << 20  // bytes: a bundle of all public authorities is a quarter of that
)

func defaultAPI() API {
	return API{
		URL:                   &url.URL{Scheme: "https", Host: "api.runonrufus.com", Path: "/v0"},
		KeyHeader:             keyHeaders[0],
		Timeout:               5 * time.Second,
		MaxConcurrentRequests: 32,
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
			{name: "tls_config", wanted: "a mapping", any: func(n *node) { tlsSection = n }},
		}, proxy.fields()...))
	}
	api.Key = d.key(key, keyFile, lines)
	if key := api.Key.Reveal(); len(key) >= minSearched {
		d.secrets = append(d.secrets, key)
	}
	if lines["url"] != 0 {
		d.public = append(d.public, public{lines["url"], "url", api.URL.String()})
	}
	transport := d.tls(api, tlsSection)
	transport = append(transport, proxy.url, proxy.except, fmt.Sprint(proxy.fromEnvironment))
	d.proxy(api, proxy, lines)
	api.transport = rufus.NewSecret(fmt.Sprintf("%q", transport))
}

// key returns the API key from the one place that has it; the environment comes last. None is no mistake here.
func (d *decoder) key(inline, file string, lines map[string]int) rufus.Secret {
	inlineLine, fileLine := lines["key"], lines["key_file"]
	switch {
	case inlineLine != 0 && fileLine != 0:
		d.refuse(max(inlineLine, fileLine), "both key and key_file are given", "keep key_file and remove key")
	case file != "":
		data, ok := d.read(file, maxKeyFile, "key_file", fileLine,
			"give the path of a readable file that holds the API key, absolute or relative to this file")
		if !ok {
			break
		}
		value := strings.TrimSpace(string(data))
		if problem := keyProblem(value); problem != "" {
			d.refuse(fileLine, "the content of key_file "+problem, "put the API key alone into that file")
			break
		}
		return rufus.NewSecret(value)
	case inline != "":
		value := strings.TrimSpace(inline)
		if problem := keyProblem(value); problem != "" {
			d.refuse(inlineLine, "key "+problem, "copy the API key alone")
			break
		}
		return rufus.NewSecret(value)
	case inlineLine == 0 && fileLine == 0:
		value := strings.TrimSpace(os.Getenv(KeyVariable))
		if problem := keyProblem(value); value != "" && problem != "" {
			d.refuse(0, "$"+KeyVariable+": the API key "+problem, "set it to the API key alone")
			break
		}
		return rufus.NewSecret(value)
	}
	return rufus.Secret{}
}

// keyProblem says why a trimmed key cannot be sent in a header. Only visible ASCII passes every proxy.
func keyProblem(key string) string {
	switch {
	case key == "":
		return "is empty"
	case len(key) > 1024:
		return "is longer than 1024 characters"
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "has spaces, line breaks or characters outside ASCII"
	}
	return ""
}

// read returns the content of a file that the configuration names, and notes the file as one to watch.
func (d *decoder) read(path string, limit int64, key string, line int, remedy string) ([]byte, bool) {
	path = promconfig.JoinDir(d.dir, path)
	if !slices.Contains(d.files, path) {
		d.files = append(d.files, path)
	}
	data, problem := readFile(path, limit)
	if problem != "" {
		d.refuse(line, key+" "+problem, remedy)
	}
	return data, problem == ""
}

// tls sets api.TLS from the tls_config section, which may be nil, and returns all that went into it.
func (d *decoder) tls(api *API, section *node) (settings []string) {
	var cfg promconfig.TLSConfig
	var key, minVersion, maxVersion string
	var lines map[string]int
	switch {
	case section == nil || isNull(section):
	case !isMapping(section):
		d.refuse(section.Line, "tls_config is not a mapping", "write its settings below it, each as \"name: value\"")
	default:
		versions := []string{"TLS10", "TLS11", "TLS12", "TLS13"}
		wantedVersion := "one of " + strings.Join(versions, ", ")
		lines = d.mapping(section, "tls_config", []field{
			{name: "ca", wanted: "a certificate as PEM text", text: notEmpty(&cfg.CA)},
			{name: "ca_file", wanted: "the path of a PEM file", text: notEmpty(&cfg.CAFile)},
			{name: "cert", wanted: "a certificate as PEM text", text: notEmpty(&cfg.Cert)},
			{name: "cert_file", wanted: "the path of a PEM file", text: notEmpty(&cfg.CertFile)},
			{name: "key", wanted: "a private key as PEM text", text: notEmpty(&key)},
			{name: "key_file", wanted: "the path of a PEM file", text: notEmpty(&cfg.KeyFile)},
			{name: "server_name", wanted: "the host name in the server's certificate", text: notEmpty(&cfg.ServerName)},
			{name: "insecure_skip_verify", wanted: "true or false", text: boolean(&cfg.InsecureSkipVerify)},
			{name: "min_version", wanted: wantedVersion, text: oneOf(&minVersion, versions)},
			{name: "max_version", wanted: wantedVersion, text: oneOf(&maxVersion, versions)},
		})
	}
	cfg.Key = promconfig.Secret(key)
	cfg.MinVersion, cfg.MaxVersion = promconfig.TLSVersions[minVersion], promconfig.TLSVersions[maxVersion]
	if cfg.MaxVersion != 0 && cfg.MinVersion > cfg.MaxVersion {
		d.refuse(lines["max_version"], "max_version is below min_version", "raise it or remove one of them")
	}

	// Files are read here, once and bounded, and handed on as text: what is compared on a reload is then exactly what
	// is in use, and a certificate replaced before its key cannot break connections in between.
	texts := map[string]string{"ca": cfg.CA, "cert": cfg.Cert, "key": key}
	for _, f := range []struct{ name, path string }{
		{"ca", cfg.CAFile}, {"cert", cfg.CertFile}, {"key", cfg.KeyFile},
	} {
		inline, file := lines[f.name], lines[f.name+"_file"]
		if inline != 0 && file != 0 {
			d.refuse(max(inline, file), "both "+f.name+" and "+f.name+"_file are given", "keep one of them")
		} else if f.path != "" {
			data, _ := d.read(f.path, maxTLSFile, f.name+"_file", file,
				"give the path of a readable PEM file, absolute or relative to this file")
			texts[f.name] = string(data)
		}
	}
	cfg.CAFile, cfg.CertFile, cfg.KeyFile = "", "", ""
	cfg.CA, cfg.Cert, cfg.Key = texts["ca"], texts["cert"], promconfig.Secret(texts["key"])

	line := func(name string) int { return max(lines[name], lines[name+"_file"]) }
	_, err := promconfig.NewTLSConfig(&promconfig.TLSConfig{CA: cfg.CA})
	if err != nil {
		d.refuse(line("ca"), "the CA holds no certificate that can be read", "give certificates in PEM form")
	}
	switch hasCert, hasKey := line("cert") != 0, line("key") != 0; {
	case hasCert && !hasKey:
		d.refuse(line("cert"), "a client certificate without its key", "add key_file, or remove the certificate")
	case hasKey && !hasCert:
		d.refuse(line("key"), "a client key without its certificate", "add cert_file, or remove the key")
	case cfg.Cert != "" && cfg.Key != "":
		if _, err := tls.X509KeyPair([]byte(cfg.Cert), []byte(cfg.Key)); err != nil {
			d.refuse(line("cert"), "the client certificate and its key do not fit together",
				"give both in PEM form, the key unencrypted and of that certificate")
		}
	}
	if len(d.mistakes) > 0 {
		return nil
	}
	api.TLS, err = promconfig.NewTLSConfig(&cfg)
	if err != nil {
		d.refuse(lines["tls_config"], "tls_config cannot be used", "compare it with Prometheus' documentation")
	}
	return []string{
		cfg.CA, cfg.Cert, string(cfg.Key), cfg.ServerName, minVersion, maxVersion, fmt.Sprint(cfg.InsecureSkipVerify),
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
			d.refuse(lines["proxy_url"], "proxy_url is no address of a proxy",
				"write scheme://host:port with one of the schemes "+strings.Join(schemes, ", "))
			return
		}
		cfg.ProxyURL.URL = address
	}
	switch {
	case cfg.ProxyFromEnvironment && settings.url != "":
		d.refuse(lines["proxy_from_environment"], "both proxy_url and proxy_from_environment are given",
			"keep one of them")
		return
	case cfg.ProxyFromEnvironment && settings.except != "":
		d.refuse(lines["no_proxy"], "no_proxy has no effect beside proxy_from_environment",
			"remove it and set $NO_PROXY")
		return
	case settings.except != "" && settings.url == "":
		d.refuse(lines["no_proxy"], "no_proxy has no effect without proxy_url", "add proxy_url or remove no_proxy")
		return
	}
	api.Proxy = cfg.Proxy()
	if api.Proxy == nil {
		return
	}
	// Addresses in the environment are parsed on every request; a bad one would fail them all.
	if _, err := api.Proxy(&http.Request{URL: api.URL}); err != nil {
		d.refuse(lines["proxy_from_environment"], "the proxy address in the environment cannot be read",
			"mend $HTTPS_PROXY or $HTTP_PROXY")
	}
}

// baseURL sets dst to an address that request paths can be appended to.
func baseURL(dst **url.URL) func(string) string {
	return func(value string) string {
		u, err := url.Parse(value)
		if err != nil {
			return "is no address"
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
			return "is not a duration"
		}
		if time.Duration(parsed) < least {
			return "is too short"
		}
		*dst = time.Duration(parsed)
		return ""
	}
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
