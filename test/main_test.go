//go:build unix

// Package test tests the program from outside: it builds it, and runs it in front of an API that the tests play.
package test

import (
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Exit codes, as documented in docs/flags.md.
const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 78
)

// scratch is a directory for the whole run of the tests.
var scratch string

func TestMain(m *testing.M) {
	if role := os.Getenv(benchmarkRole); role != "" {
		if err := play(role); err != nil {
			log.Fatal(err)
		}
		return
	}
	var err error
	if scratch, err = os.MkdirTemp("", "rufus_exporter"); err != nil {
		log.Fatal(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(scratch)
		os.Exit(code)
	}))
}
