package rufus_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

// path is a TCP proxy between the client and the API. It simulates a mobile network that can go silent or break.
type path struct {
	url    string
	opened atomic.Int32  // connections so far
	closed chan struct{} // one value per connection that the client closed

	mu    sync.Mutex
	conns []*pathConn
}

// pathConn is one connection over a path. When it is silent, it drops data from both sides, and neither side notices.
type pathConn struct {
	client, server net.Conn
	silent         atomic.Bool
}

// through puts a path in front of server. It is closed at the end of the test.
func through(t *testing.T, server *httptest.Server) *path {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &path{url: target.Scheme + "://" + listener.Addr().String(), closed: make(chan struct{}, 1000)}
	serveRaw(t, listener, func(client net.Conn, _ *bufio.Reader) {
		p.opened.Add(1)
		server, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), "tcp", target.Host)
		if err != nil {
			t.Error(err)
			return
		}
		conn := &pathConn{client: client, server: server}
		p.mu.Lock()
		p.conns = append(p.conns, conn)
		p.mu.Unlock()
		var back sync.WaitGroup
		back.Go(func() { conn.copy(client, server) })
		conn.copy(server, client)
		p.closed <- struct{}{}
		_ = server.Close()
		back.Wait()
	})
	return p
}

// copy forwards bytes, and the end of the stream, unless the path is silent.
func (c *pathConn) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !c.silent.Load() {
			_, _ = to.Write(buffer[:n])
		}
		if err != nil {
			if !c.silent.Load() {
				_ = to.Close()
			}
			return
		}
	}
}

// silence makes all open connections silent. Later ones work.
func (p *path) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.silent.Store(true)
	}
}

// cut breaks all open connections.
func (p *path) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.client.Close()
		_ = conn.server.Close()
	}
	p.conns = nil
}

// overPath returns a path to an API over HTTP/1.1 or HTTP/2, and a transport for it.
func overPath(t *testing.T, http2 bool, maxConns int, timeout time.Duration) (*path, *rufus.Transport) {
	t.Helper()
	server, trust := secureAPI(t, http2, func(w http.ResponseWriter, r *http.Request) {
		if want := map[bool]int{false: 1, true: 2}[http2]; r.ProtoMajor != want {
			t.Errorf("got %s, want version %d", r.Proto, want)
		}
		_, _ = io.WriteString(w, one())
	})
	over := transport(t, rufus.TransportOptions{TLS: trust, MaxConns: maxConns, Timeout: timeout})
	return through(t, server), over
}

// Requests share at most MaxConns connections, which are reused by later scrapes. A busy machine may need a few more over
// time: net/http does not reuse a connection if the answer comes 50 ms before the writing goroutine gets its turn.
func TestConnectionsAreKept(t *testing.T) {
	const conns, requests = 4, 40
	for name, http2 := range map[string]bool{"HTTP1": false, "HTTP2": true} {
		t.Run(name, func(t *testing.T) {
			p, over := overPath(t, http2, conns, patience)
			c := clientOver(t, p.url, patience, over)
			for scrape := range 4 {
				if good := askAll(t.Context(), c, requests); good != requests {
					t.Errorf("scrape %d: %d of %d requests were answered", scrape, good, requests)
				}
			}
			if opened := p.opened.Load(); opened > 2*conns {
				t.Errorf("%d connections were opened, want about %d", opened, conns)
			}
		})
	}
}

