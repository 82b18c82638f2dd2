package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

// rig is a world without faults, in which a named scenario puts things into the order that it is about. All invariants
// are checked after every event, as everywhere.
type rig struct {
	*world
	t *testing.T
}

func newRig(t *testing.T, hosts int, planted mutant) *rig {
	t.Helper()
	w := newWorld(Config{Seed: 1, Hosts: hosts, mutant: planted})
	w.mix, w.scene = quietMix(), &scene{}
	w.hosts = make([]*proc, hosts)
	for h := range w.hosts {
		w.boot(h)
	}
	return &rig{w, t}
}

// play runs a scenario; the violation that ended it, if any, is returned.
func (r *rig) play(do func()) error {
	r.t.Helper()
	return r.protect(do)
}

// until runs the world until something is true.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for range 100_000 {
		if ok() {
			return
		}
		r.step()
	}
	require.Fail(r.t, "it does not come to this: "+what)
}

// meet makes p know q, and returns p's record of it with a session up.
func (r *rig) meet(p, q *proc) *peer {
	r.t.Helper()
	p.sought[q.host] = true
	r.until("a session", func() bool { pe := p.byHost[q.host]; return pe != nil && pe.sess != nil })
	return p.byHost[q.host]
}

// start submits one operation on the whole of an ID.
func (r *rig) start(pe *peer, op types.Op, g *region, n uint64) *batch {
	r.t.Helper()
	return r.order(pe, order{op: op, local: pe.p.block[forGrants], spans: []span{{g: g, off: g.ranges[0].Off, n: n}}})
}

func (r *rig) order(pe *peer, o order) *batch {
	r.t.Helper()
	require.True(r.t, pe.p.submit(pe, o), "it was refused at once")
	return r.world.batches[len(r.world.batches)-1]
}

// run submits one operation and waits for its end.
func (r *rig) run(pe *peer, op types.Op, g *region, n uint64) *batch {
	r.t.Helper()
	b := r.start(pe, op, g, n)
	r.until("the end of a batch", func() bool { return b.final })
	return b
}

// drained waits for the end of a drain.
func (r *rig) drained(d *drain) coherence.DrainReport {
	r.t.Helper()
	r.until("the end of a drain", func() bool { return d.report != nil })
	return *d.report
}

func (b *batch) outcome() types.Outcome {
	o, _ := b.t.Outcome()
	return o
}
