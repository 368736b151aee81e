package config

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"rufus_exporter/rufus"
	"rufus_exporter/test/lab"
)

// pair returns a certificate for 127.0.0.1, which is also its own certificate authority, and its key, in PEM form.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	return lab.PEM(t, lab.NewAuthority(t).Leaf(func(template *x509.Certificate) {
		template.IsCA, template.BasicConstraintsValid = true, true
	}))
}

// indent indents PEM text so that it is the value of a YAML key below tls_config.
func indent(text string) string { return "|\n      " + strings.ReplaceAll(text, "\n", "\n      ") }

// TestTLS checks TLS handshakes with our own CA and client certificate, from files and inline.
func TestTLS(t *testing.T) {
	t.Setenv(KeyVariable, "")
	serverCert, serverKey := pair(t)
	clientCert, clientKey := pair(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ca.pem": serverCert, "cert.pem": clientCert, "key.pem": clientKey,
	} {
		write(t, dir, name, content)
	}

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = nil
	own, err := tls.X509KeyPair([]byte(serverCert), []byte(serverKey))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(clientCert))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	}
	server.StartTLS()
	defer server.Close()

	for name, section := range map[string]string{
		"files": "    ca_file: ca.pem\n    cert_file: cert.pem\n    key_file: key.pem\n",
		"inline": "    ca: " + indent(serverCert) + "\n    cert: " + indent(clientCert) +
			"\n    key: " + indent(clientKey) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			text := "api:\n  tls_config:\n" + section + "sessions: [" + token + "]\n"
			cfg, err := Parse([]byte(text), filepath.Join(dir, "sessions.yml"))
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.API.TLS}}
			defer client.CloseIdleConnections()
			answer, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		})
	}
}

