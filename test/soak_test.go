//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

// soakFor is how long TestSoak lasts: as $SOAK says, such as 10m.
func soakFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return 20 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("$SOAK: %v", err)
	}
	return d
}

// mat returns the token of the i-th session of simulator.Many, counted from 0.
func mat(i int) string { return simulator.ID(fmt.Sprintf("session MAT-%05d", i+1)) }

// mats lists the first n sessions of simulator.Many for a sessions.yml, named by their number.
func mats(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "  - {name: %d, token: %s}\n", i, mat(i))
	}
	return list.String()
}

// ledger keeps the counts that an API has sent of each token, and cuts some answers off in the middle.
type ledger struct {
	api http.Handler
	cut func() bool // whether to cut this answer off

	mu   sync.Mutex
	sent map[string]map[string]bool // passings by token
	last map[string]string
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.api.ServeHTTP(&entry{ResponseWriter: w, ledger: l, token: path.Base(r.URL.Path)}, r)
}

// entry is an answer to one request.
type entry struct {
	http.ResponseWriter
	ledger *ledger
	token  string
}

var passingsOf = regexp.MustCompile(`"passings": ?(\d+)`)

// Write sends an answer, which the simulator writes at once.
func (e *entry) Write(p []byte) (int, error) {
	l := e.ledger
	if l.cut() {
		_, _ = e.ResponseWriter.Write(p[:len(p)/2])
		panic(http.ErrAbortHandler)
	}
	if found := passingsOf.FindSubmatch(p); found != nil {
		l.enter(e.token, string(found[1]))
	}
	return e.ResponseWriter.Write(p)
}

func (l *ledger) enter(token, count string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent[token] == nil {
		l.sent[token] = map[string]bool{}
	}
	l.sent[token][count] = true
	l.last[token] = count
}

// check compares what was exposed of the first n sessions with what was sent: nothing else shows, and what is up is not
// older than the scrape. It returns how many are up.
func (l *ledger) check(scraped series, n int, before map[string]string) (ups int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		label := fmt.Sprintf(`{session="%d"}`, i)
		count, shown := scraped["rufus_session_passings"+label]
		state := scraped["rufus_session_up"+label]
		if shown != (state == "1") {
			return ups, fmt.Errorf("session %d: up is %q and passings %q", i, state, count)
		}
		if !shown {
			continue
		}
		ups++
		if !l.sent[mat(i)][count] {
			return ups, fmt.Errorf("session %d: nobody said that it has %s passings", i, count)
		}
		now, _ := strconv.Atoi(count)
		if earlier, _ := strconv.Atoi(before[mat(i)]); now < earlier {
			return ups, fmt.Errorf("session %d: %d passings are exposed, after %d had been sent", i, now, earlier)
		}
	}
	return ups, nil
}

// latest returns the counts that were sent last.
func (l *ledger) latest() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.last)
}

// disturb gives the API one fault after another.
func disturb(api *simulator.Server) {
	from := time.Now()
	to := from.Add(400 * time.Millisecond)
	fault := []simulator.Fault{
		{},
		{Latency: 100 * time.Millisecond},
		{Latency: 3 * time.Second, Only: mat(rand.IntN(500))},
		{Drop: true},
		{Drop: true, Only: mat(rand.IntN(500))},
		{Status: http.StatusForbidden},
		{Status: http.StatusNotFound, Only: mat(rand.IntN(500))},
		{Status: http.StatusTooManyRequests, RetryAfter: time.Second},
		{Status: http.StatusBadGateway, Latency: 50 * time.Millisecond},
		{Status: http.StatusServiceUnavailable, RetryAfter: time.Second, RetryAfterDate: true},
	}[rand.IntN(10)]
	fault.From, fault.To = from, to
	api.Set(func(day *simulator.Day) { day.Faults = []simulator.Fault{fault} })
}

