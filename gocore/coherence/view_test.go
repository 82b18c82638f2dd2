package coherence

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

var viewPeer, otherPeer = types.InstanceID{0xa}, types.InstanceID{0xb}

const msec = types.Millisecond

func newTestView(ttl types.Time) *View {
	n := uint64(0)
	return NewView(ViewConfig{Instance: viewPeer, SoftTTL: ttl, Random: func() uint64 { n++; return n }})
}

func describe(version types.Version, buffers ...descriptor.Buffer) *descriptor.Descriptor {
	return &descriptor.Descriptor{
		Head:    descriptor.Head{Name: "decode-0", Instance: viewPeer, Version: version, Data: []string{"127.0.0.1:7001"}},
		Buffers: buffers,
	}
}

func ready(id types.BufferID) descriptor.Buffer {
	return descriptor.Buffer{ID: id, Length: 4096, State: types.Ready, Perm: types.PermReadWrite, Location: "cpu:0"}
}

func adopt(t *testing.T, v *View, now types.Time, d *descriptor.Descriptor) (Change, []Action) {
	t.Helper()
	ch, acts, err := v.Adopt(now, d)
	require.NoError(t, err)
	require.NoError(t, v.CheckInvariants())
	return ch, acts
}

func TestViewAdoptIsMonotone(t *testing.T) {
	v := newTestView(0)
	ch, acts := adopt(t, v, 0, describe(10, ready(1), ready(2)))
	require.True(t, ch.Adopted && ch.First)
	require.Empty(t, acts, "first sight only records")

	old := describe(9, ready(9))
	ch, _ = adopt(t, v, 1, old)
	require.False(t, ch.Adopted)
	require.EqualValues(t, 10, v.Descriptor().Version, "older never replaces newer: ordered by >, not by !=")

	wrong := describe(11)
	wrong.Instance = otherPeer
	_, _, err := v.Adopt(2, wrong)
	require.Equal(t, errcode.StaleInstance, errcode.Of(err))

	invalid := describe(12, ready(2), ready(1))
	_, _, err = v.Adopt(3, invalid)
	require.Equal(t, errcode.MetadataInvalid, errcode.Of(err))
	_, _, err = v.Adopt(3, nil)
	require.Equal(t, errcode.MetadataInvalid, errcode.Of(err))
	require.EqualValues(t, 10, v.Descriptor().Version)

	back := describe(13)
	back.StoreID, back.Epoch = "00112233445566778899aabbccddeeff", 5
	adopt(t, v, 4, back)
	older := describe(14)
	older.StoreID, older.Epoch = back.StoreID, 4
	ch, _ = adopt(t, v, 5, older)
	require.False(t, ch.Adopted, "under one store the epoch never goes back (S5)")
}

func TestViewIsConfirmedByTheStore(t *testing.T) {
	v := newTestView(types.Second)
	adopt(t, v, 0, describe(10, ready(1)))
	require.Empty(t, v.Confirm(40*types.Second, 10), "no session, but the store holds the same version")
	_, code, acts := v.Resolve(40*types.Second+types.Second/2, 1)
	require.Equal(t, errcode.OK, code)
	require.Empty(t, acts)
	_, code, _ = v.Resolve(80*types.Second, 1)
	require.NotEqual(t, errcode.OK, code, "and no longer, for more than the hard TTL")
}

