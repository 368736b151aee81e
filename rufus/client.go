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

// Maximum sizes of answers, in bytes after decompression. Most answers have a few hundred bytes.
const (
	maxSession = 64 << 10
	maxList    = 1 << 20
	maxError   = 8 << 10
	smallBody  = 8 << 10
)

// maxID is the maximum length of a configured token or id; those in the documentation have 64 characters.
const maxID = 128

// Options configure a Client.
type Options struct {
	URL       *url.URL          // scheme, host and path, such as https://api.runonrufus.com/v0 (documented)
	Key       Secret            // a READ key is enough (documented)
	KeyHeader string            // "api_key" or "x-api-key" (both documented)
	UserAgent string            // value of the User-Agent header
	Timeout   time.Duration     // of one request, from sending it to the last byte of its answer
	Transport http.RoundTripper // see NewTransport; may be wrapped to observe requests
	// Observe is called at the start of each request. The function that it returns is called with the outcome of the
	// request: nil, an *Error or context.Canceled. Observe may be nil.
	Observe func() func(error)
	// Mask returns the mask for the secrets of the configuration: anyone who writes an alias may know the token of another
	// session. It is called for every text, so the mask may change with the configuration. It may be nil.
	//
	// All texts in a Session and a DeviceHealth are safe to show: valid UTF-8 of at most 200 characters, without control
	// characters and invisible characters. "<secret>" replaces Key, the requested token or id, everything that looks like
	// a documented token, and everything that Mask finds.
	Mask func() Mask
	// Paused reports whether requests are paused because the API asked for it. It may be nil. It is called before each
	// request of a call except the first. If it returns true, the call fails with RateLimited. Whether to send the first
	// request is the caller's decision.
	Paused func() bool
}

// Client fetches from the API. It only sends GET requests, does not follow redirects, has no state except its
// connections, and is safe for concurrent use.
type Client struct {
	o       Options
	key     Mask
	request func(ctx context.Context, path, values string) *http.Request // a closure, so that fmt cannot print the key
	buffers sync.Pool                                                    // of *bytes.Buffer
}

// NewClient returns a client. All fields of o must be set, except those that may be nil.
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
			target.RawPath += path // has no characters to escape
		}
		target.RawQuery = values
		req := common.WithContext(ctx) // a copy that shares the header, which round trippers must not change
		req.URL = &target
		return req
	}
	return &Client{o: o, key: newMask([]Secret{o.Key}, 1), request: request}
}

// query is one request to the API.
type query struct {
	path    string
	values  string             // the query string
	asked   string             // the requested token or id
	further bool               // not the first request of its call: not sent while Paused
	most    int                // maximum size of a 200, in bytes
	none    error              // for a 404 that comes from the API; nil if that is not a failure
	read    func(answer) error // called for a 200, must not keep the answer; get returns its error
}

// get sends q. It calls the round tripper directly. An http.Client would follow redirects, which sends the key to
// another host, and it puts the URL into errors.
func (c *Client) get(ctx context.Context, q query) (err error) {
	if q.further && c.o.Paused() {
		return &Error{Reason: RateLimited, Detail: "requests paused, as the API asked"}
	}
	done := c.o.Observe()
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()

	resp, err := c.o.Transport.RoundTrip(c.request(new(tries).trace(ctx), q.path, q.values))
	if err != nil {
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

// drain reads the rest of the body of a failed request, up to a limit, so that the connection can be reused. It skips a
// 101, whose body never ends.
func drain(resp *http.Response) {
	if resp.StatusCode >= http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxSession)
	}
}

// readAll reads the body of resp into to, at most one byte more than most. The buffer grows in large steps, which
// allocates less in total than doubling. net/http has already decompressed gzip, but not x-gzip.
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
