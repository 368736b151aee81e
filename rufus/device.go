package rufus

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"
)

// DeviceHealth is what the list of devices says about one of them. All of it is documented and none was tried live;
// what is null or of another type than documented is absent. Texts are safe to show: see Options.Mask.
type DeviceHealth struct {
	ID            Secret // as the API writes it
	Alias         string
	SerialNumber  string
	Model         string
	Firmware      string
	Status        string
	Battery       Option[float64] // 0 to 1; the API gives percent
	Charging      Option[bool]
	LastTelemetry Option[time.Time]
	LastLogin     Option[time.Time]
	// Unreadable has the names of the members that are not a date-time but should be, as in Session.
	Unreadable string
}

// DeviceList is the account's devices. A device that a complete list does not contain does not exist or is bound to
// another account.
type DeviceList struct {
	devices  map[Secret]DeviceHealth // by id in upper case
	Complete bool
}

// Health returns what the list says about the device with that id and whether it is listed. Case does not matter.
func (l DeviceList) Health(id Secret) (health DeviceHealth, listed bool) {
	health, listed = l.devices[id.Upper()]
	return health, listed
}

// All returns what the list says about each device, by its id in upper case and in no order.
func (l DeviceList) All() iter.Seq2[Secret, DeviceHealth] { return maps.All(l.devices) }

// Hide returns the list with "<secret>" in place of what mask finds in its texts.
func (l DeviceList) Hide(mask Mask) DeviceList {
	hidden := DeviceList{devices: make(map[Secret]DeviceHealth, len(l.devices)), Complete: l.Complete}
	for id, health := range l.devices {
		for _, text := range health.texts() {
			*text = mask.Hide(*text)
		}
		hidden.devices[id] = health
	}
	return hidden
}

// texts returns what may show a secret.
func (h *DeviceHealth) texts() [5]*string {
	return [...]*string{&h.Alias, &h.SerialNumber, &h.Model, &h.Firmware, &h.Status}
}

// hideIDs returns the list with its own ids hidden. In most lists no text has one.
func (l DeviceList) hideIDs() DeviceList {
	mask := NewMask(slices.Collect(maps.Keys(l.devices)))
	for _, health := range l.devices {
		for _, text := range health.texts() {
			if mask.Contains(*text) {
				return l.Hide(mask)
			}
		}
	}
	return l
}

// A page of 1000 devices of 1 KiB each stays below maxList. maxDevices is the limit for a server that never ends.
const (
	devicesPerPage = 1000
	maxDevices     = 20_000
)

// Devices asks for all devices of the account, page after page: GET /devices (documented, the first page is 1). All
// pages together must come within the Timeout of one request, because sessions may be waiting for its place. Errors are
// as for Session; if one page fails, there is no list.
//
// The list is complete if the API says that there are no more pages, each device has an id, and there are as many
// devices as its total says, if it gives one. A page that adds no device ends the list.
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
			return list.hideIDs(), nil
		}
	}
}

// addPage adds a page to the list and returns whether more pages follow; absent if the page does not say.
func (c *Client) addPage(list *DeviceList, a answer) (more Option[bool], err error) {
	n, err := a.each(func(object raw) error {
		if len(list.devices) > maxDevices {
			return invalid("the list of devices does not end")
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
	case n == 0 && !said && !a.saysNone():
		return more, invalid("the answer says nothing of devices")
	case said && !goesOn:
		count, counted := total.number().Get()
		_, nameless := list.devices[Secret{}]
		list.Complete = !nameless && (!counted || float64(len(list.devices)) >= count)
	}
	return more, nil
}

// device reads a record of the list. id is zero if the record has none, or one that is longer than any that can be
// configured.
func (c *Client) device(object raw) (id Secret, health DeviceHealth) {
	var d dates
	var r struct { // one piece of memory
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
