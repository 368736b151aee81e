package state_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rufus_exporter/state"
	"rufus_exporter/window"
)

// gun is when the windows begin.
var gun = time.Date(2026, time.November, 29, 9, 0, 0, 0, time.UTC)

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// story is what is read of a mat, one reading after the other.
type story []state.Reading

// read is one reading, so long after the gun.
func read(at time.Duration, active bool, passings int64) story {
	return story{{At: gun.Add(at), Active: active, Counted: true, Passings: passings}}
}

func fails(at time.Duration) story { return story{{At: gun.Add(at), Failed: true}} }

// every repeats a reading each 15 s, both ends included; the count rises by so much each time.
func every(from, to time.Duration, first story, rise int64) story {
	var all story
	r := first[0]
	for at := from; at <= to; at += 15 * second {
		r.At = gun.Add(at)
		all = append(all, r)
		r.Passings += rise
	}
	return all
}

// tens is a mat that counted to 100 in 20 minutes, ten in any two, the last at an instant.
func tens(until time.Duration) story {
	var all story
	for i := range int64(81) {
		all = append(all, read(until-time.Duration(80-i)*15*second, true, i+i/4)...)
	}
	return all
}

// last gives the readings the time of a last passing, by the clock of the box.
func (s story) last(at time.Duration) story {
	s = slices.Clone(s)
	for i := range s {
		s[i].Last = gun.Add(at)
	}
	return s
}

// created gives the readings the time when their session was made.
func (s story) created(at time.Duration) story {
	s = slices.Clone(s)
	for i := range s {
		s[i].Created = gun.Add(at)
	}
	return s
}

// nothing is the reading of a box without a session.
func nothing(at time.Duration) story { return story{{At: gun.Add(at)}} }

func (s story) remember() *state.Memory {
	var m state.Memory
	for _, r := range s {
		m.Observe(r)
	}
	return &m
}

// due is a window of an hour from the gun, with a silent_after of 5 minutes.
var due = state.Plan{
	Declared: true, Window: window.Window{From: gun, Until: gun.Add(hour)}, SilentAfter: 5 * minute,
}

var (
	anytime   = state.Plan{SilentAfter: 5 * minute}
	unlimited = state.Plan{Declared: true, Window: due.Window}
	bare      = state.Plan{}
)

// counts is a mat that counts briskly from before the gun to an instant, with 5 passings each 15 s.
func counts(to time.Duration) story { return every(-20*minute, to, read(0, true, 100), 5) }

// arrived is the count that counts ends in.
func arrived(to time.Duration) int64 { return 100 + 5*int64((to+20*minute)/(15*second)) }

