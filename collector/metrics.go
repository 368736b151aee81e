package collector

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// metric is one gauge of an entry: add a line to the tables below to expose another field.
type metric struct {
	name, help string
	value      func(*Status) (value float64, ok bool)
	// labels are those beyond the entry's own, and labelValues their values.
	labels      []string
	labelValues func(*Status) []string
}

var sessionMetrics = []metric{
	{
		name:  "rufus_session_up",
		help:  "Whether this scrape has a valid answer about the session (1) or not (0).",
		value: func(s *Status) (float64, bool) { return number(s.Err == nil), true },
	},
	{
		name:   "rufus_session_error",
		help:   "1 while the session cannot be read, with the reason; absent while it can.",
		value:  func(s *Status) (float64, bool) { return 1, s.Err != nil },
		labels: []string{"reason"},
		labelValues: func(s *Status) []string {
			return []string{string(rufus.ReasonOf(s.Err))}
		},
	},
	{
		name: "rufus_session_fetch_duration_seconds",
		help: "Duration of the request whose answer is shown, in seconds, without waiting for its turn; " +
			"absent when none was made.",
		value: func(s *Status) (float64, bool) { return s.Duration.Seconds(), !s.At.IsZero() },
	},
	{
		name: "rufus_session_info",
		help: "Always 1, with the alias of the session and whether the entry follows a token or a device; " +
			"absent while the session cannot be read.",
		value:  whileUp(func(rufus.Session) (float64, bool) { return 1, true }),
		labels: []string{"alias", "follows"},
		labelValues: func(s *Status) []string {
			return []string{Printable(s.Session.Alias), s.Entry.Target.Follows.String()}
		},
	},
	{
		name: "rufus_session_active",
		help: "Whether the session receives passings (1), or is closed, or its device has none that is active (0), " +
			"from active; absent while the session cannot be read.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return number(s.Active), true }),
	},
	{
		name: "rufus_session_passings",
		help: "Number of passings of the session, raw detections, not participants, from passings; " +
			"absent while unknown.",
		value: whileUp(func(s rufus.Session) (float64, bool) {
			passings, ok := s.Passings.Get()
			return float64(passings), ok
		}),
	},
	{
		name: "rufus_session_first_passing_timestamp",
		help: "Time of the first passing by the clock of the device, in Unix seconds, from first; " +
			"absent before the first passing.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return timestamp(s.First) }),
	},
	{
		name: "rufus_session_last_passing_timestamp",
		help: "Time of the last passing by the clock of the device, in Unix seconds, from last; " +
			"absent before the first passing.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return timestamp(s.Last) }),
	},
	{
		name: "rufus_session_creation_timestamp",
		help: "Time when the session was made, in Unix seconds, from creation_date; it changes when a followed device " +
			"gets a new session; absent while unknown.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return timestamp(s.Created) }),
	},
	{
		name: "rufus_session_duration_timestamp",
		help: "An instant of undocumented meaning, in Unix seconds, from duration: not for alerts; " +
			"absent while unknown.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return timestamp(s.Duration) }),
	},
	{
		name: "rufus_session_silent_after_seconds",
		help: "How long an active session may be without a new passing before that is an alarm, in seconds, from " +
			"silent_after of the configuration; absent where that is not set.",
		value: func(s *Status) (float64, bool) { return s.Entry.SilentAfter.Seconds(), s.Entry.SilentAfter > 0 },
	},
	{
		name: "rufus_session_expected_from_timestamp",
		help: "Start of the window in which passings are expected, in Unix seconds, from expected in the configuration; " +
			"of several windows the open one, else the next, else the last; absent when none is declared.",
		value: ofWindow(func(w window.Window) time.Time { return w.From }),
	},
	{
		name: "rufus_session_expected_until_timestamp",
		help: "End of the window in which passings are expected, in Unix seconds, from expected in the configuration; " +
			"of several windows the open one, else the next, else the last; absent when none is declared.",
		value: ofWindow(func(w window.Window) time.Time { return w.Until }),
	},
}

