package coherence

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestBatchOfRegistrationsIsOneVersionAndOnePublish(t *testing.T) {
	r := newOwnerRig(t)
	before := r.Version()
	regs := make([]Registration, 100)
	for i := range regs {
		regs[i] = Registration{Length: 1, Remote: types.Remote(i % 3), Perm: types.PermRead}
	}
	ids, acts := r.Register(r.now, regs...)
	require.Equal(t, before+1, one[Publish](t, r.got(acts)).Version)
	require.Len(t, acts, 1)
	require.Equal(t, before+1, r.Version())
	require.Equal(t, r.Version(), r.Published())
	require.Len(t, ids, 100)
	for i := 1; i < len(ids); i++ {
		require.Greater(t, ids[i], ids[i-1])
	}
	version, bufs := r.Describe()
	require.Equal(t, before+1, version)
	require.Len(t, bufs, 33)
	require.Equal(t, ids[1], bufs[0].ID)
}

func TestUnlistedRegistrationTellsNobody(t *testing.T) {
	r := newOwnerRig(t)
	before := r.Version()
	for _, remote := range []types.Remote{types.RemoteNone, types.RemoteGrants} {
		ids, acts := r.Register(r.now, Registration{Length: 1, Remote: remote, Perm: types.PermRead})
		require.Empty(t, acts)
		_, acts = r.drain(0, ids...)
		require.Empty(t, each[Publish](append(acts, r.quiet(acts)...)))
		r.localQuiet(ids...)
	}
	require.Equal(t, before, r.Version(), "local-only memory raises nothing")
	require.Zero(t, r.Floor(peerA))
	require.Zero(t, r.Stats().Registrations)
}

func TestVersionFollowsTheClockButNeverGoesBack(t *testing.T) {
	clock := uint64(clockMin + 5)
	r := newOwnerRig(t, func(c *OwnerConfig) { c.Clock = func() uint64 { return clock } })
	require.EqualValues(t, clock, r.Version())
	clock += 1000
	r.all(1)
	require.EqualValues(t, clock, r.Version())
	top := r.Version()
	for i, odd := range []uint64{clock - 500, clockMin - 1, clockMax + 1, 0, math.MaxUint64} {
		clock = odd
		r.all(1)
		require.EqualValues(t, int(top)+i+1, r.Version(), "clock %d", odd)
	}
}

func TestGrantTakesAVersionThatIsNeverPublished(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.grants(100)
	r.attach(peerA, 1)
	published, version := r.Published(), r.Version()
	g, acts, err := r.Grant(r.now, reg, []types.Range{{Off: 50, Len: 10}, {Off: 40, Len: 10}}, types.PermRead, peerA)
	require.NoError(t, err)
	require.Equal(t, g, one[SendGrant](t, r.got(acts)).Grant)
	require.Len(t, acts, 1)
	require.Equal(t, version+1, g.Version)
	require.Equal(t, published, r.Published())
	require.Equal(t, []types.Range{{Off: 40, Len: 20}}, g.Ranges, "adjacent ranges are merged (S11)")
	require.EqualValues(t, 100, g.Length)
	require.Equal(t, []types.BufferID{g.ID}, r.IDsOf(reg))
	_, bufs := r.Describe()
	require.Empty(t, bufs, "grants are not listed")

	_, acts, err = r.Grant(r.now, reg, []types.Range{{Off: 0, Len: 1}}, types.PermRead, types.InstanceID{})
	require.NoError(t, err)
	require.Empty(t, acts, "a grant for nobody in particular goes to nobody")
	_, acts, err = r.Grant(r.now, reg, []types.Range{{Off: 0, Len: 1}}, types.PermRead, peerB)
	require.NoError(t, err)
	require.Empty(t, acts, "no session, nobody to tell; it will ask")
}

