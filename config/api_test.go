package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair returns a certificate of 127.0.0.1 that signs itself, and its key, in PEM form.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// indent makes PEM text the value of a YAML key below tls_config.
func indent(text string) string { return "|\n      " + strings.ReplaceAll(text, "\n", "\n      ") }

// TestTLS shakes hands: our CA, our certificate, from files and inline.
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
	want := path + ":4: the client's cert and key are no pair; " +
		"give both in PEM form, the key unencrypted and of that certificate"
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

// TestEqual: whatever is different in the api section is noticed, and nothing else is.
func TestEqual(t *testing.T) {
	t.Setenv(KeyVariable, "")
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.yml")
	ca, _ := pair(t)
	cert, key := pair(t)
	pems := map[string]string{"ca.pem": ca, "cert.pem": cert, "key.pem": key, "key": apiKey}
	for name, content := range pems {
		write(t, dir, name, content)
	}
	// Each setting twice: as it is, and another way.
	settings := [][2]string{
		{"url: https://a.example/v0", "url: https://a.example/v1"},
		{"key_file: key", "key: " + apiKey + "1"},
		{"key_header: api_key", "key_header: x-api-key"},
		{"timeout: 5s", "timeout: 6s"},
		{"max_concurrent_requests: 32", "max_concurrent_requests: 33"},
		{"min_interval: 0s", "min_interval: 1s"},
		{"device_metrics: false", "device_metrics: true"},
		{"proxy_url: http://me:a@proxy", "proxy_url: http://me:b@proxy"},
		{"no_proxy: a", "no_proxy: b"},
		{"tls_config: {ca_file: ca.pem, cert_file: cert.pem, key_file: key.pem}", "tls_config: {ca_file: ca.pem}"},
	}
	load := func(different int, sessions string) API {
		t.Helper()
		var b strings.Builder
		b.WriteString("api:\n")
		for i, s := range settings {
			if i == different {
				fmt.Fprintf(&b, "  %s\n", s[1])
			} else {
				fmt.Fprintf(&b, "  %s\n", s[0])
			}
		}
		cfg, err := Parse([]byte(b.String()+"sessions: ["+sessions+"]\n"), path)
		if err != nil {
			t.Fatal(err)
		}
		return cfg.API
	}
	first := load(-1, token)
	if !first.Equal(load(-1, token2)) {
		t.Error("other sessions make another API")
	}
	for i, s := range settings {
		if first.Equal(load(i, token)) {
			t.Errorf("%s is taken for %s", s[1], s[0])
		}
	}

	// The same paths, another content.
	otherCert, otherKey := pair(t)
	replace := func(files map[string]string) {
		for name, content := range files {
			write(t, dir, name, content)
		}
	}
	for _, other := range []map[string]string{
		{"key": apiKey + "2"}, {"ca.pem": otherCert}, {"cert.pem": otherCert, "key.pem": otherKey},
	} {
		replace(other)
		if first.Equal(load(-1, token)) {
			t.Errorf("other content of %d files is not noticed", len(other))
		}
		replace(pems)
		if !first.Equal(load(-1, token)) {
			t.Error("the first content is not the same again")
		}
	}

	// Where the same key comes from makes no difference.
	if err := os.Rename(filepath.Join(dir, "key"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	settings[1][0] = "key_file: moved"
	if !first.Equal(load(-1, token)) {
		t.Error("the same key from another file is another API")
	}
}
