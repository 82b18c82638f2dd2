package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

// A handshake is answered before a drain begins and its answer arrives with the DRAIN behind it; and one is answered
// after a drain of which its reader has heard nothing. In neither case may the old descriptor meet the new path.
func TestHandshakeAcrossDraining(t *testing.T) {
	t.Run("answered before", func(t *testing.T) {
		r := newRig(t, 2, noMutant)
		p, q := r.hosts[0], r.hosts[1]
		require.NoError(t, r.play(func() {
			pe := r.meet(p, q)
			answered := false
			r.scene.hold = func(on *proc, what any) bool {
				_, ok := what.(coherence.SendAttached)
				answered = answered || ok && on == p
				return ok && on == p
			}
			g := q.block[0]
			b := r.start(pe, types.Write, g, 8)
			r.until("the answer", func() bool { return answered })
			d := q.drain([]types.BufferID{g.id}, types.Second)
			require.Nil(t, d.report, "who has a token is asked")
			r.scene.hold = nil
			require.Equal(t, []types.InstanceID{p.inst}, r.drained(d).Acknowledged)
			r.until("the end of the batch", func() bool { return b.final })
			require.Equal(t, types.NotApplied, b.outcome())
		}))
	})
	after := func(t *testing.T, planted mutant) error {
		r := newRig(t, 2, planted)
		p, q := r.hosts[0], r.hosts[1]
		return r.play(func() {
			pe := r.meet(p, q)
			g := q.block[0]
			require.Equal(t, types.Completed, r.run(pe, types.Write, g, 8).outcome())
			for _, c := range pe.conns {
				c.closeWith(unreachable, "it is idle")
			}
			r.until("no path", func() bool { return len(pe.conns) == 0 && pe.view.Evictable() && len(q.owner.Holders()) == 0 })
			r.scene.hold = func(_ *proc, what any) bool { _, ok := what.(*call); return ok } // it cannot describe
			pe.sess.cut()
			require.Empty(t, r.drained(q.drain([]types.BufferID{g.id}, types.Second)).TimedOut)
			b := r.start(pe, types.Write, g, 8)
			r.until("a path", func() bool { return len(pe.conns) > 0 })
			for range 200 {
				r.step()
			}
			require.Zero(t, b.t.Posts(), "what it knows is older than the path's floor")
			r.scene.hold = nil
			r.until("the end of the batch", func() bool { return b.final })
			require.Equal(t, types.NotApplied, b.outcome())
		})
	}
	t.Run("answered after", func(t *testing.T) {
		require.NoError(t, after(t, noMutant))
		require.ErrorContains(t, after(t, ignoreFloor), "S3 (floor) violated")
	})
}

// A session is lost while its paths live: they are used on, the owner still asks, and the promise comes on the next one.
func TestSessionLostWithPathsAlive(t *testing.T) {
	r := newRig(t, 2, noMutant)
	p, q := r.hosts[0], r.hosts[1]
	require.NoError(t, r.play(func() {
		pe := r.meet(p, q)
		require.Equal(t, types.Completed, r.run(pe, types.Write, q.block[0], 8).outcome())
		g := q.block[1]
		b := r.start(pe, types.Write, g, 16)
		r.until("a post", func() bool { return b.t.InFlight() > 0 })
		pe.sess.cut()
		d := q.drain([]types.BufferID{g.id}, 2*types.Second)
		report := r.drained(d)
		require.Equal(t, []types.InstanceID{p.inst}, report.Acknowledged)
		require.Empty(t, report.TimedOut)
		r.until("the end of the batch", func() bool { return b.final })
	}))
}

// What was said on a session that broke is said again on the next, and no drain waits for D because of it.
func TestDrainOrAcknowledgementLost(t *testing.T) {
	for name, lost := range map[string]func(any) bool{
		"DRAIN":     func(m any) bool { _, ok := m.(coherence.SendDrain); return ok },
		"DRAIN_ACK": func(m any) bool { _, ok := m.(coherence.SendDrainAck); return ok },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2, noMutant)
			p, q := r.hosts[0], r.hosts[1]
			require.NoError(t, r.play(func() {
				pe := r.meet(p, q)
				require.Equal(t, types.Completed, r.run(pe, types.Write, q.block[0], 8).outcome())
				held := false
				r.scene.hold = func(_ *proc, what any) bool {
					held = held || lost(what)
					return lost(what)
				}
				begun := r.now
				d := q.drain([]types.BufferID{q.block[0].id}, 60*types.Second)
				r.until("the message", func() bool { return held })
				pe.sess.cut()
				r.scene.hold = nil
				report := r.drained(d)
				require.Equal(t, []types.InstanceID{p.inst}, report.Acknowledged)
				require.Less(t, r.now-begun, 30*types.Second, "it waited for D")
			}))
		})
	}
}