func TestOf(t *testing.T) {
	at := func(d time.Duration) string { return gun.Add(d).Format(" since 15:04:05") }
	for _, test := range []struct {
		what  string
		story story
		plan  state.Plan
		now   time.Duration
		want  string
	}{
		// In its window.
		{"counting", counts(10 * minute), due, 10 * minute, "calm ok"},
		{"closed for less than a rollover", slices.Concat(counts(10*minute), read(10*minute+15*second, false, 340),
			read(10*minute+44*second, false, 340)), due, 10*minute + 44*second, "calm ok"},
		{"closed for longer", slices.Concat(counts(10*minute), read(10*minute+15*second, false, 340),
			read(10*minute+45*second, false, 340)), due, 11 * minute, "critical closed" + at(10*minute+15*second)},
		{"closed, then not readable for an hour: remembered", slices.Concat(counts(10*minute),
			every(10*minute+15*second, 12*minute, read(0, false, 340), 0), every(12*minute+15*second, 30*minute, fails(0), 0)),
			due, 30 * minute, "critical closed" + at(10*minute+15*second)},
		{"closed and opened again", slices.Concat(counts(10*minute), every(11*minute, 12*minute, read(0, false, 340), 0),
			read(12*minute+15*second, true, 0)), due, 13 * minute, "calm ok"},
		{"closed the day before", slices.Concat(read(-14*hour, true, 7), read(-13*hour, false, 7), read(-10*minute, false, 7)),
			due, 0, "critical not started" + at(0)},
		{"closed before the exporter started, by the clock of the box", read(20*minute, false, 300).last(15 * minute),
			due, 20 * minute, "critical closed by box"},
		{"closed before the exporter started, by its session", read(20*minute, false, 300).created(-hour), due, 20 * minute,
			"critical closed by box"},
		{"a session of today without a passing", read(20*minute, false, 0).created(-hour), due, 20 * minute,
			"critical not started" + at(0)},
		{"with a single passing", read(20*minute, false, 1).created(-hour), due, 20 * minute, "critical closed by box"},
		{"by a session of half a day ago", read(20*minute, false, 300).created(-12*hour + second), due, 20 * minute,
			"critical closed by box"},
		{"a session of yesterday", read(20*minute, false, 300).created(-13 * hour), due, 20 * minute,
			"critical not started" + at(0)},
		{"inactive when the exporter started", read(20*minute, false, 300).last(-13 * hour), due, 20 * minute,
			"critical not started" + at(0)},
		{"no session at all", nothing(20 * minute), due, 20 * minute, "critical not started" + at(0)},
		{"armed five minutes before", nothing(-10 * minute), due, -5 * minute, "critical not started" + at(0)},
		{"not armed yet", nothing(-10 * minute), due, -5*minute - second, "calm waiting"},
		{"over", nothing(-10 * minute), due, hour, "calm finished" + at(hour)},
		{"armed to the last", nothing(-10 * minute), due, hour - second, "critical not started" + at(0)},
		{"active before its window", read(-10*minute, true, 0), due, -second, "calm waiting"},
		{"active and silent before its window", every(-2*hour, -minute, read(0, true, 0), 0), due, -second, "calm waiting"},

		// Silence.
		{"silent from the gun", every(-2*hour, 5*minute, read(0, true, 0), 0), due, 5 * minute, "critical silent" + at(0)},
		{"not yet", every(-2*hour, 5*minute-15*second, read(0, true, 0), 0), due, 5*minute - second, "calm ok"},
		{"silent since the last passing", slices.Concat(counts(10*minute),
			every(10*minute+15*second, 15*minute, read(0, true, arrived(10*minute)), 0)), due, 15 * minute, "critical silent" + at(10*minute)},
		{"silent, and its session is from the future", slices.Concat(counts(0), every(15*second, 5*minute,
			read(0, true, arrived(0)).created(hour), 0)), due, 5 * minute, "critical silent" + at(0)},
		{"silent since monitoring began", every(20*minute, 25*minute, read(0, true, 7), 0), due, 25 * minute,
			"critical silent" + at(20*minute)},
		{"not silent since it was closed", slices.Concat(counts(10*minute), every(11*minute, 18*minute, read(0, false, 340), 0),
			every(18*minute+15*second, 22*minute, read(0, true, 0), 0)), due, 22 * minute, "calm ok"},
		{"silent since it was closed", slices.Concat(counts(10*minute), every(11*minute, 18*minute, read(0, false, 340), 0),
			every(18*minute+15*second, 23*minute, read(0, true, 0), 0)), due, 23 * minute, "critical silent" + at(18*minute)},
		{"silent when last read: that it cannot be read now is no passing", slices.Concat(every(-hour, 6*minute, read(0, true, 0), 0),
			every(6*minute+15*second, 12*minute, fails(0), 0)), due, 12 * minute, "critical silent" + at(0)},
		{"last read before its window: nobody knows whether it is silent", slices.Concat(every(-hour, -minute, read(0, true, 0), 0),
			every(-45*second, 20*minute, fails(0), 0)), due, 20 * minute, "critical failing" + at(-45*second)},
		{"blindness is not silence", slices.Concat(every(-hour, 4*minute, read(0, true, 0), 0),
			every(4*minute+15*second, 5*minute+15*second, fails(0), 0)), due, 10 * minute, "warning failing" + at(4*minute+15*second)},
		{"the only reading for long failed", slices.Concat(every(-hour, 2*minute, read(0, true, 0), 0), fails(10*minute)), due,
			10 * minute, "critical failing" + at(10*minute)},
		{"without a limit, half of the window", every(-hour, 30*minute, read(0, true, 0), 0), unlimited, 30 * minute,
			"critical silent" + at(0)},
		{"without a limit, and the gun was early", slices.Concat(every(-hour, -75*second, read(0, true, 0), 0),
			every(-minute, 50*minute, read(0, true, 1), 0)), unlimited, 50 * minute, "calm ok"},
		{"without a limit, and a chip was tried", slices.Concat(every(-hour, -90*second, read(0, true, 0), 0),
			every(-75*second, 50*minute, read(0, true, 1), 0)), unlimited, 30 * minute, "critical silent" + at(0)},
		{"less than half", every(-hour, 29*minute+45*second, read(0, true, 0), 0), unlimited, 30 * minute, "calm ok"},
		{"without a limit, but it counted", slices.Concat(every(-hour, minute, read(0, true, 0), 0),
			every(2*minute, 50*minute, read(0, true, 1), 0)), unlimited, 50 * minute, "calm ok"},
		{"silent by the clock of the box", read(20*minute, true, 7).last(14 * minute), due, 20 * minute,
			"warning silent" + at(14*minute) + " by box"},
		{"the clock of the box, from the gun on", read(6*minute, true, 7).last(-3 * hour), due, 6 * minute,
			"warning silent" + at(0) + " by box"},
		{"the limit, by that clock", read(20*minute, true, 7).last(15 * minute), due, 20 * minute,
			"warning silent" + at(15*minute) + " by box"},
		{"just within the limit, by that clock", read(20*minute, true, 7).last(15*minute + second), due, 20 * minute, "calm ok"},
		{"that clock, without a limit", read(20*minute, true, 7).last(-3 * hour), unlimited, 20 * minute, "calm ok"},
		{"that clock, between two sessions", slices.Concat(read(10*minute, true, 7).last(9*minute),
			read(10*minute+15*second, false, 7).last(-3*hour)), due, 10*minute + 15*second, "calm ok"},
		{"its clock may be wrong, but passings arrive", slices.Concat(counts(9*minute+45*second), read(10*minute, true, 900).last(-hour)),
			due, 10 * minute, "calm ok"},
		{"a clock that is ahead says nothing", read(20*minute, true, 7).last(2 * hour), due, 20 * minute, "calm ok"},

		// Failures.
		{"not asked yet", nil, due, 0, "warning failing"},
		{"cannot be read", fails(0), due, 0, "warning failing" + at(0)},
		{"cannot be read for two minutes", slices.Concat(counts(0), every(15*second, 2*minute+15*second, fails(0), 0)), due,
			3 * minute, "critical failing" + at(15*second)},
		{"half of the readings of four minutes", slices.Concat(counts(0), every(15*second, 2*minute, fails(0), 0)), due,
			2 * minute, "critical failing" + at(15*second)},
		{"less than half", slices.Concat(counts(0), every(15*second, 105*second, fails(0), 0)), due,
			105 * second, "warning failing" + at(15*second)},
		{"half, the first four minutes ago", slices.Concat(counts(-15*second), fails(0), every(15*second, 2*minute, read(0, true, 999), 5),
			every(2*minute+15*second, 3*minute+45*second, fails(0), 0)), due, 4*minute - second, "critical failing" + at(2*minute+15*second)},
		{"read again four times of five", slices.Concat(every(0, 2*minute, fails(0), 0), every(5*minute, 5*minute+45*second, read(0, true, 0), 1)),
			due, 5*minute + 45*second, "critical failing" + at(0) + " recovers"},
		{"what is older does not count", slices.Concat(fails(0), read(7*minute+45*second, true, 0)), due, 7*minute + 45*second, "calm ok"},
		{"fails for the second time", slices.Concat(every(-hour, -10*minute, read(0, true, 0), 0), fails(-9*minute),
			every(-8*minute, 0, read(0, true, 0), 0), fails(15*second)), due, 15 * second, "warning failing" + at(15*second)},
		{"the same before its window", slices.Concat(every(-hour, -20*minute, read(0, true, 0), 0),
			every(-19*minute, -15*minute, fails(0), 0)), due, -15 * minute, "warning failing" + at(-19*minute)},
		{"never read, for less than two minutes", every(0, 105*second, fails(0), 0), due, 105 * second, "warning failing" + at(0)},
		{"never read, for two minutes", every(0, 2*minute, fails(0), 0), due, 2 * minute, "critical failing" + at(0)},
		{"can be read again, but not for long", slices.Concat(counts(0), every(15*second, 5*minute, fails(0), 0),
			every(5*minute+15*second, 7*minute, read(0, true, arrived(0)+5), 1)), due, 7 * minute,
			"critical failing" + at(15*second) + " recovers"},
		{"failed until it had to be ready", slices.Concat(every(-hour, -10*minute, read(0, true, 0), 0),
			every(-10*minute+15*second, -5*minute, fails(0), 0), every(-5*minute+15*second, -4*minute, read(0, true, 0), 0)), due,
			-4 * minute, "critical failing" + at(-10*minute+15*second) + " recovers"},
		{"failed before it had to be ready", slices.Concat(every(-hour, -10*minute, read(0, true, 0), 0),
			every(-10*minute+15*second, -5*minute-15*second, fails(0), 0), every(-5*minute, -4*minute, read(0, true, 0), 0)), due,
			-4 * minute, "warning failing" + at(-10*minute+15*second) + " recovers"},
		{"can be read again", slices.Concat(counts(0), every(15*second, 5*minute, fails(0), 0),
			every(5*minute+15*second, 8*minute+30*second, read(0, true, arrived(0)+5), 1)), due, 8*minute + 30*second, "calm ok"},

		// Found open after START was pressed while nobody looked.
		{"in a session that is new and has passings", slices.Concat(every(-hour, 0, nothing(0), 0),
			read(6*minute, true, 7).created(4*minute)), due, 6 * minute, "calm ok"},
		{"in one that is older than its window", slices.Concat(every(-hour, -minute, nothing(0), 0),
			read(6*minute, true, 7).created(-30*second)), due, 6 * minute, "calm ok"},
		{"in one that was there before", slices.Concat(every(-hour, 0, nothing(0), 0),
			read(6*minute, true, 7).created(-second)), due, 6 * minute, "critical silent" + at(0)},
		{"at the first reading, which is no arrival", slices.Concat(read(0, true, 7).created(-hour),
			every(minute, 2*minute, read(0, false, 7), 0)), bare, 2 * minute, "warning closed" + at(minute)},

		// Without a window.
		{"counts", counts(0), bare, 0, "calm ok"},
		{"never counted", every(-hour, 0, read(0, true, 0), 0), bare, 0, "calm ok"},
		{"closed within five minutes of a passing", slices.Concat(counts(0), every(15*second, 4*minute+45*second, read(0, true, arrived(0)), 0),
			every(5*minute, 6*minute, read(0, false, arrived(0)), 0)), bare, 2 * hour, "critical closed" + at(5*minute)},
		{"closed later", slices.Concat(counts(0), every(15*second, 5*minute, read(0, true, arrived(0)), 0),
			every(5*minute+15*second, 6*minute, read(0, false, arrived(0)), 0)), bare, 2 * hour, "warning closed" + at(5*minute+15*second)},
		{"closed half a day ago", slices.Concat(read(-2*minute, true, 7), every(0, minute, read(0, false, 7), 0)), bare,
			12 * hour, "calm finished" + at(0)},
		{"just less", slices.Concat(read(-2*minute, true, 7), every(0, minute, read(0, false, 7), 0)), bare,
			12*hour - second, "warning closed" + at(0)},
		{"closed when the exporter started", read(0, false, 7).last(-15 * minute), bare, 0, "calm finished"},
		{"the same, right after its last passing", read(0, false, 7).last(-15*minute + second), bare, hour, "warning closed by box"},
		{"just less than half a day later", read(0, false, 7).last(-minute), bare, 12*hour - second, "warning closed by box"},
		{"half a day later", read(0, false, 7).last(-minute), bare, 12 * hour, "calm finished"},
		{"no session", nothing(0), bare, 0, "calm waiting"},
		{"no session, while its race counts", nothing(0), state.Plan{RaceCounts: true}, 0, "warning not started"},
		{"stopped abruptly", slices.Concat(counts(0), every(15*second, 5*minute, read(0, true, arrived(0)), 0)), anytime,
			5 * minute, "critical silent" + at(0)},
		{"stopped abruptly, with ten in two minutes", slices.Concat(tens(0), every(15*second, 5*minute, read(0, true, 100), 0)), anytime,
			5 * minute, "critical silent" + at(0)},
		{"just less than half a day ago", slices.Concat(counts(0), read(12*hour-second, true, arrived(0))), anytime, 12 * hour,
			"critical silent" + at(0)},
		{"half a day ago", slices.Concat(counts(0), read(12*hour, true, arrived(0))), anytime, 12 * hour,
			"warning silent" + at(0)},
		{"ran out slowly", slices.Concat(counts(0), every(15*second, 3*minute, read(0, true, arrived(0)), 0),
			every(3*minute+15*second, 9*minute, read(0, true, arrived(0)+1), 0)), anytime, 9 * minute,
			"warning silent" + at(3*minute+15*second)},
		{"another session is not brisk because the one before was", slices.Concat(counts(0),
			every(15*second, 11*minute, read(0, false, arrived(0)), 0), every(11*minute+15*second, 12*minute, read(0, true, 0), 1).created(11*minute),
			every(12*minute+15*second, 17*minute+15*second, read(0, true, 4), 0).created(11*minute)), anytime, 18 * minute,
			"warning silent" + at(12*minute+15*second)},
		{"a count that falls decides nothing", slices.Concat(counts(0), read(15*second, true, 10), read(30*second, true, 11),
			every(45*second, 6*minute, read(0, true, 11), 0)), anytime, 6 * minute, "critical silent" + at(30*second)},
		{"silent without a passing", every(-hour, 0, read(0, true, 0), 0), anytime, 0, "calm ok"},
		{"silent without a passing, while its race counts for three hours", every(-hour, 0, read(0, true, 0), 0),
			state.Plan{RaceSteady: 3 * hour}, 0, "warning silent" + at(-hour)},
		{"for less", every(-hour, 0, read(0, true, 0), 0), state.Plan{RaceSteady: 3*hour - second}, 0, "calm ok"},
		{"it counted in time", every(-hour, 0, read(0, true, 7), 0), state.Plan{RaceSteady: 3 * hour}, 0, "calm ok"},
		{"a new session without a passing", slices.Concat(read(-minute, true, 0), read(0, true, 1),
			every(minute, 2*minute, read(0, false, 1), 0), read(3*hour-second, true, 0)), anytime, 3 * hour, "warning silent" + at(2*minute)},
		{"three hours after the last one", slices.Concat(read(-minute, true, 0), read(0, true, 1),
			every(minute, 2*minute, read(0, false, 1), 0), read(3*hour, true, 0)), anytime, 3 * hour, "calm ok"},
		{"silent since yesterday, after a single passing", every(-hour, 0, read(0, true, 1), 0), anytime, 0,
			"warning silent" + at(-hour)},
		{"silent since yesterday", every(-hour, 0, read(0, true, 7), 0), anytime, 0, "warning silent" + at(-hour)},
		{"silent by the clock of the box, without a window", read(0, true, 7).last(-hour), anytime, 0,
			"warning silent" + at(-hour) + " by box"},
		{"that clock, without a limit or a window", read(0, true, 7).last(-hour), bare, 0, "calm ok"},
		{"a passing of the future", read(0, true, 7).last(hour), anytime, 0, "calm ok"},
	} {
		s := state.Of(test.story.remember(), test.plan, gun.Add(test.now))
		got := [...]string{"calm ", "warning ", "critical "}[s.Severity] + string(s.Word)
		if !s.Since.IsZero() {
			got += s.Since.Format(" since 15:04:05")
		}
		if s.ByBox {
			got += " by box"
		}
		if s.Recovers {
			got += " recovers"
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.what, got, test.want)
		}
		if want := map[bool]time.Duration{true: s.Limit}[s.Word == state.Silent]; s.Limit != want || s.Word == state.Silent && s.Limit == 0 {
			t.Errorf("%s: limit %s", test.what, s.Limit)
		}
		if !slices.Contains(state.Words(), s.Word) {
			t.Errorf("%s: %q is not among the words", test.what, s.Word)
		}
	}
}