// If all connections go silent while new ones would work, only the requests on them are lost. Later requests are
// answered. Without pings, an HTTP/2 connection would be kept.
func TestSilentPath(t *testing.T) {
	const timeout = time.Second
	for name, test := range map[string]struct {
		http2    bool
		requests int
		change   func(*rufus.Transport)
		recovers bool
	}{
		"HTTP1":                   {false, 1, nil, true},
		"HTTP1, many at once":     {false, 4, nil, true},
		"HTTP2":                   {true, 1, nil, true},
		"HTTP2, many at once":     {true, 20, nil, true},
		"HTTP2 without its pings": {true, 1, (*rufus.Transport).WithoutPings, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, over := overPath(t, test.http2, 4, timeout)
			if test.change != nil {
				test.change(over)
			}
			c := clientOver(t, p.url, timeout, over)
			if good := askAll(t.Context(), c, test.requests); good != test.requests {
				t.Fatalf("before: %d of %d requests were answered", good, test.requests)
			}
			before := p.opened.Load()
			p.silence()
			if good := askAll(t.Context(), c, test.requests); good == test.requests {
				t.Fatal("the path did not go silent")
			}
			good := askAll(t.Context(), c, test.requests)
			if test.recovers != (good == test.requests) || test.recovers != (p.opened.Load() > before) {
				t.Errorf("after: %d of %d requests were answered, over %d new connections, want that they recover: %t",
					good, test.requests, p.opened.Load()-before, test.recovers)
			}
		})
	}
}

// An HTTP/2 connection that goes silent between scrapes is closed before the next one, which loses no request.
func TestSilentIdlePath(t *testing.T) {
	const timeout = time.Second
	p, over := overPath(t, true, 4, timeout)
	c := clientOver(t, p.url, timeout, over)
	if good := askAll(t.Context(), c, 1); good != 1 {
		t.Fatal("not answered before")
	}
	p.silence()
	select {
	case <-p.closed:
	case <-time.After(patience):
		t.Fatal("the silent connection was never closed")
	}
	if good := askAll(t.Context(), c, 20); good != 20 {
		t.Errorf("%d of 20 requests were answered", good)
	}
}

// The limit of connections still allows new ones after all connections have broken many times.
func TestBrokenPathLeavesRoom(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP1": false, "HTTP2": true} {
		t.Run(name, func(t *testing.T) {
			p, over := overPath(t, http2, 2, patience)
			c := clientOver(t, p.url, patience, over)
			for round := range 3 {
				good := 0
				for attempt := 0; good < 20 && attempt < 3; attempt++ { // requests in flight may fail
					good = askAll(t.Context(), c, 20)
				}
				if good < 20 {
					t.Fatalf("round %d: %d of 20 requests were answered", round, good)
				}
				lost := make(chan int, 1)
				go func() { lost <- askAll(context.WithoutCancel(t.Context()), c, 20) }()
				p.cut()
				<-lost
			}
		})
	}
}

// An API that allows few concurrent requests on a connection still answers all of them.
func TestFewStreamsPerConnection(t *testing.T) {
	const requests = 30
	server, trust := secureAPI(t, true, says(http.StatusOK, one()), func(s *httptest.Server) {
		s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 3}
	})
	p := through(t, server)
	over := transport(t, rufus.TransportOptions{TLS: trust, MaxConns: 4, Timeout: patience})
	c := clientOver(t, p.url, patience, over)
	for range 2 {
		if good := askAll(t.Context(), c, requests); good != requests {
			t.Errorf("%d of %d requests were answered", good, requests)
		}
	}
}

// A configured proxy is used.
func TestProxy(t *testing.T) {
	proxy := api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "api.invalid" || r.URL.Path != sessionPath {
			t.Errorf("the proxy got %s", r.URL)
		}
		_, _ = io.WriteString(w, one())
	})
	target, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	c := clientOver(t, "http://api.invalid", patience,
		transport(t, rufus.TransportOptions{Proxy: http.ProxyURL(target), MaxConns: 1, Timeout: patience}))
	s, err := ask(t, c)
	if got := outcome(t, s, err); got != reads() {
		t.Errorf("got %s (%v)", got, err)
	}
}

// Types of HTTP/2 frames (RFC 9113).
const (
	data, headers, reset, settings, goAway = 0, 1, 3, 4, 7

	endStream, endHeaders                                  = 1, 4
	noError, internalError, refusedStream, enhanceYourCalm = 0, 2, 7, 11
)

// frame returns a frame. Its payload is bytes, or 32-bit numbers.
func frame(kind, flags byte, stream uint32, payload ...any) []byte {
	var content []byte
	for _, part := range payload {
		switch part := part.(type) {
		case int:
			content = binary.BigEndian.AppendUint32(content, uint32(part))
		case string:
			content = append(content, part...)
		}
	}
	frame := []byte{0, byte(len(content) >> 8), byte(len(content)), kind, flags}
	return append(binary.BigEndian.AppendUint32(frame, stream), content...)
}

