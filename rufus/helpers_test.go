package rufus_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rufus_exporter/rufus"
)

func TestMain(m *testing.M) {
	// See Transport: unsolicited data would be printed.
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}

// None of these is real. No error and no alias may contain one of them.
const (
	key    = "ror-5ec4e7a1b2c3d4e5f607"
	token  = "2A19294BB886C3D5C7783309BBC6E385515C843893A6BC126FECE3904C6E2B25"
	device = "1C3A38059155C47209E3F09210B22D02B079F231A6D4D53421D65E076CD82D56"
	other  = "65A1B7E0C6BC3D32C268C1506E3F6F39E225DC6ED79573E177E7243E8E38115B"
)

// sessionPath is the API's path of the session with this token.
const sessionPath = "/v0/sessions/" + token

// No passing test waits for patience; some wait for short.
const (
	patience = 10 * time.Second
	short    = 200 * time.Millisecond
)

// client returns a client for the API at base, with that timeout and its own transport.
func client(t testing.TB, base string, timeout time.Duration) *rufus.Client {
	t.Helper()
	return clientOver(t, base, timeout, transport(t, rufus.TransportOptions{MaxConns: 8, Timeout: timeout}))
}

// transport returns a transport that is closed at the end of the test.
func transport(t testing.TB, o rufus.TransportOptions) *rufus.Transport {
	t.Helper()
	made := rufus.NewTransport(o)
	t.Cleanup(made.Close)
	return made
}

// clientOver returns a client for the API at base with that transport.
func clientOver(t testing.TB, base string, timeout time.Duration, over http.RoundTripper) *rufus.Client {
	t.Helper()
	return rufus.NewClient(options(t, base, timeout, over))
}

func options(t testing.TB, base string, timeout time.Duration, over http.RoundTripper) rufus.Options {
	t.Helper()
	u, err := url.Parse(base + "/v0")
	if err != nil {
		t.Fatal(err)
	}
	return rufus.Options{
		URL:       u,
		Key:       rufus.NewSecret(key),
		KeyHeader: "api_key",
		UserAgent: "rufus_exporter/test",
		Timeout:   timeout,
		Transport: over,
	}
}

// api starts an API over HTTP/1.1 without TLS and returns its address.
func api(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// secureAPI starts an API with TLS, over HTTP/2 or HTTP/1.1, and returns it with a TLS configuration that trusts it.
func secureAPI(t testing.TB, http2 bool, handler http.HandlerFunc, change ...func(*httptest.Server)) (
	*httptest.Server, *tls.Config,
) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = http2
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(server)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, trusting(server)
}

// trusting returns a TLS configuration that trusts a server.
func trusting(server *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// says returns a handler that sends the same answer to every request.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// rawAPI starts a TCP server. handle is called for every connection, with its requests. When it returns, the connection
// is closed.
func rawAPI(t testing.TB, handle func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveRaw(t, listener, handle)
	return "http://" + listener.Addr().String()
}

func serveRaw(t testing.TB, listener net.Listener, handle func(net.Conn, *bufio.Reader)) {
	t.Helper()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		conns   []net.Conn
	)
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() {
				handle(conn, bufio.NewReader(conn))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
}

// answersRaw returns a handler for rawAPI that reads a request, sends bytes and closes the connection.
func answersRaw(bytes string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, bytes)
		}
	}
}

// roundTripper is an http.RoundTripper made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// canned is a round tripper that returns the same answer to every request, without a network.
func canned(status int, header http.Header, body []byte) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode:    status,
			Header:        header,
			Body:          io.NopCloser(strings.NewReader(string(body))),
			ContentLength: int64(len(body)),
			Request:       r,
		}, nil
	}
}

// session returns the documented session as JSON; reads returns the expected result. Both accept changes as pairs: the
// name of a member, and its new value or "" to omit it.
var (
	written = []string{
		"token_session", `"` + token + `"`,
		"alias", `"START-5K"`,
		"creation_date", `"2023-02-03T15:08:12.000Z"`,
		"duration", `"2023-02-03T17:08:12.000Z"`,
		"active", "true",
		"passings", "31",
		"first", `"2023-02-03T16:08:18.263Z"`,
		"last", `"2023-12-22T09:20:25.130Z"`,
	}
	read = []string{
		"alias", "START-5K",
		"creation_date", "2023-02-03T15:08:12Z",
		"duration", "2023-02-03T17:08:12Z",
		"active", "true",
		"passings", "31",
		"first", "2023-02-03T16:08:18.263Z",
		"last", "2023-12-22T09:20:25.13Z",
	}
)

