// Package lab is what the tests of several packages share: a log to read, certificates, and a network that fails.
package lab

import (
	"regexp"
	"strings"
	"sync"
)

// Log keeps what is written to it. Its zero value is empty.
type Log struct {
	mu      sync.Mutex
	text    []byte
	found   int           // end of what Find found last, or of what Lines returned
	written chan struct{} // closed by the next Write; nil: nobody waits
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if l.written != nil {
		close(l.written)
		l.written = nil
	}
	return len(p), nil
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// Lines returns the lines that were written since it was last called.
func (l *Log) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.text[l.found:])
	l.found = len(l.text)
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// Find looks for a match after the one that it found last and returns its first group. If there is none, written says
// when to look again.
func (l *Log) Find(pattern *regexp.Regexp) (group string, ok bool, written <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := pattern.FindSubmatchIndex(l.text[l.found:])
	if at == nil {
		if l.written == nil {
			l.written = make(chan struct{})
		}
		return "", false, l.written
	}
	if len(at) > 2 {
		group = string(l.text[l.found+at[2] : l.found+at[3]])
	}
	l.found += at[1]
	return group, true, nil
}
