package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rufus_exporter/collector"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

func TestRoutes(t *testing.T) {
	_, s := simulated(t)
	base := s.serve(t)
	for _, test := range []struct {
		method, path string
		status       int
		body         string // or its beginning
	}{
		{"GET", "/", http.StatusOK, "<!DOCTYPE html>"},
		{"HEAD", "/", http.StatusOK, ""},
		{"POST", "/", http.StatusMethodNotAllowed, "Method Not Allowed"},
		{"GET", "/index.html", http.StatusNotFound, "404 page not found"},
		{"GET", "/metrics", http.StatusOK, "# HELP "},
		{"HEAD", "/metrics", http.StatusOK, ""},
		{"POST", "/metrics", http.StatusMethodNotAllowed, "Method Not Allowed"},
		{"GET", "/metrics/", http.StatusNotFound, "404 page not found"},
		{"GET", "/probe?target=start", http.StatusOK, "# HELP rufus_session_"},
		{"POST", "/probe?target=start", http.StatusMethodNotAllowed, "Method Not Allowed"},
		{"GET", "/sd", http.StatusOK, `[{"targets":`},
		{"DELETE", "/sd", http.StatusMethodNotAllowed, "Method Not Allowed"},
		{"GET", "/-/healthy", http.StatusOK, "Healthy.\n"},
		{"HEAD", "/-/healthy", http.StatusOK, ""},
		{"GET", "/-/ready", http.StatusOK, "Ready.\n"},
		{"GET", "/-/", http.StatusNotFound, "404 page not found"},
		{"GET", "/-/quit", http.StatusNotFound, "404 page not found"},
		{"POST", "/-/quit", http.StatusNotFound, "404 page not found"},
		{"GET", "/debug/pprof/", http.StatusNotFound, "404 page not found"},
		{"GET", "/debug/pprof/heap", http.StatusNotFound, "404 page not found"},
		{"GET", "/page.css", http.StatusNotFound, "404 page not found"},
	} {
		response, body := send(t, test.method, base, test.path)
		what := test.method + " " + test.path
		equal(t, what+" status", response.StatusCode, test.status)
		if !strings.HasPrefix(body, test.body) || test.method == "HEAD" && body != "" {
			t.Errorf("%s: %.100q", what, body)
		}
		if test.status == http.StatusMethodNotAllowed {
			equal(t, what+" allows", response.Header.Get("Allow"), "GET, HEAD")
		}
		// Nothing that a browser could be made to do with any of the answers.
		for name, want := range map[string]string{
			"X-Content-Type-Options":     "nosniff",
			"X-Frame-Options":            "DENY",
			"Referrer-Policy":            "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			equal(t, what+" "+name, response.Header.Get(name), want)
		}
		policy := response.Header.Get("Content-Security-Policy")
		contains(t, what+" policy", policy, "default-src 'none'", "frame-ancestors 'none'")
		lacks(t, what+" policy", policy, "unsafe", "script-src", "*")
		if test.path != "/" || test.status != http.StatusOK {
			lacks(t, what+" policy", policy, "style-src")
		}
	}
}