// tryGet asks for a path outside the test's goroutine, where it must not fail the test at once.
func (e *exporter) tryGet(method, path, timeout string) (string, error) {
	req := e.request(method, path, "X-Prometheus-Scrape-Timeout-Seconds", timeout)
	resp, body, err := ask(e.client, req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

// 500 sessions through faults that come and go, reloads, two who scrape, who look at the page and who hang up: all that
// is exposed has been said by the API, and nothing of it all is left behind.
func TestSoak(t *testing.T) {
	t.Parallel()
	const sessions, fewer = 500, 400
	api := simulator.New(simulator.Many(sessions, time.Now().Add(-25*time.Minute)))
	var disturbed atomic.Bool
	books := &ledger{
		api: api, cut: func() bool { return disturbed.Load() && rand.IntN(1000) == 0 },
		sent: map[string]map[string]bool{}, last: map[string]string{},
	}
	upstream := serveAPI(t, books)
	head := fmt.Sprintf("api: {url: %q, key: %s, timeout: 2s}\nsessions:\n", upstream.url, simulator.DemoKey)
	all := head + mats(sessions)
	e := start(t, all, "--web.enable-lifecycle", "--web.enable-pprof", "--config.auto-reload-interval=0")
	e.usage()
	before := e.usage()

	// calm is a scrape of all sessions while nothing is wrong, and what is in use after it.
	calm := func() usage {
		t.Helper()
		e.use(all)
		for range 3 {
			_ = e.scrape("/metrics")
			_, _ = e.get("/")
		}
		earlier, scraped := books.latest(), e.scrape("/metrics")
		if ups, err := books.check(scraped, sessions, earlier); err != nil || ups != sessions {
			t.Errorf("while all is well %d are up: %v", ups, err)
		}
		_, _ = e.get("/debug/pprof/heap?gc=1")
		_, _ = e.get("/debug/pprof/heap?gc=1") // what a sync.Pool holds is kept for one collection
		return e.usage()
	}

	var crew []func(stop <-chan struct{})
	every := func(pause time.Duration, do func() error) {
		crew = append(crew, func(stop <-chan struct{}) {
			for beat := time.Tick(pause); ; {
				select {
				case <-stop:
					return
				case <-beat:
				}
				if err := do(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var scrapes, exposed, hungUp, reloads atomic.Int64
	every(500*time.Millisecond, func() error {
		disturb(api)
		return nil
	})
	for range 2 {
		every(time.Second, func() error {
			earlier := books.latest()
			begin := time.Now()
			body, err := e.tryGet(http.MethodGet, "/metrics", "10")
			if took := time.Since(begin); err != nil || took > 10*time.Second {
				return fmt.Errorf("a scrape took %s: %w", took, err)
			}
			// A reload may have left some out; those that are there are right.
			ups, err := books.check(parseSeries(body), sessions, earlier)
			scrapes.Add(1)
			exposed.Add(int64(ups))
			return err
		})
	}
	every(time.Second, func() error {
		_, err := e.tryGet(http.MethodGet, "/", "10")
		return err
	})
	every(50*time.Millisecond, func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			return err
		}
		hungUp.Add(1)
		_, _ = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(40)) * time.Millisecond))
		_, _ = io.CopyN(io.Discard, conn, 1000)
		return conn.Close()
	})
	every(1500*time.Millisecond, func() error {
		to := sessions
		if reloads.Add(1)%2 == 1 {
			to = fewer
		}
		if err := os.WriteFile(e.file, []byte(head+mats(to)), 0o600); err != nil {
			return err
		}
		_, err := e.tryGet(http.MethodPost, "/-/reload", "10")
		return err
	})
	work := func(d time.Duration) {
		stop := make(chan struct{})
		disturbed.Store(true)
		var all sync.WaitGroup
		for _, member := range crew {
			all.Go(func() { member(stop) })
		}
		time.Sleep(d)
		close(stop)
		all.Wait()
		disturbed.Store(false)
		api.Set(func(day *simulator.Day) { day.Faults = nil })
	}

	work(5 * time.Second) // what takes its memory once has it then
	atFirst := calm()
	work(soakFor(t))
	var atLast usage
	for deadline := time.Now().Add(patience); ; {
		atLast = calm()
		if grown := atLast.heap - atFirst.heap; grown < 1<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the heap has grown from %.0f to %.0f KiB", atFirst.heap/1024, atLast.heap/1024)
			break
		}
	}
	e.client.CloseIdleConnections()
	upstream.hangUp()
	e.returns(before)
	t.Logf("%d scrapes with %d answers, %d reloads, %d hung up; heap from %.0f to %.0f KiB, %.0f MiB resident",
		scrapes.Load(), exposed.Load(), reloads.Load(), hungUp.Load(), atFirst.heap/1024, atLast.heap/1024,
		atLast.resident/(1<<20))
	if scrapes.Load() == 0 || exposed.Load() == 0 {
		t.Error("nothing was scraped")
	}
}

// A flood of scrapes, probes and pages waits for its turn, asks the API no more than one of them would, holds up
// nothing else, and leaves nothing behind.
func TestFlood(t *testing.T) {
	t.Parallel()
	const flood, limit, sessions, concurrent = 200, 40, 50, 8
	g := newGate(t)
	var mu sync.Mutex
	inFlight, total, most := map[string]int{}, 0, 0
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		inFlight[r.URL.Path]++
		total++
		most = max(most, total)
		if n := inFlight[r.URL.Path]; n > 1 {
			t.Errorf("%d requests at a time for the same token", n)
		}
		mu.Unlock()
		g.before(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock() // before the answer, after which the next may come
			inFlight[r.URL.Path]--
			total--
			mu.Unlock()
			healthy(w, r)
		})).ServeHTTP(w, r)
	}))
	e := start(t, settings(api.url, fmt.Sprint("max_concurrent_requests: ", concurrent))+mats(sessions),
		fmt.Sprint("--web.max-requests=", limit))
	e.usage()
	before := e.usage()

	statuses := make(chan int, flood)
	for i := range flood {
		req := e.request(http.MethodGet, []string{"/metrics", "/", "/probe?target=1", "/metrics?collect[]=sessions"}[i%4])
		go func() {
			resp, _, err := ask(e.client, req)
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			statuses <- resp.StatusCode
		}()
	}
	for range concurrent {
		await(t, g.arrived, "the requests to the API")
	}
	for _, path := range []string{"/sd", "/-/healthy", "/-/ready", "/metrics?collect[]=exporter"} {
		if resp, _ := e.get(path); resp.StatusCode != http.StatusOK {
			t.Errorf("%s meanwhile: %s", path, resp.Status)
		}
	}
	requests, _ := api.asked()
	g.open()
	for range flood {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	e.scrape("/metrics?collect[]=exporter").expect(t, series{"rufus_exporter_rejected_requests_total": "0"})
	// Scrapes whose turn came after the answers to others are right to ask again.
	later, _ := api.asked()
	if n := len(requests) + len(later); n < sessions || n > flood/limit*2*sessions {
		t.Errorf("%d requests to the API for %d sessions", n, sessions)
	}
	mu.Lock()
	if most > concurrent {
		t.Errorf("%d requests at a time, want at most %d", most, concurrent)
	}
	mu.Unlock()
	e.client.CloseIdleConnections()
	api.hangUp()
	e.returns(before)
}

