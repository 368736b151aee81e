package rufus_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

// head returns an HTTP/1.1 header with these lines.
func head(lines ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

// wire lists what a server may send, byte for byte, before it closes the connection, and the expected result: a
// session, or the reason of the failure.
var wire = []struct {
	name, bytes, want string
}{
	{"whole", head("Content-Length: "+strconv.Itoa(len(one()))) + one(), reads()},
	{"ends with the connection", head() + one(), reads()},
	{"HTTP/1.0", strings.Replace(head(), "1.1", "1.0", 1) + one(), reads()},
	{"early hints first", "HTTP/1.1 103 Early Hints\r\nLink: BODY\r\n\r\n" + head() + one(), reads()},
	{"chunked", head("Transfer-Encoding: chunked") + "4\r\n{\"bo\r\n9\r\ndy\":null}\r\n0\r\n\r\n", "not_found"},
	{"gzip", head("Content-Encoding: gzip") + zip(one()), reads()},
	{"gzip in capitals", head("Content-Encoding: GZIP") + zip(one()), reads()},
	{"gzip by its old name", head("Content-Encoding: x-gzip") + zip(one()), reads()},
	{"gzip by its old name in capitals", head("Content-Encoding: X-GZip") + zip(one()), reads()},
	{"gzip without a name", head() + zip(one()), "invalid_response"},
	{"gzip in gzip", head("Content-Encoding: gzip") + zip(zip(one())), "invalid_response"},
	{"gzip by its old name that is none", head("Content-Encoding: x-gzip") + one(), "invalid_response"},
	{"gzip by its old name, cut", head("Content-Encoding: x-gzip") + zip(one())[:50], "network"},
	{"gzip by its old name, cut in its header", head("Content-Encoding: x-gzip") + zip(one())[:5], "network"},
	{"gzip by its old name, a bomb", head("Content-Encoding: x-gzip") + zip(strings.Repeat(" ", 1<<20)), "invalid_response"},

	{"nothing", "", "network"},
	{"cut in the status line", "HTTP/1.1 20", "network"},
	{"cut in the header", "HTTP/1.1 200 OK\r\nContent-Len", "network"},
	{"cut before the body", head("Content-Length: 100"), "network"},
	{"cut in the body", head("Content-Length: 1000") + one()[:100], "network"},
	{"length too large", head("Content-Length: "+strconv.Itoa(len(one())+1)) + one(), "network"},
	{"length too small", head("Content-Length: "+strconv.Itoa(len(one())-1)) + one(), "invalid_response"},
	{"length 0", head("Content-Length: 0") + one(), "invalid_response"},
	{"length negative", head("Content-Length: -1") + one(), "network"},
	{"length no number", head("Content-Length: many") + one(), "network"},
	{"two lengths", head("Content-Length: 5", "Content-Length: 6") + one(), "network"},
	{"cut in a chunk", head("Transfer-Encoding: chunked") + "ff\r\n" + one()[:100], "network"},
	{"cut before the last chunk", head("Transfer-Encoding: chunked") + "2\r\n{}\r\n", "network"},
	{"chunks that are none", head("Transfer-Encoding: chunked") + one(), "network"},
	{"chunk of 2^64", head("Transfer-Encoding: chunked") + "10000000000000000\r\n", "network"},
	{"unknown transfer encoding", head("Transfer-Encoding: BODY") + one(), "network"},
	{"gzip that is none", head("Content-Encoding: gzip") + one(), "invalid_response"},
	{"gzip, cut", head("Content-Encoding: gzip") + zip(one())[:50], "network"},
	{"gzip, garbage inside", head("Content-Encoding: gzip") + zip("")[:10] + "\xff\xff\xff\xff", "invalid_response"},
	{"gzip, wrong sum", head("Content-Encoding: gzip") + zip(one())[:len(zip(one()))-8] + "BODYBODY",
		"invalid_response"},
	{"gzip, empty", head("Content-Encoding: gzip"), "invalid_response"},
	{"an encoding not asked for", head("Content-Encoding: br") + "\x0b\x02\x80BODY\x03", "invalid_response"},
	{"not HTTP", "SSH-2.0-BODY\r\n", "network"},
	{"HTTP/2 unasked", "\x00\x00\x12\x04\x00\x00\x00\x00\x00", "network"},
	{"status without a number", "HTTP/1.1 BODY\r\n\r\n", "network"},
	{"header without a colon", head("BODY") + one(), "network"},
	{"header of 100 KiB", head("X: "+strings.Repeat("x", 100<<10)) + one(), "network"},
	{"header of 100,000 lines", head(strings.Repeat("X: x\r\n", 100_000)) + one(), "network"},
	{"early hints for ever", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000), "network"},
	{"protocol switch", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: BODY\r\nConnection: Upgrade\r\n\r\n",
		"unexpected_status"},
	{"protocol switch, half", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "unexpected_status"},
}

