// Package collector fetches the configured sessions when it is scraped and turns them into gauges. It knows the API
// only through Source, and nothing of HTTP servers or YAML.
//
// A Fetcher asks one API, for a resource each: the session of an entry, or the list of devices. Sessions are the
// entries of one configuration. A reload makes new Sessions, which share the resources of unchanged entries with those
// before, and so what is known of them. Only when the api section changes, a new Fetcher replaces the one before.
//
// A scrape, a probe and a page are one call of Sessions.Fetch or Newest. The scheduler answers it with what is young
// enough and joins it to a request for everything else. A request is shared by all who want its resource. It belongs to
// none of them: once sent it runs to its end, and if its turn comes when nobody waits any more, it is dropped. The
// scheduler has one lock and one limit of requests for the whole process. While the lock is held, nothing is formatted
// or logged.
//
// An API can ask to wait (429, 503 with Retry-After). Then its resource waits alone; when two different resources are
// told so within a minute, the account is meant, and all wait. Afterwards one request tries, before others are sent.
//
// What comes of an entry is a Status. The tables in metrics.go make a series of each of its values.
package collector
