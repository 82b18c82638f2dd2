package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// Both dial at the same time: whichever session is kept, drains are asked and answered in both directions.
func TestTwoSessionsCrossing(t *testing.T) {
	r := newRig(t, 2, noMutant)
	p, q := r.hosts[0], r.hosts[1]
	require.NoError(t, r.play(func() {
		p.connect(q)
		q.connect(p)
		r.until("both know each other", func() bool {
			a, b := p.find(q.inst), q.find(p.inst)
			return a != nil && b != nil && a.sess != nil && b.sess != nil && a.sess == b.sess && !a.sess.over()
		})
		for _, way := range [][2]*proc{{p, q}, {q, p}} {
			from, to := way[0], way[1]
			require.Equal(t, types.Completed, r.run(from.find(to.inst), types.Write, to.block[0], 8).outcome())
			report := r.drained(to.drain([]types.BufferID{to.block[0].id}, 10*types.Second))
			require.Equal(t, []types.InstanceID{from.inst}, report.Acknowledged)
			require.Empty(t, report.TimedOut)
		}
	}))
}

// An owner's clock is far ahead when it publishes, and right again later: its versions go on growing, readers follow, and
// its successor under the same name, with lower versions, is used at once.
func TestVersionFromAClockFarAhead(t *testing.T) {
	r := newRig(t, 2, noMutant)
	p := r.hosts[0]
	r.mix.clocks = true
	require.NoError(t, r.play(func() {
		r.crash(r.hosts[1], true)
		q := r.boot(1)
		pe := r.meet(p, q)
		require.Equal(t, types.Completed, r.run(pe, types.Write, q.block[0], 8).outcome())
		normal := q.owner.Version()
		q.skew = 50 * 365 * 24 * 3_600_000_000
		r.drained(q.drain([]types.BufferID{q.block[0].id}, types.Second))
		q.register(0)
		ahead := q.owner.Version()
		require.Greater(t, ahead, normal+40*365*24*3_600_000_000)
		require.Equal(t, types.Completed, r.run(pe, types.Write, q.block[0], 8).outcome())
		q.skew = 0
		r.drained(q.drain([]types.BufferID{q.block[0].id}, types.Second))
		q.register(0)
		require.Greater(t, q.owner.Version(), ahead)
		require.Equal(t, types.Completed, r.run(pe, types.Write, q.block[0], 8).outcome())

		r.crash(q, false)
		next := r.boot(1)
		require.Less(t, next.owner.Version(), ahead)
		p.sought[1] = true
		r.until("the successor is found", func() bool {
			now := p.byHost[1]
			return now != nil && now.inst == next.inst && now.sess != nil
		})
		require.Equal(t, types.Completed, r.run(p.byHost[1], types.Write, next.block[0], 8).outcome())
	}))
}

// An engine uses its own memory through the same machines.
func TestSessionToOneself(t *testing.T) {
	r := newRig(t, 1, noMutant)
	p := r.hosts[0]
	require.NoError(t, r.play(func() {
		pe := r.meet(p, p)
		require.Equal(t, types.Completed, r.run(pe, types.Write, p.block[0], 8).outcome())
		require.Equal(t, types.Completed, r.run(pe, types.Read, p.block[0], 8).outcome())
		report := r.drained(p.drain([]types.BufferID{p.block[0].id}, types.Second))
		require.Equal(t, []types.InstanceID{p.inst}, report.Acknowledged)
	}))
}