func TestTLSPairOfTwo(t *testing.T) {
	t.Setenv(KeyVariable, "")
	cert, _ := pair(t)
	_, key := pair(t)
	dir := t.TempDir()
	write(t, dir, "cert.pem", cert)
	write(t, dir, "key.pem", key)
	path := write(t, dir, "sessions.yml",
		"api:\n  tls_config:\n    cert_file: cert.pem\n    key_file: key.pem\nsessions: ["+token+"]\n")
	_, err := Load(path)
	want := path + ":4: the client's cert and key do not match; " +
		"use a certificate and its own unencrypted key, both in PEM form"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestProxy(t *testing.T) {
	t.Setenv(KeyVariable, "")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("HTTPS_PROXY", "http://environment:3128")
	t.Setenv("NO_PROXY", "direct.example")
	for _, c := range []struct{ settings, request, want string }{
		{"proxy_url: http://proxy:3128", "https://api.example/", "http://proxy:3128"},
		{"proxy_url: socks5://proxy:1080", "https://api.example/", "socks5://proxy:1080"},
		{"{proxy_url: http://proxy:3128, no_proxy: direct.example}", "https://api.example/", "http://proxy:3128"},
		{"{proxy_url: http://proxy:3128, no_proxy: direct.example}", "https://direct.example/", ""},
		{"proxy_from_environment: true", "https://api.example/", "http://environment:3128"},
		{"proxy_from_environment: true", "https://direct.example/", ""},
		{"proxy_from_environment: false", "https://api.example/", ""},
	} {
		cfg := parse(t, "api:\n  "+c.settings+"\nsessions: ["+token+"]")
		got := ""
		if cfg.API.Proxy != nil {
			request := httptest.NewRequest(http.MethodGet, c.request, nil)
			proxy, err := cfg.API.Proxy(request)
			if err != nil {
				t.Fatal(err)
			}
			if proxy != nil {
				got = proxy.String()
			}
		}
		if got != c.want {
			t.Errorf("%s, %s: by way of %q, want %q", c.settings, c.request, got, c.want)
		}
	}
}

// A new field of API must be part of the digest.
func TestDigestCoversEveryField(t *testing.T) {
	t.Parallel()
	original := defaultAPI()
	for i := range reflect.TypeFor[API]().NumField() {
		changed := original
		name := reflect.TypeFor[API]().Field(i).Name
		switch field := reflect.ValueOf(&changed).Elem().Field(i); {
		case name == "transport": // covers the next two: see TestDigest
			changed.transport = rufus.NewSecret("x")
		case name == "TLS", name == "Proxy":
			continue
		case field.Type() == reflect.TypeFor[rufus.Secret]():
			field.Set(reflect.ValueOf(rufus.NewSecret("x")))
		case field.Type() == reflect.TypeFor[*url.URL]():
			field.Set(reflect.ValueOf(&url.URL{Scheme: "http", Host: "x"}))
		case field.Kind() == reflect.String:
			field.SetString("x")
		case field.CanInt():
			field.SetInt(field.Int() + 1)
		case field.Kind() == reflect.Bool:
			field.SetBool(!field.Bool())
		default:
			t.Fatalf("add a way to change %s, a %s", name, field.Type())
		}
		if changed.Digest() == original.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
	if original.Digest() != defaultAPI().Digest() {
		t.Error("the digests of equal settings differ")
	}
}

// Every change in the api section changes the digest. Nothing else does.
func TestDigest(t *testing.T) {
	t.Setenv(KeyVariable, "")
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.yml")
	ca, _ := pair(t)
	cert, key := pair(t)
	otherCert, otherKey := pair(t)
	pems := map[string]string{"ca.pem": ca, "cert.pem": cert, "key.pem": key, "key": apiKey}
	for name, content := range pems {
		write(t, dir, name, content)
	}
	const original = `
  url: https://a.example/v0
  key_file: key
  key_header: api_key
  timeout: 5s
  max_concurrent_requests: 32
  min_interval: 0s
  device_metrics: false
  max_devices: 1000
  proxy_url: http://me:a@proxy
  no_proxy: a
  tls_config:
    ca_file: ca.pem
    cert_file: cert.pem
    key_file: key.pem
`
	digest := func(api, sessions string) rufus.Secret {
		t.Helper()
		cfg, err := Parse([]byte("api:"+api+"sessions: ["+sessions+"]\n"), path)
		if err != nil {
			t.Fatal(err)
		}
		return cfg.API.Digest()
	}
	first := digest(original, token)
	if digest(original, token2) != first {
		t.Error("other sessions change the digest")
	}

	changes := [][2]string{
		{"url: https://a.example/v0", "url: https://a.example/v1"},
		{"key_file: key\n", "key: " + apiKey + "1\n"},
		{"key_header: api_key", "key_header: x-api-key"},
		{"timeout: 5s", "timeout: 6s"},
		{"requests: 32", "requests: 33"},
		{"min_interval: 0s", "min_interval: 1s"},
		{"device_metrics: false", "device_metrics: true"},
		{"max_devices: 1000", "max_devices: 999"},
		{"me:a@proxy", "me:b@proxy"},
		{"no_proxy: a", "no_proxy: b"},
		{"proxy_url: http://me:a@proxy\n  no_proxy: a", "proxy_from_environment: true"},
		{"ca_file: ca.pem", "ca: " + indent(otherCert)},
		{"cert_file: cert.pem\n    key_file: key.pem", "cert: " + indent(otherCert) + "\n    key: " + indent(otherKey)},
		{"ca_file: ca.pem\n    cert_file: cert.pem\n    key_file: key.pem", "ca_file: ca.pem"},
		{"    ca_file", "    server_name: a\n    ca_file"},
		{"    ca_file", "    insecure_skip_verify: true\n    ca_file"},
		{"    ca_file", "    min_version: TLS13\n    ca_file"},
		{"    ca_file", "    max_version: TLS13\n    ca_file"},
	}
	all := original
	for _, change := range changes {
		changed := strings.Replace(original, change[0], change[1], 1)
		if changed == original || digest(changed, token) == first {
			t.Errorf("%s instead of %s is not noticed", change[1], change[0])
		}
		all += changed
	}
	// A new setting must be added above as well.
	for _, unknown := range []string{"api: {unknown: x}", "api: {tls_config: {unknown: x}}"} {
		_, err := Parse([]byte(unknown), path)
		_, known, _ := strings.Cut(err.Error(), "valid keys: ")
		known, _, _ = strings.Cut(known, "\n")
		for name := range strings.SplitSeq(known, ", ") {
			if !strings.Contains(all, " "+name+":") {
				t.Errorf("%s is not tried", name)
			}
		}
	}

	// The same paths with different content.
	for _, other := range []map[string]string{
		{"key": apiKey + "2"}, {"ca.pem": otherCert}, {"cert.pem": otherCert, "key.pem": otherKey},
	} {
		for name, content := range other {
			write(t, dir, name, content)
		}
		if digest(original, token) == first {
			t.Errorf("other content of %d files is not noticed", len(other))
		}
		for name, content := range pems {
			write(t, dir, name, content)
		}
		if digest(original, token) != first {
			t.Error("the first content is not the same again")
		}
	}

	// It does not matter where the same key comes from.
	write(t, dir, "moved", apiKey)
	if digest(strings.Replace(original, "key_file: key\n", "key_file: moved\n", 1), token) != first {
		t.Error("the same key from another file changes the digest")
	}
}
