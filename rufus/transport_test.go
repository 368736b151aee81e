package rufus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/rufus"
)

// watched is an API that counts its connections and signals when one is closed.
type watched struct {
	*httptest.Server
	opened atomic.Int32
	closed chan struct{}
}

// clock is a fake clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// watch starts a watched API over HTTP/1.1 or HTTP/2, and returns it with a transport for it and the transport's clock.
func watch(t *testing.T, http2 bool, handler http.HandlerFunc) (*watched, *rufus.Transport, *clock) {
	t.Helper()
	w := &watched{closed: make(chan struct{}, 1000)}
	server, trust := secureAPI(t, http2, handler, func(s *httptest.Server) {
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				w.opened.Add(1)
			case http.StateClosed:
				w.closed <- struct{}{}
			}
		}
	})
	w.Server = server
	over := rufus.NewTransport(rufus.TransportOptions{TLS: trust, MaxConns: 4, Timeout: patience})
	c := &clock{now: time.Now()}
	over.SetNow(c.Now)
	over.CloseIdleConnections() // connections made before the clock was set have the wrong age
	t.Cleanup(over.Close)
	return w, over, c
}

// closes waits until a connection is closed.
func (w *watched) closes(t *testing.T) {
	t.Helper()
	select {
	case <-w.closed:
	case <-time.After(patience):
		t.Fatal("no connection was closed")
	}
}

func overBoth(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Helper()
	t.Run("HTTP1", func(t *testing.T) { test(t, false) })
	t.Run("HTTP2", func(t *testing.T) { test(t, true) })
}

// No connection is used for more than five minutes.
func TestOldConnectionsAreRetired(t *testing.T) {
	overBoth(t, func(t *testing.T, http2 bool) {
		server, over, clock := watch(t, http2, says(http.StatusOK, one()))
		c := clientOver(t, server.URL, patience, over)
		for _, step := range []struct {
			after  time.Duration
			opened int32
		}{{0, 1}, {time.Minute, 1}, {4*time.Minute - 1, 1}, {1, 2}, {5*time.Minute - 1, 2}, {time.Hour, 3}} {
			clock.add(step.after)
			if _, err := ask(t, c); err != nil {
				t.Fatal(err)
			}
			if opened := server.opened.Load(); opened != step.opened {
				t.Errorf("after another %v: %d connections, want %d", step.after, opened, step.opened)
			}
		}
		server.closes(t)
		server.closes(t)
	})
}

// After three failures in a row new connections are made, but at most every ten seconds.
func TestConnectionsAreRetiredAfterFailures(t *testing.T) {
	overBoth(t, func(t *testing.T, http2 bool) {
		status := 0
		server, over, clock := watch(t, http2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		c := clientOver(t, server.URL, patience, over)
		for i, step := range []struct {
			after    time.Duration
			statuses []int
			opened   int32
		}{
			{0, []int{500, 502, 503, 504}, 1}, // too new
			{10 * time.Second, []int{500}, 2},
			{10 * time.Second, []int{500}, 2},
			{0, []int{404, 500, 500}, 2}, // a 404 ends a series of failures, like any answer of a working API
			{0, []int{403, 500, 429}, 2},
			{0, []int{500, 500, 500}, 2},
			{0, []int{500}, 3},
			{time.Second, []int{500, 500, 500, 500}, 3},
		} {
			clock.add(step.after)
			for _, status = range step.statuses {
				if _, err := ask(t, c); err == nil {
					t.Fatal("no error")
				}
			}
			if opened := server.opened.Load(); opened != step.opened {
				t.Errorf("step %d: %d connections, want %d", i, opened, step.opened)
			}
		}
	})
}

// When connections are retired on request, requests on them finish, and then they are closed. Later requests get new
// ones.
func TestCloseIdleConnections(t *testing.T) {
	overBoth(t, func(t *testing.T, http2 bool) {
		asked, proceed := make(chan struct{}, 10), make(chan struct{})
		server, over, _ := watch(t, http2, func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			if strings.HasSuffix(r.URL.Path, other) {
				<-proceed
			}
			answerWith(w, one())
		})
		c := clientOver(t, server.URL, patience, over)
		if _, err := ask(t, c); err != nil {
			t.Fatal(err)
		}
		<-asked
		slow := make(chan error, 1)
		go func() {
			_, err := c.Session(context.WithoutCancel(t.Context()), rufus.NewSecret(other))
			slow <- err
		}()
		<-asked
		over.CloseIdleConnections()
		if _, err := ask(t, c); err != nil {
			t.Fatal(err)
		}
		if opened := server.opened.Load(); opened != 2 {
			t.Errorf("%d connections", opened)
		}
		close(proceed)
		if err := <-slow; rufus.ReasonOf(err) != rufus.InvalidResponse { // an answer about another session, but an answer
			t.Errorf("got %v", err)
		}
		server.closes(t) // the first
		if _, err := ask(t, c); err != nil || server.opened.Load() != 2 {
			t.Errorf("%d connections, %v", server.opened.Load(), err)
		}
	})
}

