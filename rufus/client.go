package rufus

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How much of an answer is read, after decompression. Nearly all are a few hundred bytes and fit a buffer that is used
// again; one about a single session has no reason to be large.
const (
	maxSession = 64 << 10
	maxList    = 1 << 20
	maxError   = 8 << 10
	smallBody  = 8 << 10
)

// maxID is how long a token or an id may be, in bytes; documented are 64.
const maxID = 128

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
	// Mask returns what no text of the API may show besides Key, what was asked for and what has the form of a token:
	// all that is configured, for whoever writes an alias may know another's. Texts are made safe here, once: those of
	// a Session and a DeviceHealth are at most 200 characters of valid UTF-8, none of which is invisible or moves the
	// cursor, with "<secret>" in place of what is secret. It is called for every text, so it may change with the
	// configuration. It may be nil.
	Mask func() Mask
	// Paused reports whether the API wants no requests now. It is asked before each request of a call but the first,
	// which is up to the caller; while it says so, such a call fails with RateLimited. It may be nil.
	Paused func() bool
}

// Client asks the API. It only ever sends GET, follows no redirect, keeps no state but its connections, and may be
// used by many goroutines at once.
type Client struct {
	o       Options
	key     Mask
	request func(ctx context.Context, path, values string) *http.Request // knows the key; fmt looks into no function
	buffers sync.Pool                                                    // of *bytes.Buffer
}

// NewClient returns a client; o must be complete, except for what may be nil.
func NewClient(o Options) *Client {
	if o.Observe == nil {
		o.Observe = func() func(error) { return func(error) {} }
	}
	if o.Mask == nil {
		o.Mask = func() Mask { return Mask{} }
	}
	if o.Paused == nil {
		o.Paused = func() bool { return false }
	}
	base := *o.URL
	base.Path = strings.TrimSuffix(base.Path, "/")
	header := http.Header{}
	header.Set(o.KeyHeader, o.Key.Reveal())
	header.Set("User-Agent", o.UserAgent)
	header.Set("Accept", "application/json")
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
	return &Client{o: o, key: NewMask([]Secret{o.Key}), request: request}
}

// query is one request to the API.
type query struct {
	path   string
	values string             // after the question mark
	asked  string             // the token or id that it is about
	most   int                // bytes of a 200
	none   error              // what the API's own 404 means; nil: a state, not a failure
	read   func(answer) error // of a 200; its error passes through, and the answer is gone when it returns
}

// getter sends a query: get or further.
type getter func(context.Context, query) error

// further is get for the requests of a call after its first.
func (c *Client) further(ctx context.Context, q query) error {
	if c.o.Paused() {
		return &Error{Reason: RateLimited, Detail: "no further request, as the API asked"}
	}
	return c.get(ctx, q)
}

// get asks q. It uses the round tripper itself: an http.Client would follow redirects, sending the key to whatever
// host they name, and put the URL into its errors.
func (c *Client) get(ctx context.Context, q query) (err error) {
	done := c.o.Observe()
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()

	tries := tries{cancel: cancel}
	resp, err := c.o.Transport.RoundTrip(c.request(tries.trace(ctx), q.path, q.values))
	switch {
	case err != nil && tries.over.Load():
		return &Error{Reason: Network, Detail: "the connection was closed instead of an answer, twice"}
	case err != nil:
		return transportError(ctx, err)
	}
	defer resp.Body.Close()

	body, ok := c.buffers.Get().(*bytes.Buffer)
	if !ok {
		body = new(bytes.Buffer)
	}
	defer c.buffers.Put(body)
	switch resp.StatusCode {
	case http.StatusOK:
		if err := readAll(body, resp, q.most); err != nil {
			return transportError(ctx, err)
		}
		if body.Len() > q.most {
			return invalid("the answer is larger than " + strconv.Itoa(q.most>>10) + " KiB")
		}
		a, err := readAnswer(body.Bytes())
		if err != nil {
			return err
		}
		return q.read(a)
	case http.StatusNotFound:
		err := readAll(body, resp, maxError)
		drain(resp)
		if err != nil || body.Len() > maxError || !isOwn(body.Bytes(), q.asked) {
			return errForeign
		}
		return q.none
	default:
		drain(resp)
		return statusError(resp, time.Now())
	}
}

// drain reads what is left of an error's body, if it is not too much, so that the connection can serve again. A 101 has
// no body that would end.
func drain(resp *http.Response) {
	if resp.StatusCode >= http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxSession)
	}
}

// readAll reads the body of resp into to, up to one byte more than most. The buffer grows by large steps: one that
// doubles would take more in sum. gzip has been undone by net/http unless it has its old name.
func readAll(to *bytes.Buffer, resp *http.Response, most int) error {
	to.Reset()
	from := &io.LimitedReader{R: resp.Body}
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "x-gzip") {
		unzipped, err := gzip.NewReader(resp.Body)
		if err != nil {
			return err
		}
		from.R = unzipped
	}
	for size := smallBody; ; size *= 8 {
		size = min(size, most+1)
		from.N = int64(size - to.Len())
		to.Grow(size - to.Len() + bytes.MinRead)
		if _, err := to.ReadFrom(from); err != nil || from.N > 0 || size > most {
			return err
		}
	}
}
