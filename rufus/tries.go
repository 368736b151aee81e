package rufus

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync/atomic"
)

// tries limits how often net/http sends a request on HTTP/1.1. By default, net/http sends it again each time that a
// reused connection breaks before the answer. A request that makes the API hang up would break all connections in every
// scrape.
//
// With tries, the request is sent at most twice, and the second time on a new connection. Other idle connections may be
// broken too: after a restart of the API all of them are. On HTTP/2 there is no limit, because net/http repeats only
// requests that the API reports as not processed.
type tries struct {
	sent   atomic.Int32
	unsent atomic.Bool // trace closed the connection before the request was sent on it
	denied atomic.Bool // trace prevented a third try
	cancel context.CancelFunc
}

const maxTries = 2

// trace returns the context for the request.
func (t *tries) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			t.unsent.Store(false)
			sent := t.sent.Load()
			if sent == 0 || sent < maxTries && !got.Reused {
				return
			}
			if secure, ok := got.Conn.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == "h2" {
				return
			}
			t.unsent.Store(true)
			if sent == maxTries {
				t.denied.Store(true)
				t.cancel()
			}
			_ = got.Conn.Close() // net/http then takes another one; it would send the request even if ctx is done
		},
		WroteHeaders: func() { // to a buffer, so it is called even if the connection is closed
			if !t.unsent.Load() {
				t.sent.Add(1)
			}
		},
	})
}
