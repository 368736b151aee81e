package rufus

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// TransportOptions are what differs between transports.
type TransportOptions struct {
	TLS      *tls.Config                           // nil: the system's roots
	Proxy    func(*http.Request) (*url.URL, error) // nil: none
	MaxConns int                                   // connections, and so requests on HTTP/1.1, at a time
	Timeout  time.Duration                         // of one request; paces dialling and the health checks
	// Dial connects to a host and port. nil: by TCP, to the first of the host's addresses that answers.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Transport is a round tripper for NewClient that keeps its connections, at most MaxConns.
//
// No connection is kept for ever, because the API may move. After five minutes, and after three failures in a row,
// requests get new connections, to the addresses that the API's name has then. The old ones are closed when their
// requests have ended. A failure is an error or a 5xx, as a working API gives every other status. Failures count once
// the connections are ten seconds old.
//
// A connection whose path has gone silent, as in mobile networks, is given up. Only asking can tell it from a slow
// answer. An HTTP/1.1 connection in use goes down with its request; an idle one is probed by TCP, fast enough to be
// gone before a scrape 15 s later. An HTTP/2 connection carries all requests and survives each of them: without pings,
// hundreds of requests would time out on it. It is pinged after a quarter of Timeout without a byte from the other side
// and closed after another half without an answer. So it is gone before the first request that it lost has used up
// its time, and the next request of the same scrape gets a new one.
//
// If an API allows fewer requests at a time on an HTTP/2 connection than are wanted (most allow 100 or more), net/http
// opens further connections, beyond MaxConns. Its setting against that, StrictMaxConcurrentRequests, makes requests
// wait for each other for ever in Go 1.26, so it stays off.
//
// net/http writes to the standard logger what a server sends unasked on an idle connection, such as the rest of an
// answer that was longer than it said: tokens perhaps. No setting of the transport prevents that, so a program that
// uses this package must discard what the standard logger is given.
type Transport struct {
	connect func() *http.Transport // returns one without connections
	dialer  *dialer
	now     func() time.Time

	mu      sync.Mutex
	current *generation
	closed  bool
}

// generation is a set of connections that are retired together, because net/http cannot close one that is in use.
type generation struct {
	*http.Transport
	since    time.Time
	failures int // in a row
}

const (
	maxAge      = 5 * time.Minute
	minAge      = 10 * time.Second // before failures count
	maxFailures = 3
)

// NewTransport returns a transport without connections. Call Close when it is replaced.
func NewTransport(o TransportOptions) *Transport {
	config := cmp.Or(o.TLS, &tls.Config{MinVersion: tls.VersionTLS12}).Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(o.MaxConns) // a round trip less on a bad network
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 2 * time.Second, Count: 2}
	dialer := &dialer{
		lookup:  net.DefaultResolver.LookupNetIP,
		dial:    (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext,
		timeout: o.Timeout,
	}
	if o.Dial == nil {
		o.Dial = dialer.DialContext
	}
	connect := func() *http.Transport {
		return &http.Transport{
			Proxy:                  o.Proxy,
			DialContext:            o.Dial,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    o.Timeout,
			MaxConnsPerHost:        o.MaxConns,
			MaxIdleConnsPerHost:    o.MaxConns, // the default of 2 would reconnect all the time
			IdleConnTimeout:        2 * time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout:           o.Timeout / 4,
				PingTimeout:               o.Timeout / 2,
				MaxReceiveBufferPerStream: 256 << 10, // of an endless body, no more is buffered; the default is 4 MiB
			},
		}
	}
	t := &Transport{connect: connect, dialer: dialer, now: time.Now}
	t.current = &generation{Transport: connect(), since: t.now()}
	return t
}

// CloseIdleConnections retires all connections: idle ones are closed now, the others when their request ends. Later
// requests get new connections.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	retired := t.retireLocked()
	t.mu.Unlock()
	retired.CloseIdleConnections()
}

// Close is CloseIdleConnections for a transport that has been replaced: the connections of later requests are not kept
// either.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.CloseIdleConnections()
}

// retireLocked starts a new generation and returns the old one, whose idle connections are for the caller to close
// without t.mu: that may take a while on a path that is silent.
func (t *Transport) retireLocked() (old *generation) {
	old, t.current = t.current, &generation{Transport: t.connect(), since: t.now()}
	return old
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	used := t.current
	age := t.now().Sub(used.since)
	if age >= maxAge || age >= minAge && used.failures >= maxFailures {
		defer t.retireLocked().CloseIdleConnections()
		used = t.current
	}
	t.mu.Unlock()

	resp, err := used.RoundTrip(r)

	t.mu.Lock()
	if err == nil && resp.StatusCode < http.StatusInternalServerError {
		used.failures = 0
	} else {
		used.failures++
	}
	t.mu.Unlock()
	if err != nil {
		t.ended(used)
		return nil, err
	}
	resp.Body = &trackedBody{ReadCloser: resp.Body, transport: t, used: used}
	return resp, nil
}

// ended is called when a request has ended. It closes the idle connections of a generation that was retired.
func (t *Transport) ended(used *generation) {
	t.mu.Lock()
	kept := used == t.current && !t.closed
	t.mu.Unlock()
	if !kept {
		used.CloseIdleConnections()
	}
}

// trackedBody reports the end of a request, which is when the body of its answer is closed.
type trackedBody struct {
	io.ReadCloser
	transport *Transport
	used      *generation
}

// Close implements io.Closer.
func (b *trackedBody) Close() error {
	defer b.transport.ended(b.used)
	return b.ReadCloser.Close()
}
