package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/common/promslog"
)

// newLogger returns the logger of the flags. Lines to systemd's journal have no time, because the journal adds its own.
func newLogger(config *promslog.Config, stderr *os.File) *slog.Logger {
	logger := promslog.New(config)
	if isJournal(stderr, os.Getenv("JOURNAL_STREAM")) {
		return slog.New(timeless{logger.Handler()})
	}
	return logger
}

// timeless is a handler that leaves out the time. promslog has no setting for that; slog leaves out a zero time.
type timeless struct{ slog.Handler }

func (t timeless) Handle(ctx context.Context, r slog.Record) error {
	r.Time = time.Time{}
	return t.Handler.Handle(ctx, r)
}

func (t timeless) WithAttrs(attrs []slog.Attr) slog.Handler {
	return timeless{t.Handler.WithAttrs(attrs)}
}

func (t timeless) WithGroup(name string) slog.Handler { return timeless{t.Handler.WithGroup(name)} }

// logWriter hands lines to a goroutine that writes them, and drops those beyond what it holds. A write to a pipe that
// nobody reads, or to a stopped terminal, blocks for good, and with it whatever logs: scrapes, reloads, the shutdown.
// To log outside locks does not help against that, and a descriptor that does not block may be shared with others.
type logWriter struct {
	lines chan []byte // nil: the last one
	done  chan struct{}
}

const (
	logLines   = 1000
	logLeaving = time.Second // for which close waits
)

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for line := <-w.lines; line != nil; line = <-w.lines {
			_, _ = to.Write(line) // there is nowhere to report it
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

// close waits, but not for long, until all lines are written.
func (w *logWriter) close() {
	leaving := time.After(logLeaving)
	select {
	case w.lines <- nil:
	case <-leaving:
		return
	}
	select {
	case <-w.done:
	case <-leaving:
	}
}
