package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"rufus_exporter/simulator"
)

// The oracle knows what was broken when: from the simulator, from what happened to exporter and Prometheus, and from
// the windows as the crew declared them. It reads neither the exporter's series nor the rules. For each mat and each
// tick of the day it reports whether a critical alert must be there, and whether one may be. Between the two lie the time
// that noticing takes, and what the contract leaves open.

// tick is how often the oracle looks.
const tick = 5 * time.Second

// fact is what was so at a mat.
type fact struct {
	at      time.Duration
	listed  bool // in sessions.yml
	running bool // Prometheus scrapes and evaluates
	read    bool // and a request for the mat is answered
	simulator.Truth
}

// watch notes the facts until the day is over.
func (b *bench) watch(done chan<- struct{}) {
	defer close(done)
	every := time.NewTicker(tick)
	defer every.Stop()
	for range every.C {
		if !b.note() {
			return
		}
	}
}

func (b *bench) note() (goesOn bool) {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	if b.seen.over {
		return false
	}
	for _, m := range b.mats {
		f := fact{at: b.at(time.Now()), running: b.server.runs.Load() && !b.server.blind.Load()}
		i := slices.IndexFunc(b.scenario.mats, func(o mat) bool { return o.name == m.name })
		if i >= 0 {
			m = b.scenario.mats[i]
			f.listed, f.Truth = true, b.api.Truth(m.id())
			found := f.Known || m.device != "" && !b.scenario.deviceMetrics()
			inTime := f.Latency < min(b.scenario.timeout(), 9*second)
			f.read = f.running && len(b.exporters) > 0 && f.Fault == nil && inTime && found
			f.Active = f.Active && f.Known
		}
		b.seen.facts[m.name] = append(b.seen.facts[m.name], f)
	}
	return true
}

// span is a stretch of time.
type span struct{ from, until time.Duration }

// windows returns when passings are due at the mat, merged where they overlap.
func (s scenario) windows(m mat) []span {
	if m.until == 0 {
		return nil
	}
	guns := s.guns[m.race]
	if m.absolute || len(guns) == 0 {
		guns = []time.Duration{0}
	}
	var spans []span
	for _, gun := range slices.Sorted(slices.Values(guns)) {
		next := span{gun + m.from, gun + m.until}
		if last := len(spans) - 1; last >= 0 && next.from <= spans[last].until {
			spans[last].until = max(spans[last].until, next.until)
		} else {
			spans = append(spans, next)
		}
	}
	return spans
}

// due returns the window that matters at an instant.
func due(spans []span, at time.Duration) (span, bool) {
	for _, w := range spans {
		if at < w.until {
			return w, true
		}
	}
	if len(spans) == 0 {
		return span{}, false
	}
	return spans[len(spans)-1], true
}

// judgement is the oracle's word about a mat at a tick.
type judgement struct {
	fact

	must      bool // be critical, by whatever alert names it, its race or its job
	closed    bool // may be critical, since it is closed or was never started
	silent    bool // since it is silent
	closedNow bool // not only a moment ago
	silentNow bool
	blind     bool // could not be read in the last minutes
	counting  bool // passings of the last minutes were certainly scraped, with no window declared
	counted   bool // it had passings in the last quarter of an hour, with no window declared
	changed   bool // it opened, closed, counted, could be read for two minutes now, or another window of it matters now
	armed     bool // in its window, or five minutes before it
	blindFor  time.Duration
	arrival   time.Duration // the last that was seen
}

// armedBefore is how long before a window a mat has to be ready.
const armedBefore = 5 * minute

// recall is what the oracle remembers of a mat.
type recall struct {
	begun          bool
	quiet          time.Duration // since when it can have been silent
	arrival        time.Duration // -never: none was seen
	inactive       time.Duration // since when; never: it is active
	noticed        time.Duration // since when whoever scrapes certainly knows that it is inactive
	wasActive      bool
	count          int
	created        time.Time
	readAt         time.Duration
	blind          time.Duration // since when; never: it can be read
	good           time.Duration // since when it can be read
	window         span          // the one that matters
	brisk, certain bool          // it may have counted briskly at the last arrival; it certainly did
	arrivals       []arrival
}

