package rufus

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// SetDial sets the function that makes connections.
func (t *Transport) SetDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	t.dialer.dial = dial
}

// SetLookup sets the function that resolves names.
func (t *Transport) SetLookup(lookup func(host string) ([]netip.Addr, error)) {
	t.dialer.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) { return lookup(host) }
}

// SetNow sets the clock of the transport.
func (t *Transport) SetNow(now func() time.Time) { t.now = now }

// WithoutPings disables the health checks of HTTP/2.
func (t *Transport) WithoutPings() {
	connect := t.connect
	t.connect = func() *http.Transport {
		without := connect()
		without.HTTP2 = nil
		return without
	}
	t.CloseIdleConnections()
}

// Dial connects to an address like the transport.
func (t *Transport) Dial(ctx context.Context, address string) (net.Conn, error) {
	return t.dialer.DialContext(ctx, "tcp", address)
}

// Members returns the members of a JSON object by name, and the elements of its arrays by the name and "[]"; nothing if
// it is not a JSON object.
func Members(body []byte) map[string][]string {
	object, ok := parse(body)
	if !ok {
		return nil
	}
	found := map[string][]string{}
	for name, value := range object.parts('{') {
		found[string(name)] = []string{string(value)}
		delete(found, string(name)+"[]")
		for _, element := range value.elements() {
			found[string(name)+"[]"] = append(found[string(name)+"[]"], string(element))
		}
	}
	return found
}
