package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// query is the part of a request that the answer depends on.
type query struct {
	get    bool
	key    string
	call   call
	id     string // token or device id, upper case
	values url.Values
}

type call int

const (
	callOther   call = iota
	callSession      // GET /sessions/{token}
	callActive       // GET /sessions/device/{id}/active
	callHistory      // GET /sessions/device/{id}
	callDevices      // GET /devices
)

// parse returns the query of a request. It is unknown whether the case of tokens and ids matters; here it does not.
func parse(r *http.Request) query {
	q := query{get: r.Method == http.MethodGet, key: r.Header.Get("api_key")}
	if q.key == "" {
		q.key = r.Header.Get("x-api-key")
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v0/")
	if !ok {
		return q
	}
	if path == "devices" {
		q.call, q.values = callDevices, r.URL.Query()
		return q
	}
	id, isDevice := strings.CutPrefix(path, "sessions/device/")
	if isDevice {
		q.call = callHistory
		if of, isActive := strings.CutSuffix(id, "/active"); isActive {
			q.call, id = callActive, of
		}
	} else if id, ok = strings.CutPrefix(path, "sessions/"); ok {
		q.call = callSession
	}
	if strings.Contains(id, "/") {
		q.call, id = callOther, ""
	}
	q.id = strings.ToUpper(id)
	return q
}

// asksFor reports whether q requests that page of the list of devices.
func (q query) asksFor(page int) bool {
	asked, err := positive(q.values.Get("page"), 1)
	return q.call == callDevices && err == nil && asked == page
}

// reply is the answer to a request.
type reply struct {
	latency    time.Duration
	drop       bool // close the connection instead of answering
	status     int
	retryAfter string
	body       []byte
	about      Answer // empty unless status is 200 and the answer is about one session or device
}

// reply returns the API's answer to q at t.
func (x *index) reply(t time.Time, q query) reply {
	m := x.moment(t)
	latency, fault := x.fault(m.now, q)
	if !q.get {
		return reply{latency: latency, status: http.StatusMethodNotAllowed}
	}
	if fault != nil {
		return reply{
			latency: latency, drop: fault.Drop, status: fault.Status,
			retryAfter: fault.retryAfter(t), body: faultBody(fault.Status),
		}
	}
	a := x.answer(m, q)
	a.latency += latency
	a.about.At = t
	return a
}

// fault returns the latency of q at t, and the fault that answers it, nil if none does.
func (x *index) fault(t time.Time, q query) (latency time.Duration, answers *Fault) {
	for i := range x.Faults {
		f := &x.Faults[i]
		if !f.active(t) || f.Only != "" && !strings.EqualFold(f.Only, q.id) || f.Page != 0 && !q.asksFor(f.Page) {
			continue
		}
		latency += f.Latency
		if answers == nil && (f.Drop || f.Status != 0) {
			answers = f
		}
	}
	return latency, answers
}

// active reports whether the fault affects requests at t.
func (f *Fault) active(t time.Time) bool {
	if t.Before(f.From) || !t.Before(f.To) {
		return false
	}
	return f.Every <= 0 || t.Sub(f.From)%f.Every < f.For
}

func (f *Fault) retryAfter(t time.Time) string {
	switch {
	case f.RetryAfter <= 0:
		return ""
	case f.RetryAfterDate: // a date has whole seconds: round up
		return t.Add(f.RetryAfter + time.Second - 1).UTC().Format(http.TimeFormat)
	default:
		return strconv.FormatInt(int64((f.RetryAfter+time.Second-1)/time.Second), 10)
	}
}

// faultBody returns the body of an error: the documented null, HTML or nothing.
func faultBody(status int) []byte {
	switch {
	case status == http.StatusInternalServerError:
		return []byte(`{"body": null}`)
	case status > http.StatusInternalServerError:
		return fmt.Appendf(nil, "<html><body><h1>%d %s</h1></body></html>", status, http.StatusText(status))
	default:
		return nil
	}
}

// failure returns an error in the documented form, which is not JSON.
func failure(status int, description, more string) reply {
	return reply{status: status, body: []byte(`{description: "` + description + `"` + more + `}`)}
}

func (x *index) answer(m moment, q query) reply {
	switch {
	case q.key == "":
		return failure(http.StatusBadRequest, "Missing parameter api_key", "")
	case q.key != x.Key:
		return failure(http.StatusForbidden, "Forbidden", "")
	case q.call == callDevices:
		return x.list(m, q.values)
	case q.call == callOther:
		return failure(http.StatusNotFound, "Not found", "")
	case q.id == "":
		return failure(http.StatusBadRequest, "Missing parameter", "")
	case q.call == callSession:
		return x.session(m, q.id)
	case q.call == callActive:
		return x.active(m, q.id)
	default:
		return x.history(m, q.id)
	}
}

// sessionJSON is a session in an answer. The list of a device's sessions omits duration, first and last (documented). A
// session without passings has no first and last (inferred).
type sessionJSON struct {
	Token    string `json:"token_session"`
	Alias    string `json:"alias,omitempty"`
	Created  string `json:"creation_date"`
	Duration string `json:"duration,omitempty"`
	Active   bool   `json:"active"`
	Passings int    `json:"passings"`
	First    string `json:"first,omitempty"`
	Last     string `json:"last,omitempty"`
}

// instant formats t, shifted to the current lap.
func (m moment) instant(t time.Time) string {
	return t.Add(m.laps).UTC().Format("2006-01-02T15:04:05.000Z")
}

// describe returns the complete answer about a session. As in the documented example, duration is two hours after the
// creation; its meaning is unknown.
func (m moment) describe(s *Session) sessionJSON {
	passings := m.passings(s)
	j := sessionJSON{
		Token:    s.Token,
		Alias:    s.Alias,
		Created:  m.instant(s.Created),
		Duration: m.instant(s.Created.Add(2 * time.Hour)),
		Active:   m.active(s),
		Passings: len(passings),
	}
	if len(passings) > 0 {
		j.First, j.Last = m.instant(passings[0].Stamp), m.instant(passings[len(passings)-1].Stamp)
	}
	return j
}

func (j sessionJSON) answer() Answer {
	return Answer{Token: j.Token, Active: j.Active, Passings: j.Passings}
}

func (x *index) session(m moment, token string) reply {
	s := x.sessions[token]
	if !m.exists(s) {
		a := failure(http.StatusNotFound, "Session not found", `, token_session: "`+token+`"`)
		if s.Session != nil {
			a.latency = s.device.Latency
		}
		return a
	}
	j := m.describe(s.Session)
	return success(s.device, []sessionJSON{j}, j.answer())
}

func (x *index) active(m moment, id string) reply {
	d := x.devices[id]
	if m.bound(d) {
		for i := range d.Sessions {
			if s := &d.Sessions[i]; m.exists(session{s, d}) && m.active(s) {
				j := m.describe(s)
				return success(d, []sessionJSON{j}, j.answer())
			}
		}
	}
	return noSessions(d, id)
}

func (x *index) history(m moment, id string) reply {
	d := x.devices[id]
	var list []sessionJSON
	if m.bound(d) {
		for i := range d.Sessions {
			if s := &d.Sessions[i]; m.exists(session{s, d}) {
				j := m.describe(s)
				j.Duration, j.First, j.Last = "", "", ""
				list = append(list, j)
			}
		}
	}
	if len(list) == 0 {
		return noSessions(d, id)
	}
	return success(d, list, list[len(list)-1].answer())
}

func noSessions(d *Device, id string) reply {
	a := failure(http.StatusNotFound, "Sessions not found", `, deviceid: "`+id+`"`)
	if d != nil {
		a.latency = d.Latency
	}
	return a
}

// content is a successful answer, with or without the envelope {"body": …}.
type content struct {
	Description string      `json:"description"`
	Result      any         `json:"result,omitempty"`
	Pagination  *pagination `json:"pagination,omitempty"`
}

type pagination struct {
	Page    int  `json:"page"`
	Limit   int  `json:"limit"`
	Total   int  `json:"total"`
	HasMore bool `json:"has_more"`
}

func success(d *Device, result []sessionJSON, about Answer) reply {
	return reply{
		latency: d.Latency,
		status:  http.StatusOK,
		body:    encode(content{Description: "Success", Result: result}, d.Enveloped),
		about:   about,
	}
}

func encode(c content, enveloped bool) []byte {
	var value any = c
	if enveloped {
		value = struct {
			Body content `json:"body"`
		}{c}
	}
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // cannot happen: strings, numbers and booleans
	}
	return body
}

