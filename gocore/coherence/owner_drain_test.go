package coherence

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestDrainAsksHoldersAndEndsOnTheirAck(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	r.connect(peerA)
	r.attach(peerB, 1)               // a token is enough to be a holder
	r.got(r.SessionUp(r.now, peerC)) // a session is not
	version := r.Version()
	drain, acts := r.drain(2*types.Second, id)
	require.Equal(t, []types.BufferID{id}, one[RefuseNew](t, acts).IDs)
	require.Zero(t, order[RefuseNew](acts), "it must take effect first")
	require.Equal(t, version+1, one[Publish](t, acts).Version)
	asked := each[SendDrain](acts)
	require.Len(t, asked, 2)
	require.Equal(t, SendDrain{Peer: peerA, IDs: []types.BufferID{id}, Version: version + 1, Within: 2 * types.Second, Nonce: asked[0].Nonce}, asked[0])
	require.Equal(t, peerB, asked[1].Peer)
	require.Equal(t, version+1, r.Floor(peerA))
	require.Equal(t, version+1, r.Floor(types.InstanceID{0x99}))
	require.Empty(t, each[CloseGates](acts))

	nonce := asked[0].Nonce
	require.Empty(t, r.localQuiet(id))
	r.now += types.Second
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{id})))
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{id})), "idempotent")
	require.Empty(t, r.got(r.DrainAck(r.now, peerC, nonce, []types.BufferID{id})), "was not asked")
	require.Empty(t, r.got(r.DrainAck(r.now, peerB, nonce+1, []types.BufferID{id})), "another drain's")
	require.Empty(t, r.got(r.DrainAck(r.now, peerB, nonce, []types.BufferID{id + 1})), "does not cover what it was sent")
	acts = r.got(r.DrainAck(r.now, peerB, nonce, []types.BufferID{id}))
	require.Equal(t, []Action{CloseGates{IDs: []types.BufferID{id}}}, acts, "also when all acknowledged: a handler may be inside a chunk")
	require.Equal(t, types.Draining, r.ids[id].state)
	done := r.quiet(acts)
	require.Equal(t, version+2, one[Publish](t, done).Version)
	require.Less(t, order[Publish](done), order[DrainDone](done))
	require.Equal(t, DrainDone{Drain: drain, Report: DrainReport{
		IDs: []types.BufferID{id}, Version: version + 2, Acknowledged: []types.InstanceID{peerA, peerB}, Waited: types.Second,
	}}, one[DrainDone](t, done))
	require.Equal(t, []types.InstanceID{peerA, peerB}, r.Holders(), "who acknowledged stays in G")

	_, acts = r.drain(types.Second, r.all(1))
	require.Len(t, each[SendDrain](acts), 2, "and is asked by the next drain")
}

func TestDrainWithoutHoldersFencesAtOnce(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.grants(10)
	g := r.grant(reg, peerA)
	version := r.Version()
	_, acts := r.drain(2*types.Second, g)
	require.Equal(t, []types.BufferID{g}, one[CloseGates](t, acts).IDs, "a grant has no local side")
	done := one[DrainDone](t, r.quiet(acts))
	require.Equal(t, version+2, done.Report.Version)
	require.Empty(t, each[Publish](acts), "revoking is no publish")
	require.Zero(t, r.Stats().DrainsRunning)
}

func TestDrainWaitsForLocalUse(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	_, acts := r.drain(types.Second, id)
	require.Empty(t, each[CloseGates](acts))
	at, ok := r.NextWake()
	require.True(t, ok)
	require.Equal(t, r.now+types.Second, at)
	require.Empty(t, r.got(r.Tick(at-1)))
	acts = r.got(r.Tick(at))
	require.Equal(t, []Action{CancelLocal{IDs: []types.BufferID{id}}, CloseGates{IDs: []types.BufferID{id}}}, acts)
	require.Empty(t, r.quiet(acts), "local quiet is still missing")
	one[DrainDone](t, r.localQuiet(id))
	_, ok = r.NextWake()
	require.False(t, ok)
}

