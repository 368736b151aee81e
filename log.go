package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/prometheus/common/promslog"
)

// newLogger returns the logger for the log flags. If stderr goes to systemd's journal, lines have no timestamp, because
// the journal adds its own.
func newLogger(config *promslog.Config) *slog.Logger {
	logger := promslog.New(config)
	if inJournal, _ := journal.StderrIsJournalStream(); inJournal {
		return slog.New(timeless{logger.Handler()})
	}
	return logger
}

// timeless is a handler that omits the timestamp. promslog has no setting for that, but slog omits a zero time.
type timeless struct{ slog.Handler }

func (t timeless) Handle(ctx context.Context, r slog.Record) error {
	r.Time = time.Time{}
	return t.Handler.Handle(ctx, r)
}

func (t timeless) WithAttrs(attrs []slog.Attr) slog.Handler {
	return timeless{t.Handler.WithAttrs(attrs)}
}

func (t timeless) WithGroup(name string) slog.Handler { return timeless{t.Handler.WithGroup(name)} }

// logWriter buffers log lines for a goroutine that writes them. When the buffer is full, it drops lines. A write to a
// pipe that nobody reads, or to a stopped terminal, never returns. Without the buffer it would block everything that
// logs: scrapes, reloads and the shutdown. A non-blocking descriptor is no way out, because other processes may share
// it.
type logWriter struct {
	lines chan []byte // nil ends the goroutine
	done  chan struct{}
}

const (
	logLines     = 1000
	flushTimeout = time.Second
)

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for line := <-w.lines; line != nil; line = <-w.lines {
			_, _ = to.Write(line) // an error cannot be logged
		}
	}()
	return w
}

// Write queues a line, or drops it when the buffer is full. It never blocks and never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- append([]byte{}, line...):
	default:
	}
	return len(line), nil
}

// close waits up to flushTimeout until all lines are written.
func (w *logWriter) close() {
	timeout := time.After(flushTimeout)
	select {
	case w.lines <- nil:
	case <-timeout:
		return
	}
	select {
	case <-w.done:
	case <-timeout:
	}
}