func TestReloadOverHTTP(t *testing.T) {
	for _, test := range []struct {
		what    string
		method  string
		enabled bool
		err     error
		status  int
		body    string
		reloads int
	}{
		{"POST", http.MethodPost, true, nil, http.StatusOK, "Reloaded.\n", 1},
		{"PUT", http.MethodPut, true, nil, http.StatusOK, "Reloaded.\n", 1},
		{"a bad file", http.MethodPost, true, errBroken, http.StatusInternalServerError,
			"The configuration before this reload stays in use: sessions.yml:3: the list of sessions is empty; list one\n", 1},
		{"GET", http.MethodGet, true, nil, http.StatusMethodNotAllowed, "Method Not Allowed\n", 0},
		{"not enabled", http.MethodPost, false, nil, http.StatusForbidden,
			"Reloading over HTTP is off: see --web.enable-lifecycle.\n", 0},
		{"PUT, not enabled", http.MethodPut, false, errBroken, http.StatusForbidden,
			"Reloading over HTTP is off: see --web.enable-lifecycle.\n", 0},
		{"GET, not enabled", http.MethodGet, false, nil, http.StatusMethodNotAllowed, "Method Not Allowed\n", 0},
	} {
		t.Run(test.what, func(t *testing.T) {
			reloads := 0
			s := newStand(&api{}, nil, func(s *settings) {
				s.EnableLifecycle = test.enabled
				s.Reload = func() error {
					reloads++
					return test.err
				}
			})
			response, body := send(t, test.method, s.serve(t), "/-/reload")
			equal(t, "status", response.StatusCode, test.status)
			equal(t, "content type", response.Header.Get("Content-Type"), "text/plain; charset=utf-8")
			equal(t, "body", body, test.body)
			equal(t, "reloads", reloads, test.reloads)
			if test.status == http.StatusMethodNotAllowed {
				equal(t, "allowed", response.Header.Get("Allow"), "POST, PUT")
			}
		})
	}
}

// A form on another web site, in the browser of somebody who can reach the exporter, does not reload it.
func TestAnotherSiteCannotReload(t *testing.T) {
	s := newStand(&api{}, nil, func(s *settings) {
		s.EnableLifecycle = true
		s.Reload = func() error {
			t.Error("it was reloaded")
			return nil
		}
	})
	base := s.serve(t)
	for _, header := range [][]string{{"Origin", "https://example.org"}, {"Sec-Fetch-Site", "cross-site"}} {
		response, _ := send(t, http.MethodPost, base, "/-/reload", header...)
		equal(t, header[0], response.StatusCode, http.StatusForbidden)
	}
}

// A web page whose own name has been made to lead here does not reload it: DNS rebinding.
func TestReloadByName(t *testing.T) {
	for host, status := range map[string]int{
		"127.0.0.1:10210":        http.StatusOK,
		"192.168.0.10":           http.StatusOK,
		"[::1]:10210":            http.StatusOK,
		"[fe80::1]":              http.StatusOK,
		"localhost":              http.StatusOK,
		"LocalHost.:10210":       http.StatusOK,
		"timing":                 http.StatusOK,
		"Timing.Local:10210":     http.StatusOK,
		"rebound.example":        http.StatusForbidden,
		"rebound.example:10210":  http.StatusForbidden,
		"localhost.example":      http.StatusForbidden,
		"timing.local.example":   http.StatusForbidden,
		"127.0.0.1.example":      http.StatusForbidden,
		"":                       http.StatusForbidden,
		"timing.local, 10.0.0.1": http.StatusForbidden,
	} {
		s := newStand(&api{}, nil, func(s *settings) {
			s.EnableLifecycle = true
			s.Hosts = []string{"timing", "timing.local"}
		})
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/-/reload", http.NoBody)
		request.Host = host
		recorder := httptest.NewRecorder()
		s.handler.ServeHTTP(recorder, request)
		equal(t, host, recorder.Code, status)
		if status == http.StatusForbidden {
			contains(t, host, recorder.Body.String(), "an IP address, or one of: localhost, timing, timing.local.")
		}
	}
}

// impatient is a connection that notes until when it is written to.
type impatient struct {
	*httptest.ResponseRecorder
	until time.Time
}

// SetWriteDeadline is what http.ResponseController calls.
func (i *impatient) SetWriteDeadline(until time.Time) error {
	i.until = until
	return nil
}

// Whoever does not take an answer loses the connection soon, and does not hold one of the few places.
func TestAnswersHaveToBeTaken(t *testing.T) {
	s := newStand(&api{}, []entry.Entry{follow(rufus.Token, "start")})
	for _, path := range []string{"/", "/metrics", "/probe?target=start", "/sd"} {
		w := &impatient{ResponseRecorder: httptest.NewRecorder()}
		s.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		equal(t, path, w.Code, http.StatusOK)
		if left := time.Until(w.until); left <= 0 || left > takeTimeout {
			t.Errorf("%s may be written for another %s", path, left)
		}
	}
}

