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

// Reason is why a target could not be read. The set is closed, so it can be a label.
type Reason string

// The reasons, and what leads to each.
const (
	Unauthorized     Reason = "unauthorized"      // 401 and 403: the key is wrong, or of the wrong type
	NotFound         Reason = "not_found"         // 404, and 200 without a result
	RateLimited      Reason = "rate_limited"      // 429, 503 and 403 with Retry-After, and while backing off
	ServerError      Reason = "server_error"      // every other 5xx
	UnexpectedStatus Reason = "unexpected_status" // 400, 3xx and every other status
	Timeout          Reason = "timeout"           // a time limit of ours
	Network          Reason = "network"           // DNS, TLS, refused, reset, cut off
	InvalidResponse  Reason = "invalid_response"  // unreadable, too large, or about another session
)

// Reasons returns every reason, in the order of their description.
func Reasons() []Reason {
	return []Reason{
		Unauthorized, NotFound, RateLimited, ServerError, UnexpectedStatus, Timeout, Network, InvalidResponse,
	}
}

// Error is a target that could not be read. Its text never holds a URL, a token, a key or a byte of the answer's
// body, so it may be logged and shown.
type Error struct {
	Reason Reason
	Detail string        // a lower-case phrase for a human
	Wait   time.Duration // >0: with this answer the API asked for no further requests for that long
}

// Error returns reason and detail.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Detail }

// ReasonOf returns the reason of err, InvalidResponse for an error that is not of this package, "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return InvalidResponse
}

// How long to send no requests: as long as the API asks for, within these limits.
const (
	waitUnsaid     = 30 * time.Second // for a 429 without Retry-After
	waitAtLeast    = time.Second
	waitAtMost429  = 5 * time.Minute // also for a 403
	waitAtMost503  = time.Minute
	detailTimedOut = "no answer within the time limit"
)

// statusError maps a status other than 200 and 404 to its reason. Only 200 carries a result (documented).
func statusError(resp *http.Response, now time.Time) *Error {
	said, ok := retryAfter(resp.Header, now)
	status := "status " + strconv.Itoa(resp.StatusCode)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		if !ok {
			said = waitUnsaid
		}
		return &Error{Reason: RateLimited, Detail: status, Wait: min(said, waitAtMost429)}
	case code == http.StatusForbidden && ok: // a gateway that limits by address (inferred), not a wrong key
		return &Error{Reason: RateLimited, Detail: status + " with Retry-After", Wait: min(said, waitAtMost429)}
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return &Error{Reason: Unauthorized, Detail: status}
	case code == http.StatusServiceUnavailable && ok:
		return &Error{Reason: RateLimited, Detail: status + " with Retry-After", Wait: min(said, waitAtMost503)}
	case code >= 500 && code <= 599:
		return &Error{Reason: ServerError, Detail: status}
	default:
		return &Error{Reason: UnexpectedStatus, Detail: status}
	}
}

// retryAfter reads the header of that name: whole seconds or an HTTP date, at least waitAtLeast. ok is false when
// the header is absent or nonsense. A date counts from the answer's own Date where there is one, so that a wrong
// clock on this machine does no harm.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	value := strings.TrimSpace(h.Get("Retry-After")) // HTTP/2 leaves blanks where they are
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

// transportError maps an error of the round tripper or of reading a body. The errors of net/http are taken apart
// rather than printed: some hold the URL, some bytes of the answer. A caller that gave up is no failure of the
// API: context.Canceled comes back as it is.
func transportError(ctx context.Context, err error) error {
	var (
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		errno   syscall.Errno
		corrupt flate.CorruptInputError
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
	case errors.As(err, &op) && op.Op == "remote error": // an alert of TLS; its type is private, its texts are fixed
		return network("the API broke off with " + op.Err.Error())
	case isTimeout(err):
		return &Error{Reason: Timeout, Detail: detailTimedOut}
	case errors.As(err, &errno):
		return network(errno.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return network("the connection was closed before the answer was complete")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return invalid("the answer is not the gzip it says it is")
	default:
		return network("the connection broke or the answer is not HTTP")
	}
}

// certificateDetail says what is wrong with a certificate without repeating the names that stand in it.
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

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
