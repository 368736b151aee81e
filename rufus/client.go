package rufus

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxBody bounds what is read of an answer, after decompression. Nearly all are a few hundred bytes and fit a buffer
// that is used again.
const (
	maxBody   = 1 << 20
	smallBody = 8 << 10
)

// Options say how to reach the API.
type Options struct {
	URL       *url.URL          // scheme, host and path, such as https://api.runonrufus.com/v0 (documented)
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
	request   func(ctx context.Context, path, values string) *http.Request // knows the key; fmt looks into no function
	key       Secret
	timeout   time.Duration
	transport http.RoundTripper
	observe   func() func(error)
	buffers   sync.Pool    // of *bytes.Buffer with room for smallBody
	waits     atomic.Int64 // answers that asked for a wait
}

// NewClient returns a client; o must be complete, Observe apart.
func NewClient(o Options) *Client {
	base := *o.URL
	base.Path = strings.TrimSuffix(base.Path, "/")
	header := http.Header{}
	header.Set(o.KeyHeader, o.Key.Reveal())
	header.Set("User-Agent", o.UserAgent)
	header.Set("Accept", "application/json")
	observe := o.Observe
	if observe == nil {
		observe = func() func(error) { return func(error) {} }
	}
	common := &http.Request{Method: http.MethodGet, Header: header}
	request := func(ctx context.Context, path, values string) *http.Request {
		target := base
		target.Path += path
		if target.RawPath != "" {
			target.RawPath += path // which needs no escapes
		}
		target.RawQuery = values
		req := common.WithContext(ctx) // a copy; they share the header, which round trippers must not change
		req.URL = &target
		return req
	}
	return &Client{
		request:   request,
		key:       o.Key,
		timeout:   o.Timeout,
		transport: o.Transport,
		observe:   observe,
	}
}

// query is one call of the API.
type query struct {
	path    string
	values  string                  // after the question mark
	missing error                   // what a 404 means
	read    func(body []byte) error // of a 200; its error passes through, and the body is gone when it returns
	// mayBeNone: a 404 by which the API says that there is none is a state, not a failure.
	mayBeNone bool
}

// getter asks a query: get, or what sequence returns.
type getter func(context.Context, query) error

// sequence returns a get for calls that need several requests. Once the API has asked anybody to wait, it sends no
// more: whether the first one may be sent is up to the caller, who does not see the others.
func (c *Client) sequence() getter {
	waits := c.waits.Load()
	return func(ctx context.Context, q query) error {
		if c.waits.Load() != waits {
			return &Error{Reason: RateLimited, Detail: "no further request, as the API asked"}
		}
		return c.get(ctx, q)
	}
}

// get asks q. It uses the round tripper itself: an http.Client would follow redirects, sending the key to whatever
// host they name, and put the URL into its errors.
func (c *Client) get(ctx context.Context, q query) (err error) {
	done := c.observe()
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	resp, err := c.transport.RoundTrip(c.request(ctx, q.path, q.values))
	if err != nil {
		return transportError(ctx, err)
	}
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		// Error bodies are not even JSON (documented), so the status decides, but for one case. What little they hold
		// is read so that the connection can serve again; a 101 has no body that would end.
		var beginning []byte
		if resp.StatusCode >= http.StatusOK {
			beginning, _ = io.ReadAll(io.LimitReader(resp.Body, smallBody))
			_, _ = io.CopyN(io.Discard, resp.Body, maxBody)
		}
		if resp.StatusCode == http.StatusNotFound {
			if q.mayBeNone && saysNone(beginning) {
				return nil
			}
			return q.missing
		}
		failed := statusError(resp, time.Now())
		if failed.Wait > 0 {
			c.waits.Add(1)
		}
		return failed
	}
	body, ok := c.buffers.Get().(*bytes.Buffer)
	if !ok {
		body = new(bytes.Buffer)
	}
	small, err := readAll(body, resp.Body)
	if small {
		defer c.buffers.Put(body)
	}
	switch {
	case err != nil:
		return transportError(ctx, err)
	case body.Len() > maxBody:
		return invalid("the answer is larger than 1 MiB")
	default:
		return q.read(body.Bytes())
	}
}

// readAll reads from into body, up to one byte more than maxBody. What is not small gets the greatest size at once: a
// buffer that doubles would take four times as much.
func readAll(body *bytes.Buffer, from io.Reader) (small bool, err error) {
	body.Reset()
	limited := &io.LimitedReader{R: from}
	for _, limit := range []int{smallBody, maxBody + 1} {
		limited.N = int64(limit - body.Len())
		body.Grow(limit - body.Len() + bytes.MinRead)
		if _, err = body.ReadFrom(limited); err != nil || limited.N > 0 {
			return limit == smallBody, err
		}
	}
	return false, nil
}