func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func TestWire(t *testing.T) {
	for _, fault := range wire {
		t.Run(fault.name, func(t *testing.T) {
			c := client(t, rawAPI(t, answersRaw(fault.bytes)), patience)
			s, err := ask(t, c)
			if got := outcome(t, s, err); got != fault.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, fault.want)
			}
		})
	}
}

// slow are servers that let a client wait. A short Timeout must end each request.
var slow = []struct {
	name   string
	handle func(net.Conn, *bufio.Reader)
}{
	{"accepts and hangs", func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }},
	{"hangs in the header", drip("HTTP/1.1 200 OK\r\nX: ", "")},
	{"hangs in the body", drip(head("Content-Length: 1000"), "")},
	{"drips the header", drip("HTTP/1.1 200 OK\r\nX: ", "x")},
	{"drips the body", drip(head(), " ")},
	{"drips chunks", drip(head("Transfer-Encoding: chunked"), "1\r\n \r\n")},
	{"drips early hints", drip("", "HTTP/1.1 103 Early Hints\r\n\r\n")},
}

// drip reads a request, sends start, and then sends more repeatedly until the client closes the connection.
func drip(start, more string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, err := io.WriteString(conn, start)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = io.Copy(io.Discard, r)
		}()
		for err == nil {
			select {
			case <-gone:
				return
			case <-time.After(20 * time.Millisecond):
				_, err = io.WriteString(conn, more)
			}
		}
		<-gone
	}
}

func TestSlow(t *testing.T) {
	for _, fault := range slow {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			c := client(t, rawAPI(t, fault.handle), short)
			start := time.Now()
			_, err := ask(t, c)
			if took := time.Since(start); took < short || took > short+patience/2 {
				t.Errorf("took %v, want %v", took, short)
			}
			if got := reason(t, err); got != rufus.Timeout {
				t.Errorf("got %v, want a timeout", err)
			}
		})
	}
}

// The status of a slow error is known before its body. The client waits for the body no longer than the Timeout.
func TestSlowError(t *testing.T) {
	c := client(t, rawAPI(t, drip("HTTP/1.1 401 Unauthorized\r\n\r\n", "BODY")), short)
	if _, err := ask(t, c); reason(t, err) != rufus.Unauthorized {
		t.Errorf("got %v, want unauthorized", err)
	}
}

// When the time is up, every error is a timeout.
func TestErrorAfterTheTimeLimit(t *testing.T) {
	c := clientOver(t, "http://api.invalid", short, roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, &net.DNSError{Err: "operation was canceled", Name: "api.invalid"}
	}))
	if _, err := ask(t, c); reason(t, err) != rufus.Timeout {
		t.Errorf("got %v, want a timeout", err)
	}
}

// Nothing of a request remains after its call, or its timer would run until the time limit.
func TestNothingRemains(t *testing.T) {
	contexts := make(chan context.Context, 1)
	c := clientOver(t, "http://api.invalid", patience, roundTripper(func(r *http.Request) (*http.Response, error) {
		contexts <- r.Context()
		return canned(http.StatusOK, nil, []byte(one()))(r)
	}))
	if s, err := ask(t, c); outcome(t, s, err) != reads() {
		t.Errorf("got %v", err)
	}
	if err := (<-contexts).Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("the context of the request has %v", err)
	}
}