type arrival struct {
	at time.Duration
	n  int
}

// oracle judges the mats of a day. lag is how long noticing takes.
func (s scenario) oracle(saw *seen) map[string][]judgement {
	judged := make(map[string][]judgement)
	for _, m := range s.everyMat() {
		judged[m.name] = s.judgeMat(m, saw.facts[m.name])
	}
	s.judgeBlindness(judged)
	return judged
}

// everyMat returns all entries that there ever are, of those with the same name the first.
func (s scenario) everyMat() []mat {
	mats := slices.Clone(s.mats)
	for _, m := range s.later {
		if !slices.ContainsFunc(mats, func(o mat) bool { return o.name == m.name }) {
			mats = append(mats, m)
		}
	}
	return mats
}

// lag is how long it takes at most from a change at the API to an evaluation that knows it.
func (s scenario) lag() time.Duration { return s.interval() + 15*second + 2*tick }

func (s scenario) judgeMat(m mat, facts []fact) []judgement {
	lag, spans := s.lag(), s.windows(m)
	rolls := max(30*second, s.interval()) // from the first inactive reading to the first one 30 s after it
	limit := m.silentAfter
	now := recall{arrival: -never / 2, inactive: never, blind: never}
	judged := make([]judgement, len(facts))
	for i, f := range facts {
		j := judgement{fact: f}
		if !f.listed {
			now = recall{arrival: -never / 2, inactive: never, blind: never}
			judged[i] = j
			continue
		}
		j.changed = now.learn(f, lag)
		w, declared := due(spans, f.at)
		j.changed = j.changed || w != now.window // and an alert ends with its window
		now.window = w
		mustArm := declared && f.at >= w.from-armedBefore+lag && f.at < w.until
		mayArm := declared && f.at >= w.from-armedBefore-lag && f.at < w.until+lag
		// A window ends with the first scrape after its end, or five minutes later.
		j.armed = slices.ContainsFunc(spans, func(w span) bool {
			return f.at >= w.from-armedBefore-lag && f.at < w.until+5*minute+lag
		})
		closedFor, knownFor := time.Duration(0), time.Duration(0)
		if now.begun && now.inactive != never {
			closedFor, knownFor = now.readAt-now.inactive, now.readAt-now.noticed
		}
		j.arrival = now.arrival
		inUse := now.inactive - now.arrival
		base, silentFor := now.quiet, time.Duration(0)
		if declared {
			base = max(base, w.from)
		}
		if now.begun && now.inactive == never {
			silentFor = now.readAt - base
		}
		switch {
		case declared:
			limit := limit
			if limit == 0 && now.arrival < w.from-minute {
				limit = (w.until - w.from) / 2
			}
			j.closed = mayArm && closedFor > 0
			j.silent = mayArm && f.at >= w.from && limit > 0 && silentFor >= limit-2*lag
			j.must = mustArm && (knownFor >= rolls+lag || f.at >= w.from && limit > 0 && silentFor >= limit+lag)
		default:
			j.closed = closedFor > 0 && inUse <= 5*minute+2*lag && now.wasActive
			j.silent = limit > 0 && silentFor >= limit-2*lag && now.brisk
			fresh := now.readAt-now.arrival < 12*hour-lag
			j.must = now.wasActive && knownFor >= rolls+lag && inUse <= 5*minute-2*lag ||
				limit > 0 && silentFor >= limit+lag && now.certain && fresh
			j.counting = slices.ContainsFunc(now.arrivals, func(a arrival) bool {
				return f.at-a.at < 5*minute+lag && a.at <= now.readAt-lag
			})
			j.counted = now.readAt-now.arrival < 15*minute+lag
		}
		j.closedNow, j.silentNow = j.closed, j.silent
		// The end of a cause is noticed a little later, too, and not by who cannot read.
		for back, left := i, int(lag/tick); back > 0 && left > 0; back-- {
			j.closed = j.closed || judged[back-1].closedNow
			j.silent = j.silent || judged[back-1].silentNow
			if facts[back].read {
				left--
			}
		}
		if now.blind != never && now.begun {
			j.blindFor = f.at - now.blind
			j.must = j.must || mustArm && j.blindFor >= 2*minute+lag
		}
		judged[i] = j
	}
	// Blindness ends when most readings of four minutes are good, and its alert a little later.
	blind := -never / 2
	for i := range judged {
		if f := judged[i]; f.listed && !f.read {
			blind = f.at
		}
		judged[i].blind = judged[i].at-blind <= 8*minute+lag
	}
	return judged
}