func session(changes ...string) string {
	return "{" + join(written, changes, func(name, value string) string { return `"` + name + `": ` + value }) + "}"
}

func reads(changes ...string) string {
	return join(read, changes, func(name, value string) string { return name + "=" + value })
}

func join(members, changes []string, format func(name, value string) string) string {
	members = slices.Clone(members)
change:
	for c := 0; c < len(changes); c += 2 {
		for m := 0; m < len(members); m += 2 {
			if members[m] == changes[c] {
				members[m+1] = changes[c+1]
				continue change
			}
		}
		members = append(members, changes[c:c+2]...)
	}
	var parts []string
	for m := 0; m < len(members); m += 2 {
		if members[m+1] != "" {
			parts = append(parts, format(members[m], members[m+1]))
		}
	}
	return strings.Join(parts, ", ")
}

// result returns an answer with that result, enveloped the same in the envelope of the newer documentation, and one an
// answer with one session, as documented.
func result(json string) string    { return `{"description": "Success", "result": ` + json + `}` }
func enveloped(json string) string { return `{"body": ` + result(json) + `}` }
func one(changes ...string) string { return result("[" + session(changes...) + "]") }

// outcome formats the result of a call like reads, or returns the reason of its failure.
func outcome(t testing.TB, s rufus.Session, err error) string {
	t.Helper()
	if err != nil {
		if s != (rufus.Session{}) {
			t.Errorf("a failed call returned %+v", s)
		}
		return string(reason(t, err))
	}
	instant := func(o rufus.Option[time.Time]) string {
		at, ok := o.Get()
		if !ok {
			return ""
		}
		return at.UTC().Format(time.RFC3339Nano)
	}
	passings := ""
	if n, ok := s.Passings.Get(); ok {
		passings = fmt.Sprint(n)
	}
	changes := []string{}
	if s.Unreadable != "" {
		changes = []string{"unreadable", s.Unreadable}
	}
	return reads(append(changes,
		"alias", s.Alias,
		"creation_date", instant(s.Created),
		"duration", instant(s.Duration),
		"active", fmt.Sprint(s.Active),
		"passings", passings,
		"first", instant(s.First),
		"last", instant(s.Last),
	)...)
}

// reason returns err's reason. It checks that err is an *Error with a known reason, and that neither err nor a wrapped
// error contains a secret.
func reason(t testing.TB, err error) rufus.Reason {
	t.Helper()
	var e *rufus.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %T %v, want a *rufus.Error", err, err)
	}
	if !slices.Contains(rufus.Reasons(), e.Reason) {
		t.Errorf("unknown reason %q", e.Reason)
	}
	if e.Detail == "" || e.Detail != strings.TrimSpace(e.Detail) || len(e.Detail) > 120 {
		t.Errorf("%q is no phrase", e.Detail)
	}
	if (e.Wait > 0) != (e.Reason == rufus.RateLimited) {
		t.Errorf("reason %s with Wait %v", e.Reason, e.Wait)
	}
	noSecret(t, err)
	return e.Reason
}

// noSecret checks err and all wrapped errors, in every form that a logger may use.
func noSecret(t testing.TB, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			for _, secret := range []string{key, token, device, other, "/v0", "http:", "127.0.0.1", "BODY"} {
				if strings.Contains(strings.ToUpper(text), strings.ToUpper(secret)) {
					t.Errorf("the error shows %q: %s", secret, text)
				}
			}
		}
	}
}

// ask fetches the session of token.
func ask(t testing.TB, c *rufus.Client) (rufus.Session, error) {
	t.Helper()
	return c.Session(t.Context(), rufus.NewSecret(token))
}

// askAll fetches it n times concurrently and returns the number of successes.
func askAll(ctx context.Context, c *rufus.Client, n int) int {
	good := make(chan int, n)
	for range n {
		go func() {
			if _, err := c.Session(ctx, rufus.NewSecret(token)); err != nil {
				good <- 0
				return
			}
			good <- 1
		}()
	}
	sum := 0
	for range n {
		sum += <-good
	}
	return sum
}
