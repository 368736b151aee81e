// Package collector fetches the configured sessions when it is scraped and turns them into gauges. It knows the API
// only through Source, and nothing of HTTP servers or YAML.
//
// A Fetcher asks one API. A Roster decides what to ask it for: the entries of a configuration, and those of the devices
// of the account that a discovery.Plan follows. Its Sessions are these entries at one moment; they do not change, but
// the Roster makes new ones when the list of devices does. A reload makes a new Roster. Entries that stay keep all that
// is known of them. If the api section has changed, a new Fetcher replaces the one before.
//
// A scrape, a probe and a page each call Sessions.Fetch or Newest. The scheduler answers with what is young enough and
// sends requests for everything else. What can be asked for is a resource: a session, or the list of devices. All who
// want the same resource share one request, which belongs to none of them: once sent, it runs to its end; if nobody
// waits for it when its turn comes, it is dropped. The scheduler has one lock and one limit of requests for the whole
// process. Methods that need the lock end in Locked. While it is held, nothing is formatted or logged.
//
// The API can ask to wait (429, or 503 with Retry-After). Then no request for that resource is sent until the time is
// over. If it asks so for two different resources within a minute, the whole account is meant: no request at all is
// sent, and afterwards one tries before the others follow.
//
// A session passes through rufus.Session, Status and its series. To expose another field, add a line to the tables in
// metrics.go.
package collector
