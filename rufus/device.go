package rufus

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DeviceHealth is one entry of the list of devices. All its fields are documented; none was tried live. A value that is
// null or not of the documented type is absent. Texts are safe to show: see Options.Mask.
type DeviceHealth struct {
	ID            Secret // in the API's letter case
	Alias         string
	SerialNumber  string
	Model         string
	Firmware      string
	Status        string
	Battery       Option[float64] // charge, 0 to 1; percent in the API
	Charging      Option[bool]
	LastTelemetry Option[time.Time]
	LastLogin     Option[time.Time]
	// Unreadable lists the members that are not a valid date-time, as in Session.
	Unreadable string
}

// DeviceList is the list of the account's devices.
type DeviceList struct {
	devices map[Secret]DeviceHealth // by id in upper case
	// Complete is set if the account has no other devices. A device that is not in a complete list does not exist or is
	// bound to another account.
	Complete bool
}

// Health returns the entry of the device with that id, ignoring case, and whether it is listed.
func (l DeviceList) Health(id Secret) (health DeviceHealth, listed bool) {
	health, listed = l.devices[id.Upper()]
	return health, listed
}

// All returns an iterator over the ids, in upper case, and the entries of all devices, in no particular order.
func (l DeviceList) All() iter.Seq2[Secret, DeviceHealth] { return maps.All(l.devices) }

// Unreadable lists the members that are not a valid date-time at one of the devices, separated by spaces, each once.
func (l DeviceList) Unreadable() string {
	members := map[string]bool{}
	for _, health := range l.devices {
		for member := range strings.FieldsSeq(health.Unreadable) {
			members[member] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(members)), " ")
}

// Hide returns a copy of the list in which "<secret>" replaces everything that mask finds in its texts.
func (l DeviceList) Hide(mask Mask) DeviceList {
	hidden := DeviceList{devices: make(map[Secret]DeviceHealth, len(l.devices)), Complete: l.Complete}
	for id, health := range l.devices {
		for _, text := range []*string{&health.Alias, &health.SerialNumber, &health.Model, &health.Firmware, &health.Status} {
			*text = mask.Hide(*text)
		}
		hidden.devices[id] = health
	}
	return hidden
}

// A page of 1000 devices with 1 KiB each stays below maxList. maxDevices stops the requests if a server returns pages
// without end.
const (
	devicesPerPage = 1000
	maxDevices     = 20_000
)

// Devices fetches all devices of the account, page by page: GET /devices (documented, the first page is 1). All pages
// together must arrive within the Timeout of one request, because sessions may be waiting in the queue. Errors are as
// for Session. If one page fails, Devices fails.
//
// The list is complete if the API reports no more pages, each device has an id, and there are not fewer devices than
// the reported total, if there is one. A page that adds no device ends the list.
func (c *Client) Devices(ctx context.Context) (DeviceList, error) {
	list := DeviceList{devices: make(map[Secret]DeviceHealth)}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	for page := 1; ; page++ {
		known := len(list.devices)
		var more Option[bool]
		err := c.get(ctx, query{
			path:    "/devices",
			values:  "page=" + strconv.Itoa(page) + "&limit=" + strconv.Itoa(devicesPerPage),
			further: page > 1,
			most:    maxList,
			none:    errForeign,
			read: func(a answer) (err error) {
				more, err = c.addPage(&list, a)
				return err
			},
		})
		if err != nil {
			return DeviceList{}, err
		}
		if goesOn, _ := more.Get(); !goesOn || len(list.devices) == known {
			delete(list.devices, Secret{})
			return list.Hide(NewMask(slices.Collect(maps.Keys(list.devices)))), nil
		}
	}
}

// addPage adds a page to the list. more is whether more pages follow, absent if the page does not say.
func (c *Client) addPage(list *DeviceList, a answer) (more Option[bool], err error) {
	err = a.each(func(object raw) error {
		if len(list.devices) > maxDevices {
			return invalid("the list of devices has too many pages")
		}
		id, health := c.device(object)
		list.devices[id] = health
		return nil
	})
	var total, hasMore raw
	a.pagination.read(member{"total", &total}, member{"has_more", &hasMore})
	more = hasMore.bool()
	goesOn, said := more.Get()
	switch {
	case err != nil:
		return more, err
	case a.result.empty() && !said && !a.saysNone():
		return more, invalid("the answer is not about devices")
	case said && !goesOn:
		count, counted := total.number().Get()
		_, nameless := list.devices[Secret{}]
		list.Complete = !nameless && (!counted || float64(len(list.devices)) >= count)
	}
	return more, nil
}

// device decodes a record of the list. id is zero if the record has no id, or if its id is longer than maxID.
func (c *Client) device(object raw) (id Secret, health DeviceHealth) {
	var d dates
	var r struct { // a single allocation
		id, alias, serial, model, firmware, status, battery, charging, telemetry, login raw
	}
	object.read(member{"deviceid", &r.id}, member{"alias", &r.alias}, member{"serial_number", &r.serial},
		member{"model", &r.model}, member{"firmware", &r.firmware}, member{"device_status", &r.status},
		member{"battery_percentage", &r.battery}, member{"charging", &r.charging},
		member{"last_telemetry_at", &r.telemetry}, member{"last_login", &r.login})
	if text := r.id.unquote(); len(text) <= maxID {
		health.ID = NewSecret(string(text))
	}
	id = health.ID.Upper()
	health = DeviceHealth{
		ID:            health.ID,
		Alias:         c.text(r.alias, id, nil),
		SerialNumber:  c.text(r.serial, id, nil),
		Model:         c.text(r.model, id, nil),
		Firmware:      c.text(r.firmware, id, nil),
		Status:        c.text(r.status, id, nil),
		Charging:      r.charging.bool(),
		LastTelemetry: d.read("last_telemetry_at", r.telemetry),
		LastLogin:     d.read("last_login", r.login),
		Unreadable:    d.unreadable,
	}
	if percent, ok := r.battery.number().Get(); ok && percent >= 0 && percent <= 100 {
		health.Battery = Some(percent / 100)
	}
	return id, health
}
