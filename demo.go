package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"rufus_exporter/config"
	"rufus_exporter/simulator"
)

// startDemo serves a simulated race over HTTP on loopback. It returns the base URL of its API, a function that loads
// the configuration for it, and one that stops the server.
func startDemo() (apiURL string, load func() (*config.Config, error), stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	began := time.Now()
	race := &http.Server{
		Handler:           simulator.New(simulator.Demo(began, simulator.DemoSpeed)),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = race.Serve(listener) }() // stop ends it
	apiURL = "http://" + listener.Addr().String() + "/v0"
	text := simulator.DemoConfig(apiURL, began, simulator.DemoSpeed)
	load = func() (*config.Config, error) { return config.Parse(text, "demo") }
	return apiURL, load, func() { _ = race.Close() }, nil
}

// announceDemo logs the address of the status page, a command that shows the metrics, and the address of the simulated
// API. The README has the key for it: no key is logged, not even one that only the simulator accepts.
func announceDemo(f flags, apiURL string, logger *slog.Logger) {
	for _, address := range *f.web.WebListenAddresses {
		url := "http://" + reachable(address)
		logger.Info("serving a simulated race, open this page", "url", url+"/")
		logger.Info("or run this command", "command", "curl -s "+url+f.telemetryPath+" | grep rufus_session_passings")
	}
	logger.Info("or try your own session list with the simulated API", "api_url", apiURL)
}
