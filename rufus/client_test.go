package rufus_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

func TestRequest(t *testing.T) {
	for _, test := range []struct{ base, keyHeader, want string }{
		{"/v0", "api_key", sessionPath},
		{"/v0/", "x-api-key", sessionPath},
		{"", "X-API-Key", "/sessions/" + token},
		{"/a%20gateway/v0", "api_key", "/a%20gateway" + sessionPath},
		{"/a%2Fgateway/v0", "api_key", "/a%2Fgateway" + sessionPath},
	} {
		got := make(chan *http.Request, 1)
		base, err := url.Parse(api(t, func(w http.ResponseWriter, r *http.Request) {
			got <- r
			_, _ = io.WriteString(w, one())
		}) + test.base)
		if err != nil {
			t.Fatal(err)
		}
		o := options(t, "", patience, transport(t, rufus.TransportOptions{MaxConns: 1, Timeout: patience}))
		o.URL, o.KeyHeader = base, test.keyHeader
		if s, err := ask(t, rufus.NewClient(o)); outcome(t, s, err) != reads() {
			t.Errorf("got %v", err)
		}
		r := <-got
		if r.Method != http.MethodGet || r.RequestURI != test.want || r.ContentLength != 0 {
			t.Errorf("got %s %s with a body of %d bytes, want %s", r.Method, r.RequestURI, r.ContentLength, test.want)
		}
		for name, want := range map[string]string{
			test.keyHeader:    key,
			"User-Agent":      "rufus_exporter/test",
			"Accept":          "application/json",
			"Accept-Encoding": "gzip",
		} {
			if value := r.Header.Get(name); value != want {
				t.Errorf("%s is %q, want %q", name, value, want)
			}
		}
		if len(r.Header) != 4 {
			t.Errorf("unexpected header: %v", r.Header)
		}
	}
}

// All requests share one header, so neither the client nor a wrapped transport may change it.
func TestManyAtOnce(t *testing.T) {
	c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
		alias := r.URL.Path[len("/v0/sessions/"):]
		_, _ = io.WriteString(w, one("token_session", `"`+alias+`"`, "alias", `"for `+alias[:8]+`"`))
	}), patience)
	var running sync.WaitGroup
	for _, id := range []string{token, device, other} {
		for range 30 {
			running.Go(func() {
				s, err := c.Session(t.Context(), rufus.NewSecret(id))
				if want := reads("alias", "for "+id[:8]); outcome(t, s, err) != want {
					t.Errorf("got %+v, %v, want %s", s, err, want)
				}
			})
		}
	}
	running.Wait()
}

// observed returns options whose Observe records outcomes ("ok", a reason or "canceled"), and a function that returns
// the outcomes once all requests have ended.
func observed(t *testing.T, base string, timeout time.Duration) (rufus.Options, func() []string) {
	t.Helper()
	var (
		mu    sync.Mutex
		notes []string
		begun int
	)
	o := options(t, base, timeout, transport(t, rufus.TransportOptions{MaxConns: 8, Timeout: timeout}))
	o.Observe = func() func(error) {
		mu.Lock()
		defer mu.Unlock()
		begun++
		return func(err error) {
			mu.Lock()
			defer mu.Unlock()
			var e *rufus.Error
			switch {
			case err == nil:
				notes = append(notes, "ok")
			case err == context.Canceled: //nolint:errorlint // returned unwrapped
				notes = append(notes, "canceled")
			case errors.As(err, &e):
				notes = append(notes, string(e.Reason))
			default:
				notes = append(notes, err.Error())
			}
		}
	}
	return o, func() []string {
		mu.Lock()
		defer mu.Unlock()
		if begun != len(notes) {
			t.Errorf("%d requests begun, %d ended", begun, len(notes))
		}
		return notes
	}
}

