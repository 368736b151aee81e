package rufus_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

// noon is the time in the API's Date header.
const noon = "Fri, 03 Feb 2023 12:00:00 GMT"

// statuses are answers, the expected reason, and for rate_limited how long requests are paused. header is pairs of name
// and value.
var statuses = []struct {
	name   string
	status int
	header []string
	body   string
	want   rufus.Reason
	wait   time.Duration
}{
	{"created", 201, nil, one(), "unexpected_status", 0},
	{"no content", 204, nil, "", "unexpected_status", 0},
	{"partial content", 206, nil, one(), "unexpected_status", 0},

	{"multiple choices", 300, nil, "", "unexpected_status", 0},
	{"moved", 301, []string{"Location", "ELSEWHERE"}, "", "unexpected_status", 0},
	{"found", 302, []string{"Location", "ELSEWHERE"}, "", "unexpected_status", 0},
	{"see other", 303, []string{"Location", "ELSEWHERE"}, "", "unexpected_status", 0},
	{"not modified", 304, nil, "", "unexpected_status", 0},
	{"moved for now", 307, []string{"Location", "ELSEWHERE"}, "", "unexpected_status", 0},
	{"moved for good", 308, []string{"Location", "ELSEWHERE"}, "", "unexpected_status", 0},
	{"redirect to itself", 302, []string{"Location", sessionPath}, "", "unexpected_status", 0},
	{"redirect to nowhere", 302, nil, "", "unexpected_status", 0},
	{"redirect to nonsense", 302, []string{"Location", "://%zz"}, "", "unexpected_status", 0},

	{"bad request", 400, nil, `{"description": "BODY"}`, "unexpected_status", 0},
	{"unauthorized", 401, []string{"WWW-Authenticate", `Basic realm="BODY"`}, `{"body": "BODY"}`, "unauthorized", 0},
	{"forbidden", 403, nil, `{"message": "BODY"}`, "unauthorized", 0},
	{"403, seconds", 403, []string{"Retry-After", "7"}, "", "rate_limited", 7 * time.Second},
	{"403, date", 403, []string{"Retry-After", "Fri, 03 Feb 2023 12:01:30 GMT", "Date", noon}, "",
		"rate_limited", 90 * time.Second},
	{"403, a day", 403, []string{"Retry-After", "86400"}, "", "rate_limited", 5 * time.Minute},
	{"403, words", 403, []string{"Retry-After", "soon"}, "", "unauthorized", 0},
	{"401 with Retry-After", 401, []string{"Retry-After", "7"}, "", "unauthorized", 0},
	{"not found, as documented", 404, nil, `{description: "Session not found", token_session: "BODY"}`, "not_found", 0},
	{"not found, JSON", 404, nil, `{"body": {"description": "Session not found"}}`, "not_found", 0},
	{"not found, HTML", 404, nil, "<h1>BODY</h1>", "not_found", 0},
	{"not found, with a session", 404, nil, one(), "not_found", 0},
	{"wrong method", 405, nil, "", "unexpected_status", 0},
	{"request timeout", 408, nil, "", "unexpected_status", 0},
	{"conflict", 409, nil, `{"body": "BODY"}`, "unexpected_status", 0},
	{"gone", 410, nil, "", "unexpected_status", 0},
	{"teapot", 418, []string{"Retry-After", "7"}, "", "unexpected_status", 0},

	{"429, does not say", 429, nil, "", "rate_limited", 30 * time.Second},
	{"429, seconds", 429, []string{"Retry-After", "7"}, "", "rate_limited", 7 * time.Second},
	{"429, with blanks", 429, []string{"Retry-After", " 7 "}, "", "rate_limited", 7 * time.Second},
	{"429, zero", 429, []string{"Retry-After", "0"}, "", "rate_limited", time.Second},
	{"429, a day", 429, []string{"Retry-After", "86400"}, "", "rate_limited", 5 * time.Minute},
	{"429, more than int64", 429, []string{"Retry-After", "99999999999999999999"}, "", "rate_limited", 5 * time.Minute},
	{"429, negative", 429, []string{"Retry-After", "-1"}, "", "rate_limited", 30 * time.Second},
	{"429, fraction", 429, []string{"Retry-After", "1.5"}, "", "rate_limited", 30 * time.Second},
	{"429, words", 429, []string{"Retry-After", "soon"}, "", "rate_limited", 30 * time.Second},
	{"429, empty", 429, []string{"Retry-After", ""}, "", "rate_limited", 30 * time.Second},
	{"429, date", 429, []string{"Retry-After", "Fri, 03 Feb 2023 12:01:30 GMT", "Date", noon}, "",
		"rate_limited", 90 * time.Second},
	{"429, date of RFC 850", 429, []string{"Retry-After", "Friday, 03-Feb-23 12:01:30 GMT", "Date", noon}, "",
		"rate_limited", 90 * time.Second},
	{"429, date of C", 429, []string{"Retry-After", "Fri Feb  3 12:01:30 2023", "Date", noon}, "",
		"rate_limited", 90 * time.Second},
	{"429, date gone by", 429, []string{"Retry-After", "Fri, 03 Feb 2023 11:00:00 GMT", "Date", noon}, "",
		"rate_limited", time.Second},
	{"429, date far off", 429, []string{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT", "Date", noon}, "",
		"rate_limited", 5 * time.Minute},
	{"429, date before our own clock", 429, []string{"Retry-After", noon, "Date", "nonsense"}, "",
		"rate_limited", time.Second},
	{"429, date after our own clock", 429, []string{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT", "Date", ""}, "",
		"rate_limited", 5 * time.Minute},

	{"500", 500, nil, `{"body": null}`, "server_error", 0},
	{"500 with Retry-After", 500, []string{"Retry-After", "7"}, "", "server_error", 0},
	{"501", 501, nil, "", "server_error", 0},
	{"502", 502, nil, "<html>BODY</html>", "server_error", 0},
	{"503", 503, nil, "", "server_error", 0},
	{"503, seconds", 503, []string{"Retry-After", "7"}, "", "rate_limited", 7 * time.Second},
	{"503, zero", 503, []string{"Retry-After", "0"}, "", "rate_limited", time.Second},
	{"503, an hour", 503, []string{"Retry-After", "3600"}, "", "rate_limited", time.Minute},
	{"503, date", 503, []string{"Retry-After", "Fri, 03 Feb 2023 12:00:40 GMT", "Date", noon}, "",
		"rate_limited", 40 * time.Second},
	{"503, words", 503, []string{"Retry-After", "soon"}, "", "server_error", 0},
	{"504", 504, nil, "", "server_error", 0},
	{"599", 599, nil, "", "server_error", 0},
	{"600", 600, nil, "", "unexpected_status", 0},
	{"999", 999, nil, "", "unexpected_status", 0},
}

func TestStatuses(t *testing.T) {
	elsewhere := api(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to another host, with header %v", r.Header)
	})
	now := statuses[0]
	requests := 0
	handler := func(w http.ResponseWriter, _ *http.Request) {
		requests++
		for i := 0; i < len(now.header); i += 2 {
			name, value := now.header[i], now.header[i+1]
			if value == "ELSEWHERE" {
				value = elsewhere + sessionPath
			}
			w.Header()[name] = []string{value}
		}
		w.WriteHeader(now.status)
		_, _ = io.WriteString(w, now.body)
	}
	server, trust := secureAPI(t, true, handler)
	for name, c := range map[string]*rufus.Client{
		"HTTP1": client(t, api(t, handler), patience),
		"HTTP2": clientOver(t, server.URL, patience,
			transport(t, rufus.TransportOptions{TLS: trust, MaxConns: 8, Timeout: patience})),
	} {
		for _, status := range statuses {
			t.Run(name+"/"+status.name, func(t *testing.T) {
				now, requests = status, 0
				_, err := ask(t, c)
				if got := reason(t, err); got != status.want {
					t.Errorf("got %v, want %s", err, status.want)
				}
				var e *rufus.Error
				if errors.As(err, &e) && e.Wait != status.wait {
					t.Errorf("got a wait of %v, want %v", e.Wait, status.wait)
				}
				if requests != 1 {
					t.Errorf("the API got %d requests", requests)
				}
			})
		}
	}
}

// Without a Date header, the date is compared with this machine's clock.
func TestRetryAfterWithoutDate(t *testing.T) {
	at := time.Now().Add(2 * time.Minute).UTC()
	c := client(t, api(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Retry-After", at.Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
	}), patience)
	_, err := ask(t, c)
	var e *rufus.Error
	if !errors.As(err, &e) || e.Wait < 110*time.Second || e.Wait > 2*time.Minute {
		t.Errorf("got %#v, want a wait until %v", err, at)
	}
}

// The body of an error is read, so that the connection can be reused.
func TestErrorsKeepTheConnection(t *testing.T) {
	for _, test := range []struct {
		status, size int // of the body, in bytes
		want         rufus.Reason
	}{
		{http.StatusNotFound, 100, rufus.NotFound},
		{http.StatusNotFound, 60 << 10, rufus.NotFound},
		{http.StatusUnauthorized, 100, rufus.Unauthorized},
		{http.StatusServiceUnavailable, 60 << 10, rufus.ServerError},
	} {
		connections := make(chan struct{}, 100)
		server := httptest.NewUnstartedServer(says(test.status, strings.Repeat("x", test.size)))
		server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections <- struct{}{}
			}
		}
		server.Start()
		t.Cleanup(server.Close)
		c := client(t, server.URL, patience)
		for range 10 {
			if _, err := ask(t, c); reason(t, err) != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		}
		if n := len(connections); n != 1 {
			t.Errorf("%d connections for ten answers in a row, each with status %d and %d bytes", n, test.status, test.size)
		}
	}
}
