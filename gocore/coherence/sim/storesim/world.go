// Package storesim is a seeded, single-threaded simulator of engines that find each other by names in a store. What
// decides in it is the code that ships: coherence.Publisher and coherence.Directory. What surrounds them is a small model
// that is as nasty as the real thing may be: a store that goes away, comes back empty or older, whose answers get lost
// and whose writes land late; leases that run out early; watches that stand still, repeat themselves and break; owners
// that stop, die and come back under their name; clocks that jump by a day.
//
// One run in six has a store that offers only PUT, GET and DELETE and is polled, where S6 and leases are not to be had.
//
// After every event S5, S6 and S7, and the pacing of L6, are checked against a ground truth that the machines do not see;
// L4 whenever a name is looked up. At the end the faults heal, and every name must have one owner that has published its
// present state, which every reader has adopted (L2, L3, L7).
//
// A run is a function of its Config. Nothing here starts a goroutine, reads a clock or iterates over a map where the order
// matters; the random numbers of an event depend on the seed and the event's number alone. The package is for tests.
package storesim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"

	"mooncake_te/gocore/types"
)

// Config says what to simulate.
type Config struct {
	Seed uint64
	// Steps is the number of events before the faults heal. Default 3000.
	Steps int
	// Hosts and Names are how many engines and segment names there are; 0 leaves it to the seed.
	Hosts, Names int
	// Off are kinds of fault that do not happen.
	Off map[Fault]bool
	// Trace, if not nil, is called with a line for every event.
	Trace func(line string)

	mutant mutant
}

// Failure is a violated rule, with what is needed to see it again.
type Failure struct {
	Seed, Event uint64
	Rule, What  string
	Healing     bool // it came after the faults had healed
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s violated: %s (seed %d, event %d)", f.Rule, f.What, f.Seed, f.Event)
}

// world is one run.
type world struct {
	cfg   Config
	pcg   rand.PCG
	rng   *rand.Rand // of the present event
	now   types.Time
	event uint64
	stats Stats
	mix   mix

	queue   itemHeap
	order   uint64
	healing bool

	store  *store
	truth  truth
	hosts  []*proc // who lives at each address, nil: nobody
	byInst map[types.InstanceID]*proc
	names  []string
	last   uint64 // instance made last
	cuts   map[[2]int]types.Time
}

// item is something that will happen.
type item struct {
	at    types.Time
	order uint64
	do    func()
}

type itemHeap []item

func (h itemHeap) Len() int      { return len(h) }
func (h itemHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h itemHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}
func (h *itemHeap) Push(x any) { *h = append(*h, x.(item)) }
func (h *itemHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = item{}
	*h = (*h)[:len(*h)-1]
	return last
}

// at plans something.
func (w *world) at(t types.Time, do func()) {
	w.order++
	heap.Push(&w.queue, item{max(t, w.now), w.order, do})
}

// newWorld makes a world without anybody in it.
func newWorld(cfg Config) *world {
	if cfg.Steps <= 0 {
		cfg.Steps = 3000
	}
	w := &world{cfg: cfg, now: types.Second, byInst: map[types.InstanceID]*proc{}, cuts: map[[2]int]types.Time{}}
	w.rng = rand.New(&w.pcg)
	w.next()
	w.truth.init()
	w.store = newStore(w)
	return w
}

func (w *world) next() {
	w.pcg.Seed(w.cfg.Seed, w.event*0x9e3779b97f4a7c15+0x6d6f6f6e63616b65)
}

// Run simulates until the end, or until a rule is violated: then the error is a *Failure.
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
	hosts, names := 2+w.rng.IntN(4), 1+w.rng.IntN(3)
	if w.cfg.Hosts > 0 {
		hosts = w.cfg.Hosts
	}
	if w.cfg.Names > 0 {
		names = w.cfg.Names
	}
	w.mix = w.drawMix()
	if w.store.stock = w.chance(6); w.store.stock {
		names, w.store.id = hosts, "" // nobody else may want a name there
	}
	w.populate(hosts, min(names, hosts))
	for range w.cfg.Steps {
		w.step()
	}
	w.heal()
}

func (w *world) populate(hosts, names int) {
	for i := range names {
		w.names = append(w.names, fmt.Sprintf("segment-%d", i))
	}
	w.hosts = make([]*proc, hosts)
	for h := range w.hosts {
		w.boot(h)
	}
}

// violate ends the run.
func (w *world) violate(rule, format string, args ...any) {
	f := &Failure{Seed: w.cfg.Seed, Event: w.event, Rule: rule, What: fmt.Sprintf(format, args...), Healing: w.healing}
	w.trace("VIOLATION %v", f)
	panic(f)
}

func (w *world) trace(format string, args ...any) {
	if w.cfg.Trace != nil {
		w.cfg.Trace(fmt.Sprintf("%6d %11.3fms %s", w.event, float64(w.now)/1e6, fmt.Sprintf(format, args...)))
	}
}

// step makes one event happen: something an application does, a fault, or whatever is planned next.
func (w *world) step() {
	w.event++
	w.next()
	switch n := w.rng.IntN(100); {
	case n < w.mix.app && w.appStep():
	case n >= 100-w.mix.fault && w.faultStep():
	default:
		w.advance()
	}
	w.check()
}

// advance lets time pass up to the next planned item or timer.
func (w *world) advance() {
	next, planned := w.now+types.Second, false
	if len(w.queue) > 0 {
		next, planned = max(w.queue[0].at, w.now), true
	}
	var who *proc
	for _, p := range w.hosts {
		if p == nil || p.paused {
			continue
		}
		if at, ok := p.nextWake(); ok && max(at, w.now) < next {
			next, who, planned = max(at, w.now), p, false
		}
	}
	w.now = next
	w.store.expire()
	switch {
	case planned:
		it := heap.Pop(&w.queue).(item)
		it.do()
	case who != nil:
		who.tick()
	}
}

// chance is true once in n times, on average.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// some is a time below t.
func (w *world) some(t types.Time) types.Time { return types.Time(w.rng.Int64N(int64(t))) }
