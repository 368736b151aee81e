package rufus

import (
	"context"
	"encoding/json"
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
	devices  map[string]DeviceHealth
	Complete bool
}

// Health returns what the list says of the device with that id, whose case does not matter.
func (l DeviceList) Health(id Secret) (health DeviceHealth, listed bool) {
	health, listed = l.devices[strings.ToUpper(id.Reveal())]
	return health, listed
}

// A page of 1000 devices stays below maxBody at a kilobyte each. maxPages bounds a server that never ends.
const (
	devicesPerPage = 1000
	maxPages       = 100
)

// Devices asks for all devices of the account, page after page: GET /devices (documented, pages count from 1).
// Errors are as for Session; a list that failed half-way is none.
func (c *Client) Devices(ctx context.Context) (DeviceList, error) {
	list := DeviceList{devices: make(map[string]DeviceHealth)}
	for page := 1; page <= maxPages; page++ {
		var pages pagination
		path := "/devices?page=" + strconv.Itoa(page) + "&limit=" + strconv.Itoa(devicesPerPage)
		err := c.get(ctx, path, func(body []byte) error {
			if body == nil {
				return &Error{Reason: NotFound, Detail: "the API has no list of devices"}
			}
			answer, err := decode[deviceRecord](body)
			if err != nil {
				return err
			}
			pages = answer.pagination
			for _, d := range answer.result {
				list.devices[strings.ToUpper(d.ID)] = d.health()
			}
			return nil
		})
		if err != nil {
			return DeviceList{}, err
		}
		if pages.HasMore == nil {
			return list, nil
		}
		if !*pages.HasMore {
			list.Complete = pages.Total == nil || len(list.devices) >= *pages.Total
			return list, nil
		}
	}
	return list, nil
}

// deviceRecord is a device as the API writes it.
type deviceRecord struct {
	ID        string       `json:"deviceid"`
	Model     text         `json:"model"`
	Firmware  text         `json:"firmware"`
	Status    text         `json:"device_status"`
	Battery   maybeNumber  `json:"battery_percentage"`
	Charging  maybeBool    `json:"charging"`
	Telemetry maybeInstant `json:"last_telemetry_at"`
	Login     maybeInstant `json:"last_login"`
}

func (d deviceRecord) health() DeviceHealth {
	health := DeviceHealth{
		Model:         d.Model.value,
		Firmware:      d.Firmware.value,
		Status:        d.Status.value,
		Charging:      d.Charging.Option,
		LastTelemetry: d.Telemetry.option(),
		LastLogin:     d.Login.option(),
	}
	if percent, ok := d.Battery.Get(); ok && percent >= 0 && percent <= 100 {
		health.Battery = Some(percent / 100)
	}
	return health
}

type maybeNumber struct{ Option[float64] }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (n *maybeNumber) UnmarshalJSON(data []byte) error {
	if value, err := strconv.ParseFloat(string(data), 64); err == nil {
		n.Option = Some(value)
	}
	return nil
}

type maybeBool struct{ Option[bool] }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (b *maybeBool) UnmarshalJSON(data []byte) error {
	var value *bool
	if err := json.Unmarshal(data, &value); err == nil && value != nil {
		b.Option = Some(*value)
	}
	return nil
}
