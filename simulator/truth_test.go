package simulator_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

// Each deleted passing reduces the count by one, only in its own session.
func TestRemove(t *testing.T) {
	day := simulator.NewDay(simulator.FiveK(start, 50))
	d := day.Device("FINISH-5K")
	d.Try(after(-30), 8)
	d.Remove(after(-20), 1)
	d.Remove(after(-10), 10)
	next := d.PressStart(after(25), 2*time.Second)
	v := view(t, day)
	for minutes, want := range map[float64]int{-30.1: 0, -29: 8, -20.1: 8, -20: 7, -10: 0, 0: 0} {
		if got := v.at(after(minutes), "device/"+d.ID+"/active").Passings; got != want {
			t.Errorf("%v min: %d passings, want %d", minutes, got, want)
		}
	}
	if got := v.at(after(26), next).Passings; got == 0 {
		t.Error("the next session has no passings")
	}
}

func TestFaultThatComesAndGoes(t *testing.T) {
	day := simulator.NewDay(simulator.FiveK(start, 50))
	day.Faults = []simulator.Fault{{
		From: after(10), To: after(14), Every: time.Minute, For: 45 * time.Second, Status: http.StatusInternalServerError,
	}}
	v := view(t, day)
	for seconds, want := range map[float64]int{599: 200, 600: 500, 644: 500, 645: 200, 659: 200, 660: 500, 839: 200, 840: 200} {
		if got := v.at(after(seconds/60), simulator.ID("session START-5K")).Status; got != want {
			t.Errorf("%v s: %d, want %d", seconds, got, want)
		}
	}
}

// The truth about a session is what the API answers, unless a fault hides it.
func TestTruth(t *testing.T) {
	day := simulator.NewDay(simulator.FiveK(start, 50))
	turn := day.Device("TURN-5K")
	turn.Latency = time.Second
	next := turn.PressStart(after(15), time.Minute)
	turn.Unbind(after(40))
	day.Faults = []simulator.Fault{{From: after(20), To: after(21), Status: http.StatusForbidden, Only: turn.ID}}
	v := view(t, day)
	v.api.Sleep = func(context.Context, time.Duration) error { return nil }
	truth := func(minutes float64, id string) simulator.Truth {
		v.clock.set(after(minutes))
		return v.api.Truth(id)
	}
	first := simulator.ID("session TURN-5K")
	for minutes := -61.0; minutes < 60; minutes += .5 {
		for id, path := range map[string]string{first: first, next: next, turn.ID: "device/" + turn.ID + "/active"} {
			told, was := v.at(after(minutes), path), truth(minutes, id)
			if (was.Fault != nil) != (id == turn.ID && minutes >= 20 && minutes < 21) {
				t.Fatalf("%v min: fault %v", minutes, was.Fault)
			}
			if was.Fault != nil {
				continue
			}
			if got := was.Session && (was.Active || id != turn.ID); got != (told.Status == http.StatusOK) {
				t.Fatalf("%v min, %s: %+v, told %+v", minutes, path, was, told)
			}
			if told.Status == http.StatusOK && (was.Active != told.Active || was.Passings != told.Passings ||
				!was.Created.Equal(told.Created) || was.Latency != time.Second) {
				t.Fatalf("%v min, %s: %+v, told %+v", minutes, path, was, told)
			}
			if !was.Known && (was.Session || minutes < 40 && id == turn.ID) {
				t.Fatalf("%v min, %s: %+v", minutes, path, was)
			}
		}
	}
}
