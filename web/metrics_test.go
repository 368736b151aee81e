package web

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
)

func TestDeadline(t *testing.T) {
	const half = 500 * time.Millisecond
	for _, test := range []struct {
		header string
		offset time.Duration
		want   time.Duration
	}{
		{"10", half, 9500 * time.Millisecond},
		{"15.000000", half, 14500 * time.Millisecond},
		{"0.75", half, 375 * time.Millisecond}, // at least half of it
		{"1", half, half},
		{"10", 0, 10 * time.Second},
		{"10", time.Minute, 5 * time.Second},

		{"120", half, 119500 * time.Millisecond},
		{"120.5", half, 2 * time.Minute}, // at most two minutes
		{"3600", half, 2 * time.Minute},
		{"3600", time.Hour, 2 * time.Minute},
		{"1e300", half, 2 * time.Minute},
		{"+Inf", half, 2 * time.Minute},

		{"", half, 9500 * time.Millisecond}, // Prometheus' default
		{"", 0, 10 * time.Second},
		{"0", half, 9500 * time.Millisecond},
		{"-0", half, 9500 * time.Millisecond},
		{"-3", half, 9500 * time.Millisecond},
		{"-Inf", half, 9500 * time.Millisecond},
		{"NaN", half, 9500 * time.Millisecond},
		{"10s", half, 9500 * time.Millisecond},
		{"ten", half, 9500 * time.Millisecond},
		{"10, 20", half, 9500 * time.Millisecond},
		{"1e999", half, 9500 * time.Millisecond},
	} {
		if got := deadline(test.header, test.offset); got != test.want {
			t.Errorf("header %q, offset %v: got %v, want %v", test.header, test.offset, got, test.want)
		}
	}
}

func FuzzDeadline(f *testing.F) {
	for _, header := range []string{"10", "0.75", "1e300", "NaN", "-1", "0x1p-1000", "10s", "\xff"} {
		f.Add(header, int64(500*time.Millisecond))
	}
	f.Fuzz(func(t *testing.T, header string, offset int64) {
		if offset < 0 {
			return // refused on the command line
		}
		if got := deadline(header, time.Duration(offset)); got < 0 || got > 2*time.Minute {
			t.Errorf("header %q, offset %v: %v", header, time.Duration(offset), got)
		}
	})
}

// Scrape and probe end when Prometheus' header says, less the offset, with what has come until then.
func TestAScrapeEndsInTime(t *testing.T) {
	slow := func(name string) (rufus.Session, error) {
		if name == "slow" {
			time.Sleep(time.Hour)
		}
		return rufus.Session{Active: true, Passings: rufus.Some[int64](31)}, nil
	}
	for _, path := range []string{"/metrics", "/probe?target=slow"} {
		for header, want := range map[string]time.Duration{
			"3": 2500 * time.Millisecond, "": 9500 * time.Millisecond, "1000": 2 * time.Minute,
		} {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(&api{answers: slow},
					[]entry.Entry{follow(rufus.Token, "slow"), follow(rufus.Token, "quick")}, realClocks)
				begin := time.Now()
				response := s.record(path, "X-Prometheus-Scrape-Timeout-Seconds", header)
				equal(t, path+" took", time.Since(begin), want)
				equal(t, "status", response.Code, http.StatusOK)
				contains(t, path, response.Body.String(), `rufus_session_error{reason="timeout",session="slow"} 1`)
				if path == "/metrics" {
					contains(t, path, response.Body.String(), `rufus_session_passings{session="quick"} 31`)
				}
				time.Sleep(time.Hour)
			})
		}
	}
}

// realClocks are those of synctest.
func realClocks(s *settings) { s.Now, s.collector.Now = time.Now, time.Now }

