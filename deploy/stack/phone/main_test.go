package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPrints(t *testing.T) {
	now := func() time.Time { return time.Date(2026, time.November, 29, 9, 41, 0, 0, time.UTC) }
	for _, test := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{
			"a ring", "/botphone/sendMessage", `{"chat_id": "1", "text": "CRITICAL: 5k\nGo to finish-5k.\n"}`,
			http.StatusOK, "\n09:41:00 the phone rings:\n  CRITICAL: 5k\n  Go to finish-5k.\n",
		},
		{
			"a silent message", "/botchat/sendMessage", `{"chat_id": "1", "text": "WARNING", "disable_notification": "true"}`,
			http.StatusOK, "\n09:41:00 the chat gets a message:\n  WARNING\n",
		},
		{"no message", "/botphone/sendMessage", "?", http.StatusBadRequest, ""},
		{"the watchdog", "/watchdog", `{"status": "firing"}`, http.StatusOK, ""},
		{"another method of the API", "/botphone/getMe", "{}", http.StatusNotFound, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			answer := httptest.NewRecorder()
			handler(&out, now).ServeHTTP(answer, httptest.NewRequest(http.MethodPost, test.path, strings.NewReader(test.body)))
			if answer.Code != test.status || out.String() != test.want {
				t.Errorf("%d, printed %q; want %d, %q", answer.Code, out.String(), test.status, test.want)
			}
		})
	}
}
