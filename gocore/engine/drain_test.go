package engine

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestDrainIsAcknowledgedAndFinal(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Write, seg, local.id, remote.id, 0, 0, 4096))

	report := b.drained([]types.BufferID{remote.id}, patience)
	require.Equal(t, []string{a.instance.String()}, report.Acknowledged)
	require.Empty(t, report.TimedOut)

	_, err := a.Submit(one(types.Write, seg, local.id, remote.id, 0, 0, 4096))
	require.Error(t, err)
	_, err = b.Drain([]types.BufferID{remote.id}, 0)
	requireCode(t, errcode.StaleBuffer, err)
	// The same memory can be registered at once; it gets a new ID.
	again := b.register(remote, types.RemoteAll)
	require.NotEqual(t, remote.id, again)
	task, err := a.Refresh(seg, patience)
	require.NoError(t, err)
	a.opened(task)
	a.must(one(types.Write, seg, local.id, again, 0, 0, 4096))
}

func TestDrainOfManyBuffersIsOneDrain(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, first := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	ids := []types.BufferID{first.id}
	for range 99 {
		ids = append(ids, b.buffer(4096, types.RemoteAll).id)
	}
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, first.id, 0, 0, 64))
	before := b.statusNow().Published
	report := b.drained(ids, patience)
	require.Len(t, report.IDs, 100)
	require.Len(t, report.Acknowledged, 1)
	require.Greater(t, b.statusNow().Published, before)
}

// Deregistering under fire: bytes are in flight when the drain begins, and none lands after it ended.
func TestNoByteLandsAfterDrain(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const n = 4 << 20
	local := a.buffer(n, types.RemoteNone)
	pattern(local.bytes, 1)
	seg := a.open(b.address())
	remote := b.alloc(n)
	for trial := range 12 {
		id := b.register(remote, types.RemoteAll)
		task, err := a.Refresh(seg, patience)
		require.NoError(t, err)
		a.opened(task)
		var stop atomic.Bool
		var moved atomic.Uint64
		writer := make(chan struct{})
		go func() {
			defer close(writer)
			for !stop.Load() {
				batch, err := a.Submit(one(types.Write, seg, local.id, id, 0, 0, n))
				if err != nil {
					return
				}
				batch.Wait(patience)
				moved.Add(bytesDone(batch))
				_ = batch.Free()
			}
		}()
		require.Eventually(t, func() bool { return moved.Load() > n }, patience, time.Millisecond)
		b.drained([]types.BufferID{id}, []time.Duration{0, patience}[trial%2])
		want := patterned(n, byte(50+trial))
		copy(remote.bytes, want)
		stop.Store(true)
		<-writer
		require.Equal(t, want, remote.bytes, "trial %d: a byte landed after the drain", trial)
	}
}

func TestRevokingAGrantLeavesOthersAlone(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const block, blocks = 4096, 64
	local, pool := a.buffer(block, types.RemoteNone), b.buffer(block*blocks, types.RemoteGrants)
	seg := a.open(b.address())
	pattern(local.bytes, 8)
	grants := make([]types.BufferID, blocks)
	for i := range grants {
		var err error
		grants[i], err = b.Grant(pool.id, []types.Range{{Off: uint64(i) * block, Len: block}}, types.PermReadWrite, a.instance)
		require.NoError(t, err)
	}
	for i, g := range grants {
		a.must(one(types.Write, seg, local.id, g, 0, uint64(i)*block, block))
	}
	report := b.drained(grants[3:4], patience)
	require.Equal(t, []string{a.instance.String()}, report.Acknowledged)
	_, err := a.Submit(one(types.Write, seg, local.id, grants[3], 0, 3*block, block))
	requireCode(t, errcode.Revoked, err)
	a.must(one(types.Write, seg, local.id, grants[4], 0, 4*block, block))
	require.Equal(t, 1, b.statusNow().Owner.Of.Registrations)
}

func TestGrantForNobodyInParticularIsAskedFor(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, pool := a.buffer(64, types.RemoteNone), b.buffer(4096, types.RemoteGrants)
	seg := a.open(b.address())
	g, err := b.Grant(pool.id, []types.Range{{Off: 0, Len: 64}, {Off: 64, Len: 64}}, types.PermRead, types.InstanceID{})
	require.NoError(t, err)
	// Adjacent ranges are merged, so a request may cross them.
	a.must(one(types.Read, seg, local.id, g, 0, 32, 64))
	b.drained([]types.BufferID{g}, patience)
	_, err = a.Submit(one(types.Read, seg, local.id, g, 0, 32, 64))
	requireCode(t, errcode.Revoked, err)
}

func TestLocalBuffersDrainToo(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(1<<20, types.RemoteNone), b.buffer(1<<20, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	a.drained([]types.BufferID{local.id}, patience)
	_, err := a.Submit(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	requireCode(t, errcode.StaleBuffer, err)
}

func TestCloseDrainsAndRefusesEverything(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	task := b.Close(patience)
	require.True(t, task.Wait(patience))
	require.NoError(t, task.Err())
	require.Equal(t, []types.BufferID{remote.id}, task.result.(*DrainResult).IDs)
	require.Same(t, task, b.Close(0))
	_, err := b.Register([]Registration{{Address: remote.addr, Length: 64}})
	requireCode(t, errcode.Closed, err)
	_, err = b.Open(a.address(), 0)
	requireCode(t, errcode.Closed, err)
	batch, err := a.Submit(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	if err == nil {
		err = a.finish(batch)
	}
	require.Error(t, err)
}

// A drain of more IDs than one message holds goes in parts and is acknowledged in parts.
func TestDrainOfMoreThanOneMessage(t *testing.T) {
	a, b := newRig(t), newRig(t)
	m := b.alloc(4096)
	regs := make([]Registration, 70_000)
	for i := range regs {
		regs[i] = Registration{Address: m.addr, Length: 64, Remote: types.RemoteAll, Perm: types.PermRead}
	}
	ids, err := b.Register(regs)
	require.NoError(t, err)
	local := a.buffer(64, types.RemoteNone)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, ids[66_000], 0, 0, 64))
	report := b.drained(ids, patience)
	require.Equal(t, []string{a.instance.String()}, report.Acknowledged)
}
