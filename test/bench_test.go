//go:build unix

package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The benchmarks run the API, and all that is compared, in processes of their own: the test binary itself, which plays
// the role that is in its environment, and the program as it is shipped. What counts is the CPU time of a process as the
// kernel has it, user and system. A role ends when its standard input does.
const (
	benchmarkRole = "RUFUS_BENCHMARK_ROLE"
	benchmarkURL  = "RUFUS_BENCHMARK_URL" // of the API
	benchmarkN    = "RUFUS_BENCHMARK_N"   // number of sessions
	// benchmarkBuilds lists other builds of the program, to be compared with this one.
	benchmarkBuilds = "RUFUS_BENCHMARK_BUILDS"

	roleAPI      = "api " // followed by the latency of its answers
	roleFloor    = "floor"
	roleTextbook = "textbook"
)

// play plays a role in place of running the tests.
func play(role string) error {
	if latency, ok := strings.CutPrefix(role, roleAPI); ok {
		return playAPI(latency)
	}
	var n int
	if _, err := fmt.Sscan(os.Getenv(benchmarkN), &n); err != nil {
		return err
	}
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = mat(i)
	}
	base := os.Getenv(benchmarkURL)
	if role == roleFloor {
		return playFloor(base, tokens)
	}
	return playTextbook(base, tokens)
}

// serveRole serves until standard input ends. It prints where.
func serveRole(handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, listener.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// playAPI answers every question with the documented session.
func playAPI(latency string) error {
	wait, err := time.ParseDuration(latency)
	if err != nil {
		return err
	}
	before, after, _ := strings.Cut(result("["+documented+"]"), "TOKEN")
	return serveRole(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(wait)
		_, _ = io.WriteString(w, before+r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]+after)
	}))
}

// playFloor asks for all sessions whenever it reads a line, over 16 connections of bare net/http, and decodes them into
// a plain struct without reading their dates: the least that a scrape can cost.
func playFloor(base string, tokens []string) error {
	type answer struct {
		Result []struct {
			Token    string `json:"token_session"`
			Alias    string `json:"alias"`
			Created  string `json:"creation_date"`
			Duration string `json:"duration"`
			Active   bool   `json:"active"`
			Passings int    `json:"passings"`
			First    string `json:"first"`
			Last     string `json:"last"`
		} `json:"result"`
	}
	const connections = 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	fetch := func(token string) error {
		req, err := http.NewRequest(http.MethodGet, base+"/sessions/"+token, http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("api_key", apiKey)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		var a answer
		if err := json.Unmarshal(body, &a); err != nil {
			return err
		}
		if len(a.Result) != 1 || a.Result[0].Passings != 31 {
			return fmt.Errorf("got %s", body)
		}
		return nil
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var failed atomic.Pointer[error]
		inPool(connections, tokens, func(token string) {
			if err := fetch(token); err != nil {
				failed.Store(&err)
			}
		})
		if err := failed.Load(); err != nil {
			return *err
		}
		if _, err := fmt.Fprintln(os.Stdout, "done"); err != nil {
			return err
		}
	}
	return nil
}

// inPool calls f for all tokens, in that many goroutines.
func inPool(size int, tokens []string, f func(token string)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(size, len(tokens)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(tokens); i = int(next.Add(1)) - 1 {
				f(tokens[i])
			}
		})
	}
	workers.Wait()
}

// textbook is the exporter that the documentation of client_golang teaches to write: a pool of 64 that fetches, const
// metrics, the default registry with what it brings. It has neither deadlines of scrapes, nor reasons of failures, nor
// metrics about its requests.
type textbook struct {
	base   string
	tokens []string
	client *http.Client
}

const textbookPool = 64

func textbookDesc(name string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("textbook_session_"+name, "What the API says of "+name+".",
		append([]string{"session"}, labels...), nil)
}

var (
	textbookUp       = textbookDesc("up")
	textbookTook     = textbookDesc("fetch_duration_seconds")
	textbookInfo     = textbookDesc("info", "alias", "follows")
	textbookActive   = textbookDesc("active")
	textbookPassings = textbookDesc("passings")
	textbookFirst    = textbookDesc("first_passing_timestamp")
	textbookLast     = textbookDesc("last_passing_timestamp")
	textbookCreated  = textbookDesc("creation_timestamp")
	textbookDuration = textbookDesc("duration_timestamp")
)