func TestMetrics(t *testing.T) {
	_, s := simulated(t)
	response, body := get(t, s.serve(t), "/metrics")
	equal(t, "status", response.StatusCode, http.StatusOK)
	equal(t, "content type", response.Header.Get("Content-Type"),
		"text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
	equal(t, "passings", lines(body, "rufus_session_passings"), []string{
		`rufus_session_passings{point="",race="5k",session="start"} 2`,
		`rufus_session_passings{point="finish",race="5k",session="finish"} 3`,
		`rufus_session_passings{point="",race="",session="turn"} 2`,
	})
	equal(t, "errors", lines(body, "rufus_session_error"), []string{
		`rufus_session_error{point="",race="",reason="not_found",session="mistyped"} 1`,
	})
	// The exporter's own part comes after the fetch, so it knows of the requests of this very scrape.
	equal(t, "requests", lines(body, "rufus_api_requests_total{outcome=\"ok\""),
		[]string{`rufus_api_requests_total{outcome="ok"} 3`})
	equal(t, "sessions", lines(body, "rufus_exporter_sessions"), []string{"rufus_exporter_sessions 4"})
	contains(t, "metrics", body, "promhttp_metric_handler_requests_in_flight 1", "promhttp_metric_handler_errors_total")

	var names []string
	for _, line := range lines(strings.ReplaceAll(body, "# TYPE ", ""), "") {
		if name, kind, ok := strings.Cut(line, " "); ok && slices.Contains([]string{"gauge", "counter", "histogram"}, kind) {
			names = append(names, name)
		}
	}
	if !slices.IsSorted(names) || len(names) < 15 {
		t.Error("families are not sorted:", names)
	}
	equal(t, "log", strings.Contains(s.log.String(), "level=ERROR"), false)
}

// The format is what the client asks for, and says the same in each.
func TestNegotiation(t *testing.T) {
	_, s := simulated(t)
	base := s.serve(t)
	const proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for _, test := range []struct {
		accept, contentType string
	}{
		{"", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"},
		{"text/html", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"},
		{"text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"},
		{"application/openmetrics-text;version=1.0.0",
			"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"},
		{proto, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; " +
			"escaping=underscores"},
		// As Prometheus 3 asks.
		{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
			"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
			"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"},
	} {
		for accept, encoding := range map[string]string{
			"": "", "identity": "", "zstd": "", "gzip;q=0": "", "br, gzip;q=0, zstd": "",
			"gzip": "gzip", "GZIP": "gzip", "zstd, gzip;q=0.5": "gzip", "gzip, deflate, br, zstd": "gzip",
		} {
			for path, sessions := range map[string]int{"/metrics": 3, "/probe?target=start": 1, "/metrics?collect[]=exporter": 0} {
				response, body := get(t, base, path, "Accept", test.accept, "Accept-Encoding", accept)
				equal(t, "status", response.StatusCode, http.StatusOK)
				equal(t, "content type", response.Header.Get("Content-Type"), test.contentType)
				equal(t, "content encoding", response.Header.Get("Content-Encoding"), encoding)
				equal(t, "vary", response.Header.Values("Vary"), []string{"Accept-Encoding", "Accept"})
				families := parse(t, body, encoding, expfmt.ResponseFormat(response.Header))
				equal(t, "sessions", len(families["rufus_session_passings"].GetMetric()), sessions)
				histogram, ok := families["rufus_api_request_duration_seconds"]
				if ok && test.accept == proto && len(histogram.GetMetric()[0].GetHistogram().GetPositiveSpan()) == 0 {
					t.Error("the histogram is not a native one in protobuf")
				}
			}
		}
	}
}

// parse reads an exposition with Prometheus' own parsers; OpenMetrics, which has none here, as the text it nearly is.
func parse(t *testing.T, body, encoding string, format expfmt.Format) map[string]*dto.MetricFamily {
	t.Helper()
	var from io.Reader = strings.NewReader(body)
	if encoding == "gzip" {
		unzipped, err := gzip.NewReader(from)
		if err != nil {
			t.Fatal(err)
		}
		from = unzipped
	}
	if format.FormatType() == expfmt.TypeProtoDelim {
		families := map[string]*dto.MetricFamily{}
		decoder := expfmt.NewDecoder(from, format)
		for {
			family := &dto.MetricFamily{}
			if err := decoder.Decode(family); errors.Is(err, io.EOF) {
				return families
			} else if err != nil {
				t.Fatal(err)
			}
			families[family.GetName()] = family
		}
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	plain, isOpenMetrics := strings.CutSuffix(string(text), "# EOF\n")
	if format.FormatType() == expfmt.TypeUnknown && !isOpenMetrics {
		t.Error("OpenMetrics does not end with EOF")
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// collect[] gives a part: the sessions without what describes the exporter, or the latter without asking the API.
func TestCollect(t *testing.T) {
	for _, test := range []struct {
		query              string
		sessions, exporter bool
		requests           int
	}{
		{"", true, true, 4},
		{"?collect[]=sessions", true, false, 4},
		{"?collect[]=exporter", false, true, 0},
		{"?collect%5B%5D=exporter", false, true, 0},
		{"?collect[]=exporter&collect[]=sessions", true, true, 4},
		{"?collect[]=exporter&collect[]=exporter", false, true, 0},
		{"?something=else", true, true, 4},
	} {
		mats, s := simulated(t)
		response, body := get(t, s.serve(t), "/metrics"+test.query)
		equal(t, test.query+" status", response.StatusCode, http.StatusOK)
		equal(t, test.query+" has sessions", strings.Contains(body, "\nrufus_session_up{"), test.sessions)
		equal(t, test.query+" has the exporter", strings.Contains(body, "\nrufus_api_requests_total{"), test.exporter)
		equal(t, test.query+" has promhttp", strings.Contains(body, "\npromhttp_"), test.exporter)
		equal(t, test.query+" requests", mats.Requests().Total(), test.requests)
	}
	mats, s := simulated(t)
	base := s.serve(t)
	for _, query := range []string{"?collect[]=", "?collect[]=Sessions", "?collect[]=sessions&collect[]=all"} {
		response, body := get(t, base, "/metrics"+query)
		equal(t, query+" status", response.StatusCode, http.StatusBadRequest)
		equal(t, query+" body", body, "collect[] is sessions or exporter.\n")
	}
	equal(t, "requests", mats.Requests().Total(), 0)
}

// A probe of each session exposes what a scrape of all does, and nothing about the exporter.
func TestProbe(t *testing.T) {
	_, s := simulated(t)
	base := s.serve(t)
	_, all := get(t, base, "/metrics?collect[]=sessions")
	var probed []string
	for _, name := range []string{"start", "finish", "turn", "mistyped"} {
		response, body := get(t, base, "/probe?target="+name)
		equal(t, name+" status", response.StatusCode, http.StatusOK)
		contains(t, name, body, `session="`+name+`"`)
		for _, line := range lines(body, "") {
			if !strings.HasPrefix(line, "rufus_session_") || !strings.Contains(line, `session="`+name+`"`) {
				t.Errorf("the probe of %s has: %s", name, line)
			}
		}
		probed = append(probed, lines(body, "")...)
	}
	want := lines(all, "")
	slices.Sort(want)
	slices.Sort(probed)
	equal(t, "series", probed, want)
	contains(t, "the probe of an unknown session", all, `rufus_session_up{point="",race="",session="mistyped"} 0`)
}

func TestProbesThatAreRefused(t *testing.T) {
	mats, s := simulated(t)
	base := s.serve(t)
	for _, test := range []struct {
		query  string
		status int
	}{
		{"", http.StatusBadRequest},
		{"?target=", http.StatusBadRequest},
		{"?target=start&target=finish", http.StatusBadRequest},
		{"?name=start", http.StatusBadRequest},
		{"?target=nobody", http.StatusNotFound},
		{"?target=START", http.StatusNotFound},
		{"?target=start%20", http.StatusNotFound},
		{"?target=%ff%00", http.StatusNotFound},
		{"?target=" + secretPrefix + "start", http.StatusNotFound}, // never a raw token
		{"?target=http://127.0.0.1/", http.StatusNotFound},         // or a URL
		{"?target=" + strings.Repeat("a", 10000), http.StatusNotFound},
	} {
		response, body := get(t, base, "/probe"+test.query)
		equal(t, test.query+" status", response.StatusCode, test.status)
		contains(t, test.query, body, "/sd lists the names.")
		lacks(t, test.query, body, "nobody", secretPrefix, "aaaa")
	}
	equal(t, "requests", mats.Requests().Total(), 0)
}

func TestDiscovery(t *testing.T) {
	mats, s := simulated(t)
	response, body := get(t, s.serve(t), "/sd")
	equal(t, "status", response.StatusCode, http.StatusOK)
	equal(t, "content type", response.Header.Get("Content-Type"), "application/json")
	equal(t, "body", body, `[`+
		`{"targets":["start"],"labels":{"__meta_rufus_label_race":"5k"}},`+
		`{"targets":["finish"],"labels":{"__meta_rufus_label_point":"finish","__meta_rufus_label_race":"5k"}},`+
		`{"targets":["turn"]},`+
		`{"targets":["mistyped"]}]`+"\n")
	equal(t, "requests", mats.Requests().Total(), 0)

	equal(t, "without sessions", newStand(&api{}, nil).record("/sd").Body.String(), "[]\n") // null is refused
}

// Names are free text: discovery carries every one of them to a probe that knows it.
func TestDiscoveryLeadsToProbes(t *testing.T) {
	names := []string{"5 km / turn", `"quoted" \ <b>`, "ü🏁", "a&b=c?d#e%20", "+"}
	var entries []entry.Entry
	for _, name := range names {
		entries = append(entries, follow(rufus.Token, name))
	}
	s := newStand(&api{answers: func(string) (rufus.Session, error) { return rufus.Session{}, nil }}, entries)
	base := s.serve(t)
	_, body := get(t, base, "/sd")
	var groups []struct{ Targets []string }
	if err := json.Unmarshal([]byte(body), &groups); err != nil {
		t.Fatal(err)
	}
	equal(t, "groups", len(groups), len(names))
	for i, group := range groups {
		equal(t, "targets", group.Targets, names[i:i+1])
		response, _ := get(t, base, "/probe?target="+url.QueryEscape(group.Targets[0]))
		equal(t, "status of the probe of "+names[i], response.StatusCode, http.StatusOK)
	}
}

// A client that does not take the list is worth no more than a line at debug.
func TestDiscoveryThatIsNotTaken(t *testing.T) {
	_, s := simulated(t)
	h := &handler{Options: s.Options}
	h.discovery(deaf{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/sd", http.NoBody))
	contains(t, "log", s.log.String(), `level=DEBUG msg="cannot write discovery" err="io: read/write on closed pipe"`)
}

// deaf is a client that has left.
type deaf struct{ http.ResponseWriter }

// Write implements io.Writer.
func (deaf) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A collector that panics costs its own metrics. What the client sees holds no trace of the program; the log does.
func TestAPanicShowsNoStack(t *testing.T) {
	_, s := simulated(t)
	s.Exporter.MustRegister(panicking{})
	base := s.serve(t)
	for path, status := range map[string]int{
		"/metrics": http.StatusOK, "/metrics?collect[]=sessions": http.StatusOK, "/probe?target=start": http.StatusOK,
	} {
		response, body := get(t, base, path)
		equal(t, path+" status", response.StatusCode, status)
		contains(t, path, body, `session="start"} 2`)
		lacks(t, path, body, "goroutine", "surprise", ".go:")
	}
	contains(t, "log", s.log.String(), `level=ERROR msg="metrics are missing from an answer"`, "surprise")

	_, body := get(t, base, "/metrics?collect[]=sessions&collect[]=exporter")
	lacks(t, "body", body, "goroutine", "surprise", ".go:")
	contains(t, "metrics", body, `promhttp_metric_handler_errors_total{cause="gathering"} 1`)
}

// When nothing at all can be gathered the answer is no 200.
func TestAGathererThatFails(t *testing.T) {
	s := newStand(&api{}, nil)
	s.Options.Exporter = prometheus.NewRegistry()
	s.Options.Exporter.MustRegister(panicking{})
	h := &handler{Options: s.Options}
	families, err := h.union([]prometheus.Gatherer{s.Options.Exporter}, func() {}).Gather()
	equal(t, "families", len(families), 0)
	equal(t, "error", err.Error(), "some metrics could not be gathered: see the exporter's log")
}

// panicking is a collector.
type panicking struct{}

// Describe implements prometheus.Collector.
func (panicking) Describe(descs chan<- *prometheus.Desc) {
	descs <- prometheus.NewDesc("panicking", "Never there.", nil, nil)
}

// Collect implements prometheus.Collector.
func (panicking) Collect(chan<- prometheus.Metric) { panic("surprise") }

// Nobody is waited for who has left: the handler ends with its request, not with the deadline.
func TestTheEndOfARequestEndsTheWait(t *testing.T) {
	for _, path := range []string{"/metrics", "/probe?target=slow", "/"} {
		synctest.Test(t, func(t *testing.T) {
			slow := func(string) (rufus.Session, error) {
				time.Sleep(time.Minute)
				return rufus.Session{}, nil
			}
			s := newStand(&api{answers: slow}, []entry.Entry{follow(rufus.Token, "slow")}, realClocks)
			ctx, hangUp := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, hangUp)
			begin := time.Now()
			s.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody))
			equal(t, path+" took", time.Since(begin), time.Second)
			time.Sleep(time.Minute)
		})
	}
}

// Scrapes at the same time share the labels of the sessions, in whatever format they write them: the race detector
// looks on.
func TestConcurrentScrapes(t *testing.T) {
	_, s := simulated(t)
	base := s.serve(t)
	accepts := []string{
		"text/plain", "application/openmetrics-text;version=1.0.0",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
	}
	failures := make(chan error)
	for i := range 12 {
		go func() {
			_, body, err := ask(t.Context(), http.MethodGet, base+"/metrics", "Accept", accepts[i%len(accepts)])
			if err == nil && !strings.Contains(body, "rufus_session_passings") {
				err = errors.New(body)
			}
			failures <- err
		}()
	}
	for range 12 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

// A client that hangs up in the middle leaves nothing: the request ends at once, its place is free again, the answer
// that the API still gives is not in anyone's way. TestMain looks for goroutines.
func TestAClientThatHangsUp(t *testing.T) {
	for _, path := range []string{"/metrics", "/probe?target=start", "/"} {
		t.Run(path, func(t *testing.T) {
			mats, s := simulated(t)
			arrived, release := make(chan struct{}, 100), make(chan struct{})
			mats.Sleep = func(context.Context, time.Duration) error {
				arrived <- struct{}{}
				<-release
				return nil
			}
			mats.Set(func(day *simulator.Day) {
				day.Faults = []simulator.Fault{{From: noon.Add(-time.Hour), To: noon.Add(time.Hour), Latency: time.Hour}}
			})
			ended := make(chan struct{}, 1)
			inner := s.handler
			s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inner.ServeHTTP(w, r)
				ended <- struct{}{}
			})
			base := s.serve(t)

			ctx, hangUp := context.WithCancel(t.Context())
			gone := make(chan error)
			go func() {
				_, _, err := ask(ctx, http.MethodGet, base+path)
				gone <- err
			}()
			<-arrived
			hangUp()
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			<-ended // before the API has answered
			lacks(t, "log", s.log.String(), "level=WARN", "level=ERROR")
			close(release)
		})
	}
}
