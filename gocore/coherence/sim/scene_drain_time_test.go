package sim

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// A peer that is stopped with its connections open delays a drain until D and not much longer, whatever D is and however
// many others answer. In simulated time, so the figure is of the protocol and not of a machine.
func TestDrainWithADeadPeerEndsSoonAfterItsDeadline(t *testing.T) {
	const limit = 100 * types.Millisecond
	for _, peers := range []int{1, 16} {
		t.Run(fmt.Sprint(peers), func(t *testing.T) {
			var late []types.Time
			r := newRig(t, peers+1, noMutant)
			q, dead := r.hosts[peers], r.hosts[0]
			require.NoError(t, r.play(func() {
				for round := range 50 {
					for _, p := range r.hosts[:peers] {
						require.Equal(t, types.Completed, r.run(r.meet(p, q), types.Write, q.block[0], 8).outcome())
					}
					within := types.Time(500+37*round) * types.Millisecond
					r.pause(dead, true, false)
					begun := r.now
					d := q.drain([]types.BufferID{q.block[0].id}, within)
					report := r.drained(d)
					require.Equal(t, []types.InstanceID{dead.inst}, report.TimedOut)
					require.Len(t, report.Acknowledged, peers-1)
					late = append(late, r.now-begun-within)
					r.pause(dead, false, false)
					q.register(0)
					r.until("it hears of the new buffer", func() bool { return r.knows(dead, q, q.block[0].id) })
				}
			}))
			slices.Sort(late)
			t.Logf("after D: median %v us, most %v us", late[len(late)/2]/(types.Millisecond/1000), late[len(late)-1]/(types.Millisecond/1000))
			require.GreaterOrEqual(t, late[0], types.Time(0))
			require.LessOrEqual(t, late[len(late)-1], limit)
		})
	}
}

// knows says whether what a host knows of another one lists a buffer.
func (r *rig) knows(p, q *proc, id types.BufferID) bool {
	pe := p.byHost[q.host]
	return pe != nil && pe.view.Descriptor() != nil && pe.view.Descriptor().Find(id) != nil
}
