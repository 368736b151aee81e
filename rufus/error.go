package rufus

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Reason is why a target could not be read. The set of reasons is closed, so a Reason can be a label value.
type Reason string

// The reasons and their causes.
const (
	Unauthorized     Reason = "unauthorized"      // 401 and 403: the key is wrong, or of the wrong type
	NotFound         Reason = "not_found"         // 404, and 200 without a result
	RateLimited      Reason = "rate_limited"      // 429, 503 and 403 with Retry-After, and while requests are paused
	ServerError      Reason = "server_error"      // every other 5xx
	UnexpectedStatus Reason = "unexpected_status" // 400, 3xx and every other status
	Timeout          Reason = "timeout"           // a time limit of the exporter
	Network          Reason = "network"           // DNS or TLS failure, connection refused, reset or closed too early
	InvalidResponse  Reason = "invalid_response"  // unreadable, too large, or about another session
)

// Reasons returns all reasons, in the order of their declaration.
func Reasons() []Reason {
	return []Reason{
		Unauthorized, NotFound, RateLimited, ServerError, UnexpectedStatus, Timeout, Network, InvalidResponse,
	}
}

// Error reports why a target could not be read. Its text never contains a URL, a token, a key or a part of the answer's
// body, so it may be logged and shown.
type Error struct {
	Reason Reason
	Detail string        // a lower-case phrase for humans
	Wait   time.Duration // how long the API asked to send no further requests; 0 if it did not
}

// Error returns the reason and the detail.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Detail }

// ReasonOf returns the reason of err, "" if err is nil. For an error that is not an *Error, it returns InvalidResponse.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return InvalidResponse
}

// Limits for Error.Wait.
const (
	waitUnsaid     = 30 * time.Second // for a 429 without Retry-After
	waitAtLeast    = time.Second
	waitAtMost429  = 5 * time.Minute // also for a 403
	waitAtMost503  = time.Minute
	detailTimedOut = "no answer within the time limit"
)

// statusError returns the error for a status other than 200 and 404. Only a 200 has a result (documented).
func statusError(resp *http.Response, now time.Time) *Error {
	wait, ok := retryAfter(resp.Header, now)
	status := "status " + strconv.Itoa(resp.StatusCode)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		if !ok {
			wait = waitUnsaid
		}
		return &Error{Reason: RateLimited, Detail: status, Wait: min(wait, waitAtMost429)}
	case code == http.StatusForbidden && ok: // from a gateway that limits by address (inferred); the key is not wrong
		return &Error{Reason: RateLimited, Detail: status + " with Retry-After", Wait: min(wait, waitAtMost429)}
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return &Error{Reason: Unauthorized, Detail: status}
	case code == http.StatusServiceUnavailable && ok:
		return &Error{Reason: RateLimited, Detail: status + " with Retry-After", Wait: min(wait, waitAtMost503)}
	case code >= 500 && code <= 599:
		return &Error{Reason: ServerError, Detail: status}
	default:
		return &Error{Reason: UnexpectedStatus, Detail: status}
	}
}

// retryAfter parses the Retry-After header: whole seconds or an HTTP date. wait is at least waitAtLeast; ok is false if
// the header is absent or invalid. A date is compared with the answer's own Date, if it has one, so that the clock of
// this machine does not matter.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	value := strings.TrimSpace(h.Get("Retry-After")) // on HTTP/2, net/http does not trim it
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return max(time.Duration(min(seconds, 1<<32))*time.Second, waitAtLeast), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return max(at.Sub(now), waitAtLeast), true
}

// transportError returns the *Error for an error of the round tripper or of reading a body. It never includes the text
// of an error of net/http, which may contain the URL or parts of the answer. If ctx was cancelled, it returns
// context.Canceled, because the API did not fail.
func transportError(ctx context.Context, err error) error {
	var (
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		errno   syscall.Errno
		corrupt flate.CorruptInputError
		limit   net.Error
		network = func(detail string) error { return &Error{Reason: Network, Detail: detail} }
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case ctx.Err() != nil:
		return &Error{Reason: Timeout, Detail: detailTimedOut}
	case errors.As(err, &dns):
		return network("the API's host name cannot be resolved")
	case errors.As(err, &cert):
		return network("the API's TLS certificate " + certificateDetail(cert.Err))
	case errors.As(err, &record):
		return network("the API does not speak TLS on this port")
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert: its type is unexported, its texts are constants
		return network("the API closed the connection: " + op.Err.Error())
	case errors.As(err, &limit) && limit.Timeout():
		return &Error{Reason: Timeout, Detail: detailTimedOut}
	case errors.As(err, &errno):
		return network(errno.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return network("the connection was closed before the answer was complete")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return invalid("the answer is not valid gzip")
	default:
		return network("the connection broke or the answer is not HTTP")
	}
}

// certificateDetail describes what is wrong with a certificate, without the names in it.
func certificateDetail(err error) string {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		bad       x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host):
		return "is for another host"
	case errors.As(err, &authority):
		return "is signed by an unknown authority"
	case errors.As(err, &bad) && bad.Reason == x509.Expired:
		return "has expired or is not yet valid (is this machine's clock right?)"
	default:
		return "is not valid"
	}
}
