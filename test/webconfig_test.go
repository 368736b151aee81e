//go:build unix

package test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rufus_exporter/test/lab"
)

// Parts of a web.yml. The password is "beside the track".
const (
	webTLS   = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
	webMTLS  = webTLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n"
	webUsers = "basic_auth_users:\n  crew: $2a$04$HRIBM05lTtyOm3L5evxILuRwZP5NkE7WI0/tlzmPhfP0.ktohXas6\n"
)

// TLS, client certificates and passwords, by real handshakes: who gets in, who does not, and what --health-check
// says of each.
func TestWebConfig(t *testing.T) {
	t.Parallel()
	ours, theirs := lab.NewAuthority(t), lab.NewAuthority(t)
	server := ours.Leaf(nil)

	// A visitor gets a status, or an error with the text of want.
	type visitor struct {
		name     string
		roots    *x509.CertPool
		client   []tls.Certificate
		password string
		want     string
	}
	for name, test := range map[string]struct {
		config   string
		visitors []visitor
	}{
		"TLS": {webTLS, []visitor{
			{name: "trusts us", roots: ours.Pool(), want: "200"},
			{name: "trusts others", roots: theirs.Pool(), want: "unknown authority"},
			{name: "speaks no TLS", want: "400"},
		}},
		"TLS and password": {webTLS + webUsers, []visitor{
			{name: "right password", roots: ours.Pool(), password: "beside the track", want: "200"},
			{name: "wrong password", roots: ours.Pool(), password: "behind the track", want: "401"},
			{name: "no password", roots: ours.Pool(), want: "401"},
		}},
		"password": {webUsers, []visitor{
			{name: "right password", password: "beside the track", want: "200"},
			{name: "no password", want: "401"},
		}},
		"client certificates": {webMTLS, []visitor{
			{name: "our certificate", roots: ours.Pool(), client: []tls.Certificate{ours.Leaf(nil)}, want: "200"},
			{name: "their certificate", roots: ours.Pool(), client: []tls.Certificate{theirs.Leaf(nil)}, want: "error"},
			{name: "no certificate", roots: ours.Pool(), want: "error"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := filepath.Join(dir, "web.yml")
			writeFile(t, config, test.config)
			cert, key := lab.PEM(t, server)
			writeFile(t, filepath.Join(dir, "server.pem"), cert)
			writeFile(t, filepath.Join(dir, "server.key"), key)
			writeFile(t, filepath.Join(dir, "authority.pem"), ours.PEM())
			e := start(t, valid, "--web.config.file="+config)
			_, address, _ := strings.Cut(e.url, "://")

			for _, v := range test.visitors {
				t.Run(v.name, func(t *testing.T) {
					url := "http://" + address + "/-/healthy"
					if v.roots != nil {
						url = "https://" + address + "/-/healthy"
					}
					req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					if v.password != "" {
						req.SetBasicAuth("crew", v.password)
					}
					client := &http.Client{Timeout: patience, Transport: &http.Transport{
						TLSClientConfig:   &tls.Config{RootCAs: v.roots, Certificates: v.client},
						DisableKeepAlives: true,
					}}
					resp, _, err := ask(client, req)
					got := fmt.Sprint("error: ", err)
					if err == nil {
						got = resp.Status
					}
					if !strings.Contains(got, v.want) {
						t.Errorf("got %s, want %s", got, v.want)
					}
				})
			}
			if code, _, stderr := runs(t, "", "--health-check", "--web.listen-address="+address); code != exitStopped {
				t.Errorf("the health check ends with %d: %s", code, stderr)
			}
		})
	}
}

func TestHealthCheck(t *testing.T) {
	t.Parallel()
	e := start(t, valid)
	_, address, _ := strings.Cut(e.url, "://")
	if code, stdout, stderr := runs(t, "", "--health-check", "--web.listen-address="+address); code != exitStopped ||
		stdout+stderr != "" {
		t.Errorf("alive: exit code %d: %s%s", code, stdout, stderr)
	}
	e.signal(syscall.SIGTERM)
	e.exitCode()
	if code, _, stderr := runs(t, "", "--health-check", "--web.listen-address="+address); code != exitFailed ||
		!strings.Contains(stderr, "refused") {
		t.Errorf("dead: exit code %d: %s", code, stderr)
	}
}

// What accepts connections but does not answer is not alive, and neither is what answers with an error.
func TestHealthCheckOfOthers(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	broken := httptest.NewServer(says(http.StatusInternalServerError, ""))
	t.Cleanup(broken.Close)
	for address, want := range map[string]string{
		mute.Addr().String(): "no answer", strings.TrimPrefix(broken.URL, "http://"): "unexpected answer",
	} {
		code, _, stderr := runs(t, "", "--health-check", "--web.listen-address="+address)
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s", want, code, stderr)
		}
	}
}

// secureAPI starts a healthy API with that certificate and returns its base URL.
func secureAPI(t *testing.T, cert tls.Certificate) (url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(healthy)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of every client that turns away
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL + "/v0"
}

func expired(template *x509.Certificate) {
	template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

func forAnotherHost(template *x509.Certificate) {
	template.IPAddresses, template.DNSNames = nil, []string{"elsewhere.example"}
}