func TestDrainTimeoutFencesAndReports(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	r.connect(peerA)
	r.connect(peerB)
	_, acts := r.drain(types.Second, id)
	nonce := each[SendDrain](acts)[0].Nonce
	r.localQuiet(id)
	r.got(r.DrainAck(r.now, peerB, nonce, []types.BufferID{id}))
	r.now += types.Second
	acts = r.got(r.Tick(r.now))
	require.Equal(t, []Action{CloseGates{IDs: []types.BufferID{id}}}, acts, "nobody's connection is cut (S12)")
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{id})), "too late")
	report := one[DrainDone](t, r.quiet(acts)).Report
	require.Equal(t, []types.InstanceID{peerA}, report.TimedOut)
	require.Equal(t, []types.InstanceID{peerB}, report.Acknowledged)
	require.EqualValues(t, 1, r.Stats().Timeouts)
}

func TestDrainWithinZeroSkipsOnlyTheWait(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	r.connect(peerA)
	_, acts := r.drain(0, id)
	require.Equal(t, peerA, one[SendDrain](t, acts).Peer)
	require.Less(t, order[SendDrain](acts), order[CloseGates](acts))
	one[CancelLocal](t, acts)
	require.Empty(t, r.localQuiet(id))
	require.Equal(t, []types.InstanceID{peerA}, one[DrainDone](t, r.quiet(acts)).Report.TimedOut)
}

func TestDrainCoversGrantsInOneMessagePerPeer(t *testing.T) {
	r := newOwnerRig(t)
	listed, reg, other := r.all(10), r.grants(10), r.grants(10)
	ga, gb, gx := r.grant(reg, peerA), r.grant(reg, peerB), r.grant(reg, types.InstanceID{})
	r.grant(other, peerA)
	for _, p := range []types.InstanceID{peerA, peerB, peerC} {
		r.connect(p)
	}
	version := r.Version()
	_, acts := r.drain(types.Second, reg, listed, ga, reg)
	require.Equal(t, []types.BufferID{listed, reg, ga, gb, gx}, one[RefuseNew](t, acts).IDs)
	asked := each[SendDrain](acts)
	require.Len(t, asked, 3)
	require.Equal(t, []types.BufferID{listed, ga, gx}, asked[0].IDs)
	require.Equal(t, []types.BufferID{listed, gb, gx}, asked[1].IDs)
	require.Equal(t, []types.BufferID{listed, gx}, asked[2].IDs)
	require.Equal(t, version+1, r.Version(), "one drain, one version")
	require.Len(t, each[Publish](acts), 1)
	r.localQuiet(listed, reg)
	for _, a := range asked {
		acts = r.got(r.DrainAck(r.now, a.Peer, a.Nonce, a.IDs))
	}
	require.Len(t, one[CloseGates](t, acts).IDs, 5)
	done := r.quiet(acts)
	require.Len(t, one[DrainDone](t, done).Report.IDs, 5)
	require.Equal(t, version+2, r.Version())
	require.Empty(t, r.IDsOf(reg))
	require.Len(t, r.IDsOf(other), 1)
}

func TestGrantForOnePeerConcernsThatPeerAlone(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.grants(10)
	g := r.grant(reg, peerA)
	r.connect(peerA)
	r.connect(peerB)
	_, acts := r.drain(types.Second, g)
	require.Equal(t, peerA, one[SendDrain](t, acts).Peer)
	require.Equal(t, r.Version(), r.Floor(peerA))
	require.Zero(t, r.Floor(peerB))
	require.Equal(t, []types.BufferID{g}, r.attach(peerA, 1).NonReady)
	require.Empty(t, r.attach(peerB, 1).NonReady)
	r.got(r.PeerGone(r.now, peerA))
	require.NotZero(t, r.Floor(peerA), "the floor outlives session and paths: old knowledge may come back")
}

func TestFloorsOfSinglePeersAreBounded(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.grants(10)
	floors := map[types.InstanceID]types.Version{}
	for i := range maxPeerFloors + 100 {
		p := types.InstanceID{byte(i), byte(i >> 8), 1}
		d, _, err := r.Drain(r.now, []types.BufferID{r.grant(reg, p)}, types.Second)
		require.NoError(t, err)
		floors[p] = r.drains[d].version
	}
	require.LessOrEqual(t, len(r.peerFloors), maxPeerFloors)
	for p, f := range floors {
		require.GreaterOrEqual(t, r.Floor(p), f)
	}
}

func TestHolderSetIsCopiedAtTheDrainingStep(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	r.connect(peerA)
	_, acts := r.drain(types.Second, id)
	late := r.attach(peerB, 1)
	require.Equal(t, one[SendDrain](t, acts).Version, late.Floor, "who comes later has the floor instead")
	require.Equal(t, []types.BufferID{id}, late.NonReady)
	r.localQuiet(id)
	acts = r.got(r.DrainAck(r.now, peerA, one[SendDrain](t, acts).Nonce, []types.BufferID{id}))
	one[CloseGates](t, acts)
}

