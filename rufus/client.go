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

// How much of an answer is read, in bytes after decompression. Most answers have a few hundred. An answer about one
// session has no reason to be large.
const (
	maxSession = 64 << 10
	maxList    = 1 << 20
	maxError   = 8 << 10
	smallBody  = 8 << 10
)

// maxID is the maximum length of a configured token or id; those in the documentation have 64 characters.
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
	// Mask returns the mask for the secrets of the configuration, because whoever writes an alias may know the token of
	// another session. It is called for every text, so the configuration may change. It may be nil.
	//
	// All texts in a Session and a DeviceHealth are safe to show: valid UTF-8 of at most 200 characters, without control
	// characters and invisible ones, and with "<secret>" in place of Key, of what was asked for, of everything that looks
	// like a documented token, and of what Mask finds.
	Mask func() Mask
	// Paused reports whether no requests may be sent because the API asked for a pause. It is called before the second
	// and each further request of a call, which then fails with RateLimited; the first request is the caller's decision.
	// It may be nil.
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
	return &Client{o: o, key: newMask([]Secret{o.Key}, 1), request: request}
}

// query is one request to the API.
type query struct {
	path    string
	values  string             // after the question mark
	asked   string             // the token or id that it is about
	further bool               // not the first of its call: it is not sent while Paused
	most    int                // bytes of a 200 that are read
	none    error              // what a 404 in the API's own words means; nil: a state, not a failure
	read    func(answer) error // called for a 200, must not keep the answer; get returns its error
}

// get sends q. It uses the round tripper itself, because an http.Client would follow redirects, sending the key to
// another host, and put the URL into its errors.
func (c *Client) get(ctx context.Context, q query) (err error) {
	if q.further && c.o.Paused() {
		return &Error{Reason: RateLimited, Detail: "no further request, as the API asked"}
	}
	done := c.o.Observe()
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()

	tries := tries{cancel: cancel}
	resp, err := c.o.Transport.RoundTrip(c.request(tries.trace(ctx), q.path, q.values))
	switch {
	case err != nil && tries.denied.Load():
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

// drain reads the rest of an error's body, up to a limit, so that the connection can be used again. The body of a 101
// never ends.
func drain(resp *http.Response) {
	if resp.StatusCode >= http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxSession)
	}
}

// readAll reads the body of resp into to, up to one byte more than most. The buffer grows in large steps, which takes
// less memory in total than doubling. net/http has already undone gzip, but not under its old name.
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
