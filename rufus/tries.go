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
// With tries, the second time is on a new connection, and there is no third time: net/http does not send a request
// again that has broken a new connection. Other idle connections may be broken too: after a restart of the API all of
// them are. On HTTP/2 there is no limit, because net/http repeats only requests that the API reports as not processed.
type tries struct {
	sent   atomic.Bool
	unsent atomic.Bool // trace closed the connection before the request was sent on it
}

// trace returns the context for the request.
func (t *tries) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			t.unsent.Store(false)
			if !got.Reused || !t.sent.Load() {
				return
			}
			if secure, ok := got.Conn.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == "h2" {
				return
			}
			t.unsent.Store(true)
			_ = got.Conn.Close() // net/http then takes another one
		},
		WroteHeaders: func() { // to a buffer, so it is called even if the connection is closed
			if !t.unsent.Load() {
				t.sent.Store(true)
			}
		},
	})
}