// A record that was asked to promise is kept as long as a path of it lives; a mutant that forgets it is the one of
// TestSimulatorFindsMistakes.
func TestViewEvictedAfterAcknowledgement(t *testing.T) {
	r := newRig(t, 2, noMutant)
	p, q := r.hosts[0], r.hosts[1]
	require.NoError(t, r.play(func() {
		pe := r.meet(p, q)
		require.Equal(t, types.Completed, r.run(pe, types.Write, q.block[0], 8).outcome())
		g := q.block[0]
		report := r.drained(q.drain([]types.BufferID{g.id}, types.Second))
		require.Equal(t, []types.InstanceID{p.inst}, report.Acknowledged)
		require.False(t, pe.forget(), "a path lives, and with it the promise")
		for _, c := range pe.conns {
			c.closeWith(unreachable, "it is idle")
		}
		r.until("no path", func() bool { return len(pe.conns) == 0 && pe.view.Evictable() })
		require.True(t, pe.forget())
		if p.submit(pe, order{op: types.Write, local: p.block[forGrants], spans: []span{{g: g, n: 8}}}) {
			b := r.batches[len(r.batches)-1]
			r.until("the end of the batch", func() bool { return b.final })
			require.Equal(t, types.NotApplied, b.outcome())
		}
	}))
}

// Two names lead to one instance: what was promised by the first holds for the second.
func TestTwoNamesForOneInstance(t *testing.T) {
	play := func(t *testing.T, planted mutant) error {
		r := newRig(t, 2, planted)
		p, q := r.hosts[0], r.hosts[1]
		return r.play(func() {
			pe := r.meet(p, q)
			g := q.block[0]
			require.Equal(t, types.Completed, r.run(pe, types.Write, g, 8).outcome())
			if pe.shadow != nil {
				r.until("the second name knows the buffers", func() bool {
					if pe.shadow.Descriptor() == nil {
						pe.do(pe.view.RefreshNow(r.now, "second name"))
					}
					return pe.shadow.Descriptor() != nil
				})
			}
			r.scene.hold = func(_ *proc, what any) bool { _, ok := what.(*call); return ok }
			report := r.drained(q.drain([]types.BufferID{g.id}, types.Second))
			require.Equal(t, []types.InstanceID{p.inst}, report.Acknowledged)
			o := order{op: types.Write, local: p.block[forGrants], spans: []span{{g: g, n: 8}}, alias: true}
			if p.submit(pe, o) {
				b := r.batches[len(r.batches)-1]
				r.until("the end of the batch", func() bool { return b.final })
			}
		})
	}
	require.NoError(t, play(t, noMutant))
	require.ErrorContains(t, play(t, promisePerName), "S4 violated")
}

// D = 0 with 64 busy peers: nobody is waited for, nothing lands afterwards, and everybody learns why.
func TestDrainAtOnceWithManyBusyPeers(t *testing.T) {
	const peers = 64
	r := newRig(t, peers+1, noMutant)
	q := r.hosts[peers]
	require.NoError(t, r.play(func() {
		g := q.block[0]
		r.scene.hold = func(p *proc, what any) bool { // handlers stand where they are, so that all get busy
			c, ok := what.(*conn)
			return ok && p == q && c.state == inside
		}
		var batches []*batch
		for _, p := range r.hosts[:peers] {
			batches = append(batches, r.start(r.meet(p, q), types.Write, g, blockLen))
		}
		busy := func() int {
			at := map[*proc]bool{}
			for _, c := range r.conns {
				if c.to == q && (c.cur != nil || len(c.toT) > 0) {
					at[c.from] = true
				}
			}
			return len(at)
		}
		r.until("all are busy", func() bool { return busy() == peers })
		d := q.drain([]types.BufferID{g.id}, 0)
		r.scene.hold = nil
		report := r.drained(d)
		require.Equal(t, peers, len(report.TimedOut))
		for _, b := range batches {
			r.until("the end of a batch", func() bool { return b.final })
			require.NotEqual(t, types.Completed, b.outcome())
		}
	}))
}

// Memory that cannot be fenced is kept, and the drain says so.
func TestQuarantine(t *testing.T) {
	r := newRig(t, 2, noMutant)
	p, q := r.hosts[0], r.hosts[1]
	require.NoError(t, r.play(func() {
		pe := r.meet(p, q)
		g := q.block[0]
		require.Equal(t, types.Completed, r.run(pe, types.Write, g, 8).outcome())
		d := q.drain([]types.BufferID{g.id}, types.Second)
		r.until("the fence", func() bool {
			if len(q.gateQ) == 0 {
				return false
			}
			q.gateQ = nil
			g.failed = true
			q.doOwner(q.owner.FenceFailed(r.now, g.id, "it cannot be fenced"))
			return true
		})
		require.True(t, r.drained(d).Quarantined)
		require.False(t, g.freed)
		q.register(0)
		require.NotEqual(t, g.base, q.block[0].base, "its memory is not used again")
	}))
}
