package rufus

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody bounds what is read of an answer, after decompression.
const maxBody = 1 << 20

// Options say how to reach the API.
type Options struct {
	URL       *url.URL          // base URL, such as https://api.runonrufus.com/v0 (documented)
	Key       Secret            // a READ key is enough (documented)
	KeyHeader string            // "api_key" or "x-api-key" (both documented)
	UserAgent string            // says who asks
	Timeout   time.Duration     // of one request, from when it is sent to the last byte of its answer
	Transport http.RoundTripper // see NewTransport; its owner may wrap it to watch it
	// Observe is called as each request begins, and what it returned with the request's outcome: nil, an *Error or
	// context.Canceled. It may be nil.
	Observe func() func(error)
}

// Client asks the API. It only ever sends GET, follows no redirect, keeps no state but its connections, and may be
// used by many goroutines at once.
type Client struct {
	base      string
	key       Secret
	header    http.Header
	timeout   time.Duration
	transport http.RoundTripper
	observe   func() func(error)
}

// NewClient returns a client; o must be complete, Observe apart.
func NewClient(o Options) *Client {
	header := http.Header{}
	header.Set(o.KeyHeader, o.Key.Reveal())
	header.Set("User-Agent", o.UserAgent)
	header.Set("Accept", "application/json")
	observe := o.Observe
	if observe == nil {
		observe = func() func(error) { return func(error) {} }
	}
	return &Client{
		base:      strings.TrimSuffix(o.URL.String(), "/"),
		key:       o.Key,
		header:    header,
		timeout:   o.Timeout,
		transport: o.Transport,
		observe:   observe,
	}
}

// get asks for path and hands the body of a 200 to read, or nil for a 404, which only the caller can tell a failure
// from a state; read's error passes through. It uses the round tripper itself: an http.Client would follow
// redirects, sending the key to whatever host they name, and put the URL into its errors.
func (c *Client) get(ctx context.Context, path string, read func(body []byte) error) (err error) {
	done := c.observe()
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return &Error{Reason: Network, Detail: "the API's URL is not valid"}
	}
	req.Header = c.header
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return transportError(ctx, err)
	}
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		// Error bodies are not even JSON (documented), so the status alone decides. What little they hold is read
		// so that the connection can serve again; a 101 has no body that would end.
		if resp.StatusCode >= http.StatusOK {
			_, _ = io.CopyN(io.Discard, resp.Body, maxBody)
		}
		if resp.StatusCode == http.StatusNotFound {
			return read(nil)
		}
		return statusError(resp, time.Now())
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return transportError(ctx, err)
	}
	if len(body) > maxBody {
		return invalid("the answer is larger than 1 MiB")
	}
	return read(body)
}