var deviceMetrics = []metric{
	{
		name:  "rufus_device_battery_ratio",
		help:  "Charge of the battery of the followed device, 0 to 1, from battery_percentage; absent while unknown.",
		value: ofDevice(func(h rufus.DeviceHealth) (float64, bool) { return h.Battery.Get() }),
	},
	{
		name: "rufus_device_charging",
		help: "Whether the followed device is charging (1) or not (0), from charging; absent while unknown.",
		value: ofDevice(func(h rufus.DeviceHealth) (float64, bool) {
			charging, ok := h.Charging.Get()
			return number(charging), ok
		}),
	},
	{
		name: "rufus_device_last_telemetry_timestamp",
		help: "Time when the followed device last reported its state, in Unix seconds, from last_telemetry_at; " +
			"absent while unknown.",
		value: ofDevice(func(h rufus.DeviceHealth) (float64, bool) { return timestamp(h.LastTelemetry) }),
	},
	{
		name:  "rufus_device_last_login_timestamp",
		help:  "Time when the followed device last logged in, in Unix seconds, from last_login; absent while unknown.",
		value: ofDevice(func(h rufus.DeviceHealth) (float64, bool) { return timestamp(h.LastLogin) }),
	},
	{
		name:        "rufus_device_info",
		help:        "Always 1, with the model and the firmware of the followed device; absent while it is not listed.",
		value:       ofDevice(func(rufus.DeviceHealth) (float64, bool) { return 1, true }),
		labels:      []string{"model", "firmware"},
		labelValues: healthLabels(func(h rufus.DeviceHealth) []string { return []string{h.Model, h.Firmware} }),
	},
	{
		name:        "rufus_device_status",
		help:        "Always 1, with the status of the followed device, from device_status; absent while unknown.",
		value:       ofDevice(func(h rufus.DeviceHealth) (float64, bool) { return 1, h.Status != "" }),
		labels:      []string{"status"},
		labelValues: healthLabels(func(h rufus.DeviceHealth) []string { return []string{h.Status} }),
	},
}

var devicesUp = newColumn(metric{
	name: "rufus_devices_up",
	help: "Whether the list of devices could be read (1) or not (0); absent without device metrics.",
}, nil)

// whileUp returns a value function that gives nothing while the entry cannot be read: no value outlives its answer.
func whileUp(value func(rufus.Session) (float64, bool)) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		if s.Err != nil {
			return 0, false
		}
		return value(s.Session)
	}
}

// ofWindow returns a value function that gives nothing if no window is declared.
func ofWindow(instant func(window.Window) time.Time) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		w, declared := s.Window.Get()
		return unixSeconds(instant(w)), declared
	}
}

// ofDevice returns a value function that gives nothing where the device is not listed.
func ofDevice(value func(rufus.DeviceHealth) (float64, bool)) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		health, ok := s.Health.Get()
		if !ok {
			return 0, false
		}
		return value(health)
	}
}

func healthLabels(values func(rufus.DeviceHealth) []string) func(*Status) []string {
	return func(s *Status) []string {
		health, _ := s.Health.Get()
		labels := values(health)
		for i := range labels {
			labels[i] = Printable(labels[i])
		}
		return labels
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func timestamp(t rufus.Option[time.Time]) (float64, bool) {
	instant, ok := t.Get()
	return unixSeconds(instant), ok
}

// unixSeconds returns Unix seconds with their fraction, of any year.
func unixSeconds(t time.Time) float64 { return float64(t.Unix()) + float64(t.Nanosecond())/1e9 }

// maxLabelRunes bounds a label value that comes from the API.
const maxLabelRunes = 200

// Printable makes of free text that the API sent what a label or a page can hold: valid UTF-8, which a scrape is lost
// without, and at most 200 characters.
func Printable(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	runes := 0
	for i := range s {
		if runes++; runes > maxLabelRunes {
			return s[:i]
		}
	}
	return s
}

// schema is the tables with the labels of one configuration.
type schema struct {
	labels  []string // of every series: session and the union of the entries' own, sorted
	metrics []column
}

type column struct {
	metric
	desc *prometheus.Desc
}

func newColumn(m metric, common []string) column {
	return column{metric: m, desc: prometheus.NewDesc(m.name, m.help, slices.Concat(common, m.labels), nil)}
}

func newSchema(entries []Entry, devices bool) *schema {
	names := map[string]struct{}{"session": {}}
	for _, e := range entries {
		for name := range e.Labels {
			names[name] = struct{}{}
		}
	}
	s := &schema{labels: slices.Sorted(maps.Keys(names))}
	table := sessionMetrics
	if devices {
		table = slices.Concat(sessionMetrics, deviceMetrics)
	}
	for _, m := range table {
		s.metrics = append(s.metrics, newColumn(m, s.labels))
	}
	return s
}

// labelsOf returns the labels that every series of e carries.
func (s *schema) labelsOf(e Entry) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, len(s.labels))
	for i, name := range s.labels {
		value := e.Labels[name]
		if name == "session" {
			value = e.Name
		}
		pairs[i] = &dto.LabelPair{Name: &name, Value: &value}
	}
	return pairs
}