// deviceJSON is a device in the list of devices (documented). Pointers may be null.
type deviceJSON struct {
	ID           string  `json:"deviceid"`
	Type         string  `json:"type"`
	Model        string  `json:"model"`
	Alias        string  `json:"alias"`
	Firmware     *string `json:"firmware"`
	SerialNumber string  `json:"serial_number"`
	LastLogin    *string `json:"last_login"`
	Created      *string `json:"creation_date"`
	Sessions     int     `json:"sessions"`
	Status       *string `json:"device_status"`
	Battery      *int    `json:"battery_percentage"`
	Charging     *bool   `json:"charging"`
	Telemetry    *string `json:"last_telemetry_at"`
}

// maxPage is the documented default and maximum size of a page of devices.
const maxPage = 5000

// list answers GET /devices, with the envelope that is documented for it.
func (x *index) list(m moment, values url.Values) reply {
	size := x.PageSize
	if size <= 0 {
		size = maxPage
	}
	page, errPage := positive(values.Get("page"), 1)
	limit, errLimit := positive(values.Get("limit"), size)
	if errPage != nil || errLimit != nil {
		return failure(http.StatusBadRequest, "Wrong parameter", "")
	}
	limit = min(limit, size)

	all := make([]*Device, 0, len(x.Devices))
	for i := range x.Devices {
		if m.bound(&x.Devices[i]) {
			all = append(all, &x.Devices[i])
		}
	}
	from := len(all)
	if page <= len(all)/limit+1 { // otherwise the product might overflow
		from = min((page-1)*limit, len(all))
	}
	to := min(from+limit, len(all))
	c := content{
		Description: "Success",
		Pagination:  &pagination{Page: page, Limit: limit, Total: len(all), HasMore: to < len(all)},
	}
	if from < to { // otherwise there is no result, as documented
		result := make([]deviceJSON, 0, to-from)
		for _, d := range all[from:to] {
			result = append(result, m.device(d))
		}
		c.Result = result
	}
	return reply{status: http.StatusOK, body: encode(c, true)}
}

// positive parses a whole number above 0. If text is empty, it returns preset.
func positive(text string, preset int) (int, error) {
	if text == "" {
		return preset, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// device returns the answer about d. The values of device_status are unknown. ONLINE and OFFLINE are made up: a device
// is online if its last telemetry is at most five minutes old.
func (m moment) device(d *Device) deviceJSON {
	j := deviceJSON{
		ID: d.ID, Type: d.Type, Model: d.Model, Alias: m.alias(d), SerialNumber: d.SerialNumber,
		LastLogin: m.optional(d.LastLogin), Created: m.optional(d.Created),
	}
	if d.Firmware != "" {
		j.Firmware = &d.Firmware
	}
	for i := range d.Sessions {
		if m.exists(session{&d.Sessions[i], d}) {
			j.Sessions++
		}
	}
	if at, percent, charging, ok := d.Battery.report(m.now); ok {
		status := "ONLINE"
		if m.now.Sub(at) > 5*time.Minute {
			status = "OFFLINE"
		}
		j.Status, j.Battery, j.Charging, j.Telemetry = &status, &percent, &charging, m.optional(at)
	}
	return j
}

// optional formats t like instant; nil if t is zero.
func (m moment) optional(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := m.instant(t)
	return &text
}
