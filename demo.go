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

// startDemo serves a simulated race over HTTP on loopback. It returns a function that loads the configuration for it,
// and one that stops the server.
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
	go func() { _ = race.Serve(listener) }() // stop ends it
	text := simulator.DemoConfig("http://"+listener.Addr().String()+"/v0", began, simulator.DemoSpeed)
	return func() (*config.Config, error) { return config.Parse(text, "demo") }, func() { _ = race.Close() }, nil
}

// announceDemo logs the address of the status page, and a command that shows the metrics.
func announceDemo(f flags, logger *slog.Logger) {
	for _, address := range *f.web.WebListenAddresses {
		url := "http://" + reachable(address)
		logger.Info("serving a simulated race, open this page", "url", url+"/")
		logger.Info("or run this command", "command", "curl -s "+url+f.telemetryPath+" | grep rufus_session_passings")
	}
}