// The client does not wait for the end of a connection that has switched protocols.
func TestProtocolSwitchStaysOpen(t *testing.T) {
	c := client(t, rawAPI(t, drip("HTTP/1.1 101 Switching Protocols\r\n\r\n", "")), patience)
	start := time.Now()
	if _, err := ask(t, c); reason(t, err) != rufus.UnexpectedStatus || time.Since(start) >= patience {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

func TestUnreachable(t *testing.T) {
	refused := func(t *testing.T) (string, rufus.TransportOptions) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		return "http://" + listener.Addr().String(), rufus.TransportOptions{}
	}
	dials := func(failure error) func(*testing.T) (string, rufus.TransportOptions) {
		return func(*testing.T) (string, rufus.TransportOptions) {
			return "http://api.invalid", rufus.TransportOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: failure}
			}}
		}
	}
	secure := func(
		trusts bool, server func(*httptest.Server), client func(*tls.Config),
	) func(*testing.T) (string, rufus.TransportOptions) {
		return func(t *testing.T) (string, rufus.TransportOptions) {
			if server == nil {
				server = func(*httptest.Server) {}
			}
			api, trust := secureAPI(t, true, says(http.StatusOK, one()), server)
			if !trusts {
				trust.RootCAs = nil
			}
			if client != nil {
				client(trust)
			}
			return api.URL, rufus.TransportOptions{TLS: trust}
		}
	}
	for _, fault := range []struct {
		name   string
		start  func(*testing.T) (string, rufus.TransportOptions)
		want   rufus.Reason
		detail string
	}{
		{"refused", refused, "network", "connection refused"},
		{"reset", func(t *testing.T) (string, rufus.TransportOptions) {
			return rawAPI(t, func(conn net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
				}
			}), rufus.TransportOptions{}
		}, "network", "connection reset by peer"},
		{"no such host", dials(&net.DNSError{Err: "no such host", Name: "api.invalid", IsNotFound: true}),
			"network", "the API's host name cannot be resolved"},
		{"name server silent", dials(&net.DNSError{Err: "i/o timeout", Name: "api.invalid", IsTimeout: true}),
			"network", "the API's host name cannot be resolved"},
		{"no answer to the first packet", dials(os.ErrDeadlineExceeded), "timeout", "no answer within the time limit"},
		{"unknown authority", secure(false, nil, nil),
			"network", "the API's TLS certificate is signed by an unknown authority"},
		{"certificate for another host", secure(true, nil, func(c *tls.Config) { c.ServerName = "api.invalid" }),
			"network", "the API's TLS certificate is for another host"},
		{"expired certificate", secure(true, nil, func(c *tls.Config) {
			c.Time = func() time.Time { return time.Now().AddDate(200, 0, 0) }
		}), "network", "the API's TLS certificate has expired or is not yet valid (is this machine's clock right?)"},
		{"client certificate wanted", secure(true, func(s *httptest.Server) {
			s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
		}, nil), "network", "the API closed the connection: tls: handshake failure"},
		{"TLS too old", secure(true, func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		}, nil), "network", "the API closed the connection: tls: protocol version not supported"},
		{"no TLS where it should be", func(t *testing.T) (string, rufus.TransportOptions) {
			return strings.Replace(api(t, says(http.StatusOK, one())), "http:", "https:", 1), rufus.TransportOptions{}
		}, "network", "the API does not speak TLS on this port"},
		{"TLS where it should not be", func(t *testing.T) (string, rufus.TransportOptions) {
			server, _ := secureAPI(t, false, says(http.StatusOK, one()))
			return strings.Replace(server.URL, "https:", "http:", 1), rufus.TransportOptions{}
		}, "unexpected_status", "status 400"},
		{"scheme unknown", func(*testing.T) (string, rufus.TransportOptions) {
			return "gopher://api.invalid", rufus.TransportOptions{}
		}, "network", "the connection broke or the answer is not HTTP"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			base, o := fault.start(t)
			o.MaxConns, o.Timeout = 2, patience
			_, err := ask(t, clientOver(t, base, patience, transport(t, o)))
			var e *rufus.Error
			if reason(t, err); !errors.As(err, &e) || e.Reason != fault.want || e.Detail != fault.detail {
				t.Errorf("got  %v\nwant %s: %s", err, fault.want, fault.detail)
			}
		})
	}
}

