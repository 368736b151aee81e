//go:build unix

package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign completes template and signs it, with its own key when the authority has none yet.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// leaf returns a certificate for 127.0.0.1 that is good for servers and clients, after change if it is not nil.
func (a *authority) leaf(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	cert, key := a.sign(template)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// write writes the authority's own certificate as PEM.
func (a *authority) write(file string) {
	a.t.Helper()
	writeFile(a.t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})))
}

// writePair writes a certificate and its key as PEM.
func writePair(t *testing.T, pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

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
	ours, theirs := newAuthority(t), newAuthority(t)
	server := ours.leaf(nil)

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
			{name: "trusts us", roots: ours.pool(), want: "200"},
			{name: "trusts others", roots: theirs.pool(), want: "unknown authority"},
			{name: "speaks no TLS", want: "400"},
		}},
		"TLS and password": {webTLS + webUsers, []visitor{
			{name: "right password", roots: ours.pool(), password: "beside the track", want: "200"},
			{name: "wrong password", roots: ours.pool(), password: "behind the track", want: "401"},
			{name: "no password", roots: ours.pool(), want: "401"},
		}},
		"password": {webUsers, []visitor{
			{name: "right password", password: "beside the track", want: "200"},
			{name: "no password", want: "401"},
		}},
		"client certificates": {webMTLS, []visitor{
			{name: "our certificate", roots: ours.pool(), client: []tls.Certificate{ours.leaf(nil)}, want: "200"},
			{name: "their certificate", roots: ours.pool(), client: []tls.Certificate{theirs.leaf(nil)}, want: "error"},
			{name: "no certificate", roots: ours.pool(), want: "error"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := filepath.Join(dir, "web.yml")
			writeFile(t, config, test.config)
			writePair(t, server, filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
			ours.write(filepath.Join(dir, "authority.pem"))
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
