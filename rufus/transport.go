package rufus

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// TransportOptions are what differs between transports.
type TransportOptions struct {
	TLS      *tls.Config                           // nil: the system's roots
	Proxy    func(*http.Request) (*url.URL, error) // nil: none
	MaxConns int                                   // connections, and so requests on HTTP/1.1, at a time
	Timeout  time.Duration                         // of one request; paces the health checks
}

// NewTransport returns a transport for NewClient that keeps its connections, at most MaxConns, and gives up on those
// whose path has gone silent, as mobile networks let them: it cannot be told from a slow answer except by asking.
//
// HTTP/1.1 connections in use go down with their request; idle ones are probed by TCP, fast enough to be gone
// before a scrape 15 s later. An HTTP/2 connection carries all requests and survives each of them, for hundreds
// of timed-out requests if nobody looks: it is pinged after a quarter of a Timeout without a byte from the other side
// and closed after another half without an answer. So it is gone before the first request that it lost has used up
// its time, and whatever is asked next, in the same scrape, gets a new one.
//
// Where an API allows fewer requests at a time on an HTTP/2 connection than are wanted (most allow 100 or more),
// net/http opens further connections, beyond MaxConns. Its setting against that, StrictMaxConcurrentRequests, has
// requests wait for each other for ever in Go 1.26, so it stays off.
//
// What a server sends unasked on an idle connection, such as the rest of an answer that was longer than it said,
// net/http writes to the standard logger: tokens perhaps. No setting of the transport prevents that, so a program that
// uses this package must discard what the standard logger is given.
func NewTransport(o TransportOptions) *http.Transport {
	dialer := net.Dialer{
		Timeout:         o.Timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 2 * time.Second, Count: 2},
	}
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
	return &http.Transport{
		Proxy:                  o.Proxy,
		DialContext:            dialer.DialContext,
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