// learn takes in a fact and reports whether what an alert says may have ended by it.
func (now *recall) learn(f fact, lag time.Duration) (changed bool) {
	switch {
	case !f.running: // nobody looks
		if now.blind != never {
			now.blind = f.at
		}
		now.unnoticed(f, lag)
		now.good = f.at
		return true
	case !f.read:
		if now.blind == never {
			now.blind = f.at
		}
		now.good = f.at
		now.unnoticed(f, lag)
		return false
	}
	now.blind = never
	goodFor := f.at - now.good
	changed = goodFor >= 2*minute && goodFor < 2*minute+tick
	active := f.Active && f.Session
	if !now.begun {
		now.begun, now.quiet, now.good = true, f.at, f.at
		now.count, now.created = f.Passings, f.Created
	}
	now.readAt = f.at
	now.wasActive = now.wasActive || active
	switch {
	case active && now.inactive != never:
		if now.readAt-now.inactive >= 30*second {
			now.quiet = f.at // what was closed until now is not silent yet
		}
		now.inactive, changed = never, true
	case !active && now.inactive == never:
		now.inactive, now.noticed, changed = f.at, f.at, true
	}
	n := 0
	switch {
	case !f.Session || !f.Known:
	case !f.Created.Equal(now.created):
		n = f.Passings
		now.count, now.created = f.Passings, f.Created
	default:
		n = f.Passings - now.count
		now.count = f.Passings
	}
	if n <= 0 {
		return changed
	}
	now.arrival, now.quiet = f.at, f.at
	now.arrivals = append(now.arrivals, arrival{f.at, n})
	two, ten, ticks := 0, 0, 0
	for _, a := range now.arrivals {
		if a.at > f.at-2*minute {
			two, ticks = two+a.n, ticks+1
		}
		if a.at > f.at-10*minute {
			ten += a.n
		}
	}
	now.brisk = two >= 6
	now.certain = two >= 16 && ticks >= 8 && two*6 >= ten
	return true
}

// unnoticed is for a moment when it cannot be read: that it closed just before is not known yet.
func (now *recall) unnoticed(f fact, lag time.Duration) {
	if now.inactive != never && f.at-now.noticed < lag {
		now.noticed = f.at
	}
}

// judgeBlindness judges what all mats of the job, or of a race, have in common.
func (s scenario) judgeBlindness(judged map[string][]judgement) {
	mats := s.everyMat()
	for i := range judged[mats[0].name] {
		groups := make(map[string][]*judgement) // by race; "all" are those of the job
		for _, m := range mats {
			if j := &judged[m.name][i]; j.listed {
				groups["race "+m.race] = append(groups["race "+m.race], j)
				groups["all"] = append(groups["all"], j)
			}
		}
		for _, of := range groups {
			blind := !slices.ContainsFunc(of, func(j *judgement) bool { return j.blindFor < 2*minute+s.lag() })
			for _, j := range of {
				// It was counting when the blindness began.
				j.must = j.must || blind && j.counting && (len(of) > 1 || len(groups["all"]) == 1)
			}
		}
	}
}

// at returns the judgement at an instant.
func at(judged []judgement, when time.Duration) judgement {
	i, found := slices.BinarySearchFunc(judged, when, func(j judgement, when time.Duration) int { return cmp.Compare(j.at, when) })
	if !found {
		i--
	}
	return judged[max(0, min(i, len(judged)-1))]
}

// during reports whether something is so at any tick of a stretch of time.
func during(judged []judgement, from, until time.Duration, so func(judgement) bool) bool {
	return slices.ContainsFunc(judged, func(j judgement) bool { return j.at >= from && j.at <= until && so(j) })
}

