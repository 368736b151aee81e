package simulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Race describes a race, from which Devices generates the mats and their passings. The same Race always gives the same
// passings. Adding a mat does not change the passings at the existing mats.
type Race struct {
	Seed    uint64
	Start   time.Time // of the first wave
	Runners int
	Mats    []Mat
	Median  time.Duration // of the finish times
	Spread  float64       // standard deviation of their logarithm; with 0.2 they are 0.6 to 1.6 times the median
	Waves   int           // number of waves; the fastest runners start first
	WaveGap time.Duration // from one wave to the next
	WaveLen time.Duration // how long a wave takes to cross the start

	Open  time.Duration // how long before Start the sessions are created
	Close time.Duration // how long after Start the sessions are closed; 0 means never

	// Speed is a multiple of real time: an event d after Start happens d/Speed after it. Open and Close are not scaled. 0
	// means 1.
	Speed float64
}

// Mat is one timing point of a race.
type Mat struct {
	Alias string
	At    float64 // position on the course: 0 is the start, 1 is the finish
}

// FiveK returns a 5K with a start, a turn and a finish mat: START-5K, TURN-5K and FINISH-5K. Runners finish between 18
// and 55 minutes after the start.
func FiveK(start time.Time, runners int) Race {
	return Race{
		Seed: 5, Start: start, Runners: runners,
		Mats:   []Mat{{"START-5K", 0}, {"TURN-5K", 0.5}, {"FINISH-5K", 1}},
		Median: 30 * time.Minute, Spread: 0.2,
		Waves: 4, WaveGap: 90 * time.Second, WaveLen: 80 * time.Second,
		Open: time.Hour,
	}
}

// TenK returns a 10K with a start, a turn and a finish mat: START-10K, TURN-10K and FINISH-10K. Runners finish between
// 36 and 100 minutes after the start.
func TenK(start time.Time, runners int) Race {
	return Race{
		Seed: 10, Start: start, Runners: runners,
		Mats:   []Mat{{"START-10K", 0}, {"TURN-10K", 0.5}, {"FINISH-10K", 1}},
		Median: 58 * time.Minute, Spread: 0.2,
		Waves: 4, WaveGap: 90 * time.Second, WaveLen: 80 * time.Second,
		Open: time.Hour,
	}
}

// NewDay returns a day with the devices of these races.
func NewDay(races ...Race) Day {
	var day Day
	for _, r := range races {
		day.Devices = append(day.Devices, r.Devices()...)
	}
	return day
}

const (
	dropsOut   = 0.015                  // probability per runner
	missedRead = 0.003                  // probability per passing
	readTwice  = 0.15                   // probability per passing
	transit    = 500 * time.Millisecond // from the mat to the API
)

// runner is a runner, in race time.
type runner struct {
	start  time.Duration // after the race's Start
	finish time.Duration // after the runner's own start
	gaveUp float64       // position on the course; above 1 if never
}

// Devices returns a device for each mat, with the same alias and one session. Ids and tokens are derived from the
// alias. Every device reports its battery once a minute for 12 hours from the session's creation, while the charge
// drops.
func (r Race) Devices() []Device {
	runners := r.field()
	created := r.Start.Add(-r.Open)
	var closed time.Time
	if r.Close > 0 {
		closed = r.Start.Add(r.Close)
	}
	devices := make([]Device, len(r.Mats))
	for i, mat := range r.Mats {
		level := float64(96 - 3*i)
		devices[i] = Device{
			ID:           ID("device " + mat.Alias),
			Alias:        mat.Alias,
			Type:         "One4All",
			Model:        "One4All 5 PRO",
			Firmware:     "1.0.1",
			SerialNumber: "SIM-" + ID(mat.Alias)[:5],
			Created:      created.AddDate(-1, 0, 0),
			LastLogin:    created,
			Battery:      Battery{From: created, To: created.Add(12 * time.Hour), Start: level, End: level - 40},
			Enveloped:    i%2 == 1,
			Sessions: []Session{{
				Token:    ID("session " + mat.Alias),
				Alias:    mat.Alias,
				Created:  created,
				Closed:   closed,
				Passings: r.passings(mat, runners, rand.New(rand.NewPCG(r.Seed, uint64(i)+1))),
			}},
		}
	}
	return devices
}

// field returns the runners. Finish times are log-normal; the tails beyond 2.4 standard deviations are folded back.
func (r Race) field() []runner {
	rng := rand.New(rand.NewPCG(r.Seed, 0))
	finish := make([]time.Duration, r.Runners)
	for i := range finish {
		finish[i] = time.Duration(float64(r.Median) * math.Exp(r.Spread*math.Mod(rng.NormFloat64(), 2.4)))
	}
	slices.Sort(finish)
	runners := make([]runner, r.Runners)
	for i := range runners {
		crowd := rng.Float64() // squared below, because most runners cross the start soon after the gun
		wave := i * max(r.Waves, 1) / r.Runners
		runners[i] = runner{
			start:  time.Duration(float64(wave)*float64(r.WaveGap) + crowd*crowd*float64(r.WaveLen)),
			finish: finish[i],
			gaveUp: 2,
		}
		if rng.Float64() < dropsOut {
			runners[i].gaveUp = rng.Float64()
		}
	}
	return runners
}

// passings returns the passings at the mat, in real time and with milliseconds, as in the API.
func (r Race) passings(mat Mat, runners []runner, rng *rand.Rand) []Passing {
	speed := r.Speed
	if speed <= 0 {
		speed = 1
	}
	passings := make([]Passing, 0, len(runners)+len(runners)/4)
	for _, who := range runners {
		// Runners slow down: at first they are up to 4 % faster than their average.
		pace := mat.At * (1 - 0.04*(1-mat.At)*rng.Float64())
		after := who.start + time.Duration(pace*float64(who.finish))
		missed, twice, later := rng.Float64() < missedRead, rng.Float64() < readTwice, rng.Float64()
		if missed || who.gaveUp < mat.At {
			continue
		}
		detected := []time.Duration{after}
		if twice {
			detected = append(detected, after+200*time.Millisecond+time.Duration(later*float64(time.Second)))
		}
		for _, d := range detected {
			stamp := r.Start.Add(time.Duration(float64(d) / speed)).Truncate(time.Millisecond)
			passings = append(passings, Passing{Arrived: stamp.Add(transit), Stamp: stamp})
		}
	}
	return inOrder(passings)
}

// Many returns a day with n sessions, each on its own device. They are created an hour before start and receive
// passings from 18 to 55 minutes after it. The first thousand all have different counts. Passings are shared, so 10,000
// sessions need little memory. Aliases are MAT-00001 and so on.
func Many(n int, start time.Time) Day {
	race := FiveK(start, 1000)
	race.Mats = race.Mats[2:]
	pattern := race.Devices()[0]
	day := Day{Devices: make([]Device, n)}
	for i := range day.Devices {
		alias := fmt.Sprintf("MAT-%05d", i+1)
		d := pattern
		d.Alias = alias
		d.ID = ID("device " + alias)
		d.SerialNumber = "SIM-" + alias[4:]
		d.Enveloped = i%2 == 1
		s := pattern.Sessions[0]
		s.Alias = alias
		s.Token = ID("session " + alias)
		s.Passings = s.Passings[i%len(s.Passings):]
		d.Sessions = []Session{s}
		day.Devices[i] = d
	}
	return day
}
