package rufus

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
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
// requests have ended. A failure is an error or any status but 200 and 404. Failures count once the connections are
// ten seconds old.
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
	connect func() *http.Transport // with no connections yet
	dialer  *dialer
	now     func() time.Time

	mu      sync.Mutex
	current *generation
	closed  bool
}

// generation is connections that are retired together. net/http closes single ones only when they are idle.
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

// NewTransport returns a transport without connections. Close it when it is replaced.
func NewTransport(o TransportOptions) *Transport {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(o.MaxConns) // a round trip less on a bad network
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
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
			Protocols:              protocols,
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

// CloseIdleConnections retires the connections: idle ones are closed now, the others when their request ends, and
// requests from now on get new ones.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	retired := t.retireLocked()
	t.mu.Unlock()
	retired.CloseIdleConnections()
}

// Close is CloseIdleConnections for a transport that has been replaced: what its client still asks leaves no connection
// open either.
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
	over := t.current
	age := t.now().Sub(over.since)
	if age >= maxAge || age >= minAge && over.failures >= maxFailures {
		defer t.retireLocked().CloseIdleConnections()
		over = t.current
	}
	t.mu.Unlock()

	resp, err := over.RoundTrip(r)

	t.mu.Lock()
	if err == nil && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound) {
		over.failures = 0
	} else {
		over.failures++
	}
	t.mu.Unlock()
	if err != nil {
		t.ended(over)
		return nil, err
	}
	resp.Body = &trackedBody{ReadCloser: resp.Body, transport: t, over: over}
	return resp, nil
}

// ended closes the connections of a request that has ended if they are no longer wanted.
func (t *Transport) ended(over *generation) {
	t.mu.Lock()
	wanted := over == t.current && !t.closed
	t.mu.Unlock()
	if !wanted {
		over.CloseIdleConnections()
	}
}

// trackedBody is the body of an answer, whose request ends when it is closed.
type trackedBody struct {
	io.ReadCloser
	transport *Transport
	over      *generation
}

// Close implements io.Closer.
func (b *trackedBody) Close() error {
	defer b.transport.ended(b.over)
	return b.ReadCloser.Close()
}

// dialer connects to the first address of a host that answers. net.Dialer lets the second address of a family wait
// until the first has used up its share of the time, and with less than 4 s the first gets all of it.
type dialer struct {
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration // of all of it
}

// patience is how long an address is waited for before the next is tried too. It is less if there are so many that the
// last would have to wait for more than half the timeout.
const patience = 300 * time.Millisecond

// attempt is what came of dialling one address.
type attempt struct {
	conn net.Conn
	err  error
}

// DialContext connects as net.Dialer does.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel() // the attempts that are left
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses, err := d.lookup(ctx, "ip", host)
	if err != nil || len(addresses) == 0 {
		return nil, cmp.Or[error](err, &net.DNSError{Err: "no address", Name: host, IsNotFound: true})
	}
	delay := min(patience, d.timeout/2/time.Duration(len(addresses)))
	attempts, done, turn := make(chan attempt), make(chan struct{}), make(chan struct{})
	defer close(done)
	close(turn) // of the first
	for i, ip := range addresses {
		failed := make(chan struct{})
		go func(turn <-chan struct{}) {
			conn, err := d.dialAfter(ctx, turn, time.Duration(i)*delay, network, net.JoinHostPort(ip.Unmap().String(), port))
			if err != nil {
				close(failed)
			}
			select {
			case attempts <- attempt{conn, err}:
			case <-done: // too late
				if err == nil {
					_ = conn.Close()
				}
			}
		}(turn)
		turn = failed
	}
	for range addresses {
		a := <-attempts
		if a.err == nil {
			return a.conn, nil
		}
		err = cmp.Or(err, a.err) // the first is the most telling
	}
	return nil, err
}

// dialAfter dials when it is this address's turn, or after a time.
func (d *dialer) dialAfter(
	ctx context.Context, turn <-chan struct{}, wait time.Duration, network, address string,
) (net.Conn, error) {
	select {
	case <-turn:
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return d.dial(ctx, network, address)
}

// tries limits how often net/http sends a request. On its own it does so again for every kept connection of HTTP/1.1
// that breaks before an answer begins: a request that makes the API hang up would take all of them down, in every
// scrape. On HTTP/2 it sends again only what the API says that it has not begun.
type tries struct {
	sent   atomic.Int32
	over   atomic.Bool // there would have been one more
	cancel context.CancelFunc
}

const maxTries = 2

// trace returns the context of the request.
func (t *tries) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { t.sent.Add(1) },
		GotConn: func(got httptrace.GotConnInfo) {
			if t.sent.Load() < maxTries {
				return
			}
			if secure, ok := got.Conn.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == "h2" {
				return
			}
			t.over.Store(true)
			t.cancel()
			_ = got.Conn.Close() // else it may still be sent
		},
	})
}
