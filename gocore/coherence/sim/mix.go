package sim

import "mooncake_te/gocore/types"

// mix is how a run weighs its kinds of events: each seed draws its own.
type mix struct {
	deliver, data, call, quiet, work, app, fault, time int

	tick types.Time // largest step of time
	// rate says that a fault happens once in so many times where it could, its own factor aside; 0: never.
	rate       [numFaults]int
	drains     int // of application events
	maxBatches int
	slow       int // one in so many connections has a handler that hardly runs
	lag        int // and how hardly
	clocks     bool
	names      bool // some operations go to the process itself
	crc        int  // one in so many batches is checked
}

func (w *world) drawMix() mix {
	m := mix{
		deliver: 1 + w.rng.IntN(30), data: 10 + w.rng.IntN(60), call: 1 + w.rng.IntN(10), quiet: 1 + w.rng.IntN(10),
		work: 5 + w.rng.IntN(20), app: 1 + w.rng.IntN(10), fault: w.rng.IntN(5), time: 1 + w.rng.IntN(5),
		tick: types.Millisecond << w.rng.IntN(6), drains: w.rng.IntN(4), maxBatches: 2 + w.rng.IntN(4*len(w.hosts)),
		clocks: w.chance(2), names: w.chance(2), crc: 1 + w.rng.IntN(4),
	}
	for f := range m.rate {
		if !w.chance(3) {
			m.rate[f] = 1 + w.rng.IntN(8)
		}
	}
	if !w.chance(3) {
		m.slow, m.lag = 1+w.rng.IntN(4), 2<<w.rng.IntN(7)
	}
	return m
}

// drawHosts is how many engines a run has: mostly few, so that they meet, sometimes many.
func (w *world) drawHosts() int {
	if w.chance(12) {
		return 6 + w.rng.IntN(7)
	}
	return 2 + w.rng.IntN(4)
}

// quietMix has no faults and no new work.
func quietMix() mix {
	return mix{deliver: 10, data: 20, call: 10, quiet: 10, work: 10, time: 1, tick: types.Millisecond}
}
