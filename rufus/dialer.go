package rufus

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"
)

// dialer connects to the first address of a host that answers. net.Dialer tries the addresses of a family one after the
// other, each for its share of the timeout, and with less than 4 s the first address gets all of it.
type dialer struct {
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration // of the lookup and all attempts together
}

// fallbackDelay is how long to wait for one address before the next one is tried too. The delay is shorter if there are
// so many addresses that the last one would have to wait for more than half the timeout.
const fallbackDelay = 300 * time.Millisecond

// attempt is the result of dialing one address.
type attempt struct {
	conn net.Conn
	err  error
}

// DialContext connects to address, which is a host and a port, like net.Dialer.DialContext.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel() // ends the other attempts
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses, err := d.lookup(ctx, "ip", host)
	if err != nil || len(addresses) == 0 {
		return nil, cmp.Or[error](err, &net.DNSError{Err: "no address", Name: host, IsNotFound: true})
	}
	delay := min(fallbackDelay, d.timeout/2/time.Duration(len(addresses)))
	attempts, done := make(chan attempt), make(chan struct{})
	defer close(done)
	try := func(ip netip.Addr) {
		conn, err := d.dial(ctx, network, net.JoinHostPort(ip.Unmap().String(), port))
		select {
		case attempts <- attempt{conn, err}:
		case <-done: // too late
			if err == nil {
				_ = conn.Close()
			}
		}
	}
	next := time.After(0)
	for began, failed := 0, 0; failed < len(addresses); {
		select {
		case <-next:
			if began < len(addresses) {
				go try(addresses[began])
				began++
				next = time.After(delay)
			}
		case a := <-attempts:
			if a.err == nil {
				return a.conn, nil
			}
			err = cmp.Or(err, a.err)
			failed++
			next = time.After(0)
		}
	}
	return nil, err
}