func TestHolderWithoutSessionIsWaitedForAndAskedWhenItReturns(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	r.connect(peerA)
	r.got(r.SessionDown(r.now, peerA))
	_, acts := r.drain(10*types.Second, id)
	r.localQuiet(id)
	require.Empty(t, each[SendDrain](acts))
	require.Empty(t, each[CloseGates](acts), "its paths live on, so it is in W")
	r.now += types.Second
	again := one[SendDrain](t, r.got(r.SessionUp(r.now, peerA)))
	require.Equal(t, 9*types.Second, again.Within, "what is left of D")
	require.Equal(t, again, one[SendDrain](t, r.got(r.SessionUp(r.now, peerA))), "a replaced session: again")
	r.quiet(r.got(r.DrainAck(r.now, peerA, again.Nonce, again.IDs)))
	require.Empty(t, r.got(r.SessionUp(r.now, peerA)), "acknowledged")
	require.Zero(t, r.Stats().DrainsRunning)
}

func TestDeadSessionIsFencedAfterThreeHeartbeats(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	conn := r.connect(peerA)
	spare := r.attach(peerA, 1).Tokens[0]
	start := r.now
	r.got(r.SessionDown(r.now, peerA))
	r.now += types.Second
	r.got(r.SessionDown(r.now, peerA)) // the clock runs from the first
	r.drain(10*types.Second, id)
	r.localQuiet(id)
	at, _ := r.NextWake()
	require.Equal(t, start+3*types.Second, at)
	acts := r.got(r.Tick(at))
	require.Equal(t, []Action{KillConns{Peer: peerA, Tokens: []types.PathID{conn}}}, acts)
	_, ok := r.TokenUsed(spare)
	require.False(t, ok, "unused tokens are invalid at once")
	require.Equal(t, []types.InstanceID{peerA}, r.Holders(), "its handler is not out yet")
	acts = r.got(r.ConnGone(at, conn))
	require.Equal(t, []types.InstanceID{peerA}, one[DrainDone](t, r.quiet(acts)).Report.Fenced)
	require.Empty(t, r.Holders())
	require.Zero(t, r.Stats().Peers)
}

func TestSessionThatReturnsInTimeIsNotFenced(t *testing.T) {
	r := newOwnerRig(t)
	r.connect(peerA)
	r.got(r.SessionDown(r.now, peerA))
	r.now += 2 * types.Second
	r.got(r.SessionUp(r.now, peerA))
	r.now += 10 * types.Second
	require.Empty(t, r.got(r.Tick(r.now)))
	r.got(r.SessionDown(r.now, peerA))
	at, ok := r.NextWake()
	require.True(t, ok)
	require.Equal(t, r.now+3*types.Second, at, "a fresh three heartbeats")
	require.Len(t, r.Holders(), 1)
}

func TestPeerGoneIsFencedAtOnce(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	conn := r.connect(peerA)
	r.connect(peerB)
	_, acts := r.drain(types.Second, id)
	nonce := each[SendDrain](acts)[0].Nonce
	r.localQuiet(id)
	require.Equal(t, []Action{KillConns{Peer: peerA, Tokens: []types.PathID{conn}}}, r.got(r.PeerGone(r.now, peerA)))
	require.Empty(t, r.got(r.PeerGone(r.now, peerA)), "killed once")
	require.Empty(t, r.got(r.ConnGone(r.now, conn)), "peer B is still waited for")
	acts = r.got(r.DrainAck(r.now, peerB, nonce, []types.BufferID{id}))
	report := one[DrainDone](t, r.quiet(acts)).Report
	require.Equal(t, []types.InstanceID{peerA}, report.Fenced)
	require.Equal(t, []types.InstanceID{peerB}, report.Acknowledged)
	require.Equal(t, []types.InstanceID{peerB}, r.Holders())
	require.Empty(t, r.got(r.PeerGone(r.now, types.InstanceID{0x99})))
}

