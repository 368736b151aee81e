//go:build unix

package test

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A log that nobody reads holds up neither scrapes nor the end.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, healthy)
	dir := t.TempDir()
	sessions := filepath.Join(dir, "sessions.yml")
	writeFile(t, sessions, settings(api.url)+mats(100))
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	address := freeAddress(t)
	cmd := command(t, dir, "--log.level=debug", "--web.listen-address="+address)
	cmd.Stderr = writer // the process's own, without a goroutine that reads
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	e := &exporter{t: t, url: "http://" + address, client: &http.Client{Timeout: patience}}
	defer e.client.CloseIdleConnections()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, _, err := ask(e.client, e.request(http.MethodGet, "/-/healthy")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not start")
		}
	}
	for range 50 { // 5000 lines, which are many times what a pipe holds
		e.scrape("/metrics").expect(t, series{"rufus_exporter_sessions": "100"})
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Error("it does not end")
	}
}
