package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// What was acknowledged stays promised: on the next session, to newer descriptors, and for as long as a path lives (S4).
func TestViewPromiseOutlivesTheSession(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	adopt(t, v, 0, describe(1, ready(1), ready(2)))
	v.PathUp(0, 7, 1, nil)
	require.Equal(t, []SendDrainAck{{Nonce: 3, IDs: []types.BufferID{1}}}, each[SendDrainAck](v.OnDrain(1, []types.BufferID{1}, 2, types.Second, 3)))
	require.False(t, v.Evictable(), "a path lives: the owner counts on the promise")

	v.SessionDown(2)
	require.False(t, v.Evictable())
	require.NotEqual(t, errcode.OK, v.Enter(1, 1))
	v.SessionUp(3)
	require.NotEqual(t, errcode.OK, v.Enter(1, 1))
	_, code, _ := v.Resolve(4, 1)
	require.NotEqual(t, errcode.OK, code)
	adopt(t, v, 5, describe(9, ready(1), ready(2))) // sampled before the drain, whatever it says
	require.NotEqual(t, errcode.OK, v.Enter(1, 1))
	require.Equal(t, errcode.OK, v.Enter(2, 1))
	v.Leave(6, 2, 1)

	require.Empty(t, v.PathLost(7, 7, false))
	require.True(t, v.Evictable(), "without a path the owner does not count on it")
}

// A drain that ended while nobody listened is asked about, so that DRAINING is not the answer for ever.
func TestViewDrainThatEndedUnheard(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	adopt(t, v, 0, describe(1, ready(1), ready(2)))
	v.OnDrain(1, []types.BufferID{1}, 2, types.Second, 3)
	_, code, acts := v.Resolve(2, 1)
	require.Equal(t, errcode.DrainingCode, code)
	require.Empty(t, acts, "the session will tell")

	v.SessionDown(3)
	at := types.Time(10 * types.Second)
	_, code, acts = v.Resolve(at, 1)
	require.Equal(t, errcode.DrainingCode, code)
	require.Len(t, each[Refresh](acts), 1)
	_, _, acts = v.Resolve(at, 1)
	require.Empty(t, acts, "one at a time")
	adopt(t, v, at, describe(3, ready(2)))
	_, code, _ = v.Resolve(at, 1)
	require.Equal(t, errcode.Revoked, code)
	_, code, _ = v.Resolve(at, 2)
	require.Equal(t, errcode.OK, code)
}
