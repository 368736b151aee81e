package lab

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Path is the way to a server: a mobile network that can go silent or break.
type Path struct {
	URL string // of the server, by this way

	mu    sync.Mutex
	conns []*conn
}

// conn is one connection over a path. Once silent, it swallows what comes from either side, unnoticed by both.
type conn struct {
	client, server net.Conn
	silent         atomic.Bool
}

// NewPath returns one to the server at that address. It ends with the test.
func NewPath(t *testing.T, address string) *Path {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Path{URL: target.Scheme + "://" + listener.Addr().String() + target.Path}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target.Host)
			if err != nil {
				_ = client.Close()
				continue
			}
			c := &conn{client: client, server: server}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			running.Go(func() { c.carry(client, server) })
			running.Go(func() { c.carry(server, client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		running.Wait()
	})
	return p
}

// carry copies until from ends, and then ends to, unless the path is silent.
func (c *conn) carry(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if c.silent.Load() {
			if err != nil {
				return
			}
			continue
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			_ = to.Close()
			return
		}
	}
}

// Silence lets every connection that is open now go silent; later ones work.
func (p *Path) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.silent.Store(true)
	}
}

// Cut breaks every connection that is open now.
func (p *Path) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.client.Close()
		_ = conn.server.Close()
	}
	p.conns = nil
}