// Alerts by what they are about.
var (
	aboutMats   = []string{"RufusSessionClosed", "RufusSessionNotStarted", "RufusSessionSilent", "RufusSessionFailing"}
	aboutRaces  = []string{"RufusRaceStopped", "RufusRaceFailing"}
	aboutJobs   = []string{"RufusAllSessionsFailing", "RufusExporterDown"}
	aboutSights = []string{"RufusSessionFailing", "RufusRaceFailing", "RufusAllSessionsFailing", "RufusExporterDown"}
)

// is reports whether the alert is one of these.
func (e *episode) is(names []string) bool { return slices.Contains(names, e.name()) }

// covers reports whether the alert tells of the mat.
func (e *episode) covers(m mat) bool {
	switch {
	case e.is(aboutMats):
		return e.labels["session"] == m.name
	case e.is(aboutRaces):
		return e.labels["race"] == m.race
	}
	return e.is(aboutJobs)
}

// broken is what of the contract was not kept on any day, whatever its own expectations.
type broken struct {
	s        scenario
	saw      *seen
	judged   map[string][]judgement
	mats     []mat
	problems []string
	once     map[string]bool
}

// invariants returns what was not kept.
func (s scenario) invariants(saw *seen) []string {
	if s.lawless {
		return nil
	}
	b := &broken{s: s, saw: saw, judged: s.oracle(saw), mats: s.everyMat(), once: make(map[string]bool)}
	var before time.Duration
	for i, m := range saw.moments {
		restarted := i == 0 || m.at-before > minute
		before = m.at
		if !restarted {
			b.critical(m)
		}
		b.oneEach(m)
	}
	b.flapping()
	b.blindness()
	b.notifications()
	b.repeats()
	b.page()
	b.dashboard()
	return b.problems
}

// note notes one problem of a kind.
func (b *broken) note(kind, format string, args ...any) {
	if !b.once[kind] {
		b.once[kind] = true
		b.problems = append(b.problems, fmt.Sprintf(format, args...))
	}
}

// critical: a mat is critical while it must be, and only while it may be.
func (b *broken) critical(now moment) {
	for _, m := range b.mats {
		j := at(b.judged[m.name], now.at)
		covered := slices.ContainsFunc(now.firing, func(f firing) bool { return f.critical() && !f.muted && f.covers(m) })
		if j.must && !covered {
			b.note("silent "+m.name, "at %s nothing critical tells of %s: %+v", short(now.at), m.name, j)
		}
		for _, f := range now.firing {
			if !f.critical() || !f.is(aboutMats) || !f.covers(m) {
				continue
			}
			may := j.closed || j.silent
			if f.name() == "RufusSessionFailing" {
				may = j.blind && j.armed
			}
			// Who was taken out is noticed a little later, and what ended while Prometheus was down, five minutes later.
			may = may || b.stopped(now.at-6*minute, now.at) ||
				!j.listed && during(b.judged[m.name], now.at-b.s.lag(), now.at, func(j judgement) bool { return j.listed })
			if !may {
				b.note("false "+f.identity(), "at %s without a cause: %s: %+v", short(now.at), f, j)
			}
		}
	}
	for _, f := range now.firing {
		if !f.critical() || f.is(aboutMats) {
			continue
		}
		causes := 0
		armed := false
		for _, m := range b.mats {
			j := at(b.judged[m.name], now.at)
			if f.covers(m) && (j.blind && f.is(aboutSights) || (j.closed || j.silent) && !f.is(aboutSights)) {
				causes++
			}
			armed = armed || during(b.judged[m.name], now.at-8*minute, now.at, func(j judgement) bool {
				return j.armed || m.until == 0 && j.counted
			})
		}
		if causes == 0 || causes < 2 && f.name() == "RufusRaceStopped" {
			b.note("false "+f.identity(), "at %s without a cause: %s", short(now.at), f)
		}
		if !armed {
			b.note("idle "+f.identity(), "at %s while no passings are due: %s", short(now.at), f)
		}
	}
}

