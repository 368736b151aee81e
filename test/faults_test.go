//go:build unix

package test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rufus_exporter/rufus"
	"rufus_exporter/test/lab"
)

// Ten sessions, of which one is bad, and how much memory the exporter may take, whatever that one is answered.
const (
	ten          = 10
	bad          = ten - 1
	mostResident = 100 << 20
)

// scrapeTimeout is what Prometheus would say that a scrape may take. A request of the tests that are about time ends
// sooner.
const scrapeTimeout = 20 * time.Second

// stand is an exporter of ten sessions whose API answers nine as documented, and the tenth as it is told to.
type stand struct {
	*exporter
	api      *upstream
	sessions string // its sessions.yml
	nine     atomic.Pointer[http.HandlerFunc]
	tenth    atomic.Pointer[http.HandlerFunc]
	before   usage // when nothing had been asked
}

// newStand starts an API over what changes make of its server, and an exporter with further settings.
func newStand(t *testing.T, further []string, changes ...func(*httptest.Server)) *stand {
	t.Helper()
	s := &stand{}
	s.tell(healthy, healthy)
	s.api = serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, token(bad)) {
			(*s.tenth.Load())(w, r)
			return
		}
		(*s.nine.Load())(w, r)
	}), changes...)
	s.sessions = settings(s.api.url, further...)
	for i := range ten {
		s.sessions += fmt.Sprintf("  - {name: s%d, token: %s}\n", i, token(i))
	}
	s.exporter = start(t, s.sessions, "--web.enable-lifecycle", "--config.auto-reload-interval=0")
	s.usage() // opens the connection that is there when it is measured
	s.before = s.usage()
	return s
}

// token returns the token of a session: that of the bad one must not show anywhere, nor that of the first.
func token(i int) string {
	switch i {
	case 0:
		return secrets["another token"]
	case bad:
		return secrets["token"]
	default:
		return strings.ToUpper(fmt.Sprintf("%064x", i))
	}
}

// tell sets how the API answers the nine and the tenth.
func (s *stand) tell(nine, tenth http.HandlerFunc) {
	s.nine.Store(&nine)
	s.tenth.Store(&tenth)
}

// scrape asks for everything, as Prometheus would: there is an answer in time that parses and gives no secret away, and
// memory stays within bounds.
func (s *stand) scrape(what string) series {
	s.t.Helper()
	begin := time.Now()
	resp, text := s.get("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", fmt.Sprint(scrapeTimeout.Seconds()))
	if took := time.Since(begin); resp.StatusCode != http.StatusOK || took > scrapeTimeout {
		s.t.Errorf("%s: status %d after %s", what, resp.StatusCode, took)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(text)); err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
	for _, leak := range leaks(text) {
		s.t.Errorf("%s: %s", what, leak)
	}
	scraped := parseSeries(text)
	var resident float64
	if _, err := fmt.Sscan(scraped["process_resident_memory_bytes"], &resident); err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
	if resident > mostResident && !raced { // the race detector takes several times as much
		s.t.Errorf("%s: %.0f MiB are resident", what, resident/(1<<20))
	}
	return scraped
}

// expect checks a scrape: nine sessions are those and the tenth is that, and there are no other series.
func (s *stand) expect(what string, scraped, nine, tenth series) {
	s.t.Helper()
	for i := range ten {
		want := nine
		if i == bad {
			want = tenth
		}
		if got := scraped.of(fmt.Sprintf("s%d", i)); !maps.Equal(got, want) {
			s.t.Errorf("%s: s%d: got %v\nwant %v", what, i, got, want)
		}
	}
}

// recovers checks that all is as it was: ten sessions are right, and when the API has broken its connections off there
// is not a goroutine or a descriptor more than in the beginning; and that the log has no secret.
func (s *stand) recovers() {
	s.t.Helper()
	s.tell(healthy, healthy)
	s.expect("in the end", s.scrape("in the end"), shows(), shows())
	s.api.hangUp()
	s.returns(s.before)
	for _, leak := range leaks(s.output.String()) {
		s.t.Errorf("in the log: %s", leak)
	}
}