// An API that hangs while every session is probed: the sessions are down, not the exporter, and the crew sees the page.
func TestProbesOfAnAPIThatHangs(t *testing.T) {
	t.Parallel()
	const sessions = 200
	api := serveAPI(t, http.HandlerFunc(hang))
	e := start(t, settings(api.url, "timeout: 2s")+mats(sessions))
	probes := make(chan error, sessions)
	for i := range sessions {
		req := e.request(http.MethodGet, fmt.Sprint("/probe?target=", i), "X-Prometheus-Scrape-Timeout-Seconds", "4")
		go func() {
			resp, body, err := ask(e.client, req)
			if err == nil && (resp.StatusCode != http.StatusOK ||
				parseSeries(body)[fmt.Sprintf(`rufus_session_up{session="%d"}`, i)] != "0") {
				err = fmt.Errorf("session %d: %s: %s", i, resp.Status, body)
			}
			probes <- err
		}()
	}
	if resp, page := e.get("/"); resp.StatusCode != http.StatusOK || !strings.Contains(page, "failing") {
		t.Errorf("the page meanwhile: %s", resp.Status)
	}
	for range sessions {
		if err := <-probes; err != nil {
			t.Error(err)
		}
	}
}

// Ten thousand connections, idle or with a request, exhaust no memory and lock nobody out.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	const connections = 10_000
	const mostResident = 128 << 20
	api := serveAPI(t, http.HandlerFunc(hang))
	for name, request := range map[string]string{
		"idle":    "",
		"scraped": "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 20\r\n\r\n",
		"kept":    "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, settings(api.url)+mats(10))
			var conns []net.Conn
			defer func() {
				for _, conn := range conns {
					_ = conn.Close()
				}
			}()
			for range connections {
				conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
				_, _ = io.WriteString(conn, request) // it may have been closed already
			}
			// Like those who have other connections: one of these would be answered after all that came before.
			for _, path := range []string{"/-/healthy", "/sd", "/metrics?collect[]=exporter", "/"} {
				begin := time.Now()
				if resp, _ := e.get(path); resp.StatusCode != http.StatusOK || time.Since(begin) > 10*time.Second {
					t.Errorf("%s meanwhile: %s after %s", path, resp.Status, time.Since(begin))
				}
			}
			usage := e.usage()
			t.Logf("%d connections: %.0f MiB resident, %.0f descriptors", connections, usage.resident/(1<<20), usage.descriptors)
			if usage.resident > mostResident && !raced {
				t.Errorf("%.0f MiB are resident", usage.resident/(1<<20))
			}
		})
	}
}

