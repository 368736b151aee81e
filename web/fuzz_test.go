package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// Whatever the target, only the name of a configured session is asked for, and nothing else is repeated.
func FuzzTarget(f *testing.F) {
	const name = "finish-10k"
	asked := 0
	s := newStand(&api{answers: func(string) (rufus.Session, error) {
		asked++
		return rufus.Session{}, nil
	}}, []entry.Entry{follow(rufus.Token, name)}, realClocks)
	unknown := s.record("/probe?target=nobody").Body.String()
	for _, target := range []string{
		name, "", strings.ToUpper(name), name + "\x00", " " + name, "http://127.0.0.1:9/", "../metrics",
		"2A19294BB886C3D5C7783309BBC6E385515C843893A6BC126FECE3904C6E2B25", "<script>", "\xff", "%2e", "a&target=b",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		asked = 0
		response := s.record("/probe?target=" + url.QueryEscape(target))
		want, requests := http.StatusNotFound, 0
		switch target {
		case name:
			want, requests = http.StatusOK, 1
		case "":
			want = http.StatusBadRequest
		}
		if response.Code != want || asked != requests {
			t.Errorf("target %q: status %d after %d requests, want %d after %d", target, response.Code, asked, want, requests)
		}
		if body := response.Body.String(); want == http.StatusNotFound && body != unknown {
			t.Errorf("target %q: the answer is %q, for others it is %q", target, body, unknown)
		}
	})
}
