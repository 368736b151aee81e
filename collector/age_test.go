package collector_test

import (
	"testing"
	"time"
	"unsafe"

	"rufus_exporter/collector"
)

// asleep returns now as it is after the machine slept for that long: the wall clock went on, Go's monotonic clock did
// not. A negative time is a wall clock that was set back.
func asleep(now time.Time, d time.Duration) time.Time {
	now = now.Add(d)
	(*struct { // the layout of a time.Time with a monotonic reading
		wall uint64
		own  int64
	})(unsafe.Pointer(&now)).own -= int64(d)
	return now
}

func TestAge(t *testing.T) {
	at := time.Now()
	for _, test := range []struct{ slept, want time.Duration }{
		{0, time.Minute},
		{8 * time.Hour, 8*time.Hour + time.Minute},
		{-time.Hour, time.Minute},
	} {
		if got := collector.Age(asleep(at.Add(time.Minute), test.slept), at); got != test.want {
			t.Errorf("slept for %s: got %s, want %s", test.slept, got, test.want)
		}
	}
}