// A transport that was closed leaves no connection open, not even that of a later request.
func TestClose(t *testing.T) {
	overBoth(t, func(t *testing.T, http2 bool) {
		var over *rufus.Transport
		server, over, _ := watch(t, http2, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/active") {
				over.Close() // while this request is in flight
			}
			answerWith(w, one("active", "false"))
		})
		s, err := clientOver(t, server.URL, patience, over).DeviceSession(t.Context(), rufus.NewSecret(device))
		if got := outcome(t, s, err); got != reads("active", "false") {
			t.Errorf("got %s (%v)", got, err)
		}
		for range server.opened.Load() {
			server.closes(t)
		}
	})
}

// twoAddresses starts an API on each of two addresses, on the same port, and returns the port.
func twoAddresses(t *testing.T, first, second http.HandlerFunc) string {
	t.Helper()
	for range 100 {
		one, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(one.Addr().String())
		two, err := net.Listen("tcp", "127.0.0.2:"+port)
		if err != nil { // the port is in use
			_ = one.Close()
			continue
		}
		for listener, handler := range map[net.Listener]http.HandlerFunc{one: first, two: second} {
			server := httptest.NewUnstartedServer(handler)
			_ = server.Listener.Close()
			server.Listener = listener
			server.Start()
			t.Cleanup(server.Close)
		}
		return port
	}
	t.Skip("there is no second address")
	return ""
}

// addresses returns a lookup function that returns these addresses.
func addresses(list ...string) func(string) ([]netip.Addr, error) {
	return func(string) ([]netip.Addr, error) {
		var parsed []netip.Addr
		for _, a := range list {
			parsed = append(parsed, netip.MustParseAddr(a))
		}
		return parsed, nil
	}
}

// If the API moves, and its old address answers with errors or old data, the transport finds the new address.
func TestTheAPIMoves(t *testing.T) {
	for name, test := range map[string]struct {
		old   string
		after time.Duration
	}{
		"errors":   {"500 ", 10 * time.Second},
		"old data": {one("passings", "7"), 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			moved := false
			port := twoAddresses(t, func(w http.ResponseWriter, _ *http.Request) {
				if moved {
					answerWith(w, test.old)
					return
				}
				answerWith(w, one())
			}, says(http.StatusOK, one("passings", "32")))
			over := transport(t, rufus.TransportOptions{MaxConns: 4, Timeout: patience})
			clock := &clock{now: time.Now()}
			over.SetNow(clock.Now)
			over.SetLookup(addresses("127.0.0.1"))
			c := clientOver(t, "http://api.invalid:"+port, patience, over)
			if s, err := ask(t, c); outcome(t, s, err) != reads() {
				t.Fatalf("got %+v, %v", s, err)
			}
			moved = true
			over.SetLookup(addresses("127.0.0.2"))
			for range 3 {
				if s, err := ask(t, c); err == nil && outcome(t, s, err) != reads("passings", "7") {
					t.Fatalf("got %+v, %v", s, err)
				}
			}
			clock.add(test.after)
			s, err := ask(t, c)
			if got := outcome(t, s, err); got != reads("passings", "32") {
				t.Errorf("got %s (%v)", got, err)
			}
		})
	}
}

// If packets to the first address are dropped, the second one is still used in time.
func TestSilentAddress(t *testing.T) {
	for _, silent := range []int{1, 3, 12} {
		t.Run(fmt.Sprint(silent), func(t *testing.T) {
			t.Parallel()
			const timeout = 2 * time.Second
			server := api(t, says(http.StatusOK, one()))
			over := transport(t, rufus.TransportOptions{MaxConns: 4, Timeout: timeout})
			over.SetLookup(addresses(append(slices.Repeat([]string{"192.0.2.1"}, silent), "127.0.0.1")...))
			over.SetDial(func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "192.0.2.1:") {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			})
			s, err := ask(t, clientOver(t, strings.Replace(server, "127.0.0.1", "api.invalid", 1), timeout, over))
			if got := outcome(t, s, err); got != reads() {
				t.Errorf("got %s (%v)", got, err)
			}
		})
	}
}

