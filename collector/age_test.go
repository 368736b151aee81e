package collector_test

import (
	"testing"
	"time"
	"unsafe"

	"rufus_exporter/collector"
)

// asleep returns now as it is after the machine slept for so long: the clock on the wall went on, Go's own did not. A
// negative time is a clock on the wall that was put back.
func asleep(now time.Time, d time.Duration) time.Time {
	now = now.Add(d)
	(*struct { // a time.Time with a reading of Go's own clock
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