func TestGrantRefusals(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.register(Registration{Length: 100, Remote: types.RemoteGrants, Perm: types.PermRead})[0]
	g, _, err := r.Grant(r.now, reg, []types.Range{{Off: 0, Len: 100}}, types.PermRead, peerA)
	require.NoError(t, err)
	gone, draining, stuck := r.grants(1), r.grants(1), r.grants(1)
	r.gone(gone)
	r.drain(types.Second, draining)
	r.drain(0, stuck)
	r.localQuiet(stuck)
	r.FenceFailed(r.now, stuck, "device hangs")
	whole := []types.Range{{Off: 0, Len: 1}}
	for name, c := range map[string]struct {
		reg    types.BufferID
		ranges []types.Range
		perm   types.Perm
		code   errcode.Code
	}{
		"unknown":         {reg + 100, whole, types.PermRead, errcode.StaleBuffer},
		"gone":            {gone, whole, types.PermRead, errcode.StaleBuffer},
		"draining":        {draining, whole, types.PermRead, errcode.DrainingCode},
		"quarantined":     {stuck, whole, types.PermRead, errcode.Quarantined},
		"of a grant":      {g.ID, whole, types.PermRead, errcode.InvalidArgument},
		"no permission":   {reg, whole, 0, errcode.InvalidArgument},
		"odd permission":  {reg, whole, 8, errcode.InvalidArgument},
		"more permission": {reg, whole, types.PermReadWrite, errcode.Permission},
		"no range":        {reg, nil, types.PermRead, errcode.OutOfBounds},
		"empty range":     {reg, []types.Range{{Off: 3}}, types.PermRead, errcode.OutOfBounds},
		"beyond":          {reg, []types.Range{{Off: 90, Len: 11}}, types.PermRead, errcode.OutOfBounds},
		"wraps":           {reg, []types.Range{{Off: 90, Len: math.MaxUint64}}, types.PermRead, errcode.OutOfBounds},
		"overlapping":     {reg, []types.Range{{Off: 0, Len: 5}, {Off: 4, Len: 2}}, types.PermRead, errcode.OutOfBounds},
	} {
		t.Run(name, func(t *testing.T) {
			version := r.Version()
			_, acts, err := r.Grant(r.now, c.reg, c.ranges, c.perm, peerA)
			require.Equal(t, c.code, errcode.Of(err), "%v", err)
			require.Empty(t, acts)
			require.Equal(t, version, r.Version(), "a refused grant takes no version")
		})
	}
}

func TestGrantQuery(t *testing.T) {
	r := newOwnerRig(t)
	listed, reg := r.all(10), r.grants(10)
	mine, theirs, anyone := r.grant(reg, peerA), r.grant(reg, peerB), r.grant(reg, types.InstanceID{})
	for _, id := range []types.BufferID{listed, mine, anyone} {
		g := one[SendGrant](t, r.got(r.GrantQuery(r.now, peerA, id))).Grant
		require.Equal(t, id, g.ID)
		require.Equal(t, r.Version(), g.Version, "sampled now, not when it was made")
	}
	refused := func(id types.BufferID) errcode.Code {
		return one[SendGrantRefused](t, r.got(r.GrantQuery(r.now, peerA, id))).Code
	}
	require.Equal(t, errcode.Permission, refused(theirs))
	require.Equal(t, errcode.Permission, refused(reg))
	require.Equal(t, errcode.StaleBuffer, refused(anyone+1))
	_, acts := r.drain(types.Second, mine, listed)
	require.Equal(t, errcode.Revoked, refused(mine), "DRAINING is not to be had any more")
	require.Equal(t, errcode.StaleBuffer, refused(listed))
	r.localQuiet(listed)
	r.quiet(acts)
	r.quiet(r.Tick(r.now + types.Second))
	require.Equal(t, errcode.Revoked, refused(mine))
	require.Equal(t, errcode.StaleBuffer, refused(listed))
}

