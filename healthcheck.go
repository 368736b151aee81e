package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
)

// healthCheck asks the exporter on this machine whether it is alive, for images without a shell. Alive is what
// answers: with health, with a demand for credentials, or with a TLS alert for want of a client certificate.
func healthCheck(web *toolkit.FlagConfig) error {
	if len(*web.WebListenAddresses) == 0 {
		return errors.New("--health-check needs --web.listen-address")
	}
	address := reachable((*web.WebListenAddresses)[0])
	client := &http.Client{
		Timeout: 3 * time.Second,
		Transport: &http.Transport{
			//nolint:gosec // only whether something answers on this machine is asked
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	status := 0
	for _, scheme := range []string{"http", "https"} {
		resp, err := client.Get(scheme + "://" + address + "/-/healthy")
		if alert := (tls.AlertError)(0); errors.As(err, &alert) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("no answer on %s: %w", address, errors.Unwrap(err))
		}
		status = resp.StatusCode
		_ = resp.Body.Close()
		if status == http.StatusOK || status == http.StatusUnauthorized {
			return nil
		}
		if status != http.StatusBadRequest { // which is how a TLS port answers plain HTTP
			break
		}
	}
	return fmt.Errorf("answer on %s: status %d", address, status)
}
