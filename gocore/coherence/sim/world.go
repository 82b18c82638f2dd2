// Package sim is a seeded, single-threaded simulator of several engines that move bytes between fake memories over a
// fake network. What decides in it is the code that ships: coherence.Owner, View, Transfer and Scheduler. What surrounds
// them (the sessions, the data connections, the processes, the clocks, the memory) is a small model that is as nasty as
// the real thing may be: connections that go on delivering after both ends have given them up, handlers that stand
// inside a chunk for as long as they like, processes that stop, die and come back under their name.
//
// After every event the invariants S1-S5 and S7-S13 of docs/design/safety.md are checked against a ground truth that the
// machines do not see, and so are L6 and L8. At the end the faults heal, and every operation and every drain must end,
// and every pair must work again (L1, L5, L7).
//
// A run is a function of its Config. Nothing here starts a goroutine, reads a clock or iterates over a map where the
// order matters. The random numbers of an event depend on the seed and the event's number alone, so that a run without
// one of its faults stays the same run wherever the fault made no difference: that is what lets Shrink take faults away.
// The package is for tests; nothing that ships imports it.
package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"mooncake_te/gocore/types"
)

// Config says what to simulate. A run is a function of all but Trace and Record.
type Config struct {
	Seed uint64
	// Steps is the number of events before the faults heal. Default 4000.
	Steps int
	// Hosts is how many engines there are; 0 leaves it to the seed.
	Hosts int
	// Absent hosts stay empty: a run with fewer engines that is otherwise the same.
	Absent map[int]bool
	// Off are kinds of fault that do not happen.
	Off map[Fault]bool
	// Keep, if not nil, are the only faults that happen.
	Keep map[Injected]bool
	// Record, if not nil, is called with every fault that happens.
	Record func(Injected)
	// Trace, if not nil, is called with a line for every event.
	Trace func(line string)

	mutant mutant
}

// Failure is a violated invariant, with what is needed to see it again.
type Failure struct {
	Seed  uint64
	Event uint64
	Rule  string
	What  string
	// Healing says that it came after the faults had healed.
	Healing bool
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s violated: %s (seed %d, event %d)", f.Rule, f.What, f.Seed, f.Event)
}

// world is one run.
type world struct {
	cfg   Config
	pcg   rand.PCG
	rng   *rand.Rand // of the present event
	dice  rand.PCG
	luck  *rand.Rand // decides on the present event's faults
	now   types.Time
	event uint64 // number of the present event
	nth   int    // fault in it
	stats Stats
	mix   mix

	hosts     []*proc // who lives at each address, nil: nobody
	procs     []*proc // everyone who ever lived and may still be referred to
	byInst    map[types.InstanceID]*proc
	sessions  []*session
	conns     []*conn
	calls     []*call
	batches   []*batch // not settled
	healing   bool
	lastInst  uint64
	lastBatch uint64

	scene *scene // of a named scenario: what is held back
}

// newWorld makes a world without anybody in it.
func newWorld(cfg Config) *world {
	if cfg.Steps <= 0 {
		cfg.Steps = 4000
	}
	w := &world{cfg: cfg, now: types.Second, byInst: map[types.InstanceID]*proc{}}
	w.rng, w.luck = rand.New(&w.pcg), rand.New(&w.dice)
	w.next()
	return w
}

// next begins an event: its random numbers are its own.
func (w *world) next() {
	w.pcg.Seed(w.cfg.Seed, w.event*0x9e3779b97f4a7c15+0x6d6f6f6e63616b65)
	w.dice.Seed(w.event*0xbf58476d1ce4e5b9+0x66617573746c7563, w.cfg.Seed)
	w.nth = 0
}

// Run simulates until the end, or until an invariant is violated: then the error is a *Failure.
func Run(cfg Config) (stats Stats, err error) {
	w := newWorld(cfg)
	err = w.protect(w.run)
	w.stats.Runs, w.stats.Steps = 1, w.event
	return w.stats, err
}

// protect turns a violation into an error.
func (w *world) protect(do func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Failure:
			err = r
		default:
			panic(fmt.Sprintf("seed %d, event %d: %v", w.cfg.Seed, w.event, r))
		}
	}()
	do()
	return nil
}

func (w *world) run() {
	hosts := w.drawHosts()
	if w.cfg.Hosts > 0 {
		hosts = w.cfg.Hosts
	}
	w.hosts = make([]*proc, hosts)
	w.mix = w.drawMix()
	for h := range w.hosts {
		w.boot(h)
	}
	for range w.cfg.Steps {
		w.step()
	}
	w.heal()
}

// violate ends the run.
func (w *world) violate(rule, format string, args ...any) {
	f := &Failure{Seed: w.cfg.Seed, Event: w.event, Rule: rule, What: fmt.Sprintf(format, args...), Healing: w.healing}
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
	w.next()
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
