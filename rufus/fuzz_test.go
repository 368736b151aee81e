package rufus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"rufus_exporter/rufus"
)

// texts are all errors about the body of a 200. None contains a part of the body.
var texts = []string{
	"not_found: the API knows no such session",
	"invalid_response: the answer is not a JSON object",
	"invalid_response: the answer does not have the documented form",
	"invalid_response: the answer is about another session",
	"invalid_response: the answer is about another device",
	"invalid_response: the answer is not about sessions",
	"invalid_response: the answer is not about devices",
	"invalid_response: the answer is larger than 64 KiB",
	"invalid_response: the answer is larger than 1024 KiB",
	"invalid_response: active is missing or not a boolean",
	"invalid_response: passings is missing or not a count",
}

// checkFailure checks the error of a call that got only 200s.
func checkFailure(t *testing.T, err error) {
	t.Helper()
	if reason(t, err); !slices.Contains(texts, err.Error()) {
		t.Errorf("got the error %q", err)
	}
}

// checkText checks a text that becomes a label.
func checkText(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > 200 {
		t.Errorf("%q is not UTF-8 of at most 200 characters", text)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q cannot be printed", text)
	}
	for _, secret := range []string{key, token, device} {
		if strings.Contains(strings.ToUpper(text), strings.ToUpper(secret)) {
			t.Errorf("%q has a secret in it", text)
		}
	}
}

func checkInstants(t *testing.T, instants ...rufus.Option[time.Time]) {
	t.Helper()
	for _, instant := range instants {
		if at, ok := instant.Get(); ok && (at.Year() <= 1 || at.Year() > 9999) {
			t.Errorf("got the instant %v", at)
		}
	}
}

// checkSession checks a session that was returned without an error. Only an unused device has no session.
func checkSession(t *testing.T, s rufus.Session, needed bool) {
	t.Helper()
	passings, ok := s.Passings.Get()
	if !ok && (needed || s != rufus.Session{}) {
		t.Errorf("no passings in %+v", s)
	}
	if passings < 0 || passings != int64(float64(passings)) {
		t.Errorf("got %d passings", passings)
	}
	checkText(t, s.Alias)
	checkInstants(t, s.Created, s.Duration, s.First, s.Last)
}

func FuzzDecodeSession(f *testing.F) {
	for _, answer := range answers {
		if len(answer.body) < 10_000 { // larger ones only take more time
			f.Add([]byte(answer.body))
		}
	}
	for _, answer := range deviceAnswers {
		f.Add([]byte(answer.list))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := clientOver(t, "http://api.invalid", patience, canned(http.StatusOK, nil, body))
		if s, err := c.Session(t.Context(), rufus.NewSecret(token)); err != nil {
			checkFailure(t, err)
		} else {
			checkSession(t, s, true)
		}
		if s, err := c.DeviceSession(t.Context(), rufus.NewSecret(device)); err != nil {
			checkFailure(t, err)
		} else {
			checkSession(t, s, false)
		}
	})
}

func FuzzDevices(f *testing.F) {
	for _, pagination := range []string{
		`{"has_more": false}`, `{"has_more": true, "total": 1}`, `{"page": 1, "limit": 1000, "total": 1, "has_more": false}`,
		`{}`, `null`, `[]`,
	} {
		f.Add([]byte(`{"result": [` + health() + `], "pagination": ` + pagination + `}`))
	}
	f.Add([]byte(enveloped(health("battery_percentage", "null", "charging", "null"))))
	f.Add([]byte(result("[" + health("deviceid", "7", "battery_percentage", "1e999", "model", "[]") + "]")))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := clientOver(t, "http://api.invalid", patience, canned(http.StatusOK, nil, body))
		list, err := c.Devices(t.Context())
		if err != nil {
			checkFailure(t, err)
		}
		h, found := list.Health(rufus.NewSecret(device))
		if (err != nil || !found) && h != (rufus.DeviceHealth{}) {
			t.Errorf("got %+v for a device that is not listed", h)
		}
		if ratio, ok := h.Battery.Get(); ok && !(ratio >= 0 && ratio <= 1) {
			t.Errorf("got the battery at %v", ratio)
		}
		checkText(t, h.Model)
		checkText(t, h.Firmware)
		checkText(t, h.Status)
		checkInstants(t, h.LastTelemetry, h.LastLogin)
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, status := range statuses {
		values := map[string]string{}
		for i := 0; i < len(status.header); i += 2 {
			values[status.header[i]] = status.header[i+1]
		}
		f.Add(values["Retry-After"], values["Date"])
	}
	f.Fuzz(func(t *testing.T, retryAfter, date string) {
		header := http.Header{"Retry-After": {retryAfter}, "Date": {date}}
		for status, most := range map[int]time.Duration{429: 5 * time.Minute, 503: time.Minute} {
			_, err := ask(t, clientOver(t, "http://api.invalid", patience, canned(status, header, nil)))
			var e *rufus.Error
			switch got := reason(t, err); {
			case status == 503 && got == rufus.ServerError:
			case got != rufus.RateLimited:
				t.Errorf("status %d with Retry-After %q: got %v", status, retryAfter, err)
			case errors.As(err, &e) && (e.Wait < time.Second || e.Wait > most):
				t.Errorf("status %d with Retry-After %q: got a wait of %v", status, retryAfter, e.Wait)
			}
		}
	})
}

// JSON is decoded as by encoding/json, except that names must match exactly.
func FuzzJSON(f *testing.F) {
	for _, answer := range answers {
		if len(answer.body) < 10_000 {
			f.Add([]byte(answer.body))
		}
	}
	for _, answer := range notFounds {
		f.Add([]byte(answer.body[:min(len(answer.body), 1000)]))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want map[string]json.RawMessage
		err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\uFEFF")), &want)
		got := rufus.Members(body)
		if (err == nil && want != nil) != (got != nil) {
			t.Fatalf("got %q, want %q (%v)", got, want, err)
		}
		for _, name := range []string{"body", "result", "description", "deviceid", "active", "passings", "a", ""} {
			value, known := want[name]
			if known != (got[name] != nil) || known && got[name][0] != string(value) {
				t.Errorf("%q is %q, want %q", name, got[name], value)
			}
			var elements []json.RawMessage
			if json.Unmarshal(value, &elements) != nil {
				continue
			}
			if !slices.EqualFunc(got[name+"[]"], elements, func(a string, b json.RawMessage) bool { return a == string(b) }) {
				t.Errorf("%q has %q, want %q", name, got[name+"[]"], elements)
			}
		}
	})
}
