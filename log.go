package main

import (
	"io"
	"time"
)

// logWriter passes lines on without ever waiting for whoever reads them: a log that is not read any more, such as a
// full pipe or a stopped terminal, must not stop the exporter. Lines beyond what it holds are dropped.
type logWriter struct {
	lines chan []byte // nil: the last one
	ended chan struct{}
}

const (
	logLines   = 1000
	logLeaving = time.Second // what close waits for a reader
)

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{lines: make(chan []byte, logLines), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for line := <-w.lines; line != nil; line = <-w.lines {
			_, _ = to.Write(line) // there is nobody left to tell
		}
	}()
	return w
}

// Write takes a line. It never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- append([]byte{}, line...):
	default:
	}
	return len(line), nil
}

// close waits, but not for long, until what was written before is passed on.
func (w *logWriter) close() {
	leaving := time.After(logLeaving)
	select {
	case w.lines <- nil:
	case <-leaving:
		return
	}
	select {
	case <-w.ended:
	case <-leaving:
	}
}