// The ways in which the API can answer wrongly, late or not at all: one session is answered so, and its nine neighbours
// are right. What it asks all to wait for is in TestBackoff, what happens to connections in the tests after it, and an API
// that cannot be reached at all in TestUnreachableAPI.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, group := range map[string]struct {
		over    func(*httptest.Server)
		further []string
		cases   []answered
	}{
		"HTTP1": {func(*httptest.Server) {}, nil, answers},
		"slow":  {func(*httptest.Server) {}, []string{"timeout: 2s"}, overdue},
		"HTTP2": {overHTTP2(t), []string{"tls_config: {insecure_skip_verify: true}"}, streams},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, group.further, group.over)
			for _, fault := range group.cases {
				s.tell(healthy, fault.answer)
				s.expect(fault.name, s.scrape(fault.name), shows(), fault.want)
			}
			s.recovers()
		})
	}
}

// streams are faults of HTTP/2, where the sessions share a connection.
var streams = []answered{
	{"as documented", onlyHTTP2(healthy), shows()},
	{"RST_STREAM", abort, fails(rufus.Network)},
	{"RST_STREAM in the body", abortLate, fails(rufus.Network)},
	{"GOAWAY after the answers", says(200, result("["+documented+"]"), "Connection", "close"), shows()},
	{"without end", endless, fails(rufus.InvalidResponse)},
	{"1 GiB", gibibyte, fails(rufus.InvalidResponse)},
	{"gzip bomb", bomb, fails(rufus.InvalidResponse)},
	{"500", says(500, ""), fails(rufus.ServerError)},
}

// connKey is where the context of a request has its connection.
type connKey struct{}

func overHTTP2(t *testing.T) func(*httptest.Server) {
	t.Helper()
	certificate := lab.NewAuthority(t).Leaf(nil)
	return func(server *httptest.Server) {
		server.EnableHTTP2 = true
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		}
	}
}

func onlyHTTP2(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http.Error(w, r.Proto, http.StatusHTTPVersionNotSupported)
			return
		}
		next(w, r)
	}
}

// abort resets a stream, and abortLate does after the beginning of its body.
func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func abortLate(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, result("[")[:10])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// The API takes back a whole connection, with all that was asked over it, when it is asked first (RFC 9113, 6.8): all is
// asked again on another one. None has been answered by then, for half of an answer could not be taken back.
func TestGoAway(t *testing.T) {
	t.Parallel()
	s := newStand(t, []string{"tls_config: {insecure_skip_verify: true}"}, overHTTP2(t))
	s.tell(healthy, healthy)
	s.scrape("before") // so that the frame below does not overtake the settings, which must come first
	gone := make(chan struct{})
	first := sync.OnceFunc(func() { close(gone) })
	s.tell(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
			healthy(w, r)
		case <-r.Context().Done():
		}
	}, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
			healthy(w, r)
			return
		default:
		}
		frame := []byte{0, 0, 8, 7, 0, 0, 0, 0, 0} // 8 bytes, GOAWAY, no flags, about the connection
		frame = binary.BigEndian.AppendUint32(frame, 0)
		frame = binary.BigEndian.AppendUint32(frame, 0) // no stream was begun, no error
		if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			_, _ = conn.Write(frame)
		}
		<-r.Context().Done()
		first()
	})
	s.expect("scrape", s.scrape("GOAWAY before the answers"), shows(), shows())
	s.recovers()
}