// A mat is brisk that counted ten in two minutes in several uploads, and did not run out.
func TestBrisk(t *testing.T) {
	quarter := func(counts ...int64) story {
		var s story
		for i, n := range counts {
			s = append(s, read(time.Duration(i)*15*second, true, n)...)
		}
		return s
	}
	// Each arrival is so many quarters of a minute after the gun, with so many passings.
	arrivals := func(each [][2]int64) story {
		s, n := read(0, true, 0), int64(0)
		for _, a := range each {
			n += a[1]
			s = append(s, read(time.Duration(a[0])*15*second, true, n)...)
		}
		return s
	}
	for _, test := range []struct {
		what  string
		story story
		want  bool
	}{
		{"nine, in more than two minutes", arrivals([][2]int64{{1, 5}, {5, 2}, {6, 1}, {8, 1}}), false},
		{"in two minutes", arrivals([][2]int64{{2, 5}, {5, 2}, {6, 1}, {8, 1}}), true},
		{"three uploads in five minutes", arrivals([][2]int64{{1, 1}, {31, 1}, {48, 5}, {50, 5}}), true},
		{"in more", arrivals([][2]int64{{1, 1}, {30, 1}, {48, 5}, {50, 5}}), false},
		{"slower than in ten minutes", arrivals([][2]int64{{22, 1000}, {56, 4}, {58, 4}, {60, 4}}), false},
		{"than before that", arrivals([][2]int64{{21, 1000}, {56, 4}, {58, 4}, {60, 4}}), true},
		{"a twelfth of the pace of ten minutes", arrivals([][2]int64{{22, 111}, {56, 3}, {58, 3}, {60, 3}}), true},
		{"less than that", arrivals([][2]int64{{22, 112}, {56, 3}, {58, 3}, {60, 3}}), false},
		{"exactly that", arrivals([][2]int64{{22, 433}, {56, 12}, {58, 12}, {60, 11}}), true},
		{"three uploads, five minutes after the first", arrivals([][2]int64{{1, 1}, {17, 3}, {19, 3}, {21, 4}}), true},
		{"two uploads, almost five minutes after the first", arrivals([][2]int64{{1, 1}, {18, 4}, {20, 5}}), false},
		{"ten minutes after the count fell", slices.Concat(read(0, true, 20), read(15*second, true, 10),
			every(9*minute+30*second, 10*minute+15*second, read(0, true, 14), 4)), true},
		{"before that", slices.Concat(read(0, true, 20), read(15*second, true, 10),
			every(9*minute+15*second, 10*minute, read(0, true, 14), 4)), false},
		{"ten in three uploads after the first", quarter(0, 1, 4, 7, 10), true},
		{"nine, which are ten in two minutes", quarter(0, 1, 3, 6, 9), true},
		{"eight", quarter(0, 1, 3, 6, 8), false},
		{"two uploads after the first", quarter(0, 4, 7, 10), false},
		{"three, and the first long ago", slices.Concat(quarter(0, 1), every(minute, 5*minute, read(0, true, 1), 0),
			every(5*minute+15*second, 5*minute+45*second, read(0, true, 5), 4)), true},
		{"the first count is no arrival", quarter(100, 104, 107), false},
		{"slower than before, but brisk in the last half hour", slices.Concat(every(0, 4*minute, read(0, true, 0), 10),
			every(4*minute+15*second, 8*minute, read(0, true, 160), 0), read(8*minute+15*second, true, 164), read(8*minute+30*second, true, 168),
			read(8*minute+45*second, true, 172)), true},
		{"brisk half an hour ago", slices.Concat(quarter(0, 1, 4, 7, 10), every(3*minute, 33*minute, read(0, true, 11), 1)), false},
		{"just less than half an hour ago", slices.Concat(quarter(0, 1, 4, 7, 10), every(3*minute, 32*minute+45*second, read(0, true, 11), 1)), true},
		{"it remembers", slices.Concat(quarter(0, 1, 4, 7, 10), every(minute, 20*minute, read(0, true, 10), 0)), true},
		{"but not for ever", slices.Concat(quarter(0, 1, 4, 7, 10), every(minute, 31*minute, read(0, true, 10), 0)), false},
		{"a count that fell decides nothing", quarter(20, 10, 14, 17, 20, 24), false},
		{"nor does one that fell by one", quarter(20, 19, 23, 26, 29, 33), false},
		{"a new session counts from its beginning", slices.Concat(quarter(0, 1, 4, 7),
			read(minute, true, 3).created(50*second)), true},
		{"a new session, without its time", slices.Concat(quarter(0, 1, 4, 7), read(minute, true, 3)), false},
		{"what rises in a closed session was edited", slices.Concat(read(0, true, 0), every(15*second, 3*minute, read(0, false, 4), 4)), false},
		{"asked each second", slices.Concat(read(0, true, 0), read(second, true, 5), read(2*second, true, 10), read(3*second, true, 15)), false},
	} {
		m := test.story.remember()
		if got := m.Brisk(test.story[len(test.story)-1].At); got != test.want {
			t.Errorf("%s: %t", test.what, got)
		}
	}
}

