package state

import "time"

// LastPassing returns the time of the last passing by the clock of the box, when the session was last read; zero:
// unknown.
func (m *Memory) LastPassing() time.Time { return m.good.Last }

// Failed reports whether the newest reading failed, or there was none.
func (m *Memory) Failed() bool { return m.failed || m.asked.IsZero() }