func playTextbook(base string, tokens []string) error {
	prometheus.MustRegister(&textbook{base, tokens, &http.Client{ //nolint:forbidigo // as the textbook does
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: textbookPool},
	}})
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler()) //nolint:forbidigo // as the textbook does
	return serveRole(mux)
}

// Describe implements prometheus.Collector.
func (t *textbook) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(t, descs) }

// Collect implements prometheus.Collector.
func (t *textbook) Collect(metrics chan<- prometheus.Metric) {
	inPool(textbookPool, t.tokens, func(token string) { t.collect(metrics, token) })
}

func (t *textbook) collect(metrics chan<- prometheus.Metric, token string) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value,
			append([]string{token[:8]}, labels...)...)
	}
	type answer struct {
		Result []struct {
			Token    string    `json:"token_session"`
			Alias    string    `json:"alias"`
			Created  time.Time `json:"creation_date"`
			Duration time.Time `json:"duration"`
			Active   bool      `json:"active"`
			Passings float64   `json:"passings"`
			First    time.Time `json:"first"`
			Last     time.Time `json:"last"`
		} `json:"result"`
	}
	begun := time.Now()
	var a answer
	err := func() error {
		req, err := http.NewRequest(http.MethodGet, t.base+"/sessions/"+token, http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("api_key", apiKey)
		resp, err := t.client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &a)
	}()
	gauge(textbookTook, time.Since(begun).Seconds())
	if err != nil || len(a.Result) != 1 {
		gauge(textbookUp, 0)
		return
	}
	timestamp := func(at time.Time) float64 { return float64(at.UnixNano()) / 1e9 }
	r, active := &a.Result[0], 0.0
	if r.Active {
		active = 1
	}
	gauge(textbookUp, 1)
	gauge(textbookInfo, 1, r.Alias, "token")
	gauge(textbookActive, active)
	gauge(textbookPassings, r.Passings)
	gauge(textbookFirst, timestamp(r.First))
	gauge(textbookLast, timestamp(r.Last))
	gauge(textbookCreated, timestamp(r.Created))
	gauge(textbookDuration, timestamp(r.Duration))
}

// actor is a process that plays a role.
type actor struct {
	b      *testing.B
	pid    int
	stdin  io.Writer
	stdout *bufio.Reader
}

func startActor(b *testing.B, role, url string, n int) *actor {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchmarkRole+"="+role, benchmarkURL+"="+url, fmt.Sprintf("%s=%d", benchmarkN, n))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return &actor{b, cmd.Process.Pid, stdin, bufio.NewReader(stdout)}
}

