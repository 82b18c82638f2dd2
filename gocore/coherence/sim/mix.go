package sim

import "mooncake_te/gocore/types"

// mix is how a run weighs its kinds of events: each seed draws its own, since a fixed mix never sees what is rare in it.
type mix struct {
	deliver, data, call, quiet, work, app, fault, time int

	tick types.Time // largest step of time
	// One in so many faults of each kind; 0: none.
	breaks, drops, crashes, pauses, dups, evicts, stales int
	drains                                               int // of application events
	maxBatches                                           int
	dials                                                int // one in so many dials succeeds
	slow                                                 int // one in so many connections has a handler that hardly runs
	lag                                                  int // and how hardly
}

func (w *world) drawMix() mix {
	m := mix{
		deliver: 1 + w.rng.IntN(30), data: 10 + w.rng.IntN(60), call: 1 + w.rng.IntN(10), quiet: 1 + w.rng.IntN(10),
		work: 5 + w.rng.IntN(20), app: 1 + w.rng.IntN(10), fault: w.rng.IntN(4), time: 1 + w.rng.IntN(5),
		tick: types.Millisecond << w.rng.IntN(6), drains: w.rng.IntN(4), maxBatches: 2 + w.rng.IntN(10), dials: 1,
	}
	for _, f := range []*int{&m.breaks, &m.drops, &m.crashes, &m.pauses, &m.dups, &m.evicts, &m.stales} {
		if !w.chance(3) {
			*f = 1 + w.rng.IntN(8)
		}
	}
	if !w.chance(3) {
		m.slow, m.lag = 1+w.rng.IntN(4), 2<<w.rng.IntN(7)
	}
	if w.chance(2) {
		m.dials = 2 << w.rng.IntN(6)
	}
	return m
}

// quietMix has no faults and no new work.
func quietMix() mix {
	return mix{deliver: 10, data: 20, call: 10, quiet: 10, work: 10, tick: types.Millisecond, dials: 1}
}

// mutant is a mistake that is planted to see the simulator find it.
type mutant uint8

const (
	noMutant mutant = iota
	ackAtOnce
	freeBeforeFence
	retiredEarly
	tokenStaysGood
	ignoreFloor
	retryAtOnce
	laterWriteGoes
	reuseID
	noFence
	noTargetID
	replyEarly
	splitDescribe
	localFreedEarly
	numMutants
)

func (m mutant) String() string {
	return [...]string{
		"none", "acknowledges without waiting", "free while a handler is inside a chunk", "RETIRED before the handler left",
		"token of an unaccepted connection stays good", "ignores the floor", "retries a WRITE elsewhere at once",
		"later WRITE goes though RETIRE is unanswered", "reuses an ID", "no state check per chunk",
		"no target instance in the header", "replies before the bytes are applied", "labels states with a later version",
		"frees local memory before local quiet",
	}[m]
}
