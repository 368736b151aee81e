//go:build unix

package web

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rufus_exporter/collector"
	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
)

// benchmarkAPI in the environment makes the test binary an API for the benchmarks: in a process of its own, so that
// what it costs is not counted.
const benchmarkAPI = "RUFUS_BENCHMARK_API"

// serveBenchmarkAPI answers for every token until standard input ends. It prints its address.
func serveBenchmarkAPI() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, listener.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if size, ok := strings.CutSuffix(r.URL.Path, "/devices"); ok {
			writeBenchmarkList(w, size)
			return
		}
		_, _ = fmt.Fprintf(w, `{"description":"Success","result":[{"token_session":%q,"alias":"START-5K",`+
			`"creation_date":"2023-02-03T15:08:12.000Z","duration":"2023-02-03T17:08:12.000Z","active":true,"passings":31,`+
			`"first":"2023-02-03T16:08:18.263Z","last":"2023-12-22T09:20:25.130Z"}]}`,
			r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	})}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	return server.Serve(listener)
}

// writeBenchmarkList writes a page of as many devices as the path begins with.
func writeBenchmarkList(w io.Writer, path string) {
	var n int
	_, _ = fmt.Sscanf(path, "/%d", &n)
	devices := make([]string, n)
	for i := range devices {
		devices[i] = fmt.Sprintf(`{"deviceid":%q,"type":"cloudbox","model":"CloudBox 3","alias":"MAT-%05d","firmware":"2.1.0",`+
			`"serial_number":"O4A-%05d","last_login":"2023-02-03T15:08:12.000Z","creation_date":"2023-02-03T15:08:12.000Z",`+
			`"sessions":1,"device_status":"online","battery_percentage":85,"charging":false,`+
			`"last_telemetry_at":"2023-02-03T15:08:12.000Z"}`, benchmarkToken(i), i, i)
	}
	_, _ = fmt.Fprintf(w, `{"body":{"description":"Success","result":[%s],"pagination":{"page":1,"limit":1000,"total":%d,`+
		`"has_more":false}}}`, strings.Join(devices, ","), n)
}

// startBenchmarkAPI starts that process and returns its base URL.
func startBenchmarkAPI(b *testing.B) *url.URL {
	b.Helper()
	api := exec.Command(os.Args[0])
	api.Env = append(os.Environ(), benchmarkAPI+"=yes")
	stdin, err := api.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := api.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := api.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = api.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return &url.URL{Scheme: "http", Host: strings.TrimSpace(address), Path: "/v0"}
}

func benchmarkToken(i int) string { return fmt.Sprintf("%064X", i) }

// scrape asks the handler for everything, as text.
func scrape(h http.Handler) *bytes.Buffer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	return w.Body
}

// up returns how many sessions are up in a scrape.
func up(scrape *bytes.Buffer) (n int) {
	for line := range bytes.Lines(scrape.Bytes()) {
		if bytes.HasPrefix(line, []byte("rufus_session_up{")) && bytes.HasSuffix(line, []byte(" 1\n")) {
			n++
		}
	}
	return n
}

// cost is what a piece of work took of this process.
type cost struct {
	cpu    time.Duration
	bytes  uint64
	allocs uint64
}

func measure(work func()) cost {
	var before, after runtime.MemStats
	var start, end syscall.Rusage
	runtime.ReadMemStats(&before)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &start)
	work()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &end)
	runtime.ReadMemStats(&after)
	cpu := func(u syscall.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }
	return cost{cpu(end) - cpu(start), after.TotalAlloc - before.TotalAlloc, after.Mallocs - before.Mallocs}
}

// BenchmarkDiscovered compares, in turns, a scrape of devices that rules follow with one of the same devices as entries,
// and with one that has to read the list, which is so once in 30 s. Figures are as in BenchmarkScrape; x-listed is the
// CPU of a discovered session in that of a listed one, and list-µs what the list costs for each of its devices.
func BenchmarkDiscovered(b *testing.B) {
	const n, concurrency = 1000, 32
	base := startBenchmarkAPI(b)
	base.Path = fmt.Sprintf("/%d/v0", n)
	clock := &clock{now: noon}
	alias, err := discovery.NewExpression("(?P<point>MAT)-(?P<n>.+)", false)
	if err != nil {
		b.Fatal(err)
	}
	name, err := discovery.ParseTemplate("session-$n", alias, nil)
	if err != nil {
		b.Fatal(err)
	}
	plan := &discovery.Plan{Rules: []discovery.Rule{{Alias: alias, Name: name}}, MaxDevices: n}
	entries := make([]entry.Entry, n)
	for i := range entries {
		entries[i] = entry.Entry{Name: fmt.Sprintf("session-%05d", i),
			Target: rufus.Target{Follows: rufus.Device, ID: rufus.NewSecret(benchmarkToken(i))}}
	}
	handler := func(entries []entry.Entry, plan *discovery.Plan) http.Handler {
		logger := slog.New(slog.DiscardHandler)
		var fetcher *collector.Fetcher
		fetcher = collector.NewFetcher(collector.Options{
			Source: rufus.NewClient(rufus.Options{
				URL: base, Key: rufus.NewSecret("key"), KeyHeader: "api_key", UserAgent: "benchmark", Timeout: 5 * time.Second,
				Transport: rufus.NewTransport(rufus.TransportOptions{MaxConns: concurrency, Timeout: 5 * time.Second}),
				Mask:      func() rufus.Mask { return fetcher.Mask() },
			}),
			MaxConcurrentRequests: concurrency, Now: clock.Now, Logger: logger,
		})
		return NewHandler(Options{
			Sessions: fetcher.Roster(entries, plan, nil).Sessions, Exporter: prometheus.NewRegistry(),
			Reload: func() error { return nil }, ReloadError: func() error { return nil },
			TelemetryPath: "/metrics", MaxRequests: 40, Now: clock.Now, Logger: logger,
		})
	}
	listed, discovered := handler(entries, nil), handler(nil, plan)
	works := []struct {
		name    string
		handler http.Handler
		passes  time.Duration // since the scrape before
	}{{"listed", listed, 0}, {"discovered", discovered, 0}, {"with-list", discovered, time.Minute / 2}}
	for _, w := range works {
		scrape(w.handler)
		if got := up(scrape(w.handler)); got != n {
			b.Fatalf("%d of %d sessions up: %s", got, n, w.name)
		}
	}
	costs := make([][]cost, len(works))
	for b.Loop() {
		for i, w := range works {
			clock.turn(w.passes)
			runtime.GC()
			costs[i] = append(costs[i], measure(func() { scrape(w.handler) }))
		}
	}
	per := func(i int, of func(cost) float64) float64 {
		var all []float64
		for _, c := range costs[i] {
			all = append(all, of(c)/n)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	cpu := func(c cost) float64 { return float64(c.cpu.Nanoseconds()) / 1e3 }
	for i, w := range works[:2] {
		b.ReportMetric(per(i, cpu), w.name+"-µs")
		b.ReportMetric(per(i, func(c cost) float64 { return float64(c.bytes) }), w.name+"-B")
		b.ReportMetric(per(i, func(c cost) float64 { return float64(c.allocs) }), w.name+"-allocs")
	}
	b.ReportMetric(per(1, cpu)/per(0, cpu), "x-listed")
	b.ReportMetric(per(2, cpu)-per(1, cpu), "list-µs")
	b.ReportMetric(0, "ns/op")
}
