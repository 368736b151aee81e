// Package collector fetches the configured sessions during a scrape and exposes them as gauges. It accesses the API
// only through Source, and does not depend on HTTP servers or YAML.
//
// A Fetcher sends requests to one API. A Roster decides which sessions to fetch: the entries of a configuration, and
// those of the account's devices that a discovery.Plan follows. Sessions is an immutable snapshot of these entries;
// when the list of devices changes, the Roster creates a new one. A reload creates a new Roster. Entries that are still
// configured keep their answers and their state. If the api section has changed, a new Fetcher replaces the previous
// one.
//
// A scrape, a probe and a page each call Sessions.Fetch or Newest. The scheduler returns answers that are recent
// enough, and sends requests for the rest. A resource is anything that can be fetched: a session, or the list of
// devices. All callers that wait for the same resource share one request. The request does not depend on any of them:
// once sent, it is not cancelled. If nobody waits for it when its turn comes, it is dropped. The scheduler has one lock
// and one limit of concurrent requests for the whole process. The names of methods that need the lock end in Locked.
// While it is held, nothing is formatted or logged.
//
// The API can ask to wait (429, or 503 with Retry-After). Then no request for that resource is sent until the time is
// over. If it asks so for two different resources within a minute, this is taken to apply to the whole account: all
// requests are paused, and afterwards a single request probes the API before the rest are sent.
//
// Data flows from rufus.Session to Status to the series. To expose another field, add a line to the tables in
// metrics.go.
package collector