func TestDrainRefusals(t *testing.T) {
	r := newOwnerRig(t)
	id, busy := r.all(1), r.all(1)
	r.drain(types.Second, busy)
	version := r.Version()
	for _, c := range []struct {
		ids  []types.BufferID
		code errcode.Code
	}{
		{nil, errcode.InvalidArgument},
		{[]types.BufferID{id, 99}, errcode.StaleBuffer},
		{[]types.BufferID{0}, errcode.StaleBuffer},
		{[]types.BufferID{id, busy}, errcode.DrainingCode},
	} {
		_, acts, err := r.Drain(r.now, c.ids, 0)
		require.Equal(t, c.code, errcode.Of(err))
		require.Empty(t, acts)
		require.Equal(t, errcode.OK, r.Check(peerA, id, types.Read, 0, 1), "a refused drain changes nothing")
	}
	require.Equal(t, version, r.Version())
}

// A grant may be under revocation, with a long D, when its registration is dropped with a short one.
func TestRegistrationTakesGrantsAlong(t *testing.T) {
	r := newOwnerRig(t)
	reg, other := r.grants(10), r.grants(10)
	g1, g2, g3 := r.grant(reg, peerA), r.grant(reg, peerA), r.grant(other, peerA)
	r.connect(peerA)
	slow, acts := r.drain(100*types.Second, g1, g3)
	nonce := one[SendDrain](t, acts).Nonce
	quick, acts := r.drain(types.Second, reg)
	require.Equal(t, []types.BufferID{reg, g2}, one[RefuseNew](t, acts).IDs)
	require.Equal(t, []types.BufferID{g2}, one[SendDrain](t, acts).IDs)
	r.localQuiet(reg)
	r.now += types.Second
	acts = r.got(r.Tick(r.now))
	require.Equal(t, []types.BufferID{reg, g1, g2}, one[CloseGates](t, acts).IDs, "the memory is not free before g1's gate is quiet too")
	require.Empty(t, r.got(r.GateQuiet(r.now, reg)))
	require.Empty(t, r.got(r.GateQuiet(r.now, g2)))
	done := one[DrainDone](t, r.got(r.GateQuiet(r.now, g1)))
	require.Equal(t, quick, done.Drain)
	require.Equal(t, []types.BufferID{reg, g2}, done.Report.IDs)
	require.Equal(t, errcode.Revoked, r.CheckChunk(peerA, g1, types.Read, 0, 1))
	require.Equal(t, errcode.OK, r.CheckChunk(peerA, g3, types.Read, 0, 1), "the other drain keeps its own deadline")
	acts = r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{g1, g3}))
	require.Equal(t, []types.BufferID{g3}, one[CloseGates](t, acts).IDs)
	done = one[DrainDone](t, r.quiet(acts))
	require.Equal(t, slow, done.Drain)
	require.Equal(t, []types.BufferID{g1, g3}, done.Report.IDs)
}

func TestRevocationEndsWithItsRegistration(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.grants(10)
	g := r.grant(reg, peerA)
	r.connect(peerA)
	revoke, _ := r.drain(100*types.Second, g)
	dereg, acts := r.drain(0, reg)
	require.Equal(t, []types.BufferID{reg, g}, one[CloseGates](t, acts).IDs)
	r.localQuiet(reg)
	done := each[DrainDone](r.quiet(acts))
	require.Len(t, done, 2, "nothing is left for the revocation to wait for")
	require.ElementsMatch(t, []DrainID{revoke, dereg}, []DrainID{done[0].Drain, done[1].Drain})
	require.Zero(t, r.Stats().DrainsRunning)
	require.Zero(t, r.Stats().Grants)
}

func TestFailedFenceQuarantines(t *testing.T) {
	r := newOwnerRig(t)
	reg, fine := r.grants(10), r.all(10)
	g := r.grant(reg, peerA)
	_, acts := r.drain(0, g)
	require.Empty(t, r.got(r.FenceFailed(r.now, fine, "not even draining")))
	done := one[DrainDone](t, r.got(r.FenceFailed(r.now, g, "handler hangs")))
	require.True(t, done.Report.Quarantined)
	require.NotEmpty(t, acts)
	require.Equal(t, errcode.Revoked, r.Check(peerA, g, types.Read, 0, 1))
	require.Empty(t, r.got(r.GateQuiet(r.now, g)), "for ever")
	require.Equal(t, []types.BufferID{g}, r.attach(peerA, 1).NonReady)

	_, acts = r.drain(0, reg, fine)
	r.localQuiet(reg, fine)
	require.True(t, one[DrainDone](t, r.quiet(acts)).Report.Quarantined, "the bytes of a quarantined grant are not free")
	require.Equal(t, 2, r.Stats().Quarantine)
	require.Equal(t, errcode.Permission, r.Check(peerA, reg, types.Read, 0, 1))
	require.Equal(t, errcode.StaleBuffer, r.Check(peerA, fine, types.Read, 0, 1))
	_, _, err := r.Drain(r.now, []types.BufferID{reg}, 0)
	require.Equal(t, errcode.Quarantined, errcode.Of(err))
	_, bufs := r.Describe()
	require.Empty(t, bufs)
}

