package sim

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// stoppedHandlers lets the handlers of p's inbound connections stand still, inside a chunk or not.
func stoppedHandlers(p *proc) func(*proc, any) bool {
	return func(on *proc, what any) bool {
		switch what.(type) {
		case *conn:
			return on == p
		case coherence.SendAttached: // nor does anybody get another connection
			return true
		}
		return false
	}
}

// onePath leaves one connection, which its target has accepted.
func (r *rig) onePath(pe *peer) {
	r.t.Helper()
	left := slices.IndexFunc(pe.conns, func(c *conn) bool { return c.open && c.state == idle && c.cur == nil })
	require.GreaterOrEqual(r.t, left, 0)
	keep := pe.conns[left]
	for _, c := range slices.Clone(pe.conns) {
		if c != keep {
			c.closeWith(unreachable, "one is enough")
		}
	}
	r.until("one connection", func() bool { return len(pe.conns) == 1 && !pe.view.WritesHeld() })
}

// A WRITE is given up and its connection closed while its bytes lie in the target's socket buffer. The later WRITE to the
// same place waits for RETIRED, and nothing of the earlier one lands over it (S8 looks at every byte).
func TestGhostWriteAfterClose(t *testing.T) {
	play := func(t *testing.T, planted mutant) error {
		r := newRig(t, 2, planted)
		p, q := r.hosts[0], r.hosts[1]
		return r.play(func() {
			pe := r.meet(p, q)
			g := q.block[0]
			require.Equal(t, types.Completed, r.run(pe, types.Write, g, 8).outcome())
			r.onePath(pe)
			r.scene.hold = stoppedHandlers(q)
			ghost := r.order(pe, order{
				op: types.Write, local: p.block[forGrants], spans: []span{{g: g, n: 8}}, deadline: r.now + types.Second,
			})
			r.until("bytes in the socket buffer", func() bool { return ghost.t.InFlight() > 0 && !ghost.t.HasQueued() })
			r.until("the end of the given-up batch", func() bool { return ghost.final })
			require.Equal(t, types.Unknown, ghost.outcome())
			require.False(t, ghost.quietAtEnd)
			later := r.start(pe, types.Write, g, 8)
			for range 2000 {
				r.step()
			}
			if planted == noMutant {
				require.Zero(t, later.t.Posts(), "it waits for RETIRED")
			}
			r.scene.hold = nil
			r.until("the end of the later batch", func() bool { return later.final })
			require.Equal(t, types.Completed, later.outcome())
			r.until("RETIRED", func() bool { return ghost.settled })
		})
	}
	require.NoError(t, play(t, noMutant))
}

// A grant over a block is revoked with a WRITE on its way, and the block is granted again, to another peer. The late
// bytes touch neither grant (S2, S3 look at every byte), and the new holder's operation completes.
func TestBlockReusedAfterRevokedGrant(t *testing.T) {
	play := func(t *testing.T, planted mutant) error {
		r := newRig(t, 3, planted)
		p, q, other := r.hosts[0], r.hosts[1], r.hosts[2]
		return r.play(func() {
			pe, oe := r.meet(p, q), r.meet(other, q)
			grant := func(to *proc) *region {
				q.grantTo(q.block[listed], []types.Range{{Off: 4, Len: 8}}, types.PermReadWrite, to.inst)
				return q.regions[len(q.regions)-1]
			}
			first := grant(p)
			require.Equal(t, types.Completed, r.run(pe, types.Write, first, 8).outcome())
			r.onePath(pe)
			between := func(c *conn) bool { return c.to == q && c.from == p && c.cur != nil && c.state == idle }
			r.scene.hold = func(_ *proc, what any) bool { c, ok := what.(*conn); return ok && between(c) }
			late := r.start(pe, types.Write, first, 8)
			r.until("it is admitted", func() bool { return slices.ContainsFunc(r.conns, between) })
			r.drained(q.drain([]types.BufferID{first.id}, 0))
			second := grant(other)
			require.NotEqual(t, first.id, second.id)
			r.scene.hold = nil
			require.Equal(t, types.Completed, r.run(oe, types.Write, second, 8).outcome())
			r.until("the end of the late batch", func() bool { return late.final })
			require.NotEqual(t, types.Completed, late.outcome())
		})
	}
	require.NoError(t, play(t, noMutant))
	require.ErrorContains(t, play(t, noFence), "S2 violated")
}

// Batches share one connection. Cancelling one fails no other, though the connection has to be closed for it.
func TestCancelInSharedConnection(t *testing.T) {
	for name, stands := range map[string]bool{"answered": false, "not answered": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2, noMutant)
			p, q := r.hosts[0], r.hosts[1]
			require.NoError(t, r.play(func() {
				pe := r.meet(p, q)
				g := q.block[0]
				require.Equal(t, types.Completed, r.run(pe, types.Write, g, 8).outcome())
				r.onePath(pe)
				r.scene.hold = stoppedHandlers(q)
				one := r.start(pe, types.Write, g, 4)
				two := r.order(pe, order{op: types.Write, local: p.block[forGrants], spans: []span{{g: q.block[1], n: 16}}})
				shared := func() bool {
					for _, c := range pe.conns {
						on := map[*batch]bool{}
						for _, o := range c.posts {
							on[o.b] = true
						}
						if on[one] && on[two] {
							return true
						}
					}
					return false
				}
				r.until("both are on one connection", shared)
				one.cancel()
				if stands {
					r.until("the end of the cancelled batch", func() bool { return one.final })
				}
				r.scene.hold = nil
				r.until("the end of both", func() bool { return one.final && two.final })
				require.Equal(t, types.Completed, two.outcome())
				_, code := one.t.Outcome()
				require.Contains(t, []errcode.Code{errcode.OK, errcode.Canceled}, code)
			}))
		})
	}
}