// oneEach: of one cause there is one critical alert.
func (b *broken) oneEach(now moment) {
	by := make(map[string][]string)
	add := func(key string, f firing) { by[key] = append(by[key], f.String()) }
	for _, f := range now.firing {
		switch {
		case !f.critical() || f.muted:
		case f.is(aboutMats):
			add("mat "+f.labels["race"]+" "+f.labels["session"], f)
			if f.is(aboutSights) {
				add("sight of race "+f.labels["race"], f)
			} else {
				add("state of race "+f.labels["race"], f)
			}
		case f.is(aboutRaces):
			add("race "+f.labels["race"]+f.name(), f)
		default:
			add("job", f)
		}
	}
	for key, alerts := range by {
		state := strings.HasPrefix(key, "state of race") && slices.ContainsFunc(now.firing, func(f firing) bool {
			return f.name() == "RufusRaceStopped" && !f.muted && f.critical() && "state of race "+f.labels["race"] == key
		})
		sight := strings.HasPrefix(key, "sight of race") && slices.ContainsFunc(now.firing, func(f firing) bool {
			return !f.muted && f.critical() && (f.is(aboutJobs) || f.name() == "RufusRaceFailing" && "sight of race "+f.labels["race"] == key)
		})
		if state || sight || len(alerts) > 1 && !strings.Contains(key, " of race ") {
			b.note("many "+key, "at %s more than one alert for one cause, %s: %q, all: %v", short(now.at), key, alerts, now.firing)
		}
	}
}

// settled is how long an alert that ended stays so, unless its cause came back.
const settled = 10 * minute

// flapping: what ends does not come back at once, unless its cause did.
func (b *broken) flapping() {
	last := make(map[string]*episode)
	for _, e := range b.saw.episodes {
		before := last[e.identity()]
		last[e.identity()] = e
		if before == nil || e.fired-before.resolved >= settled || b.stopped(before.resolved, e.fired) {
			continue
		}
		changed := func(j judgement) bool { return j.changed || !j.listed }
		cause := slices.ContainsFunc(b.saw.episodes, func(o *episode) bool { // a warning that was critical meanwhile
			return o.critical() && !e.critical() && o.name() == e.name() && o.labels["session"] == e.labels["session"] &&
				o.labels["race"] == e.labels["race"] && o.fired <= before.resolved && o.resolved >= e.fired-minute
		})
		for _, m := range b.mats {
			cause = cause || (e.covers(m) || e.labels["session"] == m.name || e.labels["session"] == "") &&
				during(b.judged[m.name], before.resolved-5*minute, e.fired, changed)
		}
		if !cause {
			b.note("flap "+e.identity(), "comes and goes: %s, then %s", before, e)
		}
	}
}

// stopped reports whether rules were not evaluated for a while.
func (b *broken) stopped(from, until time.Duration) bool {
	before := from
	for _, m := range b.saw.moments {
		if m.at > from && m.at <= until+second && m.at-before > minute {
			return true
		}
		if m.at >= from && m.at <= until {
			before = m.at
		}
	}
	return until-before > minute
}

// blindness: what cannot be seen has not recovered.
func (b *broken) blindness() {
	for _, e := range b.saw.episodes {
		if e.resolved == never || e.is(aboutSights) || e.name() == "RufusCountFell" && e.resolved-e.fired > 14*minute {
			continue
		}
		for _, m := range b.mats {
			if m.name != e.labels["session"] {
				continue
			}
			seen := during(b.judged[m.name], e.resolved-b.s.lag(), e.resolved, func(j judgement) bool { return j.read || !j.listed })
			ended := slices.ContainsFunc(b.s.windows(m), func(w span) bool {
				over := e.resolved >= w.until && e.resolved < w.until+5*minute+b.s.lag() // the scrape after its end ends it
				return over || e.resolved+minute > w.from-armedBefore && e.resolved < w.from+minute
			})
			if !seen && !ended && !b.stopped(e.resolved-2*minute, e.resolved) {
				b.note("blind "+e.identity(), "blindness looks like recovery: %s", e)
			}
		}
	}
}

