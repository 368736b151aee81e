package rufus

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// SetDial has connections made by dial.
func (t *Transport) SetDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	t.dialer.dial = dial
}

// SetLookup has names resolved by lookup.
func (t *Transport) SetLookup(lookup func(host string) ([]netip.Addr, error)) {
	t.dialer.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) { return lookup(host) }
}

// SetNow has the transport take the time from now.
func (t *Transport) SetNow(now func() time.Time) { t.now = now }

// WithoutPings leaves out the health checks of HTTP/2.
func (t *Transport) WithoutPings() {
	connect := t.connect
	t.connect = func() *http.Transport {
		without := connect()
		without.HTTP2 = nil
		return without
	}
	t.CloseIdleConnections()
}

// Dial connects to an address as the transport does.
func (t *Transport) Dial(ctx context.Context, address string) (net.Conn, error) {
	return t.dialer.DialContext(ctx, "tcp", address)
}

// Members returns the members of a JSON object by their names, and the elements of those that are arrays by the name and
// "[]", as they are read; nothing of what is not a JSON object.
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
