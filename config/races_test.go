package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rufus_exporter/window"
)

func TestDateTime(t *testing.T) {
	for value, want := range map[string]string{
		"2026-11-29T09:00:00-03:00":      "2026-11-29T12:00:00Z",
		"2026-11-29t09:00:00-03:00":      "2026-11-29T12:00:00Z",
		"2026-11-29 09:00:00-03:00":      "2026-11-29T12:00:00Z",
		"2026-11-29 09:00:00 -03:00":     "2026-11-29T12:00:00Z",
		"2026-11-29 09:00:00 -0300":      "2026-11-29T12:00:00Z", // format of git and date
		"2026-11-29T09:00:00-0300":       "2026-11-29T12:00:00Z",
		"2026-11-29T09:00:00-03":         "2026-11-29T12:00:00Z",
		"2026-11-29T09:00-03:00":         "2026-11-29T12:00:00Z",
		"2026-11-29T09:00-03":            "2026-11-29T12:00:00Z",
		"2026-11-29T9:00-03:00":          "2026-11-29T12:00:00Z",
		"2026-11-29T12:00:00Z":           "2026-11-29T12:00:00Z",
		"2026-11-29T12:00:00z":           "2026-11-29T12:00:00Z",
		"2026-11-29 12:00 Z":             "2026-11-29T12:00:00Z",
		"2026-11-29T12:00:00+00:00":      "2026-11-29T12:00:00Z",
		"2026-11-29T12:00:00-00:00":      "2026-11-29T12:00:00Z",
		"2026-11-29T17:45:00+05:45":      "2026-11-29T12:00:00Z",
		"2026-11-30T02:00:00+1400":       "2026-11-29T12:00:00Z",
		"2026-11-29T09:00:00.5-03:00":    "2026-11-29T12:00:00.5Z",
		"2026-11-29T09:00:00.123456789Z": "2026-11-29T09:00:00.123456789Z",
		"2028-02-29T00:00:00Z":           "2028-02-29T00:00:00Z",

		"2026-11-29T09:00:00":             "has no time zone",
		"2026-11-29T09:00":                "has no time zone",
		"2026-11-29 09:00:00.5":           "has no time zone",
		"2026-11-29":                      "has no time of day",
		"2026-11-29Z":                     notDateTime,
		"2026-11-29T":                     notDateTime,
		"2026-11-29T09":                   notDateTime,
		"2026-11-29T09:00:00-3":           notDateTime,
		"2026-11-29T09:00:00-030":         notDateTime,
		"2026-11-29T09:00:00-03:0":        notDateTime,
		"2026-11-29T09:00:00-03:00:00":    notDateTime,
		"2026-11-29T09:00:00Z-03:00":      notDateTime,
		"2026-11-29T09:00:00 BRT":         notDateTime,
		"2026-11-29T09:00:00,5-03:00":     notDateTime,
		"2026-11-29T09:00:00.-03:00":      notDateTime,
		"2026-11-29T09:00:00.1234567890Z": notDateTime,
		"2026-11-29T090000-0300":          notDateTime,
		"20261129T090000Z":                notDateTime,
		"2026-11-29T09:00:00-03:00 ":      notDateTime,
		" 2026-11-29T09:00:00-03:00":      notDateTime,
		"2026-11-29T09:00:00-03:00\n":     notDateTime,
		"2026-11-29T09:00:00\u221203:00":  notDateTime, // a Unicode minus sign
		"26-11-29T09:00:00-03:00":         notDateTime,
		"29.11.2026 09:00-03:00":          notDateTime,
		"2026-11-29T9:00 AM -03:00":       notDateTime,
		"1795953600":                      notDateTime,
		"":                                notDateTime,
		"2026-13-29T09:00:00-03:00":       "is a date-time that does not exist",
		"2026-02-29T09:00:00-03:00":       "is a date-time that does not exist",
		"2026-00-29T09:00:00-03:00":       "is a date-time that does not exist",
		"2026-11-29T24:00:00-03:00":       "is a date-time that does not exist",
		"2026-11-29T09:60:00-03:00":       "is a date-time that does not exist",
		"2026-11-29T09:00:60-03:00":       "is a date-time that does not exist",
		"2026-11-29T09:00:00-03:60":       notDateTime,
		"2026-11-29T09:00:00-30:00":       "is a date-time that does not exist",
		"2026-11-29T09:00:00+14:01":       "has a UTC offset that does not exist",
		"2026-11-29T09:00:00-1500":        "has a UTC offset that does not exist",
	} {
		var at time.Time
		got := dateTime(&at)(value)
		if got == "" {
			got = instant(at)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// To move the gun, one line is changed. All windows that count from it move.
func TestGunMoves(t *testing.T) {
	t.Setenv(KeyVariable, "")
	const file = `
races: [{name: 5k, start: 2026-11-29T%s:00-03:00}]
sessions:
  - {token: token-of-the-start, name: start, race: 5k, expected: {from: 0s, until: 10m}}
  - {token: token-of-the-finish, name: finish, race: 5k, expected: {from: 14m, until: 1h40m}}
`
	gun := time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)
	for clock, late := range map[string]time.Duration{"09:00": 0, "09:20": 20 * time.Minute} {
		cfg := parse(t, fmt.Sprintf(file, clock))
		for i, want := range []window.Window{
			{From: gun.Add(late), Until: gun.Add(late + 10*time.Minute)},
			{From: gun.Add(late + 14*time.Minute), Until: gun.Add(late + 100*time.Minute)},
		} {
			got := cfg.Sessions[i].Expected
			if len(got) != 1 || !got[0].From.Equal(want.From) || !got[0].Until.Equal(want.Until) {
				t.Errorf("gun at %s: %v, want %v", clock, got, want)
			}
		}
	}
}

// waves returns the lines of a list of n starts, a minute apart.
func waves(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - 2026-11-29T%02d:%02d:00Z\n", i/60, i%60)
	}
	return b.String()
}

// TestManyWindows loads a file whose waves and entries are each allowed but together give millions of windows.
func TestManyWindows(t *testing.T) {
	t.Setenv(KeyVariable, "")
	file := func(entries int) []byte {
		var b strings.Builder
		b.WriteString("races:\n- name: 5k\n  start:\n" + waves(maxWaves) + "sessions:\n")
		for i := range entries {
			fmt.Fprintf(&b, "- {token: %064d, name: n%d, race: 5k, expected: {from: 0s, until: 1s}}\n", i, i)
		}
		return []byte(b.String())
	}
	cfg, err := Parse(file(maxWindows/maxWaves), "f.yml")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(cfg.Sessions[len(cfg.Sessions)-1].Expected); n != maxWaves {
		t.Errorf("%d windows", n)
	}
	_, err = Parse(file(maxWindows/maxWaves+7), "f.yml")
	want := fmt.Sprintf("f.yml:%d: the file has more than 100000 windows (one for each wave of each entry); "+
		"declare fewer waves, or split the sessions over several exporters", 4+maxWaves+maxWindows/maxWaves+1)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