// answer returns a complete HTTP/2 answer for a stream: status 200 from the static table, and a body.
func answer(stream uint32, body string) []byte {
	return append(frame(headers, endHeaders, stream, "\x88"), frame(data, endStream, stream, body)...)
}

// An HTTP/2 server may refuse a request or close a connection at any time. Requests that it has not processed are sent
// again.
func TestHTTP2Faults(t *testing.T) {
	for _, fault := range []struct {
		name   string
		answer []byte
		times  int32 // how many requests are answered so; later ones get a valid answer
		stays  bool  // whether the connection stays open afterwards
		want   string
	}{
		{"answered", answer(1, one()), 1, true, reads()},
		{"GOAWAY before the request", frame(goAway, 0, 0, 0, noError), 1, false, reads()},
		{"GOAWAY after the answer", append(answer(1, one()), frame(goAway, 0, 0, 1, noError)...), 1, false, reads()},
		{"GOAWAY before each request", frame(goAway, 0, 0, 0, noError), 2, false, reads()},
		{"GOAWAY in anger", frame(goAway, 0, 0, 0, enhanceYourCalm, "BODY"), 1, false, "network"},
		{"GOAWAY for a broken server", frame(goAway, 0, 0, 1, internalError, "BODY"), 1, false, "network"},
		{"RST_STREAM, refused", frame(reset, 0, 1, refusedStream), 1, true, reads()},
		{"RST_STREAM, broken", frame(reset, 0, 1, internalError), 1, true, "network"},
		{"RST_STREAM in the body", append(append(frame(headers, endHeaders, 1, "\x88"),
			frame(data, 0, 1, one()[:50])...), frame(reset, 0, 1, internalError)...), 1, true, "network"},
		{"end in the body", append(frame(headers, endHeaders, 1, "\x88"), frame(data, 0, 1, "BODY")...), 1, false, "network"},
		{"body without a header", frame(data, endStream, 1, one()), 1, true, "network"},
		{"header that is none", frame(headers, endHeaders, 1, "\xff\xff\xff\xff\xff\xff"), 1, false, "network"},
		{"frame too large", []byte("\xff\xff\xff\x00\x00\x00\x00\x00\x01BODY"), 1, false, "network"},
		{"not HTTP/2", []byte("HTTP/1.1 400 BODY\r\n\r\n"), 1, false, "network"},
		{"nothing", nil, 1, false, "network"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			withCert, trust := secureAPI(t, true, says(http.StatusOK, ""))
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				Certificates: withCert.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
			})
			if err != nil {
				t.Fatal(err)
			}
			var requests atomic.Int32
			serveRaw(t, listener, func(conn net.Conn, r *bufio.Reader) {
				_, _ = conn.Write(frame(settings, 0, 0))
				_, _ = io.CopyN(io.Discard, r, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
				for {
					var head [9]byte
					if _, err := io.ReadFull(r, head[:]); err != nil {
						return
					}
					length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
					_, _ = io.CopyN(io.Discard, r, length)
					stream := binary.BigEndian.Uint32(head[5:])
					switch {
					case head[3] != headers:
					case requests.Add(1) > fault.times:
						_, _ = conn.Write(answer(stream, one()))
					default:
						_, _ = conn.Write(fault.answer)
						if !fault.stays {
							return
						}
					}
				}
			})
			c := clientOver(t, "https://"+listener.Addr().String(), patience,
				transport(t, rufus.TransportOptions{TLS: trust, MaxConns: 2, Timeout: patience}))
			s, err := ask(t, c)
			if got := outcome(t, s, err); got != fault.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, fault.want)
			}
			// Whatever happens to the first connection, the next request is answered.
			s, err = ask(t, c)
			if got := outcome(t, s, err); got != reads() {
				t.Errorf("afterwards: got %s (%v)", got, err)
			}
		})
	}
}
