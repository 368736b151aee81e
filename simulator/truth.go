package simulator

import (
	"strings"
	"time"
)

// Truth is the real state of a session or device, even if a fault hides it from clients.
type Truth struct {
	Known    bool      // the API knows the session or the device
	Session  bool      // there is a session: that of the token, or the newest of the device
	Active   bool      // the session receives passings
	Created  time.Time // when the session was created
	Passings int
	Latency  time.Duration // of requests for it
	Fault    *Fault        // the fault that answers requests for it; nil if there is none
}

// Truth returns the current state of the session with that token, or of the device with that id, ignoring case.
func (s *Server) Truth(id string) Truth {
	x, t := s.index.Load(), s.Now()
	m := x.moment(t)
	id = strings.ToUpper(id)
	var truth Truth
	truth.Latency, truth.Fault = x.fault(m.now, query{id: id})
	of, known := x.sessions[id]
	if known {
		truth.Known = m.exists(of)
	} else if d := x.devices[id]; m.bound(d) {
		truth.Known = true
		for i := range d.Sessions { // in the order of their creation
			if m.exists(session{&d.Sessions[i], d}) {
				of = session{&d.Sessions[i], d}
			}
		}
	}
	if of.device != nil {
		truth.Latency += of.device.Latency
	}
	if truth.Known && of.Session != nil {
		truth.Session = true
		truth.Active, truth.Created = m.active(of.Session), of.Created.Add(m.laps)
		truth.Passings = len(m.passings(of.Session))
	}
	return truth
}