// Collector collects for one scrape: Collect and Gather each fetch the entries, and give up when the context ends.
//
// Registered, it is checked by the registry, as any collector. That check hashes, compares and sorts every series of
// every scrape, which at thousands of sessions costs half as much as fetching them. Gather is the same without.
type Collector struct {
	ctx      context.Context //nolint:containedctx // a Collector is given none, and this one lives for one scrape
	sessions *Sessions
}

var (
	_ prometheus.Collector = (*Collector)(nil)
	_ prometheus.Gatherer  = (*Collector)(nil)
)

// Collector returns a collector for one scrape, which ends when ctx does.
func (s *Sessions) Collector(ctx context.Context) *Collector {
	return &Collector{ctx: ctx, sessions: s}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.sessions.schema.metrics {
		descs <- m.desc
	}
	if c.sessions.fetcher.devices != nil {
		descs <- devicesUp.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	for m, samples := range c.scrape() {
		for labels, value := range samples {
			metrics <- sample{desc: m.desc, value: value, labels: labels}
		}
	}
}

// Gather implements prometheus.Gatherer: the series of a metric come in the order of the configuration.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	var families []*dto.MetricFamily
	for m, samples := range c.scrape() {
		// A few large pieces of memory in place of three small ones for each series.
		metrics := make([]dto.Metric, 0, len(c.sessions.entries))
		gauges := make([]dto.Gauge, len(c.sessions.entries))
		values := make([]float64, len(c.sessions.entries))
		family := &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: dto.MetricType_GAUGE.Enum()}
		for labels, value := range samples {
			i := len(metrics)
			values[i] = value
			gauges[i].Value = &values[i]
			metrics = append(metrics, dto.Metric{Label: labels, Gauge: &gauges[i]})
			family.Metric = append(family.Metric, &metrics[i])
		}
		if len(metrics) > 0 {
			families = append(families, family)
		}
	}
	return families, nil
}

// scrape fetches the entries and returns each metric with its samples: labels and value.
func (c *Collector) scrape() iter.Seq2[*column, iter.Seq2[[]*dto.LabelPair, float64]] {
	s := c.sessions
	report := s.Fetch(c.ctx, s.fetcher.minInterval)
	return func(yield func(*column, iter.Seq2[[]*dto.LabelPair, float64]) bool) {
		for i := range s.schema.metrics {
			m := &s.schema.metrics[i]
			if !yield(m, m.samples(report.Statuses, s.labels)) {
				return
			}
		}
		if up, ok := report.DevicesUp.Get(); ok {
			yield(&devicesUp, func(yield func([]*dto.LabelPair, float64) bool) { yield(nil, number(up)) })
		}
	}
}

// samples returns the labels and the value of each entry that has one. labels are those of the entries.
func (c *column) samples(statuses []Status, labels [][]*dto.LabelPair) iter.Seq2[[]*dto.LabelPair, float64] {
	return func(yield func([]*dto.LabelPair, float64) bool) {
		for i := range statuses {
			value, ok := c.value(&statuses[i])
			if !ok {
				continue
			}
			all := labels[i]
			if c.labels != nil {
				all = withLabels(all, c.labels, c.labelValues(&statuses[i]))
			}
			if !yield(all, value) {
				return
			}
		}
	}
}

// withLabels returns common and the named values in one, sorted by name.
func withLabels(common []*dto.LabelPair, names, values []string) []*dto.LabelPair {
	pairs := slices.Clone(common)
	for i := range names {
		pairs = append(pairs, &dto.LabelPair{Name: &names[i], Value: &values[i]})
	}
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return pairs
}

// sample is a const metric whose labels are shared with the other series of its session: at thousands of sessions
// the labels, copied and sorted for each series, would be most of the work.
type sample struct {
	desc   *prometheus.Desc
	value  float64
	labels []*dto.LabelPair
}

// Desc implements prometheus.Metric.
func (s sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	out.Gauge = &dto.Gauge{Value: &s.value}
	return nil
}
