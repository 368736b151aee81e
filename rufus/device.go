package rufus

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// DeviceHealth is what the list of devices says about one of them. All of it is documented and none was tried live;
// what is null or of another type than documented is absent.
type DeviceHealth struct {
	Model         string
	Firmware      string
	Status        string
	Battery       Option[float64] // 0 to 1; the API gives percent
	Charging      Option[bool]
	LastTelemetry Option[time.Time]
	LastLogin     Option[time.Time]
}

// DeviceList is the account's devices. A device that a complete list does not contain does not exist or is bound to
// another account.
type DeviceList struct {
	devices  map[Secret]DeviceHealth // by id in upper case
	Complete bool
}

// Health returns what the list says of the device with that id, whose case does not matter.
func (l DeviceList) Health(id Secret) (health DeviceHealth, listed bool) {
	health, listed = l.devices[upper(id.Reveal())]
	return health, listed
}

func upper(id string) Secret { return NewSecret(strings.ToUpper(id)) }

// A page of 1000 devices stays below maxBody at a kilobyte each. maxDevices bounds a server that never ends.
const (
	devicesPerPage = 1000
	maxDevices     = 20_000
)

// Devices asks for all devices of the account, page after page: GET /devices (documented, pages count from 1). All of
// it has to come within the time of one request: it holds the place of one, which sessions may be waiting for. Errors
// are as for Session; a list that failed half-way is none.
//
// The list is complete when the API says that there are no more pages, the pages had as many different devices as it
// counts (where it does), and each had an id. It ends, incomplete, where a page brings nothing new.
func (c *Client) Devices(ctx context.Context) (DeviceList, error) {
	list := DeviceList{devices: make(map[Secret]DeviceHealth)}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ask := c.sequence()
	for page := 1; ; page++ {
		known := len(list.devices)
		var pages pagination
		var err error
		err = ask(ctx, query{
			path:    "/devices",
			values:  "page=" + strconv.Itoa(page) + "&limit=" + strconv.Itoa(devicesPerPage),
			missing: &Error{Reason: NotFound, Detail: "the API has no list of devices"},
			read: func(body []byte) error {
				var records []deviceRecord
				records, pages, err = decodeDevices(body)
				for i := range records {
					list.devices[upper(string(records[i].ID))] = c.health(&records[i])
				}
				return err
			},
		})
		if err == nil && len(list.devices) > maxDevices {
			err = invalid("the list of devices does not end")
		}
		if err != nil {
			return DeviceList{}, err
		}
		more, said := pages.HasMore.Get()
		if said && !more {
			total, counted := pages.Total.Get()
			_, nameless := list.devices[Secret{}]
			list.Complete = !nameless && (!counted || float64(len(list.devices)) >= total)
		}
		if !more || len(list.devices) == known {
			delete(list.devices, Secret{})
			return list, nil
		}
	}
}

// decodeDevices reads a page of devices, of which an empty one must say that it is one.
func decodeDevices(body []byte) ([]deviceRecord, pagination, error) {
	records, pages, err := decode[deviceRecord](body)
	if _, paged := pages.HasMore.Get(); err == nil && len(records) == 0 && !paged && !saysNone(body) {
		err = invalid("the answer says nothing of devices")
	}
	return records, pages, err
}

// deviceRecord is a device as the API writes it.
type deviceRecord struct {
	ID        text         `json:"deviceid"`
	Model     text         `json:"model"`
	Firmware  text         `json:"firmware"`
	Status    text         `json:"device_status"`
	Battery   maybeNumber  `json:"battery_percentage"`
	Charging  maybeBool    `json:"charging"`
	Telemetry maybeInstant `json:"last_telemetry_at"`
	Login     maybeInstant `json:"last_login"`
}

// health turns a record into a DeviceHealth, whose texts become labels: none carries the id or the key.
func (c *Client) health(r *deviceRecord) DeviceHealth {
	health := DeviceHealth{
		Model:         c.redact(r.Model, r.ID),
		Firmware:      c.redact(r.Firmware, r.ID),
		Status:        c.redact(r.Status, r.ID),
		Charging:      r.Charging.Option,
		LastTelemetry: r.Telemetry.Option,
		LastLogin:     r.Login.Option,
	}
	if percent, ok := r.Battery.Get(); ok && percent >= 0 && percent <= 100 {
		health.Battery = Some(percent / 100)
	}
	return health
}