// A quarter of an hour without a passing is a pause.
func TestSteady(t *testing.T) {
	m := slices.Concat(read(-hour, true, 0), read(0, true, 1), read(15*minute-second, true, 2), read(20*minute, true, 2)).remember()
	if got, want := m.Steady(), (window.Window{From: gun, Until: gun.Add(30*minute - second)}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	m.Observe(read(30*minute-second, true, 3)[0])
	if got := m.Steady().From; !got.Equal(gun.Add(30*minute - second)) {
		t.Errorf("since %s after a pause", got)
	}
}

// A reading that is not newer than the newest says nothing, such as an answer that two scrapes share.
func TestOldReadings(t *testing.T) {
	m := slices.Concat(read(0, true, 7), read(0, true, 9), fails(0), read(-minute, false, 8)).remember()
	if count, known := m.Count(); count != 7 || !known || m.Failed() || !m.Read().Equal(gun) {
		t.Errorf("%d, %t, failed %t, read at %s", count, known, m.Failed(), m.Read())
	}
}

// What is known outlives failures; what was never known is unknown.
func TestKnown(t *testing.T) {
	var never state.Memory
	if _, known := never.Count(); known || !never.Failed() || !never.Read().IsZero() || !never.LastPassing().IsZero() {
		t.Errorf("%+v", never)
	}
	m := slices.Concat(read(0, true, 692).last(-second), fails(minute)).remember()
	if count, known := m.Count(); count != 692 || !known || !m.Failed() || !m.Read().Equal(gun) || !m.LastPassing().Equal(gun.Add(-second)) {
		t.Errorf("%d, %t, failed %t, read at %s, last passing at %s", count, known, m.Failed(), m.Read(), m.LastPassing())
	}
	if m = slices.Concat(read(0, true, 692), nothing(minute)).remember(); fmt.Sprint(m.Count()) != "692 true" {
		t.Error(m.Count())
	}
}

// Whoever asks often does not count more than others when it is decided whether a session can be read.
func TestAskingOften(t *testing.T) {
	good := every(-10*minute, 0, read(0, true, 0), 0)
	for i := range 400 {
		good = append(good, fails(second+time.Duration(i)*50*time.Millisecond)...)
	}
	if s := state.Of(good.remember(), due, gun.Add(21*second)); s.Severity != state.Warning {
		t.Errorf("%+v", s)
	}
	var mixed story // in each quarter of a minute, one of 257 readings is good
	for quarter := range 16 {
		begin := time.Duration(quarter) * 15 * second
		mixed = append(mixed, read(begin, true, 0)...)
		for i := range 256 {
			mixed = append(mixed, fails(begin+time.Duration(i+1)*50*time.Millisecond)...)
		}
	}
	if s := state.Of(mixed.remember(), due, gun.Add(4*minute)); s.Severity != state.Critical {
		t.Errorf("%+v", s)
	}
}

// A machine without a battery for its clock starts in 1970, or before.
func TestClockOf1970(t *testing.T) {
	var m state.Memory
	for i := range 3 {
		at := time.Unix(int64(-50+40*i), 0)
		m.Observe(state.Reading{At: at, Active: true, Counted: true, Passings: int64(i)})
		if s := state.Of(&m, state.Plan{}, at); s.Word != state.OK {
			t.Errorf("%s: %s", at, s.Word)
		}
	}
}

// What is assigned stays as it is, whatever is observed afterwards.
func TestMemoryIsCopied(t *testing.T) {
	m := counts(0).remember()
	c := *m
	before := fmt.Sprint(c)
	m.Observe(fails(minute)[0])
	m.Observe(read(2*minute, true, 999)[0])
	if c.Failed() || !c.Brisk(gun) || fmt.Sprint(c) != before {
		t.Errorf("the copy changed: %v, before %s", c, before)
	}
}

func TestBatteryLow(t *testing.T) {
	open, closed := read(0, true, 7).remember(), read(0, false, 7).remember()
	for _, test := range []struct {
		what   string
		charge float64
		m      *state.Memory
		plan   state.Plan
		now    time.Duration
		want   bool
	}{
		{"low", .199, open, bare, 0, true},
		{"not low", .2, open, bare, 0, false},
		{"closed", .1, closed, bare, 0, false},
		{"two hours before", .1, open, due, -2 * hour, true},
		{"earlier", .1, open, due, -2*hour - second, false},
		{"in its window", .1, open, due, 0, true},
		{"over", .1, open, due, hour, false},
	} {
		if got := state.BatteryLow(test.charge, test.m, test.plan, gun.Add(test.now)); got != test.want {
			t.Errorf("%s: %t", test.what, got)
		}
	}
}
