// Package collector fetches the configured sessions when it is scraped and turns them into gauges. It knows the API
// only through Source, and nothing of HTTP servers or YAML.
//
// From the API to the answer: Source → cache (who shares which request, what may be reused) → pool (how many at a
// time, whether at all) → Report → gauges.
package collector
