// Package collector fetches the configured sessions when it is scraped and turns them into gauges. It knows the API
// only through Source, and nothing of HTTP servers or YAML.
//
// A Fetcher asks one API; Sessions are the entries of one configuration. What can be asked for is a resource: the
// session of an entry, or the list of devices. A reload makes new Sessions. They share the resources of unchanged
// entries with the Sessions before, and with them all that is known. If the api section has changed, a new Fetcher
// replaces the one before.
//
// A scrape, a probe and a page each call Sessions.Fetch or Newest. The scheduler answers with what is young enough and
// sends requests for everything else. All who want the same resource share one request, which belongs to none of them:
// once sent, it runs to its end; if nobody waits for it when its turn comes, it is dropped. The scheduler has one lock
// and one limit of requests for the whole process. While the lock is held, nothing is formatted or logged.
//
// The API can ask to wait (429, or 503 with Retry-After). Then no request for that resource is sent until the time is
// over. If it asks so for two different resources within a minute, the whole account is meant: no request at all is
// sent, and afterwards one tries before the others follow.
//
// A session passes through rufus.Session, Status and its series. To expose another field, add a line to the tables in
// metrics.go.
package collector