// While the API asks all to wait, nothing is sent, and every session says so. One that alone is asked to waits alone.
func TestBackoff(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	s := newStand(t, nil)
	waiting := without(fails(rufus.RateLimited), "fetch_duration_seconds")

	s.tell(healthy, says(429, "", "Retry-After", "120"))
	s.expect("one alone", s.scrape("one alone"), shows(), fails(rufus.RateLimited))
	s.api.asked()
	scraped := s.scrape("one alone")
	s.expect("one alone, waiting", scraped, shows(), waiting)
	if requests, _ := s.api.asked(); len(requests) != ten-1 {
		t.Errorf("one alone: asked while waiting: %v", requests)
	}
	if until := scraped["rufus_api_backoff_until_timestamp_seconds"]; until != "" {
		t.Errorf("one alone: all wait until %s", until)
	}

	for _, test := range []struct {
		status      int
		retryAfter  string
		least, most time.Duration // that is left to wait after two scrapes
	}{
		{429, "", time.Second, 30 * time.Second},
		{429, "120", 90 * time.Second, 2 * minute},
		{429, "-1", time.Second, 30 * time.Second},
		{429, "soon", time.Second, 30 * time.Second},
		{429, "99999999999999999999", 4 * minute, 5 * minute},
		{429, time.Now().Add(3 * minute).UTC().Format(http.TimeFormat), minute, 3 * minute},
		{429, "Fri, 31 Dec 9999 23:59:59 GMT", 4 * minute, 5 * minute},
		{429, "Mon, 31 Feb 2026 00:00:00 GMT", time.Second, 30 * time.Second},
		{503, "120", 30 * time.Second, minute},
		{503, "99999999999999999999", 30 * time.Second, minute},
		{503, "Fri, 31 Dec 9999 23:59:59 GMT", 30 * time.Second, minute},
	} {
		what := fmt.Sprintf("%d, %q", test.status, test.retryAfter)
		var header []string
		if test.retryAfter != "" {
			header = []string{"Retry-After", test.retryAfter}
		}
		all := together(ten)(says(test.status, "", header...))
		s.tell(healthy, healthy)
		s.use(s.sessions) // which ends the wait before
		s.expect(what+", after a reload", s.scrape(what), shows(), shows())
		s.tell(all, all)
		s.expect(what, s.scrape(what), fails(rufus.RateLimited), fails(rufus.RateLimited))

		s.api.asked()
		scraped := s.scrape(what)
		s.expect(what+", waiting", scraped, waiting, waiting)
		if requests, _ := s.api.asked(); len(requests) != 0 {
			t.Errorf("%s: asked while waiting: %v", what, requests)
		}
		var until float64
		_, err := fmt.Sscan(scraped["rufus_api_backoff_until_timestamp_seconds"], &until)
		left := time.Duration((until - float64(time.Now().Unix())) * float64(time.Second))
		if err != nil || left < test.least || left > test.most+time.Second {
			t.Errorf("%s: waits for another %s (%v), want %s to %s", what, left, err, test.least, test.most)
		}
	}
	s.use(s.sessions)
	s.recovers()
}

// Reloads that change the api section while requests hang add no requests: there is one limit for the process.
func TestReloadsKeepTheLimit(t *testing.T) {
	t.Parallel()
	const limit = "max_concurrent_requests: 4"
	var now, most atomic.Int32
	goOn := make(chan struct{})
	s := newStand(t, []string{limit})
	hangs := func(w http.ResponseWriter, r *http.Request) {
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-goOn
		now.Add(-1)
		healthy(w, r)
	}
	s.tell(hangs, hangs)
	var scrapes sync.WaitGroup
	for i := range 20 {
		scrapes.Go(func() {
			what := fmt.Sprint("scrape ", i)
			s.expect(what, s.scrape(what), shows(), shows())
		})
		changed := settings(s.api.url, limit, fmt.Sprintf("timeout: %dm", 5+i))
		s.use(changed + s.sessions[strings.Index(s.sessions, "sessions:\n")+len("sessions:\n"):])
	}
	close(goOn)
	scrapes.Wait()
	if most.Load() != 4 {
		t.Errorf("%d requests at a time", most.Load())
	}
}

// together returns what lets requests wait for each other until there are n.
func together(n int32) func(http.Handler) http.HandlerFunc {
	var arrived atomic.Int32
	all := make(chan struct{})
	return func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if arrived.Add(1) == n {
				close(all)
			}
			select {
			case <-all:
				next.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}
	}
}

