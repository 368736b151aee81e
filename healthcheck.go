package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// healthCheck asks the exporter on this machine whether it is alive, for images without a shell. It needs neither TLS
// nor a password: a port with TLS answers plain HTTP with 400 before it asks for a certificate, one with passwords
// answers 401, and only a process that is alive does either. To connect would not be enough: the kernel accepts
// connections for a process that hangs.
func healthCheck(addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("--health-check needs --web.listen-address")
	}
	address := reachable(addresses[0])
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{}}
	resp, err := client.Get("http://" + address + "/-/healthy") //nolint:noctx // bounded by the client
	if err != nil {
		return fmt.Errorf("no answer on %s: %w", address, errors.Unwrap(err)) // without the URL
	}
	_ = resp.Body.Close()
	if !slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized}, resp.StatusCode) {
		return fmt.Errorf("unexpected answer on %s: %s", address, resp.Status)
	}
	return nil
}