// Of a very large answer, only a part is read and less is kept.
func TestEndlessAnswers(t *testing.T) {
	const mebibyte = 1 << 20
	blanks := bytes.Repeat([]byte(" "), mebibyte)
	zeros := []byte(`{"result": [` + strings.Repeat("0,", mebibyte/16) + `0]}`)
	objects := []byte(`{"result": [` + strings.Repeat("{},", mebibyte/32) + `{}]}`)
	bomb := []byte(zip(strings.Repeat(" ", 8*mebibyte)))
	forever := func(w http.ResponseWriter, _ *http.Request) {
		for err := error(nil); err == nil; {
			_, err = w.Write(blanks)
		}
	}
	handlers := map[string]http.HandlerFunc{
		"endless": forever,
		"1 GiB": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1024*mebibyte))
			forever(w, r)
		},
		"endless error": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			forever(w, r)
		},
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
		"records without end":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(zeros) },
		"empty records without end": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(objects) },
		"gzip bomb as error": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write(bomb)
		},
	}
	for name, handler := range handlers {
		server, trust := secureAPI(t, true, handler)
		for protocol, c := range map[string]*rufus.Client{
			"HTTP1": client(t, api(t, handler), patience),
			"HTTP2": clientOver(t, server.URL, patience,
				transport(t, rufus.TransportOptions{TLS: trust, MaxConns: 8, Timeout: patience})),
		} {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := ask(t, c)
				runtime.ReadMemStats(&after)
				want := rufus.InvalidResponse
				if strings.Contains(name, "error") {
					want = rufus.ServerError
				}
				if reason(t, err) != want {
					t.Errorf("got %v, want %s", err, want)
				}
				if took := after.TotalAlloc - before.TotalAlloc; took > 4*mebibyte {
					t.Errorf("took %d KiB of memory, the server's part included", took>>10)
				}
			})
		}
	}
}

// An answer of exactly the maximum size is accepted, one byte more is not: 64 KiB about a session, 1 MiB for a list.
func TestGreatestAnswer(t *testing.T) {
	filled := func(answer string, size int) string { return answer + strings.Repeat(" ", size-len(answer)) }
	own := `404 {description: "Sessions not found", deviceid: "` + device + `"}`
	for _, test := range []struct {
		session, active, list string
		want, most            string
	}{
		{session: filled(one(), 64<<10), want: reads()},
		{session: filled(one(), 64<<10+1), want: "invalid_response", most: "64 KiB"},
		{active: filled(one(), 64<<10), want: reads()},
		{active: filled(one(), 64<<10+1), want: "invalid_response", most: "64 KiB"},
		{active: own, list: filled(one(), 1<<20), want: reads()},
		{active: own, list: filled(one(), 1<<20+1), want: "invalid_response", most: "1024 KiB"},
	} {
		c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
			answerWith(w, map[string]string{
				sessionPath: test.session,
				"/v0/sessions/device/" + device + "/active": test.active,
				"/v0/sessions/device/" + device:             test.list,
			}[r.URL.Path])
		}), patience)
		target := rufus.Target{ID: rufus.NewSecret(token)}
		if test.session == "" {
			target = rufus.Target{Follows: rufus.Device, ID: rufus.NewSecret(device)}
		}
		s, err := c.State(t.Context(), target)
		if got := outcome(t, s, err); got != test.want ||
			test.most != "" && !strings.HasSuffix(err.Error(), " larger than "+test.most) {
			t.Errorf("%d, %d and %d bytes: got %s (%v), want %s", len(test.session), len(test.active), len(test.list),
				got, err, test.want)
		}
	}
}
