// Package rufus is a read-only client of the RUFUS Cloud API (race timing by runonrufus.com). It knows the API's
// answers, errors and secrets, and nothing of Prometheus.
//
// A Client asks for one session by its token, for the active session of a device, or for the list of devices. It sends
// each request through a Transport, which keeps connections and replaces those that no longer work. An answer is read
// in three steps: answer.go finds the records in the JSON, session.go and device.go pick the one that was asked for and
// turn it into a Session or a DeviceHealth, and mask.go makes its texts safe to show. What the API left out is an
// absent Option, never zero. Whatever goes wrong becomes an Error with one of a closed set of reasons.
//
// The API key, tokens and device ids are Secrets. No log, error or text of a result shows them.
//
// What is known of the API comes from the vendor's public help pages; nothing was tried against the live service. The
// comments say which facts are documented, inferred or unknown.
package rufus
