package collector

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/window"
)

// metric is one gauge of an entry. To expose another field, add a line to the tables below.
type metric struct {
	name, help string
	value      func(*Status) (value float64, ok bool)
	// labels are additional to the entry's own labels. labelValues returns their values.
	labels      []string
	labelValues func(*Status) []string
}

var sessionMetrics = []metric{
	{
		name:  "rufus_session_up",
		help:  "1 if this scrape has a valid answer about the session, 0 if not.",
		value: func(s *Status) (float64, bool) { return number(s.Err == nil), true },
	},
	{
		name:   "rufus_session_error",
		help:   "Always 1, with the reason why the session cannot be read; absent while it can be read.",
		value:  func(s *Status) (float64, bool) { return 1, s.Err != nil },
		labels: []string{"reason"},
		labelValues: func(s *Status) []string {
			return []string{string(rufus.ReasonOf(s.Err))}
		},
	},
	{
		name: "rufus_session_fetch_duration_seconds",
		help: "Duration of the request that the values come from, in seconds, without its time in the queue; " +
			"absent if no request was made.",
		value: func(s *Status) (float64, bool) { return s.Duration.Seconds(), !s.At.IsZero() },
	},
	{
		name: "rufus_session_info",
		help: "Always 1, with the alias of the session and whether the entry follows a token or a device; " +
			"absent while the session cannot be read.",
		value:  whileUp(func(rufus.Session) (float64, bool) { return 1, true }),
		labels: []string{"alias", "follows"},
		labelValues: func(s *Status) []string {
			return []string{s.Session.Alias, string(s.Entry.Target.Follows)}
		},
	},
	{
		name: "rufus_session_active",
		help: "1 if the session receives passings, 0 if it is closed or its device has no active session, from active; " +
			"absent while the session cannot be read.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return number(s.Active), true }),
	},
	{
		name: "rufus_session_passings",
		help: "Number of passings of the session (raw detections, not participants), from passings; " +
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
		help: "Time when the session was created, in Unix seconds, from creation_date; changes when a followed device " +
			"gets a new session; absent while unknown.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return timestamp(s.Created) }),
	},
	{
		name: "rufus_session_duration_timestamp",
		help: "Time of undocumented meaning, in Unix seconds, from duration; not suitable for alerts; " +
			"absent while unknown.",
		value: whileUp(func(s rufus.Session) (float64, bool) { return timestamp(s.Duration) }),
	},
	{
		name: "rufus_session_silent_after_seconds",
		help: "Time without a new passing after which an active session counts as silent, in seconds, from " +
			"silent_after in the configuration; absent if it is not set.",
		value: func(s *Status) (float64, bool) { return s.Entry.SilentAfter.Seconds(), s.Entry.SilentAfter > 0 },
	},
	{
		name: "rufus_session_expected_from_timestamp",
		help: "Start of the window in which passings are expected, in Unix seconds, from expected in the configuration; " +
			"of several windows the open one, else the next, else the last; absent if no window is declared.",
		value: ofWindow(func(w window.Window) time.Time { return w.From }),
	},
	{
		name: "rufus_session_expected_until_timestamp",
		help: "End of the window in which passings are expected, in Unix seconds, from expected in the configuration; " +
			"of several windows the open one, else the next, else the last; absent if no window is declared.",
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
		help: "1 if the followed device is charging, 0 if not, from charging; absent while unknown.",
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
		help:        "Always 1, with the model and the firmware of the followed device; absent if it is not listed.",
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

// devicesUp is about the list of devices, not about an entry.
var devicesUp = metric{
	name:  "rufus_devices_up",
	help:  "1 if the list of devices could be read, 0 if not; absent if it is not needed.",
	value: func(s *Status) (float64, bool) { return number(s.Err == nil), true },
}

// whileUp returns a function for metric.value that has no value while the session cannot be read.
func whileUp(value func(rufus.Session) (float64, bool)) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		if s.Err != nil {
			return 0, false
		}
		return value(s.Session)
	}
}

// ofWindow returns a function for metric.value that has no value if no window is declared.
func ofWindow(instant func(window.Window) time.Time) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		w, declared := s.Window.Get()
		return unixSeconds(instant(w)), declared
	}
}

// ofDevice returns a function for metric.value that has no value if the device is not listed.
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
		return values(health)
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

// unixSeconds returns t in Unix seconds, with their fraction. Unlike UnixNano, it works for any year.
func unixSeconds(t time.Time) float64 { return float64(t.Unix()) + float64(t.Nanosecond())/1e9 }

// labelsOf returns, for each entry, the labels of its series, sorted: session, the names in common, and the label names
// of all entries.
func labelsOf(entries []entry.Entry, common []string) [][]*dto.LabelPair {
	set := map[string]struct{}{"session": {}}
	for _, name := range common {
		set[name] = struct{}{}
	}
	for _, e := range entries {
		for name := range e.Labels {
			set[name] = struct{}{}
		}
	}
	names := slices.Sorted(maps.Keys(set))
	labels := make([][]*dto.LabelPair, len(entries))
	for i, e := range entries {
		for _, name := range names {
			value := e.Labels[name]
			if name == "session" {
				value = e.Name
			}
			labels[i] = append(labels[i], &dto.LabelPair{Name: &name, Value: &value})
		}
	}
	return labels
}

// Gatherer returns a Gatherer for one scrape: it fetches the entries until ctx is done, and returns their series, in
// the order of the configuration.
//
// The series do not go through a registry. To check them, a registry hashes, compares and sorts every series of every
// scrape, which for thousands of sessions takes half as long as fetching them. A test checks them with a registry
// instead.
func (s *Sessions) Gatherer(ctx context.Context) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		report := s.Fetch(ctx, s.fetcher.minInterval)
		var families []*dto.MetricFamily
		for i := range s.metrics {
			families = append(families, s.metrics[i].family(report.Statuses, s.labels))
		}
		families = append(families, devicesUp.family(report.list, make([][]*dto.LabelPair, len(report.list))))
		return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 }), nil
	})
}

// family returns the series of m for all entries that have a value. labels are the labels of the entries. Series share
// them, because copying and sorting them for each series would take most of the time.
func (m *metric) family(statuses []Status, labels [][]*dto.LabelPair) *dto.MetricFamily {
	type series struct {
		metric dto.Metric
		gauge  dto.Gauge
		value  float64
	}
	var all []series // one allocation for all series, instead of three for each
	family := &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: dto.MetricType_GAUGE.Enum()}
	for i := range statuses {
		value, ok := m.value(&statuses[i])
		if !ok {
			continue
		}
		if all == nil {
			all = make([]series, 0, len(statuses)-i)
			family.Metric = make([]*dto.Metric, 0, len(statuses)-i)
		}
		all = append(all, series{value: value})
		s := &all[len(all)-1]
		s.gauge.Value = &s.value
		s.metric.Gauge, s.metric.Label = &s.gauge, labels[i]
		if m.labels != nil {
			s.metric.Label = withLabels(labels[i], m.labels, m.labelValues(&statuses[i]))
		}
		family.Metric = append(family.Metric, &s.metric)
	}
	return family
}

// withLabels returns common and the labels with these names and values in one list, sorted by name.
func withLabels(common []*dto.LabelPair, names, values []string) []*dto.LabelPair {
	pairs := slices.Grow(slices.Clip(common), len(names))
	further := make([]dto.LabelPair, len(names))
	for i := range further {
		further[i].Name, further[i].Value = &names[i], &values[i]
		pairs = append(pairs, &further[i])
	}
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return pairs
}
