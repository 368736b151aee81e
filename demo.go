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

// startDemo serves a simulated race on loopback and returns what loads the configuration that watches it, over real
// HTTP like any other.
func startDemo() (load func() (*config.Config, error), stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	race := &http.Server{
		Handler:           simulator.New(simulator.Demo(began, simulator.DemoSpeed)),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = race.Serve(listener) }() // ends with stop
	text := simulator.DemoConfig("http://"+listener.Addr().String()+"/v0", began, simulator.DemoSpeed)
	return func() (*config.Config, error) { return config.Parse(text, "demo") }, func() { _ = race.Close() }, nil
}

// announceDemo logs where to look at the simulated race.
func announceDemo(f flags, logger *slog.Logger) {
	for _, address := range *f.web.WebListenAddresses {
		url := "http://" + reachable(address)
		logger.Info("demo: serving a simulated race, open this page", "url", url+"/")
		logger.Info("demo: or run this command", "command", "curl -s "+url+f.telemetryPath+" | grep rufus_session_passings")
	}
}