func TestAdmission(t *testing.T) {
	r := newOwnerRig(t)
	listed := r.register(Registration{Length: 10, Remote: types.RemoteAll, Perm: types.PermRead})[0]
	none := r.register(Registration{Length: 10, Perm: types.PermReadWrite})[0]
	reg := r.grants(100)
	g := r.grant(reg, peerA, types.Range{Off: 10, Len: 10}, types.Range{Off: 30, Len: 10})
	for _, c := range []struct {
		peer   types.InstanceID
		id     types.BufferID
		op     types.Op
		off, n uint64
		code   errcode.Code
	}{
		{peerA, listed, types.Read, 0, 10, errcode.OK},
		{peerB, listed, types.Read, 9, 1, errcode.OK},
		{peerA, listed, types.Write, 0, 10, errcode.Permission},
		{peerA, listed, types.Read, 0, 0, errcode.OutOfBounds},
		{peerA, listed, types.Read, 10, 1, errcode.OutOfBounds},
		{peerA, listed, types.Read, 5, math.MaxUint64, errcode.OutOfBounds},
		{peerA, listed, types.Read, math.MaxUint64, 2, errcode.OutOfBounds},
		{peerA, none, types.Read, 0, 1, errcode.Permission},
		{peerA, reg, types.Read, 0, 1, errcode.Permission},
		{peerA, g, types.Write, 10, 10, errcode.OK},
		{peerA, g, types.Write, 35, 5, errcode.OK},
		{peerA, g, types.Write, 9, 2, errcode.OutOfBounds},
		{peerA, g, types.Write, 19, 12, errcode.OutOfBounds},
		{peerA, g, types.Write, 0, 1, errcode.OutOfBounds},
		{peerB, g, types.Write, 10, 10, errcode.Permission},
		{peerA, g + 1, types.Write, 10, 10, errcode.StaleBuffer},
		{peerA, 0, types.Write, 10, 10, errcode.StaleBuffer},
	} {
		require.Equal(t, c.code, r.Check(c.peer, c.id, c.op, c.off, c.n), "%+v", c)
		require.Equal(t, c.code, r.CheckChunk(c.peer, c.id, c.op, c.off, c.n), "%+v", c)
	}
	r.connect(peerB) // so that listed waits for somebody
	_, acts := r.drain(types.Second, listed, g)
	require.Empty(t, each[CloseGates](acts))
	require.Equal(t, errcode.DrainingCode, r.Check(peerA, g, types.Read, 10, 1))
	require.Equal(t, errcode.OK, r.CheckChunk(peerA, g, types.Read, 10, 1), "what was admitted may finish")
	acts = r.got(r.Tick(r.now + types.Second))
	require.Equal(t, errcode.Revoked, r.CheckChunk(peerA, g, types.Read, 10, 1), "fenced")
	require.Equal(t, errcode.StaleBuffer, r.CheckChunk(peerA, listed, types.Read, 0, 1))
	r.localQuiet(listed)
	r.quiet(acts)
	require.Equal(t, errcode.Revoked, r.Check(peerA, g, types.Read, 10, 1))
	require.Equal(t, errcode.StaleBuffer, r.Check(peerA, listed, types.Read, 0, 1))
}

func TestRevokedGrantsCostNoMemory(t *testing.T) {
	r := newOwnerRig(t, func(c *OwnerConfig) { c.RememberRevoked = 3 })
	reg := r.grants(10)
	for range 1000 {
		r.gone(r.grant(reg, peerA))
	}
	require.Equal(t, 1, r.Stats().RevokedIntervals)
	first := reg + 1
	require.Equal(t, errcode.Revoked, r.Check(peerA, first, types.Read, 0, 1))
	for range 5 { // every other ID lives: no coalescing
		r.grant(reg, peerA)
		r.gone(r.grant(reg, peerA))
	}
	require.Equal(t, 3, r.Stats().RevokedIntervals)
	require.Equal(t, errcode.StaleBuffer, r.Check(peerA, first, types.Read, 0, 1), "forgotten, and still refused")
}

func TestDescribeIsSampledTogetherAndShared(t *testing.T) {
	r := newOwnerRig(t)
	a, b := r.all(1), r.all(2)
	v1, first := r.Describe()
	r.grant(r.grants(1), peerA)
	v2, again := r.Describe()
	require.Greater(t, v2, v1, "labelled with the counter")
	require.Equal(t, &first[0], &again[0], "nothing listed changed: the same copy")
	r.drain(types.Second, a)
	_, draining := r.Describe()
	require.Equal(t, types.Draining, draining[0].State)
	require.Equal(t, types.Ready, first[0].State, "a handed-out copy never changes")
	r.quiet(r.localQuiet(a))
	_, last := r.Describe()
	require.Len(t, last, 1)
	require.Equal(t, b, last[0].ID)
}