func TestObserve(t *testing.T) {
	active := "/v0/sessions/device/" + device + "/active"
	list := "/v0/sessions/device/" + device
	bySession := func(c *rufus.Client) error {
		_, err := c.Session(t.Context(), rufus.NewSecret(token))
		return err
	}
	byDevice := func(c *rufus.Client) error {
		_, err := c.DeviceSession(t.Context(), rufus.NewSecret(device))
		return err
	}
	byList := func(c *rufus.Client) error {
		_, err := c.Devices(t.Context())
		return err
	}
	for _, test := range []struct {
		name    string
		answers map[string]http.HandlerFunc // by path; 404 for any other
		call    func(*rufus.Client) error
		want    []string
	}{
		{"a session", map[string]http.HandlerFunc{sessionPath: says(200, one())}, bySession, []string{"ok"}},
		{"no session", nil, bySession, []string{"not_found"}},
		{"nothing", map[string]http.HandlerFunc{sessionPath: says(200, "{}")}, bySession, []string{"not_found"}},
		{"wrong key", map[string]http.HandlerFunc{sessionPath: says(403, "")}, bySession, []string{"unauthorized"}},
		{"HTML", map[string]http.HandlerFunc{sessionPath: says(200, "<p>")}, bySession, []string{"invalid_response"}},
		{"half a session", map[string]http.HandlerFunc{sessionPath: says(200, one("active", ""))}, bySession,
			[]string{"invalid_response"}},
		{"an active device", map[string]http.HandlerFunc{active: says(200, one())}, byDevice, []string{"ok"}},
		{"an idle device", map[string]http.HandlerFunc{active: says(404, ownNone), list: says(200, one())}, byDevice,
			[]string{"ok", "ok"}},
		{"an idle device, by a bare 404", map[string]http.HandlerFunc{list: says(200, one())}, byDevice,
			[]string{"not_found", "ok"}},
		{"an unused device", map[string]http.HandlerFunc{active: says(404, ownNone), list: says(404, ownNone)}, byDevice,
			[]string{"ok", "ok"}},
		{"no such device", nil, byDevice, []string{"not_found", "not_found"}},
		{"a device, then a failure", map[string]http.HandlerFunc{active: says(404, ownNone), list: says(500, "")}, byDevice,
			[]string{"ok", "server_error"}},
		{"a failing device", map[string]http.HandlerFunc{active: says(502, "")}, byDevice, []string{"server_error"}},
		{"devices", map[string]http.HandlerFunc{"/v0/devices": says(200, result("[]"))}, byList, []string{"ok"}},
		{"no devices", nil, byList, []string{"not_found"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, notes := observed(t, api(t, func(w http.ResponseWriter, r *http.Request) {
				handler, known := test.answers[r.URL.Path]
				if !known {
					handler = says(404, "")
				}
				handler(w, r)
			}), patience)
			err := test.call(rufus.NewClient(o))
			got := notes()
			if !slices.Equal(got, test.want) {
				t.Errorf("observed %v, want %v", got, test.want)
			}
			if last := test.want[len(test.want)-1]; (err == nil) != (last == "ok") {
				t.Errorf("observed %s, but got %v", last, err)
			}
		})
	}
}

func TestGivingUp(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout time.Duration
		giveUp  func(context.Context) (context.Context, context.CancelFunc)
		cancels bool // as soon as the API has received the request
		want    string
	}{
		{"the caller cancels", patience, context.WithCancel, true, "canceled"},
		{"the caller's deadline", patience, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, short)
		}, false, "timeout"},
		{"the time limit", short, context.WithCancel, false, "timeout"},
	} {
		for _, where := range []string{"before the header", "in the body"} {
			t.Run(test.name+" "+where, func(t *testing.T) {
				asked := make(chan struct{})
				o, notes := observed(t, api(t, func(w http.ResponseWriter, r *http.Request) {
					if where == "in the body" {
						w.WriteHeader(http.StatusOK)
						_ = http.NewResponseController(w).Flush()
					}
					close(asked)
					<-r.Context().Done()
				}), test.timeout)
				ctx, cancel := test.giveUp(t.Context())
				defer cancel()
				if test.cancels {
					go func() {
						<-asked
						cancel()
					}()
				}
				s, err := rufus.NewClient(o).Session(ctx, rufus.NewSecret(token))
				if test.cancels {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("got %v, want context.Canceled", err)
					}
				} else if got := outcome(t, s, err); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if got := notes(); !slices.Equal(got, []string{test.want}) {
					t.Errorf("observed %v, want %s", got, test.want)
				}
			})
		}
	}
}

// A call whose context is already cancelled sends no request.
func TestGoneAlready(t *testing.T) {
	c := client(t, api(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") }), patience)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Session(ctx, rufus.NewSecret(token)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := c.DeviceSession(ctx, rufus.NewSecret(device)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := c.Devices(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestReasonOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want rufus.Reason
	}{
		{nil, ""},
		{&rufus.Error{Reason: rufus.Timeout}, rufus.Timeout},
		{errors.Join(errors.New("while scraping"), &rufus.Error{Reason: rufus.NotFound}), rufus.NotFound},
		{errors.New("something else"), rufus.InvalidResponse},
	} {
		if got := rufus.ReasonOf(test.err); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}

func TestReasons(t *testing.T) {
	want := []rufus.Reason{
		"unauthorized", "not_found", "rate_limited", "server_error", "unexpected_status", "timeout", "network",
		"invalid_response",
	}
	if got := rufus.Reasons(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
