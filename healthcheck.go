package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
)

// healthCheck asks the exporter on this machine whether it is alive, for images without a shell. Alive is what
// answers: with health, with a demand for a password, or with one for a client certificate.
func healthCheck(web *toolkit.FlagConfig) error {
	if len(*web.WebListenAddresses) == 0 {
		return errors.New("--health-check needs --web.listen-address")
	}
	address := reachable((*web.WebListenAddresses)[0])
	var wantsCertificate atomic.Bool
	client := &http.Client{
		Timeout: 3 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // only whether something answers on this machine is asked
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				wantsCertificate.Store(true)
				return new(tls.Certificate), nil
			},
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	status := 0
	for _, scheme := range []string{"http", "https"} {
		//nolint:noctx // bounded by the client
		resp, err := client.Get(scheme + "://" + address + "/-/healthy")
		if failed, ok := errors.AsType[*url.Error](err); ok {
			if wantsCertificate.Load() && !failed.Timeout() {
				return nil
			}
			return fmt.Errorf("no answer on %s: %w", address, failed.Err)
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
