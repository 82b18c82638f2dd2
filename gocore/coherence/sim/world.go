// Package sim is a seeded, single-threaded simulator of several engines that move bytes between fake memories over a
// fake network. What decides in it is the code that ships: coherence.Owner, View and Transfer. What surrounds them (the
// sessions, the data connections, the processes, the clock, the memory) is a small model that is as nasty as the real
// thing may be: connections that go on delivering after both ends have given them up, handlers that stand inside a
// chunk for as long as they like, processes that stop, die and come back under their name.
//
// After every event the invariants S1-S5 and S7-S13 of docs/design/safety.md are checked against a ground truth that the machines do
// not see. At the end the faults heal, and every operation and every drain must end, and every pair must work again
// (L1, L5, L7).
//
// A run is a function of its seed. Nothing here starts a goroutine, reads a clock or iterates over a map where the
// order matters. It is for tests; nothing that ships imports it.
package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"mooncake_te/gocore/types"
)

// Config says what to simulate.
type Config struct {
	Seed uint64
	// Steps is the number of events before the faults heal. Default 4000.
	Steps int
	// Trace, if not nil, is called with a line for every event.
	Trace func(line string)

	mutant mutant
}

// Stats counts what a run did, so that a test can tell that it did anything.
type Stats struct {
	Events, Batches, Completed, NotApplied, Unknown, Partial uint64
	Drains, DrainsTimedOut, DrainsFenced                     uint64
	Crashes, Pauses, SessionBreaks, ConnDrops, Posts, Lost   uint64
	RemoteNotQuiet, Retired                                  uint64
}

// Failure is a violated invariant, with what is needed to see it again.
type Failure struct {
	Seed  uint64
	Event uint64
	Rule  string
	What  string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s violated: %s (seed %d, event %d)", f.Rule, f.What, f.Seed, f.Event)
}

const numHosts = 3

// world is one run.
type world struct {
	cfg   Config
	rng   *rand.Rand
	now   types.Time
	event uint64 // number of the present event
	stats Stats
	mix   mix

	hosts    [numHosts]*proc // who lives at each address, nil: nobody
	procs    []*proc         // everyone who ever lived
	sessions []*session
	conns    []*conn
	calls    []*call
	batches  []*batch // not settled
	healing  bool
	lastInst uint64
}

// Run simulates until the end, or until an invariant is violated: then the error is a *Failure.
func Run(cfg Config) (stats Stats, err error) {
	if cfg.Steps <= 0 {
		cfg.Steps = 4000
	}
	w := &world{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x6d6f6f6e63616b65)), now: types.Second}
	defer func() {
		stats = w.stats
		stats.Events = w.event
		switch r := recover().(type) {
		case nil:
		case *Failure:
			err = r
		default:
			panic(fmt.Sprintf("seed %d, event %d: %v", cfg.Seed, w.event, r))
		}
	}()
	w.mix = w.drawMix()
	for h := range w.hosts {
		w.boot(h)
	}
	for range cfg.Steps {
		w.step()
	}
	w.heal()
	return w.stats, nil
}

// violate ends the run.
func (w *world) violate(rule, format string, args ...any) {
	f := &Failure{Seed: w.cfg.Seed, Event: w.event, Rule: rule, What: fmt.Sprintf(format, args...)}
	w.trace("VIOLATION %v", f)
	panic(f)
}

func (w *world) trace(format string, args ...any) {
	if w.cfg.Trace != nil {
		w.cfg.Trace(fmt.Sprintf("%6d %9.3fms %s", w.event, float64(w.now)/1e6, fmt.Sprintf(format, args...)))
	}
}

// kind is one sort of event. It reports whether there was one to be had.
type kind struct {
	weight int
	do     func() bool
}

// step makes one event happen: of the kind that was drawn or, if there is none, of the next kind.
func (w *world) step() {
	w.event++
	kinds := [...]kind{
		{w.mix.deliver, w.deliver},
		{w.mix.data, w.dataStep},
		{w.mix.call, w.callStep},
		{w.mix.quiet, w.quietStep},
		{w.mix.work, w.workStep},
		{w.mix.app, w.appStep},
		{w.mix.fault, w.faultStep},
		{w.mix.time, w.timeStep},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := w.rng.IntN(total)
	at := 0
	for n >= kinds[at].weight {
		n -= kinds[at].weight
		at++
	}
	done := false
	for i := range kinds {
		k := kinds[(at+i)%len(kinds)]
		if k.weight > 0 && k.do() {
			done = true
			break
		}
	}
	if !done {
		w.jump()
	}
	w.check()
}

// timeStep lets a little time pass: events in flight do not wait for timers, nor the other way round.
func (w *world) timeStep() bool {
	w.pass(types.Time(w.rng.Int64N(int64(w.mix.tick))) + 1)
	return true
}

// jump lets time pass up to the next timer, when nothing else can happen.
func (w *world) jump() {
	next := w.now + types.Second
	for _, p := range w.hosts {
		if p == nil || p.paused {
			continue
		}
		if at, ok := p.nextWake(); ok {
			next = min(next, at)
		}
	}
	w.pass(max(next-w.now, types.Millisecond))
}

func (w *world) pass(d types.Time) {
	w.now += d
	for _, p := range w.hosts {
		if p != nil && !p.paused {
			p.tick()
		}
	}
}

// any calls f for indices 0..n-1 from a random one on until it reports true.
func (w *world) any(n int, f func(int) bool) bool {
	if n == 0 {
		return false
	}
	from := w.rng.IntN(n)
	for i := range n {
		if f((from + i) % n) {
			return true
		}
	}
	return false
}

// chance is true once in n times, on average.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// newInstance never repeats, and its order says nothing.
func (w *world) newInstance() types.InstanceID {
	var id types.InstanceID
	w.lastInst++
	binary.LittleEndian.PutUint64(id[:8], w.rng.Uint64())
	binary.LittleEndian.PutUint64(id[8:], w.lastInst)
	return id
}