func TestViewInvalidateByWhatChanged(t *testing.T) {
	for _, c := range []struct {
		name string
		next *descriptor.Descriptor
		drop []Action
	}{
		{"nothing but the version", describe(2, ready(1), ready(2)), nil},
		{"a buffer is new", describe(2, ready(1), ready(2), ready(3)), []Action{Drop{Cause: "buffers changed"}}},
		{"a buffer is gone", describe(2, ready(2)), []Action{Drop{Cause: "buffers changed"}}},
		{"an address is gone", func() *descriptor.Descriptor {
			d := describe(2, ready(1), ready(2))
			d.Data = []string{"127.0.0.1:7002"}
			return d
		}(), []Action{Drop{Devices: []string{"127.0.0.1:7001"}, Cause: "data addresses are gone"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newTestView(0)
			adopt(t, v, 0, describe(1, ready(1), ready(2)))
			_, acts := adopt(t, v, 1, c.next)
			require.Equal(t, c.drop, acts)
		})
	}
}

func TestViewPromiseWaitsForRemoteQuiet(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	adopt(t, v, 0, describe(1, ready(1), ready(2)))
	v.PathUp(0, 77, 1, nil)
	require.Equal(t, errcode.OK, v.Enter(1, 3))

	acts := v.OnDrain(0, []types.BufferID{1, 2, 50}, 2, 100*msec, 9)
	require.Contains(t, acts, GrantResolved{ID: 1, Code: errcode.DrainingCode})
	require.NotContains(t, acts, SendDrainAck{Nonce: 9, IDs: []types.BufferID{1, 2, 50}})
	for _, id := range []types.BufferID{1, 2, 50} {
		require.NotEqual(t, errcode.OK, v.Enter(id, 1), "the gate is shut at once, also for what was never heard of")
	}
	wake, ok := v.NextWake()
	require.True(t, ok)
	require.Equal(t, 50*msec, wake)
	require.Empty(t, v.Tick(49*msec))
	require.Equal(t, []Action{CutOperations{IDs: []types.BufferID{1}}}, v.Tick(50*msec))
	require.Empty(t, v.Tick(51*msec), "cut once")

	// One request ended without remote quiet: its path is lost, and is asked to be retired, before the promise.
	require.Empty(t, v.Leave(60*msec, 1, 2))
	acts = v.PathLost(60*msec, 77, true)
	require.Equal(t, HoldWrites{}, acts[0])
	retire := acts[1].(SendRetire)
	require.Equal(t, []types.PathID{77}, retire.Paths)
	require.False(t, v.Evictable())
	require.Equal(t, []Action{PathsRetired{Paths: []types.PathID{77}}, ReleaseWrites{}}, v.Retired(70*msec, retire.Nonce))
	require.Equal(t, []Action{SendDrainAck{Nonce: 9, IDs: []types.BufferID{1, 2, 50}}}, v.Leave(70*msec, 1, 1))
	require.True(t, v.Evictable())

	require.Equal(t, []Action{SendDrainAck{Nonce: 9, IDs: []types.BufferID{1, 2, 50}}},
		v.OnDrain(80*msec, []types.BufferID{1, 2, 50}, 2, 100*msec, 9), "asked again: acknowledged again")
	require.Empty(t, v.AdoptGrant(90*msec, Grant{ID: 50, Version: 99, Length: 10}))
	require.NotEqual(t, errcode.OK, v.Enter(50, 1), "a promise is for ever")
	require.NoError(t, v.CheckInvariants())
}

func TestViewDrainAcrossSessions(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	v.PathUp(0, 5, 0, nil)
	require.Equal(t, errcode.OK, v.Enter(1, 1))
	v.OnDrain(0, []types.BufferID{1}, 2, types.Second, 9)
	v.SessionDown(1)
	require.Empty(t, v.Leave(2, 1, 1), "nothing can be said without a session")
	require.False(t, v.Evictable(), "an acknowledgement is owed")
	require.Equal(t, []Action{SendDrainAck{Nonce: 9, IDs: []types.BufferID{1}}}, v.SessionUp(3))

	// Sent again while requests still count: its clock does not start anew.
	require.Equal(t, errcode.OK, v.Enter(2, 1))
	v.OnDrain(msec, []types.BufferID{2}, 3, types.Second, 10)
	v.OnDrain(400*msec, []types.BufferID{2}, 3, types.Second, 10)
	wake, _ := v.NextWake()
	require.Equal(t, 501*msec, wake)
	require.Equal(t, 1, v.Stats().DrainsOwed)
	// D = 0: cut at once.
	require.Equal(t, errcode.OK, v.Enter(3, 1))
	require.Contains(t, v.OnDrain(500*msec, []types.BufferID{3}, 4, 0, 11), CutOperations{IDs: []types.BufferID{3}})
}

func TestViewRetireIsSentAgain(t *testing.T) {
	v := newTestView(0)
	v.PathUp(0, 1, 0, nil)
	v.PathUp(0, 2, 0, nil)
	require.Equal(t, []Action{HoldWrites{}}, v.PathLost(1, 1, true), "no session: RETIRE waits, WRITEs wait")
	require.Empty(t, v.PathLost(1, 1, true), "said twice")
	require.Empty(t, v.PathLost(1, 2, false), "not dirty: the owner sees the close")
	require.Empty(t, v.TokensUnused(1, []types.PathID{8, 9}))
	first := v.SessionUp(2)
	require.Len(t, first, 2)
	v.SessionDown(3)
	require.Equal(t, first, v.SessionUp(4), "the same nonces again")
	require.True(t, v.WritesHeld())
	require.Equal(t, []Action{PathsRetired{Paths: []types.PathID{8, 9}}}, v.Retired(5, first[1].(SendRetire).Nonce))
	require.True(t, v.WritesHeld(), "unused tokens hold no WRITE, and release none")
	require.Equal(t, []Action{PathsRetired{Paths: []types.PathID{1}}, ReleaseWrites{}}, v.Retired(5, first[0].(SendRetire).Nonce))
	require.Empty(t, v.Retired(5, first[0].(SendRetire).Nonce))
	require.True(t, v.Evictable())
	v.Attaching(1)
	require.False(t, v.Evictable(), "the owner takes us for a holder")
	v.Attaching(-1)
	require.True(t, v.Evictable())
}

func TestViewFloorBelongsToThePath(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	adopt(t, v, 0, describe(10, ready(1)))
	v.PathUp(0, 1, 8, nil)
	b, code, acts := v.Resolve(0, 1)
	require.Equal(t, errcode.OK, code)
	require.Empty(t, acts)
	require.Equal(t, Binding{ID: 1, Version: 10, Length: 4096}, b)
	require.True(t, v.MayPost(1, b.Version))
	require.False(t, v.MayPost(2, b.Version), "a path that is not up")

	// A newer path has a higher floor: the old one goes on, the new one waits for newer knowledge, which is asked for.
	acts = v.PathUp(200*msec, 2, 15, []types.BufferID{7})
	require.Equal(t, []Action{Refresh{Why: "floor of a new path"}}, acts)
	require.Equal(t, errcode.Revoked, v.Enter(7, 1))
	require.False(t, v.MayPost(2, b.Version))
	b, code, acts = v.Resolve(200*msec, 1)
	require.Equal(t, errcode.OK, code)
	require.Equal(t, []Action{SendGrantQuery{ID: 1}}, acts)
	require.True(t, v.MayPost(1, b.Version))

	require.Empty(t, v.PathLost(201*msec, 1, false))
	_, code, acts = v.Resolve(201*msec, 1)
	require.Equal(t, errcode.WaitTimeout, code, "no path may carry it")
	require.Empty(t, acts, "it is being asked already")
	_, acts = adopt(t, v, 202*msec, describe(15, ready(1)))
	require.Equal(t, []Action{GrantResolved{ID: 1, Code: errcode.OK}}, acts)
	b, _, _ = v.Resolve(203*msec, 1)
	require.True(t, v.MayPost(2, b.Version))
	require.EqualValues(t, 15, v.PathFloor(2))
}

func TestViewGrantQuery(t *testing.T) {
	v := newTestView(0)
	_, code, acts := v.Resolve(0, 5)
	require.Equal(t, errcode.WaitTimeout, code)
	require.Equal(t, []Action{Refresh{Why: "nothing is known yet"}}, acts, "no session to ask on")
	require.Equal(t, []Action{SendGrantQuery{ID: 5}}, v.SessionUp(1))
	_, _, acts = v.Resolve(1, 5)
	require.Empty(t, acts, "one query per ID")
	g := Grant{ID: 5, Version: 3, Length: 100, Perm: types.PermWrite, Ranges: []types.Range{{Off: 10, Len: 20}}}
	require.Equal(t, []Action{GrantResolved{ID: 5, Code: errcode.OK}}, v.AdoptGrant(2, g))

	require.Equal(t, errcode.OK, v.Check(5, types.Write, 10, 20))
	require.Equal(t, errcode.Permission, v.Check(5, types.Read, 10, 20))
	require.Equal(t, errcode.OutOfBounds, v.Check(5, types.Write, 10, 21))
	require.Equal(t, errcode.OutOfBounds, v.Check(5, types.Write, ^uint64(0), 2))
	require.Equal(t, errcode.StaleBuffer, v.Check(6, types.Write, 0, 1))

	// Refused: remembered for a second, for ever when revoked.
	v.Resolve(3, 6)
	require.Equal(t, []Action{GrantResolved{ID: 6, Code: errcode.StaleBuffer}}, v.GrantRefused(3, 6, errcode.StaleBuffer))
	_, code, acts = v.Resolve(4, 6)
	require.Equal(t, errcode.StaleBuffer, code)
	require.Empty(t, acts)
	_, code, acts = v.Resolve(3+types.Second, 6)
	require.Equal(t, errcode.WaitTimeout, code)
	require.Equal(t, []Action{SendGrantQuery{ID: 6}}, acts)
	v.GrantRefused(4, 6, errcode.Revoked)
	_, code, _ = v.Resolve(10*types.Second, 6)
	require.Equal(t, errcode.Revoked, code)

	// Sampled before the floor rose: asked again.
	v.PathUp(5*types.Second, 1, 50, nil)
	v.SessionDown(5 * types.Second)
	v.SessionUp(5 * types.Second)
	_, code, acts = v.Resolve(5*types.Second, 5)
	require.Equal(t, errcode.WaitTimeout, code)
	require.Contains(t, acts, SendGrantQuery{ID: 5})
	g.Version = 49
	require.Empty(t, v.AdoptGrant(5*types.Second, g), "still too old; an owner that answers so is not asked in a loop")
	g.Version = 50
	require.Equal(t, []Action{GrantResolved{ID: 5, Code: errcode.OK}}, v.AdoptGrant(5*types.Second, g))
	require.NoError(t, v.CheckInvariants())
}

func TestViewListedStates(t *testing.T) {
	v := newTestView(0)
	draining, gone := ready(2), ready(3)
	draining.State, gone.State = types.Draining, types.StateUnknown
	adopt(t, v, 0, describe(1, ready(1), draining, gone))
	for id, want := range map[types.BufferID]errcode.Code{
		1: errcode.OK, 2: errcode.DrainingCode, 3: errcode.StaleBuffer, 4: errcode.WaitTimeout,
	} {
		_, code, _ := v.Resolve(0, id)
		require.Equal(t, want, code, "ID %d", id)
	}
}

func TestViewRefreshIsSingleFlightAndBacksOff(t *testing.T) {
	v := newTestView(types.Second)
	v.SessionUp(0)
	adopt(t, v, 0, describe(10, ready(1)))
	require.Empty(t, v.Heartbeat(0, 10, 3))
	_, _, acts := v.Resolve(10*types.Second, 1)
	require.Empty(t, acts, "a session on which nothing newer was heard keeps it fresh")

	require.Equal(t, []Action{Refresh{Why: "push"}}, v.Invalidate(10*types.Second, 11))
	require.Empty(t, v.Invalidate(10*types.Second, 12), "one at a time")
	require.Empty(t, v.RefreshNow(10*types.Second, "STALE_BUFFER"))
	now := 10 * types.Second
	require.Empty(t, v.RefreshFailed(now, errcode.MetadataUnavailable))
	var last types.Time
	for range 12 {
		at, ok := v.NextWake()
		require.True(t, ok)
		require.Empty(t, v.Tick(at-1))
		acts := v.Tick(at)
		require.Len(t, acts, 1)
		require.IsType(t, Refresh{}, acts[0])
		last, now = at-now, at
		v.RefreshFailed(now, errcode.MetadataUnavailable)
	}
	require.LessOrEqual(t, last, 5*types.Second)
	require.GreaterOrEqual(t, last, 2500*msec)

	v.SessionDown(now)
	v.RefreshNow(now+6*types.Second, "again")
	_, acts = adopt(t, v, now+6*types.Second, describe(12, ready(1)))
	require.Empty(t, acts)
	now += 6 * types.Second
	_, code, acts := v.Resolve(now+999*msec, 1)
	require.Equal(t, errcode.OK, code)
	require.Empty(t, acts)
	_, code, acts = v.Resolve(now+types.Second, 1)
	require.Equal(t, errcode.OK, code, "the old snapshot is served meanwhile")
	require.Equal(t, []Action{Refresh{Why: "soft TTL passed"}}, acts)
	v.RefreshFailed(now+2*types.Second, errcode.MetadataUnavailable)
	_, code, acts = v.Resolve(now+30*types.Second, 1)
	require.Equal(t, errcode.WaitTimeout, code, "past the hard TTL with no session")
	require.Len(t, acts, 1)
	require.Contains(t, v.RefreshFailed(now+31*types.Second, errcode.MetadataUnavailable),
		GrantResolved{ID: 1, Code: errcode.MetadataUnavailable})
}

func TestViewDoesNotAskInALoop(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	adopt(t, v, 0, describe(1))
	now := types.Second
	acts := v.Heartbeat(now, 1<<50, 0) // what no descriptor of it will ever have
	n := 0
	for now < 100*types.Second {
		for _, a := range acts {
			require.IsType(t, Refresh{}, a)
			n++
			adopt(t, v, now, describe(1+types.Version(n)))
		}
		now, _ = v.NextWake()
		acts = v.Tick(now)
	}
	require.Less(t, n, 60)
	require.Greater(t, n, 15)
}

func TestViewTokenBeingRetiredIsNoPath(t *testing.T) {
	v := newTestView(0)
	v.TokensUnused(0, []types.PathID{3})
	v.PathUp(0, 3, 0, nil)
	require.False(t, v.MayPost(3, 10))
	require.NoError(t, v.CheckInvariants())
}

func TestViewReplaced(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	adopt(t, v, 0, describe(1, ready(1)))
	v.PathUp(0, 4, 0, nil)
	v.PathUp(0, 3, 0, nil)
	v.PathUp(0, 5, 0, nil)
	v.PathLost(0, 5, true)
	require.Equal(t, errcode.OK, v.Enter(1, 1))
	v.OnDrain(0, []types.BufferID{1}, 2, types.Second, 1)
	v.Resolve(0, 99)
	require.Equal(t, []Action{
		Drop{All: true, Cause: "another instance answered at its address"},
		PathsRetired{Paths: []types.PathID{3, 4, 5}},
		ReleaseWrites{},
		GrantResolved{ID: 99, Code: errcode.StaleInstance},
	}, v.Replaced(1))
	require.Empty(t, v.Replaced(1))
	_, code, _ := v.Resolve(2, 1)
	require.Equal(t, errcode.StaleInstance, code)
	require.Equal(t, errcode.StaleInstance, v.Enter(1, 1))
	require.Equal(t, errcode.StaleInstance, v.Check(1, types.Read, 0, 1))
	require.False(t, v.MayPost(4, 100))
	require.Empty(t, v.PathUp(2, 9, 0, nil))
	require.False(t, v.MayPost(9, 100))
	require.False(t, v.Evictable())
	require.Empty(t, v.Leave(2, 1, 1))
	require.True(t, v.Evictable())
	require.NoError(t, v.CheckInvariants())
}

func TestViewHotPathDoesNotAllocate(t *testing.T) {
	v := newTestView(types.Second)
	v.SessionUp(0)
	adopt(t, v, 0, describe(10, ready(1), ready(2), ready(3)))
	v.PathUp(0, 1, 5, nil)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b, code, acts := v.Resolve(1, 2)
		if code != errcode.OK || acts != nil || !v.MayPost(1, b.Version) {
			t.Fatal("not resolved")
		}
		if v.Check(2, types.Read, 0, 100) != errcode.OK || v.Enter(2, 16) != errcode.OK {
			t.Fatal("not entered")
		}
		v.Leave(2, 2, 16)
	}))
}

// A large drain comes in parts with one nonce; each part is acknowledged by itself, also when it comes again.
func TestViewDrainInParts(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	for _, id := range []types.BufferID{1, 2} {
		require.Equal(t, errcode.OK, v.Enter(id, 1))
	}
	for range 2 {
		require.NotContains(t, actionTypes(v.OnDrain(0, []types.BufferID{1, 5}, 9, types.Second, 77)), "SendDrainAck")
		require.NotContains(t, actionTypes(v.OnDrain(0, []types.BufferID{2, 6}, 9, types.Second, 77)), "SendDrainAck")
	}
	require.Equal(t, []Action{SendDrainAck{Nonce: 77, IDs: []types.BufferID{2, 6}}}, v.Leave(1, 2, 1))
	require.Equal(t, []Action{SendDrainAck{Nonce: 77, IDs: []types.BufferID{1, 5}}}, v.Leave(1, 1, 1))
	require.NoError(t, v.CheckInvariants())
}

func actionTypes(acts []Action) []string {
	out := []string{}
	for _, a := range acts {
		out = append(out, strings.TrimPrefix(fmt.Sprintf("%T", a), "coherence."))
	}
	return out
}