// When not every session can be asked before the deadline, each gets its turn over successive scrapes, and the log says
// once that the settings do not suffice.
func TestEachGetsItsTurn(t *testing.T) {
	t.Parallel()
	const sessions, perScrape, patient = 40, 20, 25
	turns := make(chan struct{}, sessions)
	api := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-turns:
			healthy(w, r)
		case <-r.Context().Done():
		}
	}))
	e := start(t, settings(api.url, "max_concurrent_requests: 2")+mats(sessions), "--scrape.timeout-offset=0s")
	seen := map[int]bool{}
	for scrape := 1; len(seen) < sessions; scrape++ {
		for range min(perScrape, sessions-len(turns)) {
			turns <- struct{}{}
		}
		_, text := e.get("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "1")
		scraped := parseSeries(text)
		for i := range sessions {
			label := fmt.Sprintf(`session="%d"}`, i)
			switch {
			case scraped["rufus_session_up{"+label] == "1":
				seen[i] = true
			case scraped[`rufus_session_error{reason="timeout",`+label] != "1":
				t.Errorf("scrape %d: session %d is neither up nor timed out", scrape, i)
			}
		}
		// Two answers of each scrape come too late for it, and whose they are is left to chance.
		if scrape > patient {
			t.Fatalf("after %d scrapes only %d of %d sessions had their turn", scrape, len(seen), sessions)
		}
	}
	if said := strings.Count(e.output.String(), "not all sessions can be fetched"); said != 1 {
		t.Errorf("the log says %d times that the settings do not suffice", said)
	}
}

// Ten thousand sessions: how much memory they take, and, where $CI_FULL is 1, whether they can be asked within a scrape
// timeout of 10 s over a network that takes 50 ms.
func TestTenThousandSessions(t *testing.T) {
	t.Parallel()
	sessions := 10_000
	if raced { // which takes several times as much of everything
		sessions = 1000
	}
	type load struct {
		latency    time.Duration
		concurrent int
		timeout    string // of a scrape, in seconds
	}
	loads := []load{{0, 32, "30"}}
	if os.Getenv("CI_FULL") == "1" {
		loads = append(loads, load{50 * time.Millisecond, 256, "10"})
	}
	for _, test := range loads {
		answer := []byte(result("[" + documented + "]"))
		server := serveAPI(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if test.latency > 0 {
				time.Sleep(test.latency)
			}
			_, _ = w.Write([]byte(strings.Replace(string(answer), "TOKEN", path.Base(r.URL.Path), 1)))
		}))
		e := start(t, settings(server.url, fmt.Sprint("max_concurrent_requests: ", test.concurrent))+mats(sessions))
		for range 3 {
			begin := time.Now()
			resp, text := e.get("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", test.timeout)
			took, ups := time.Since(begin), strings.Count(text, "\nrufus_session_passings{")
			if resp.StatusCode != http.StatusOK || ups != sessions {
				t.Errorf("latency %s: status %d, %d of %d are up", test.latency, resp.StatusCode, ups, sessions)
			}
			resident := e.usage().resident / (1 << 20)
			t.Logf("latency %s: %d sessions in %s, %.0f MiB resident", test.latency, sessions, took, resident)
			if resident > 150 && !raced {
				t.Errorf("%.0f MiB are resident", resident)
			}
		}
	}
}