// notifications: the phone rings for what is critical, the chat has it too, and what they say is true.
func (b *broken) notifications() {
	byPrint := make(map[model.Fingerprint][]*episode)
	for _, e := range b.saw.episodes {
		byPrint[e.fingerprint] = append(byPrint[e.fingerprint], e)
	}
	firingAt := func(id model.Fingerprint, when time.Duration) *episode {
		for _, e := range byPrint[id] {
			if when >= e.fired && when < e.resolved {
				return e
			}
		}
		return nil
	}
	alive := b.s.from // the watchdog was heard
	for _, r := range b.saw.rings {
		if r.receiver == "watchdog" {
			if r.at-alive > 2*minute && !b.stopped(alive, r.at) && !b.s.itself {
				b.note("watchdog", "the watchdog is not heard from %s to %s", short(alive), short(r.at))
			}
			alive = r.at
		}
		for _, id := range r.firing {
			for _, e := range byPrint[id] {
				if r.receiver == "phone" && !e.critical() {
					b.note("phone "+e.identity(), "the phone rings for a %s", e)
				}
				if (r.receiver == "watchdog") != (e.name() == "RufusWatchdog") {
					b.note("watchdog "+e.identity(), "%s tells of %s", r.receiver, e)
				}
			}
			e := firingAt(id, r.at)
			if r.receiver != "phone" || e == nil {
				continue
			}
			if end := min(e.resolved, b.saw.end()); !e.inhibited && end-r.at > 3*minute && !b.told("chat", id, e.fired, r.at+3*minute) {
				b.note("chat "+e.identity(), "the chat does not tell of %s", e)
			}
		}
		for _, id := range r.resolved {
			if b.stopped(r.at-2*minute, r.at) {
				continue // Alertmanager has not heard of it any more
			}
			if e := firingAt(id, r.at); e != nil {
				b.note("lie "+e.identity(), "at %s %s says resolved of %s", short(r.at), r.receiver, e)
			}
			b.recovered(r, byPrint[id])
		}
	}
}

// insists is how long nobody hears again of what is critical.
const insists = 17 * minute

// repeats: what is critical rings again and again.
func (b *broken) repeats() {
	for _, e := range b.saw.episodes {
		if !e.critical() || e.inhibited || b.stopped(e.fired, min(e.resolved, b.saw.end())) || b.s.itself {
			continue
		}
		last := e.fired
		for _, r := range b.saw.rings {
			if r.receiver == "phone" && r.at >= e.fired && r.at < e.resolved && r.at-last <= insists && slices.Contains(r.firing, e.fingerprint) {
				last = r.at
			}
		}
		if min(e.resolved, b.saw.end())-last > insists {
			b.note("mute "+e.identity(), "the phone does not ring again for %s after %s", e, short(last))
		}
	}
}

// recovered: a mat that is said to have recovered has.
func (b *broken) recovered(r ring, of []*episode) {
	for _, e := range of {
		if !e.critical() || !e.is(aboutMats) || e.resolved > r.at || r.at-e.resolved > 3*minute || b.stopped(e.resolved-5*minute, r.at) {
			continue
		}
		for _, m := range b.mats {
			if !e.covers(m) {
				continue
			}
			lasts := !during(b.judged[m.name], r.at-b.s.lag(), r.at, func(j judgement) bool { return !j.must })
			i := slices.IndexFunc(b.saw.moments, func(now moment) bool { return now.at > r.at })
			other := i > 0 && slices.ContainsFunc(b.saw.moments[i-1].firing, func(f firing) bool {
				return f.critical() && !f.muted && f.is(aboutMats) && f.covers(m)
			})
			if lasts && !other {
				b.note("lie "+e.identity(), "at %s %s says resolved of %s, but it lasts", short(r.at), r.receiver, e)
			}
		}
	}
}

// told reports whether a receiver was told of an alert.
func (b *broken) told(receiver string, id model.Fingerprint, from, until time.Duration) bool {
	return slices.ContainsFunc(b.saw.rings, func(r ring) bool {
		return r.receiver == receiver && r.at >= from && r.at <= until && slices.Contains(r.firing, id)
	})
}

// end is when the day was over.
func (s *seen) end() time.Duration {
	if len(s.moments) == 0 {
		return 0
	}
	return s.moments[len(s.moments)-1].at
}