// line returns the next line that the actor prints.
func (a *actor) line() string {
	a.b.Helper()
	text, err := a.stdout.ReadString('\n')
	if err != nil {
		a.b.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// startBenchmarkAPI starts an API and returns its URL.
func startBenchmarkAPI(b *testing.B, latency time.Duration) string {
	b.Helper()
	return "http://" + startActor(b, roleAPI+latency.String(), "", 0).line() + "/v0"
}

// cpu returns the CPU time that a process has used, as /proc/PID/stat does but in nanoseconds.
func cpu(b *testing.B, pid int) (total time.Duration) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		b.Fatal("no threads of ", pid, err)
	}
	for _, thread := range threads {
		var ns int64
		text, err := os.ReadFile(thread)
		if err == nil {
			_, err = fmt.Sscan(string(text), &ns)
		}
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

// subject is something whose scrapes are measured.
type subject struct {
	name   string
	pid    int
	scrape func()          // asks for all sessions once
	costs  []time.Duration // for a session, in each round
}

// median returns the median cost in microseconds.
func (s *subject) median() float64 {
	return s.over(&subject{costs: slices.Repeat([]time.Duration{time.Microsecond}, len(s.costs))})
}

// over returns the median of the ratios of s to other in the same round.
func (s *subject) over(other *subject) float64 {
	ratios := make([]float64, len(s.costs))
	for i := range ratios {
		ratios[i] = float64(s.costs[i]) / float64(other.costs[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// scraped returns a subject that is scraped at address with the headers of Prometheus 3. It must expose n series of the
// metric up.
func scraped(b *testing.B, name string, pid int, address, up string, n int) *subject {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	b.Cleanup(client.CloseIdleConnections)
	scrape := func(encoding string) string {
		req, err := http.NewRequest(http.MethodGet, address+"/metrics", http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"+
			"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"+
			"text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
		req.Header.Set("Accept-Encoding", encoding)
		req.Header.Set("User-Agent", "Prometheus/3.5.0")
		req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "10")
		resp, body, err := ask(client, req)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(name, err)
		}
		return body
	}
	if got := strings.Count(scrape("identity"), "\n"+up+"{"); got != n {
		b.Fatalf("%s: %d of %d sessions are up", name, got, n)
	}
	return &subject{name: name, pid: pid, scrape: func() { scrape("gzip") }}
}

// startBuild starts a build of the program with the default configuration for n sessions.
func startBuild(b *testing.B, name, binary, url string, n int) *subject {
	b.Helper()
	list := fmt.Sprintf("api:\n  url: %s\n  key: %s\nsessions:\n", url, apiKey)
	for i := range n {
		list += "  - " + mat(i) + "\n"
	}
	dir := b.TempDir()
	writeFile(b, filepath.Join(dir, "sessions.yml"), list)
	e := &exporter{t: b}
	cmd := exec.Command(binary, "--web.listen-address=127.0.0.1:0")
	cmd.Dir = dir
	e.run(cmd)
	return scraped(b, name, cmd.Process.Pid, e.url, "rufus_session_passings", n)
}

// BenchmarkScrape compares what a scrape costs: of the program as it is shipped, of the floor, of the textbook exporter,
// and of other builds of the program, which a developer names in RUFUS_BENCHMARK_BUILDS. The API answers at once. In each
// round all are scraped in turn, each often enough for 1,000 sessions. All figures are medians of the rounds: the CPU
// time for one session, and its ratio to that of the floor and of the textbook in the same round. Read them with
// -benchtime=20x or more.
func BenchmarkScrape(b *testing.B) {
	url := startBenchmarkAPI(b, 0)
	binary, err := program()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare := startActor(b, roleFloor, url, n)
			floor := &subject{name: "floor", pid: bare.pid, scrape: func() {
				_, _ = io.WriteString(bare.stdin, "\n")
				bare.line()
			}}
			peer := startActor(b, roleTextbook, url, n)
			textbook := scraped(b, "textbook", peer.pid, "http://"+peer.line(), "textbook_session_up", n)
			builds := []*subject{startBuild(b, "program", binary, url, n)}
			for _, other := range filepath.SplitList(os.Getenv(benchmarkBuilds)) {
				builds = append(builds, startBuild(b, filepath.Base(other), other, url, n))
			}

			subjects, times := append([]*subject{floor, textbook}, builds...), max(1, 1000/n)
			round := func() {
				for _, s := range subjects {
					before := cpu(b, s.pid)
					for range times {
						s.scrape()
					}
					s.costs = append(s.costs, (cpu(b, s.pid)-before)/time.Duration(times*n))
				}
				slices.Reverse(subjects)
			}
			round()
			for _, s := range subjects {
				s.costs = nil // those of opening connections and filling pools
			}
			for b.Loop() {
				round()
			}
			for _, s := range subjects {
				b.ReportMetric(s.median(), s.name+"-µs")
			}
			for _, s := range builds {
				b.ReportMetric(s.over(floor), s.name+"/floor")
				b.ReportMetric(s.over(textbook), s.name+"/textbook")
			}
			b.ReportMetric(0, "ns/op") // of all together: says nothing
		})
	}
}

// BenchmarkLatency shows how long a scrape takes where the API does: in seconds, and how many sessions it missed.
func BenchmarkLatency(b *testing.B) {
	for _, c := range []struct {
		latency        time.Duration
		n, concurrency int
	}{
		{20 * time.Millisecond, 1000, 32},
		{50 * time.Millisecond, 1000, 32},
		{200 * time.Millisecond, 1000, 32},
		{50 * time.Millisecond, 10000, 256},
	} {
		b.Run(fmt.Sprintf("%s/%d/%d", c.latency, c.n, c.concurrency), func(b *testing.B) {
			e := start(b, settings(startBenchmarkAPI(b, c.latency), fmt.Sprint("max_concurrent_requests: ", c.concurrency))+mats(c.n))
			missed := 0
			for b.Loop() {
				_, text := e.get("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "10")
				missed += c.n - strings.Count(text, "\nrufus_session_passings{")
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/scrape")
			b.ReportMetric(float64(missed)/float64(b.N), "missed/scrape")
			b.ReportMetric(0, "ns/op")
		})
	}
}
