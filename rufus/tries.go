package rufus

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync/atomic"
)

// tries limits how often net/http sends a request on HTTP/1.1. By itself net/http sends it again whenever a kept
// connection breaks before the answer: a request that makes the API hang up would break all connections, in every
// scrape. The second time it is sent on a new connection, as other kept ones may be broken too: after a restart of the
// API all are. On HTTP/2 net/http repeats only requests that the API has not processed, as the API says.
type tries struct {
	sent   atomic.Int32
	unsent atomic.Bool // the connection was closed before it could be used
	denied atomic.Bool // one more was prevented
	cancel context.CancelFunc
}

const maxTries = 2

// trace returns the context of the request.
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
			_ = got.Conn.Close() // net/http would still send it, although ctx is done; of a closed one it takes another
		},
		WroteHeaders: func() { // into a buffer
			if !t.unsent.Load() {
				t.sent.Add(1)
			}
		},
	})
}
