package sim

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// L8: batches of both classes want to post all the time. None waits longer than its share allows (checkShare looks after
// every post), and a mutant that serves one batch to its end is found.
func TestSharesAreBounded(t *testing.T) {
	play := func(t *testing.T, planted mutant) (posts []uint64, err error) {
		r := newRig(t, 2, planted)
		p, q := r.hosts[0], r.hosts[1]
		var batches []*batch
		err = r.play(func() {
			pe := r.meet(p, q)
			require.Equal(t, types.Completed, r.run(pe, types.Read, q.block[0], 1).outcome())
			for i := range 4 {
				o := order{op: types.Read, class: types.Class(i % 2), local: p.block[forGrants]}
				for n := range 9000 {
					o.spans = append(o.spans, span{g: q.block[0], off: uint64(n*5) % blockLen, n: 1})
				}
				batches = append(batches, r.order(pe, o))
			}
			for i := 0; i < 400_000 && r.stats.Actions[Posted] < 3500; i++ {
				r.step()
			}
		})
		for _, b := range batches {
			posts = append(posts, b.t.Posts())
		}
		return posts, err
	}
	posts, err := play(t, noMutant)
	require.NoError(t, err)
	t.Logf("posts by batch, latency and bulk in turn: %v", posts)
	require.Positive(t, slices.Min(posts))
	require.InDelta(t, posts[0], posts[2], 256, "batches of one class share evenly, a quantum apart")
	require.InDelta(t, posts[1], posts[3], 256, "batches of one class share evenly, a quantum apart")
	_, err = play(t, oneBatchFirst)
	require.ErrorContains(t, err, "L8 violated")
}

// One peer is a hundred times slower, or stopped: in simulated time the operations on another take at most twice as long.
func TestSlowPeerDelaysNobodyElse(t *testing.T) {
	p99 := func(t *testing.T, fault func(r *rig, slow *proc)) types.Time {
		r := newRig(t, 3, noMutant)
		p, slow, other := r.hosts[0], r.hosts[1], r.hosts[2]
		var took []types.Time
		require.NoError(t, r.play(func() {
			se, oe := r.meet(p, slow), r.meet(p, other)
			require.Equal(t, types.Completed, r.run(se, types.Write, slow.block[0], 8).outcome())
			require.Equal(t, types.Completed, r.run(oe, types.Write, other.block[0], 8).outcome())
			fault(r, slow)
			var busy []*batch
			for range 300 {
				busy = slices.DeleteFunc(busy, func(b *batch) bool { return b.final })
				for len(busy) < 8 {
					busy = append(busy, r.start(se, types.Write, slow.block[0], blockLen))
				}
				begun := r.now
				require.Equal(t, types.Completed, r.run(oe, types.Write, other.block[0], blockLen).outcome())
				took = append(took, r.now-begun)
			}
		}))
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	alike := p99(t, func(*rig, *proc) {})
	slower := p99(t, func(r *rig, slow *proc) {
		r.scene.hold = func(on *proc, what any) bool { _, ok := what.(*conn); return ok && on == slow && !r.chance(100) }
	})
	stopped := p99(t, func(r *rig, slow *proc) { r.pause(slow, true, false) })
	t.Logf("p99 of the other peer in simulated time: %.2f ms beside a healthy one, %.2f ms beside one 100 times slower, %.2f ms beside a stopped one",
		float64(alike)/1e6, float64(slower)/1e6, float64(stopped)/1e6)
	require.LessOrEqual(t, slower, 2*alike)
	require.LessOrEqual(t, stopped, 2*alike)
}