func TestQuietBeforeTheFenceDoesNotCount(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	require.Empty(t, r.got(r.LocalQuiet(r.now, id)), "READY: new local operations may still come")
	require.Empty(t, r.got(r.GateQuiet(r.now, id)))
	r.connect(peerA)
	_, acts := r.drain(types.Second, id)
	nonce := one[SendDrain](t, acts).Nonce
	require.Empty(t, r.got(r.GateQuiet(r.now, id)), "an open gate that happens to be empty")
	acts = append(r.localQuiet(id), r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{id}))...)
	require.Empty(t, each[DrainDone](acts))
	one[DrainDone](t, r.quiet(acts))
}

func TestDrainWithHugeDeadlineDoesNotWrap(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	r.connect(peerA)
	_, acts := r.drain(math.MaxInt64, id)
	require.Empty(t, each[CloseGates](acts))
	require.Greater(t, one[SendDrain](t, acts).Within, types.Time(0))
	require.Empty(t, r.got(r.Tick(r.now+1000*types.Second)))
}

func TestTenThousandGrantsInOneDrain(t *testing.T) {
	r := newOwnerRig(t)
	reg := r.register(Registration{Length: 1 << 20, Remote: types.RemoteGrants, Perm: types.PermReadWrite})[0]
	var ids []types.BufferID
	for i := range uint64(10_000) {
		g, _, err := r.Grant(r.now, reg, []types.Range{{Off: i * 64, Len: 64}}, types.PermRead, peerA)
		require.NoError(t, err)
		ids = append(ids, g.ID)
	}
	r.connect(peerA)
	_, acts := r.drain(types.Second, ids...)
	ask := one[SendDrain](t, acts)
	require.Len(t, ask.IDs, 10_000)
	var done []Action
	for _, id := range one[CloseGates](t, r.got(r.DrainAck(r.now, peerA, ask.Nonce, ids))).IDs {
		done = append(done, r.GateQuiet(r.now, id)...)
	}
	require.Len(t, one[DrainDone](t, r.got(done)).Report.IDs, 10_000)
	require.Equal(t, 1, r.Stats().RevokedIntervals)
}

// Stock readers cannot be asked, so what they may have read of stays usable for what was admitted until they forgot it.
func TestGraceHoldsTheFenceOfWhatIsListed(t *testing.T) {
	r := newOwnerRig(t, func(c *OwnerConfig) { c.Grace = types.Second })
	listed := r.all(10)
	_, acts := r.drain(types.Millisecond, listed)
	require.Empty(t, each[CloseGates](append(acts, r.localQuiet(listed)...)), "nobody has to acknowledge, and still")
	at, ok := r.NextWake()
	require.True(t, ok)
	require.Equal(t, r.now+types.Second, at)
	r.now = at
	acts = r.got(r.Tick(r.now))
	one[CloseGates](t, acts)
	one[DrainDone](t, r.quiet(acts))

	private := r.grants(10)
	_, acts = r.drain(types.Second, private)
	acts = append(acts, r.localQuiet(private)...)
	one[CloseGates](t, acts)

	hurried := r.all(10)
	_, acts = r.drain(0, hurried)
	one[CloseGates](t, acts)

	closing := r.all(10)
	r.drain(60*types.Second, closing)
	r.localQuiet(closing)
	one[CloseGates](t, r.got(r.Hasten(r.now, 0)))

	closing = r.all(10)
	r.drain(60*types.Second, closing)
	r.localQuiet(closing)
	end := r.now + types.Second
	r.got(r.Hasten(r.now, types.Millisecond))
	r.now += types.Millisecond
	require.Empty(t, each[CloseGates](r.got(r.Tick(r.now))), "closing waits for them as a drain that begins now would")
	r.now = end
	one[CloseGates](t, r.got(r.Tick(r.now)))
}
