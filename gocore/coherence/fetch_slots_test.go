package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// L6 where nothing ever succeeds and everybody asks all the time: one request at a time, and none before the pause after
// the last failure is over. The pauses grow to RetryMax, half of which may be taken off by jitter.
func requireOnePerSlot(t *testing.T, begun []types.Time, lasted, least, most types.Time) {
	t.Helper()
	require.NotEmpty(t, begun)
	for i := 1; i < len(begun); i++ {
		require.GreaterOrEqual(t, begun[i]-begun[i-1], least/2, "request %d", i)
	}
	half := begun[len(begun)/2:]
	require.Greater(t, len(half), 10)
	for i := 1; i < len(half); i++ {
		require.GreaterOrEqual(t, half[i]-half[i-1], most/2, "late request %d", i)
	}
	require.Less(t, types.Time(len(begun)), 2*lasted/most+10)
}

func TestOneGetPerSlotWhenTheStoreFails(t *testing.T) {
	const lasted, answers = 600 * types.Second, 30 * types.Millisecond
	r := newDirRig(t)
	var begun []types.Time
	flying := types.Time(-1)
	take := func(acts []Action) {
		for range each[DirGet](acts) {
			require.Negative(t, flying, "two gets at a time")
			begun, flying = append(begun, r.now), r.now
		}
	}
	take(r.got(func() []Action { _, acts := r.d.Open(r.now, "kv", OpenOptions{Patient: true}); return acts }()))
	for end := r.now + lasted; r.now < end; r.now += types.Millisecond {
		if flying >= 0 && r.now-flying >= answers {
			flying = -1
			take(r.got(r.d.GetFailed(r.now, "kv", errcode.MetadataUnavailable, "no answer")))
		}
		_, code, acts := r.d.Lookup(r.now, "kv")
		require.NotEqual(t, errcode.OK, code)
		take(acts)
		take(r.d.Tick(r.now))
	}
	requireOnePerSlot(t, begun, lasted, 100*types.Millisecond, 5*types.Second)
}

func TestOneDescribePerSlotWhenThePeerFails(t *testing.T) {
	const lasted, answers = 600 * types.Second, 30 * types.Millisecond
	v := NewView(ViewConfig{Instance: nodeA, Random: counter()})
	now := types.Second
	var begun []types.Time
	flying := types.Time(-1)
	take := func(acts []Action) {
		for range each[Refresh](acts) {
			require.Negative(t, flying, "two fetches at a time")
			begun, flying = append(begun, now), now
		}
	}
	for end := now + lasted; now < end; now += types.Millisecond {
		if flying >= 0 && now-flying >= answers {
			flying = -1
			take(v.RefreshFailed(now, errcode.PeerUnreachable))
		}
		_, _, acts := v.Resolve(now, types.BufferID(1+now/types.Millisecond%7))
		take(acts)
		take(v.RefreshNow(now, "STALE_BUFFER"))
		take(v.Tick(now))
	}
	requireOnePerSlot(t, begun, lasted, 100*types.Millisecond, 5*types.Second)
}

// counter is a source of jitter that goes through all of it.
func counter() func() uint64 {
	n := uint64(0)
	return func() uint64 { n += 0x9e3779b97f4a7c15; return n }
}
