package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rufus_exporter/collector"
	"rufus_exporter/discovery"
	"rufus_exporter/entry"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
)

// following returns a stand before a simulated API with the devices TURN and FINISH, of which rules follow at most max.
func following(t *testing.T, most int) (*simulator.Server, *stand) {
	t.Helper()
	var day simulator.Day
	for _, alias := range []string{"TURN", "FINISH"} {
		day.Devices = append(day.Devices, simulator.Device{ID: simulator.ID(alias), Alias: alias, Sessions: []simulator.Session{
			{Token: simulator.ID("session " + alias), Alias: alias, Created: noon.Add(-time.Hour)},
		}})
	}
	mats := simulator.New(day)
	mats.Now = func() time.Time { return noon }
	server := httptest.NewServer(mats)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL + "/v0")
	if err != nil {
		t.Fatal(err)
	}
	transport := rufus.NewTransport(rufus.TransportOptions{MaxConns: 8, Timeout: 10 * time.Second})
	t.Cleanup(transport.CloseIdleConnections)
	client := rufus.NewClient(rufus.Options{
		URL: base, Key: rufus.NewSecret(simulator.DemoKey), KeyHeader: "api_key", UserAgent: "test",
		Timeout: 10 * time.Second, Transport: transport,
	})
	s := newStand(client, nil)
	roster := collector.NewFetcher(s.collector).Roster([]entry.Entry{follow(rufus.Token, "mistyped")},
		&discovery.Plan{Rules: []discovery.Rule{{}}, MaxDevices: most}, nil)
	s.Options.Sessions, s.Options.Exporter = roster.Sessions, prometheus.NewRegistry()
	s.handler = NewHandler(s.Options)
	return mats, s
}

// Every path shows the devices that rules follow, and sends for their list.
func TestDiscoveredDevices(t *testing.T) {
	for _, path := range []string{"/metrics", "/probe?target=TURN", "/sd", "/"} {
		_, s := following(t, 10)
		answer := s.record(path)
		equal(t, "status of "+path, answer.Code, http.StatusOK)
		contains(t, path, answer.Body.String(), "TURN")
	}
}

// While nobody knows which devices there are, Prometheus keeps the targets that it has.
func TestDevicesThatAreNotKnownYet(t *testing.T) {
	mats, s := following(t, 10)
	mats.Set(func(day *simulator.Day) {
		day.Faults = []simulator.Fault{{To: noon.Add(time.Hour), Status: http.StatusBadGateway}}
	})
	for path, want := range map[string]int{
		"/sd": http.StatusServiceUnavailable, "/probe?target=TURN": http.StatusServiceUnavailable,
		"/probe?target=mistyped": http.StatusOK, "/metrics": http.StatusOK, "/": http.StatusOK,
	} {
		answer := s.record(path)
		equal(t, "status of "+path, answer.Code, want)
		switch path {
		case "/metrics":
			equal(t, "devices up", lines(answer.Body.String(), "rufus_devices_up"), []string{"rufus_devices_up 0"})
		case "/":
			contains(t, path, answer.Body.String(), "Not all devices are followed: the list of devices could not be read yet.")
		}
	}
}

func TestMoreDevicesThanAreFollowed(t *testing.T) {
	_, s := following(t, 1)
	contains(t, "the page", s.record("/").Body.String(),
		"Not all devices are followed: rules match 2 devices, but only the first 1 are followed; raise api.max_devices")
	equal(t, "status of a device that is not followed", s.record("/probe?target=TURN").Code, http.StatusNotFound)
}