// Answers are about the sessions that are configured when they are asked for.
func TestAReloadIsServedAtOnce(t *testing.T) {
	source := &api{answers: func(string) (rufus.Session, error) { return rufus.Session{}, nil }}
	s := newStand(source, nil)
	fetcher := collector.NewFetcher(s.collector)
	current := fetcher.Sessions([]entry.Entry{follow(rufus.Token, "old-mat")})
	s.Sessions = func(context.Context) *collector.Sessions { return current }
	s.Exporter = prometheus.NewRegistry()
	s.handler = NewHandler(s.Options)
	base := s.serve(t)
	for _, path := range []string{"/", "/metrics", "/sd"} {
		_, body := get(t, base, path)
		contains(t, path, body, "old-mat")
	}
	current = fetcher.Sessions([]entry.Entry{follow(rufus.Token, "new-mat")})
	for _, path := range []string{"/", "/metrics", "/sd"} {
		_, body := get(t, base, path)
		contains(t, path, body, "new-mat")
		lacks(t, path, body, "old-mat")
	}
	response, _ := get(t, base, "/probe?target=old-mat")
	equal(t, "status of a probe of what was removed", response.StatusCode, http.StatusNotFound)
}

func TestPprofIsServedWhenAskedFor(t *testing.T) {
	s := newStand(&api{}, nil, func(s *settings) { s.EnablePprof = true })
	base := s.serve(t)
	for path, part := range map[string]string{
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile:",
		"/debug/pprof/cmdline":           "web.test",
		"/debug/pprof/symbol":            "num_symbols",
	} {
		response, body := get(t, base, path)
		equal(t, path+" status", response.StatusCode, http.StatusOK)
		contains(t, path, body, part)
	}
}

func TestReserved(t *testing.T) {
	for path, reserved := range map[string]bool{
		"/metrics":         false,
		"/metrics.txt":     false,
		"/a/b/c":           false,
		"/probes":          false,
		"/sdx":             false,
		"/debugger":        false,
		"/-metrics":        false,
		"/ü":               false,
		"":                 true,
		"/":                true,
		"metrics":          true,
		"/metrics/":        true, // a whole subtree
		"/probe":           true,
		"/sd":              true,
		"/-/":              true,
		"/-/healthy":       true,
		"/-/metrics":       true,
		"/debug/":          true,
		"/debug/pprof":     true,
		"/debug/metrics":   true,
		"/{name}":          true, // a pattern
		"/metrics/{$}":     true,
		"/metrics?a=b":     true,
		"/metrics#a":       true,
		"/a%20b":           true,
		"*":                true,
		"//metrics":        true, // no request ever has these
		"/a//b":            true,
		"/./metrics":       true,
		"/a/../metrics":    true,
		"/a/..":            true,
		"/probe/../probe":  true,
		"http://localhost": true,
		"http://x/metrics": true,
		"/metrics\n":       true,
	} {
		equal(t, path+" is reserved", Reserved(path), reserved)
		if !Reserved(path) {
			s := newStand(&api{}, nil, func(s *settings) { s.TelemetryPath = path })
			equal(t, path+" status", s.record(path).Code, http.StatusOK)
		}
	}
}

func FuzzReserved(f *testing.F) {
	for _, path := range []string{"/metrics", "//", "/a b", "/..", "/{x}", "*", "/\x00", "/%2e"} {
		f.Add(path)
	}
	f.Fuzz(func(_ *testing.T, path string) {
		if Reserved(path) {
			return
		}
		NewHandler(Options{Exporter: prometheus.NewRegistry(), TelemetryPath: path}) // panics at a path that it cannot serve
	})
}
