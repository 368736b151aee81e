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

// Transport is a round tripper for NewClient that keeps its connections, at most MaxConns, but none for ever: the API may
// move. After five minutes, and after three failures in a row, requests get new connections, to the addresses that the
// API's name has then; the old ones are closed as soon as their requests have ended. A failure is an error or any status
// but 200 and 404, and counts only for connections of ten seconds and more.
//
// It gives up on connections whose path has gone silent, as mobile networks let them: that cannot be told from a slow
// answer except by asking. HTTP/1.1 connections in use go down with their request; idle ones are probed by TCP, fast
// enough to be gone before a scrape 15 s later. An HTTP/2 connection carries all requests and survives each of them, for
// hundreds of timed-out requests if nobody looks: it is pinged after a quarter of a Timeout without a byte from the other
// side and closed after another half without an answer. So it is gone before the first request that it lost has used up
// its time, and whatever is asked next, in the same scrape, gets a new one.
//
// Where an API allows fewer requests at a time on an HTTP/2 connection than are wanted (most allow 100 or more),
// net/http opens further connections, beyond MaxConns. Its setting against that, StrictMaxConcurrentRequests, has
// requests wait for each other for ever in Go 1.26, so it stays off.
//
// What a server sends unasked on an idle connection, such as the rest of an answer that was longer than it said,
// net/http writes to the standard logger: tokens perhaps. No setting of the transport prevents that, so a program that
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

// dialer connects to whichever address of a host answers first. That of net gives the second address of a family its
// turn only when the first has used up its part of the time, which is all of it below 4 s.
type dialer struct {
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration // of all of it
}

// patience is how long an address is waited for before the next is tried too, unless there are so many that the last
// would not have its turn within half the timeout. The others go on.
const patience = 300 * time.Millisecond

// DialContext is as that of net.Dialer.
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

	type attempt struct {
		conn net.Conn
		err  error
	}
	attempts, done := make(chan attempt), make(chan struct{})
	defer close(done)
	next := time.NewTimer(0)
	defer next.Stop()
	for started, failed := 0, 0; failed < len(addresses); {
		select {
		case <-next.C:
			if started == len(addresses) {
				continue
			}
			target := net.JoinHostPort(addresses[started].Unmap().String(), port)
			started++
			next.Reset(min(patience, d.timeout/2/time.Duration(len(addresses))))
			go func() {
				conn, err := d.dial(ctx, network, target)
				select {
				case attempts <- attempt{conn, err}:
				case <-done:
					if err == nil {
						_ = conn.Close()
					}
				}
			}()
		case a := <-attempts:
			if a.err == nil {
				return a.conn, nil
			}
			if failed++; err == nil {
				err = a.err
			}
			next.Reset(0)
		}
	}
	return nil, err
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
