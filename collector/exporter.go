package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rufus_exporter/rufus"
)

// Exporter holds the exporter's metrics about its requests to the API. They survive reloads.
type Exporter struct {
	requests *prometheus.CounterVec
	duration prometheus.Histogram
	inFlight prometheus.Gauge
	current  func() *Sessions
}

var (
	sessionsDesc = prometheus.NewDesc("rufus_exporter_sessions",
		"Number of sessions: configured entries and discovered devices.", nil, nil)
	discoveredDesc = prometheus.NewDesc("rufus_exporter_discovered_devices",
		"Number of devices of the account that the rules under devices follow.", nil, nil)
	backoffDesc = prometheus.NewDesc("rufus_api_backoff_until_timestamp_seconds",
		"Time until which all requests are paused because the API asked for it, in Unix seconds; absent when requests are "+
			"not paused, or only those for a single session.", nil, nil)
)

// NewExporter returns an Exporter. current returns the current sessions.
func NewExporter(current func() *Sessions) *Exporter {
	e := &Exporter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rufus_api_requests_total",
			Help: "Number of requests to the RUFUS API by outcome: ok, or the reason of the failure.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                            "rufus_api_request_duration_seconds",
			Help:                            "Duration of requests to the RUFUS API, in seconds.",
			Buckets:                         []float64{.025, .05, .1, .2, .4, .8, 1.6, 3.2, 6.4},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rufus_api_requests_in_flight",
			Help: "Number of requests to the RUFUS API that are waiting for an answer.",
		}),
		current: current,
	}
	e.requests.WithLabelValues(outcome(nil))
	for _, reason := range rufus.Reasons() {
		e.requests.WithLabelValues(string(reason))
	}
	return e
}

// Observe counts and times one request: see rufus.Options.
func (e *Exporter) Observe() func(error) {
	e.inFlight.Inc()
	start := time.Now()
	return func(err error) {
		e.inFlight.Dec()
		e.duration.Observe(time.Since(start).Seconds())
		e.requests.WithLabelValues(outcome(err)).Inc()
	}
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return string(rufus.ReasonOf(err))
}

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(descs chan<- *prometheus.Desc) {
	e.requests.Describe(descs)
	e.duration.Describe(descs)
	e.inFlight.Describe(descs)
	descs <- sessionsDesc
	descs <- discoveredDesc
	descs <- backoffDesc
}

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(metrics chan<- prometheus.Metric) {
	e.requests.Collect(metrics)
	e.duration.Collect(metrics)
	e.inFlight.Collect(metrics)
	sessions := e.current()
	metrics <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(len(sessions.entries)))
	metrics <- prometheus.MustNewConstMetric(discoveredDesc, prometheus.GaugeValue,
		float64(len(sessions.discovered.Followed)))
	if until, ok := timestamp(sessions.fetcher.BackoffUntil()); ok {
		metrics <- prometheus.MustNewConstMetric(backoffDesc, prometheus.GaugeValue, until)
	}
}
