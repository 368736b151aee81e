package rufus_test

import (
	"io"
	"net/http"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"rufus_exporter/rufus"
)

// large are results of 1 MiB, as a hostile or broken API may send for all sessions at once.
func large() map[string]string {
	const most = 1<<20 - 100
	fill := func(start, piece, end string) string {
		return start + strings.Repeat(piece, (most-len(start)-len(end))/len(piece)) + end
	}
	start := `[{"token_session": "` + token + `", "active": true, "passings": 31`
	return map[string]string{
		"a long alias":        fill(start+`, "alias": "`, "x", `"}]`),
		"tokens for an alias": fill(start+`, "alias": "`, token, `"}]`),
		"3,000 records":       fill("["+session(), ","+session("active", "false", "x", `"`+strings.Repeat(".", 100)+`"`), "]"),
		"empty records":       fill("["+session(), ",{}", "]"),
		"70,000 keys":         fill(start, `, "k12345": 1`, `}]`),
		"escaped names":       fill(start, `, "\u0061lias": "\u0062"`, `}]`),
		"deep nesting":        fill(start+`, "x": [`, nested(9_000)+",", "0]}]"),
	}
}

// Even with large answers for all sessions, memory stays far below 100 MiB, and a request does not take much longer
// than reading its answer.
func TestMemory(t *testing.T) {
	// The default limit of concurrent requests. Of further sessions, only the texts are kept.
	const limit, sessions = 32, 40
	resident := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for name, json := range large() {
		t.Run(name, func(t *testing.T) {
			body := result(json)
			var (
				mu   sync.Mutex
				most uint64
			)
			c := client(t, api(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/active") {
					answerWith(w, own)
				} else {
					_, _ = io.WriteString(w, body)
				}
				mu.Lock()
				defer mu.Unlock()
				metrics.Read(resident)
				most = max(most, resident[0].Value.Uint64()-resident[1].Value.Uint64())
			}), patience)
			debug.FreeOSMemory()
			var (
				running sync.WaitGroup
				found   [2 * sessions]rufus.Session // kept, as in a cache
				slots   = make(chan struct{}, limit)
				start   = time.Now()
			)
			for i := range found {
				slots <- struct{}{}
				running.Go(func() {
					defer func() { <-slots }()
					target := rufus.Target{Follows: rufus.Device, ID: rufus.NewSecret(device)}
					if i%2 == 0 {
						target = rufus.Target{ID: rufus.NewSecret(token)}
					}
					var err error
					if found[i], err = c.State(t.Context(), target); err != nil {
						_ = reason(t, err)
					}
				})
			}
			running.Wait()
			t.Logf("%d MiB, %v", most>>20, time.Since(start))
			if most > 100<<20 {
				t.Errorf("took %d MiB", most>>20)
			}
		})
	}
}