// One of ten handshakes fails, as where one of the servers behind a name has been forgotten: nine sessions are right.
// The tenth may be as well, on a connection that another has finished with before the handshake fails.
func TestFaultsOfHandshakes(t *testing.T) {
	t.Parallel()
	ours, ca := lab.NewAuthority(t), filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, ours.PEM())
	shown := func(certificate tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{
				Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
				SessionTicketsDisabled: true, // so that no handshake goes without its certificate
			}, nil
		}
	}
	good := shown(ours.Leaf(nil))
	var next atomic.Pointer[func(*tls.ClientHelloInfo) (*tls.Config, error)] // instead of good, once
	s := newStand(t, []string{"tls_config: {ca_file: " + ca + "}"}, func(server *httptest.Server) {
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if fault := next.Swap(nil); fault != nil {
					return (*fault)(hello)
				}
				return good(hello)
			},
		}
	})
	failures := 0
	for _, fault := range []struct {
		name  string
		hello func(*tls.ClientHelloInfo) (*tls.Config, error)
	}{
		{"unknown authority", shown(lab.NewAuthority(t).Leaf(nil))},
		{"another host", shown(ours.Leaf(forAnotherHost))},
		{"expired", shown(ours.Leaf(expired))},
		{"alert", func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("out of order") }},
		{"closed", func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return nil, hello.Conn.Close() }},
		{"not TLS", func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			_, _ = io.WriteString(hello.Conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			return nil, hello.Conn.Close()
		}},
	} {
		s.api.hangUp() // so that there are ten handshakes
		next.Store(&fault.hello)
		nine := together(ten - 1)(healthy)
		s.tell(nine, nine)
		scraped, failed := s.scrape(fault.name), 0
		if next.Load() != nil {
			t.Errorf("%s: no handshake failed", fault.name)
		}
		for i := range ten {
			switch got := scraped.of(fmt.Sprintf("s%d", i)); {
			case maps.Equal(got, fails(rufus.Network)):
				failed++
			case !maps.Equal(got, shows()):
				t.Errorf("%s: s%d: got %v", fault.name, i, got)
			}
		}
		if failed > 1 {
			t.Errorf("%s: %d sessions failed, want at most 1", fault.name, failed)
		}
		failures += failed
	}
	if failures == 0 {
		t.Error("no session ever failed")
	}
	s.recovers()
}

// The path of all connections goes silent, as mobile networks let it, while new ones would work: that scrape is
// answered in time, and the next one is right.
func TestSilentPath(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secure  []func(*httptest.Server)
		further []string
		good    http.HandlerFunc
	}{
		"HTTP1": {nil, []string{"timeout: 2s"}, healthy},
		"HTTP2": {
			[]func(*httptest.Server){overHTTP2(t)}, []string{"timeout: 2s", "tls_config: {insecure_skip_verify: true}"},
			onlyHTTP2(healthy),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, test.further, test.secure...)
			s.tell(test.good, test.good)
			p := lab.NewPath(t, s.api.url)
			s.use(strings.ReplaceAll(s.sessions, s.api.url, p.URL))
			s.expect("before", s.scrape("before"), shows(), shows())
			p.Silence()
			scraped, failed := s.scrape("silent"), 0
			for i := range ten {
				switch got := scraped.of(fmt.Sprintf("s%d", i)); {
				case maps.Equal(got, fails(rufus.Timeout)), maps.Equal(got, fails(rufus.Network)):
					failed++
				case !maps.Equal(got, shows()):
					t.Errorf("s%d: got %v", i, got)
				}
			}
			if failed == 0 {
				t.Error("the path did not go silent")
			}
			s.expect("afterwards", s.scrape("afterwards"), shows(), shows())
			p.Cut()
			s.scrape("cut") // may still send requests into a connection whose end it has not seen
			s.recovers()
		})
	}
}
