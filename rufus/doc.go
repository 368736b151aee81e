// Package rufus is a read-only client of the RUFUS Cloud API (race timing by runonrufus.com). It knows the API's
// answers, errors and secrets, and nothing of Prometheus.
//
// What is known of the API comes from the vendor's public help pages; nothing was tried against the live service.
// The comments say which facts are documented, inferred or unknown.
package rufus
