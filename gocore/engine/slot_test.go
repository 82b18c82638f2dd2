package engine

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// What is asked of a batch that was freed fails, also when its slot is another batch's by then, and reaches nobody else.
func TestFreedBatchNamesNothing(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	s := one(types.Read, seg, local.id, remote.id, 0, 0, 64)
	old := a.submit(s)
	require.True(t, old.Wait(patience))
	require.Same(t, a.Engine, old.Engine())
	again := BatchOf(old.Split())
	require.Equal(t, old, again)
	require.NoError(t, old.Free())

	requireNamesNothing := func(old Batch) {
		requireCode(t, errcode.Closed, old.Err())
		requireCode(t, errcode.Closed, old.Arm())
		requireCode(t, errcode.Closed, old.Cancel())
		requireCode(t, errcode.Closed, old.Outcomes(0, 1, nil, nil))
		_, err := old.ExplainJSON()
		requireCode(t, errcode.Closed, err)
		_, err = a.Notify(seg, nil, "", old, patience)
		if old != (Batch{}) { // which means "after none"
			requireCode(t, errcode.Closed, err)
		}
		require.Nil(t, old.Engine())
		require.Zero(t, old.StatusAddr())
		require.True(t, old.Wait(0), "it was final")
		<-old.Done()
		require.NoError(t, old.Free(), "freeing again is harmless")
	}
	requireNamesNothing(again)
	requireNamesNothing(Batch{})

	// The next generation of the same slot. Which slot comes is the pool's choice, so it may take several tries.
	p, err := a.peerOfSegment("read", seg, types.InstanceID{})
	require.NoError(t, err)
	next := newBatch(p, s.Op)
	for next.slot != old.slot {
		a.giveUp(next.slot)
		old = a.submit(s)
		require.NoError(t, a.finish(old))
		next = newBatch(p, s.Op)
	}
	require.Greater(t, next.generation, old.generation)
	require.NoError(t, a.prepare("read", next.slot, s))
	requireNamesNothing(old)
	require.False(t, next.Wait(0))
	require.NoError(t, next.slot.peer.submit(next.slot, s))
	require.NoError(t, a.finish(next), "the stale Cancel did not reach it")
}

// Stale handles are used from all sides while the slots go from batch to batch: no batch is cancelled by a handle that is
// not its own, and every one ends.
func TestStaleHandlesReachNobody(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(1<<20, types.RemoteNone), b.buffer(1<<20, types.RemoteAll)
	seg := a.open(b.address())
	const workers, each = 4, 300
	var stale [workers]atomic.Pointer[Batch]
	var stop atomic.Bool
	var meddlers, owners sync.WaitGroup
	for range 2 {
		meddlers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				old := stale[i%workers].Load()
				if old == nil {
					continue
				}
				if err := old.Cancel(); errcode.Of(err) != errcode.Closed {
					t.Errorf("cancel of a freed batch: %v", err)
				}
				if _, err := old.ExplainJSON(); errcode.Of(err) != errcode.Closed {
					t.Errorf("explain of a freed batch: %v", err)
				}
				old.Wait(time.Millisecond)
				_ = old.Free()
			}
		})
	}
	for w := range workers {
		owners.Go(func() {
			off := uint64(w) << 16
			for range each {
				batch, err := a.Submit(one(types.Write, seg, local.id, remote.id, off, off, 4096))
				if err != nil {
					t.Errorf("submit: %v", err)
					return
				}
				if !batch.Wait(patience) || batch.Err() != nil {
					t.Errorf("batch: %v", batch.Err())
				}
				_ = batch.Free()
				stale[w].Store(&batch)
			}
		})
	}
	owners.Wait()
	stop.Store(true)
	meddlers.Wait()
}

// Of many that wait for one batch all are woken, and of many that free it one does.
func TestAllWaitersWake(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	for range 50 {
		batch := a.submit(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
		done := batch.Done()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if !batch.Wait(patience) {
					t.Error("not woken")
				}
				<-done
				_ = batch.Free()
			})
		}
		wg.Wait()
		require.Nil(t, batch.Engine())
	}
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	require.Zero(t, a.status.used, "status words were given back once each")
}

// A cancel that found a batch whose submission is being refused must not write into status words that are another
// batch's by then.
func TestRefusedBatchKeepsItsWordsForTheCancel(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	s := one(types.Read, seg, local.id, remote.id, 0, 0, 64)
	p, err := a.peerOfSegment("read", seg, types.InstanceID{})
	require.NoError(t, err)
	refused := newBatch(p, s.Op)
	require.NoError(t, a.prepare("read", refused.slot, s))
	found := a.liveBatches() // as cancelAll does
	require.Len(t, found, 1)
	a.giveUp(refused.slot)

	other, err := a.Submit(s)
	require.NoError(t, err)
	require.True(t, other.Wait(patience))
	require.NotEqual(t, refused.slot.addr, other.StatusAddr())
	found[0].cancel(errcode.Closed, "test")
	require.EqualValues(t, 64, bytesDone(other))
	found[0].release(1)
	require.NoError(t, a.finish(other))
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	require.Zero(t, a.status.used)
}

// A notification that waits for a batch keeps it, though the caller frees it.
func TestNotifyAfterABatchThatIsFreed(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	batch := a.submit(one(types.Write, seg, local.id, remote.id, 0, 0, 64))
	task, err := a.Notify(seg, []byte("x"), "t", batch, patience)
	require.NoError(t, err)
	require.NoError(t, a.finish(batch))
	require.True(t, task.Wait(patience))
	require.NoError(t, task.Err())
}
