package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// healthCheck returns an error if the exporter on this machine does not answer. Container images without a shell use
// it.
//
// It needs neither TLS nor a password. A port with TLS answers plain HTTP with 400 before it asks for a certificate,
// and one with passwords answers 401. Either answer proves that the process is alive. A connection alone does not,
// because the kernel accepts connections for a process that hangs.
func healthCheck(addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("--health-check needs --web.listen-address")
	}
	address := reachable(addresses[0])
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{}}
	resp, err := client.Get("http://" + address + "/-/healthy") //nolint:noctx // bounded by the client
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", address, errors.Unwrap(err)) // unwrapped, it has no URL
	}
	_ = resp.Body.Close()
	if !slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized}, resp.StatusCode) {
		return fmt.Errorf("unexpected answer from %s: %s", address, resp.Status)
	}
	return nil
}
