package main

import (
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// scratch is a directory for the whole run of the tests.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "rufus_exporter"); err != nil {
		log.Fatal(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

func TestReachable(t *testing.T) {
	for address, want := range map[string]string{
		":10210":           "localhost:10210",
		"0.0.0.0:10210":    "localhost:10210",
		"[::]:10210":       "localhost:10210",
		"127.0.0.1:10210":  "127.0.0.1:10210",
		"[::1]:10210":      "[::1]:10210",
		"timing.local:80":  "timing.local:80",
		"192.168.0.10:443": "192.168.0.10:443",
		"vsock://:9100":    "vsock://:9100",
	} {
		if got := reachable(address); got != want {
			t.Errorf("reachable(%q) is %q, want %q", address, got, want)
		}
	}
}