// dialled records when each attempt of a dial started, and which connections are open.
type dialled struct {
	mu    sync.Mutex
	began []string
	open  int
}

type countedConn struct {
	net.Conn
	of *dialled
}

func (c *countedConn) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.open--
	return nil
}

// Addresses are tried in order: the next one when one fails or takes too long. The first that answers is used.
func TestDialling(t *testing.T) {
	type answers map[string]struct {
		after time.Duration // 0: at once
		err   error
	}
	broken := errors.New("broken")
	for _, test := range []struct {
		name    string
		timeout time.Duration
		addrs   []string
		answers answers // addresses that are not listed never answer
		began   string
		took    time.Duration
		got     string // address, or error
	}{
		{"the first", 2 * time.Second, []string{"10.0.0.1", "10.0.0.2"}, answers{"10.0.0.1": {0, nil}},
			"10.0.0.1:80 0s", 0, "10.0.0.1:80"},
		{"the second", 2 * time.Second, []string{"10.0.0.1", "10.0.0.2"}, answers{"10.0.0.2": {0, nil}},
			"10.0.0.1:80 0s, 10.0.0.2:80 300ms", 300 * time.Millisecond, "10.0.0.2:80"},
		{"the first fails", 2 * time.Second, []string{"10.0.0.1", "10.0.0.2"}, answers{"10.0.0.1": {0, broken}, "10.0.0.2": {0, nil}},
			"10.0.0.1:80 0s, 10.0.0.2:80 0s", 0, "10.0.0.2:80"},
		{"the first is slow but faster", 2 * time.Second, []string{"10.0.0.1", "10.0.0.2"},
			answers{"10.0.0.1": {time.Second, nil}, "10.0.0.2": {900 * time.Millisecond, nil}},
			"10.0.0.1:80 0s, 10.0.0.2:80 300ms", time.Second, "10.0.0.1:80"},
		{"other families", 2 * time.Second, []string{"2001:db8::1", "::ffff:10.0.0.1"}, answers{"10.0.0.1": {0, nil}},
			"[2001:db8::1]:80 0s, 10.0.0.1:80 300ms", 300 * time.Millisecond, "10.0.0.1:80"},
		{"a short timeout", 400 * time.Millisecond, []string{"10.0.0.1", "10.0.0.2"}, answers{"10.0.0.2": {0, nil}},
			"10.0.0.1:80 0s, 10.0.0.2:80 100ms", 100 * time.Millisecond, "10.0.0.2:80"},
		{"both fail", 2 * time.Second, []string{"10.0.0.1", "10.0.0.2"},
			answers{"10.0.0.1": {time.Second, broken}, "10.0.0.2": {0, errors.ErrUnsupported}},
			"10.0.0.1:80 0s, 10.0.0.2:80 300ms", time.Second, errors.ErrUnsupported.Error()},
		{"nobody answers", 2 * time.Second, []string{"10.0.0.1", "10.0.0.2"}, nil,
			"10.0.0.1:80 0s, 10.0.0.2:80 300ms", 2 * time.Second, context.DeadlineExceeded.Error()},
		{"no address", 2 * time.Second, nil, nil, "", 0, "lookup api.invalid: no address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over := rufus.NewTransport(rufus.TransportOptions{MaxConns: 1, Timeout: test.timeout})
				over.SetLookup(addresses(test.addrs...))
				start, d := time.Now(), &dialled{}
				over.SetDial(func(ctx context.Context, _, address string) (net.Conn, error) {
					d.mu.Lock()
					d.began = append(d.began, address+" "+time.Since(start).String())
					d.mu.Unlock()
					host, _, _ := net.SplitHostPort(address)
					answer, known := test.answers[host]
					if !known {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					time.Sleep(answer.after) // even if nobody waits for it
					if answer.err != nil {
						return nil, answer.err
					}
					d.mu.Lock()
					defer d.mu.Unlock()
					d.open++
					return &countedConn{Conn: &net.TCPConn{}, of: d}, nil
				})
				conn, err := over.Dial(t.Context(), "api.invalid:80")
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				want := 1
				if err != nil {
					want = 0
				}
				if (conn == nil) != (err != nil) || err != nil && err.Error() != test.got {
					t.Errorf("got %v, %v, want %s", conn, err, test.got)
				}
				time.Sleep(time.Hour) // for attempts that are still running
				synctest.Wait()
				d.mu.Lock()
				defer d.mu.Unlock()
				if got := strings.Join(d.began, ", "); got != test.began {
					t.Errorf("began %s, want %s", got, test.began)
				}
				if d.open != want {
					t.Errorf("%d connections are open, want %d", d.open, want)
				}
			})
		})
	}
}

