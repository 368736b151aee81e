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

// TransportOptions configure a Transport.
type TransportOptions struct {
	TLS      *tls.Config                           // nil: trust the system's root certificates
	Proxy    func(*http.Request) (*url.URL, error) // nil: no proxy
	MaxConns int                                   // maximum number of connections, and so of HTTP/1.1 requests at a time
	Timeout  time.Duration                         // of one request; the timeouts for dialing and pings derive from it
	// Dial connects to a host and port. If it is nil, the transport uses TCP and the first address that answers.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Transport is a round tripper for NewClient that keeps up to MaxConns connections.
//
// Connections are replaced regularly, because the address of the API may change. After five minutes, or after three
// failures in a row, requests get new connections, for which the API's name is resolved again. The old connections are
// closed when their requests have ended. A failure is an error or a 5xx; any other status shows that the API works.
// Failures count only once the connections are ten seconds old.
//
// A connection that no longer transfers data, which is common in mobile networks, is closed. Only a probe can
// distinguish it from a slow answer. An HTTP/1.1 connection in use is closed when its request times out. An idle one is
// probed by TCP keep-alive, fast enough to be closed before the next scrape 15 s later. An HTTP/2 connection carries
// all requests, and a timed-out request does not close it. So it is pinged after a quarter of Timeout without data from
// the API, and closed if the ping is not answered within half of Timeout. That is before the first lost request times
// out, so that the next request of the same scrape gets a new connection.
//
// If the API limits the concurrent requests of an HTTP/2 connection to fewer than needed (most servers allow 100 or
// more), net/http opens more connections than MaxConns. Its setting StrictMaxConcurrentRequests prevents that, but in
// Go 1.26 it can make requests wait for each other forever, so it is off.
//
// net/http writes unsolicited data on an idle connection to the standard logger. Such data may be the rest of an answer
// that was longer than announced, and may contain tokens. No setting of the transport prevents that, so a program that
// uses this package must discard the output of the standard logger.
type Transport struct {
	connect func() *http.Transport // returns a new one without connections
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

// NewTransport returns a transport without connections. Call Close when it is no longer needed.
func NewTransport(o TransportOptions) *Transport {
	config := cmp.Or(o.TLS, &tls.Config{MinVersion: tls.VersionTLS12}).Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(o.MaxConns) // saves a round trip
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
			TLSClientConfig:        config.Clone(), // http.Transport writes to it
			TLSHandshakeTimeout:    o.Timeout,
			MaxConnsPerHost:        o.MaxConns,
			MaxIdleConnsPerHost:    o.MaxConns, // with the default of 2, most requests would need a new connection
			IdleConnTimeout:        2 * time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout:           o.Timeout / 4,
				PingTimeout:               o.Timeout / 2,
				MaxReceiveBufferPerStream: 256 << 10, // limits the memory for an endless body; the default is 4 MiB
			},
		}
	}
	t := &Transport{connect: connect, dialer: dialer, now: time.Now}
	t.current = &generation{Transport: connect(), since: t.now()}
	return t
}

// CloseIdleConnections retires all connections. Idle ones are closed now, the rest when their requests have ended.
// Later requests use new connections.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	retired := t.retireLocked()
	t.mu.Unlock()
	retired.CloseIdleConnections()
}

// Close retires all connections, and closes the connections of later requests as soon as they have ended.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.CloseIdleConnections()
}

// retireLocked starts a new generation and returns the old one. The caller must close the old one's idle connections,
// and not hold t.mu: closing a connection that no longer transfers data may take a while.
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

// ended is called when a request has ended. If its generation is retired, it closes the connection, which is now idle.
func (t *Transport) ended(used *generation) {
	t.mu.Lock()
	kept := used == t.current && !t.closed
	t.mu.Unlock()
	if !kept {
		used.CloseIdleConnections()
	}
}

// trackedBody calls ended when it is closed.
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
