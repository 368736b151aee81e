package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// answered is the answer to one of many requests.
type answered struct {
	path   string
	status int
	body   string
	took   time.Duration
}

// flood sends requests at the same time and returns the answers in the order in which they come.
func (s *stand) flood(n int, paths ...string) <-chan answered {
	answers := make(chan answered, n)
	for i := range n {
		path := paths[i%len(paths)]
		go func() {
			begin := time.Now()
			response := s.record(path)
			answers <- answered{path, response.Code, response.Body.String(), time.Since(begin)}
		}()
	}
	return answers
}

// rejected returns the count of what was rejected, and how often that was logged.
func (s *stand) rejected() (total string, logged int) {
	_, total, _ = strings.Cut(s.record("/metrics?collect[]=exporter").Body.String(), "\nrufus_exporter_rejected_requests_total ")
	total, _, _ = strings.Cut(total, "\n")
	return total, strings.Count(s.log.String(), "request rejected")
}

// hanging is an API that answers after an hour, and sessions that ask it.
func hanging(sessions int, limit int) *stand {
	entries := make([]entry.Entry, sessions)
	for i := range entries {
		entries[i] = follow(rufus.Token, string(rune('a'+i)))
	}
	return newStand(&api{answers: func(string) (rufus.Session, error) {
		time.Sleep(time.Hour)
		return rufus.Session{}, nil
	}}, entries, realClocks, func(s *settings) { s.MaxRequests = limit })
}

// While scrapes and probes wait for an API that hangs, everything else is answered: none waits behind them.
func TestScrapesBlockNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2
		s := hanging(3, limit)
		s.flood(10*limit, "/metrics", "/probe?target=a", "/metrics?collect[]=sessions")
		synctest.Wait()
		for path, most := range map[string]time.Duration{
			"/metrics?collect[]=exporter": 0, "/sd": 0, "/-/healthy": 0, "/-/ready": 0, "/": pageFetch,
		} {
			got := <-s.flood(1, path)
			equal(t, path+" status", got.status, http.StatusOK)
			if got.took > most {
				t.Errorf("%s took %s", path, got.took)
			}
		}
		time.Sleep(2 * time.Hour)
	})
}

// Scrapes beyond the limit wait for their turn, in order.
func TestScrapesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, flood = 2, 6
		s := newStand(&api{answers: func(string) (rufus.Session, error) {
			time.Sleep(time.Second)
			return rufus.Session{Active: true}, nil
		}}, []entry.Entry{follow(rufus.Token, "a")}, realClocks, func(s *settings) { s.MaxRequests = limit })
		answers := s.flood(flood, "/metrics")
		for i := range flood {
			got := <-answers
			equal(t, "status", got.status, http.StatusOK)
			equal(t, "took", got.took, time.Duration(i/limit+1)*time.Second)
			contains(t, "answer", got.body, `rufus_session_up{session="a"} 1`)
		}
		total, logged := s.rejected()
		equal(t, "rejected", total, "0")
		equal(t, "logged", logged, 0)
	})
}

// Those whose turn does not come before their deadline are rejected, counted, and logged once while it goes on.
func TestScrapesThatAreRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, flood = 2, 8
		s := hanging(1, limit)
		round := func() {
			for range limit { // which have more time than those after them
				go s.record("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "30")
			}
			synctest.Wait()
			answers := s.flood(flood, "/metrics")
			for range flood {
				got := <-answers
				equal(t, "took", got.took, 9500*time.Millisecond)
				equal(t, "status", got.status, http.StatusServiceUnavailable)
				contains(t, "answer", got.body, "--web.max-requests")
			}
			time.Sleep(30 * time.Second)
		}
		for i, logged := range []int{1, 1, 2} {
			if i == 2 {
				time.Sleep(2 * episode)
			}
			round()
			total, times := s.rejected()
			equal(t, "rejected", total, []string{"8", "16", "24"}[i])
			equal(t, "logged", times, logged)
		}
		time.Sleep(2 * time.Hour)
	})
}

// An API that hangs is no reason to reject probes, however many: their sessions are down, the exporter is not.
func TestProbesOfAnAPIThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, flood = 2, 200
		s := hanging(20, limit)
		var paths []string
		for _, entry := range s.entries {
			paths = append(paths, "/probe?target="+entry.Name)
		}
		answers := s.flood(flood, paths...)
		for range flood {
			got := <-answers
			equal(t, "status", got.status, http.StatusOK)
			contains(t, "answer", got.body, "rufus_session_up{session=\""+strings.TrimPrefix(got.path, "/probe?target=")+"\"} 0")
		}
		time.Sleep(24 * time.Hour)
	})
}

// A flood is rejected at once beyond what may wait, and afterwards its places are free.
func TestFlood(t *testing.T) {
	for path, admitted := range map[string]int{
		"/metrics": 10 + maxWaiting, "/probe?target=a": maxWaiting, "/": 10 + maxWaiting,
	} {
		synctest.Test(t, func(t *testing.T) {
			const flood = 3000
			s := hanging(1, 10)
			answers, atOnce := s.flood(flood, path), 0
			for range flood {
				if got := <-answers; got.took == 0 {
					atOnce++
					equal(t, path+" status", got.status, http.StatusServiceUnavailable)
				}
			}
			equal(t, path+" rejected at once", atOnce, flood-admitted)
			time.Sleep(2 * time.Hour)
			equal(t, path+" afterwards", (<-s.flood(1, path)).status, http.StatusOK)
			time.Sleep(2 * time.Hour)
		})
	}
}

// Whoever leaves while waiting frees the place in the queue and is not counted.
func TestWaitingClientsThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hanging(1, 1)
		s.flood(1, "/metrics")
		synctest.Wait()
		ctx, hangUp := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", http.NoBody))
		}()
		synctest.Wait()
		hangUp()
		<-ended
		total, logged := s.rejected()
		equal(t, "rejected", total, "0")
		equal(t, "logged", logged, 0)
		time.Sleep(2 * time.Hour)
	})
}

// A handler that panics gives its place back too.
func TestAPanicGivesItsPlaceBack(t *testing.T) {
	s := newStand(&api{}, nil, func(s *settings) { s.MaxRequests = 1 })
	h := &handler{Options: s.Options, pages: newGate(1, 0)}
	panics := h.briefly(h.pages, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for range 3 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the handler did not get its turn")
				}
			}()
			panics(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
		}()
	}
}

// Of connections without a request the oldest are closed; those that are in use are not.
func TestLimitIdle(t *testing.T) {
	const most = 3
	begun, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
	}))
	idle := make(chan struct{}, 100)
	limit := LimitIdle(most)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		limit(conn, state)
		if state == http.StateIdle || state == http.StateNew {
			idle <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		<-idle
		return conn
	}
	slow := dial()
	if _, err := io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun // until the server has read the request, the connection is one without
	var conns []net.Conn
	for range 3 * most {
		conns = append(conns, dial())
	}
	for i, conn := range conns[:2*most] {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	served := func(conn net.Conn) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer := make([]byte, 15)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
			t.Errorf("got %q, %v", answer, err)
		}
	}
	for _, conn := range conns[2*most:] {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Error(err)
		}
		served(conn)
	}
	close(release)
	served(slow)
}
