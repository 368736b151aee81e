// Package rufus is a read-only client for the RUFUS Cloud API (race timing by runonrufus.com). It handles the API's
// answers, errors and secrets, and does not depend on Prometheus.
//
// A Client fetches one session by its token, the active session of a device, or the list of devices. It sends each
// request through a Transport, which keeps connections and replaces those that no longer work. An answer is decoded in
// three steps. answer.go finds the records in the JSON, session.go and device.go pick the requested record and turn it
// into a Session or a DeviceHealth, and mask.go makes its texts safe to show. A value that the API omits is an absent
// Option, never zero. Every failure is an Error with one of a closed set of reasons.
//
// The API key, tokens and device ids are Secrets. They never appear in a log, an error or a text of a result.
//
// All knowledge about the API comes from the vendor's public help pages; nothing was tried against the live service.
// The comments state which facts are documented, inferred or unknown.
package rufus