type connKey struct{}

// A request that makes the API hang up is sent at most twice, regardless of the number of idle connections. Other
// requests are answered.
func TestHangingUp(t *testing.T) {
	const conns = 8
	for name, test := range map[string]struct{ secure, http2 bool }{
		"HTTP1": {}, "HTTP1 with TLS": {secure: true}, "HTTP2": {secure: true, http2: true},
	} {
		t.Run(name, func(t *testing.T) {
			var sent, waiting atomic.Int32
			all := make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok && strings.HasSuffix(r.URL.Path, other) {
					sent.Add(1)
					_ = conn.Close()
					return
				}
				if waiting.Add(1) == conns {
					close(all)
				}
				<-all // so that each has its own connection
				answerWith(w, one())
			}))
			server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
				return context.WithValue(ctx, connKey{}, conn)
			}
			o := rufus.TransportOptions{MaxConns: conns, Timeout: patience}
			if test.secure {
				server.EnableHTTP2 = test.http2
				server.StartTLS()
				o.TLS = trusting(server)
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			c := clientOver(t, server.URL, patience, transport(t, o))
			for round := range 3 {
				if good := askAll(t.Context(), c, conns); good != conns {
					t.Errorf("round %d: %d requests were answered", round, good)
				}
				sent.Store(0)
				_, err := c.Session(t.Context(), rufus.NewSecret(other))
				if got := reason(t, err); got != rufus.Network {
					t.Errorf("got %v, want network", err)
				}
				if n := sent.Load(); n < 1 || n > 2 {
					t.Errorf("round %d: the request was sent %d times", round, n)
				}
			}
		})
	}
}

// An idle connection that the API has closed costs no answer.
func TestClosedMeanwhile(t *testing.T) {
	var requests atomic.Int32
	c := client(t, rawAPI(t, func(conn net.Conn, r *bufio.Reader) {
		for first := true; ; first = false {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if requests.Add(1); !first {
				return // as if it had been closed just before
			}
			_, _ = io.WriteString(conn, head("Content-Length: "+strconv.Itoa(len(one())))+one())
		}
	}), patience)
	for range 3 {
		if s, err := ask(t, c); outcome(t, s, err) != reads() {
			t.Errorf("got %v", err)
		}
	}
	if n := requests.Load(); n != 5 {
		t.Errorf("the API got %d requests", n)
	}
}

// If the API has closed all idle connections, for example in a restart, no answer is lost either: the second try uses a
// new connection, not another idle one.
func TestAllClosedMeanwhile(t *testing.T) {
	const conns = 8
	var waiting atomic.Int32
	all := make(chan struct{})
	base := rawAPI(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if waiting.Add(1) == conns {
			close(all)
		}
		<-all // so that each has its own connection
		_, _ = io.WriteString(conn, head("Content-Length: "+strconv.Itoa(len(one())))+one())
		_, _ = http.ReadRequest(r) // and then it closes the connection, as if it had been closed just before
	})
	c := clientOver(t, base, patience, transport(t, rufus.TransportOptions{MaxConns: conns, Timeout: patience}))
	for round := range 5 {
		if good := askAll(t.Context(), c, conns); good != conns {
			t.Errorf("round %d: %d requests were answered, want %d", round, good, conns)
		}
	}
}

// Connections may be retired while the first requests are sent. The race detector watches.
func TestRetiredWhileRequestsAreSent(t *testing.T) {
	over := transport(t, rufus.TransportOptions{MaxConns: 2, Timeout: patience})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := over.RoundTrip(r); err == nil {
				_ = resp.Body.Close()
				t.Error("port 1 answers")
			}
		})
		all.Go(over.CloseIdleConnections)
	}
	all.Wait()
}
