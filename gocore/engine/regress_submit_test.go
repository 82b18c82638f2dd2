package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// a batch stands in e.batches (admit -> count) before p.submit gives it its Transfer; cancelAll (Close) and
// cancelLocal (Drain, D=0) meet b.t == nil in that window, which is as long as Submit waits for peer.mu.
func TestCancelOfABatchBeingSubmitted(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	s := one(types.Read, seg, local.id, remote.id, 0, 0, 64)
	p, err := a.peerOfSegment("read", seg, types.InstanceID{})
	require.NoError(t, err)
	batch := newBatch(p, s.Op)
	require.NoError(t, a.prepare("read", batch.slot, s))                                  // Submit, first half
	require.NotPanics(t, func() { a.cancelAll(errcode.Closed, "the engine was closed") }) // Close, at the same time
	if err = p.submit(batch.slot, s); err != nil {                                        // Submit, second half
		a.giveUp(batch.slot)
		return
	}
	require.True(t, batch.Wait(patience))
	requireCode(t, errcode.Closed, batch.Err())
}

// The same through the public API only.
func TestDrainLocalWhileSubmitting(t *testing.T) {
	a, b := newRig(t), newRig(t)
	remote := b.buffer(64<<10, types.RemoteAll)
	seg := a.open(b.address())
	mem := a.alloc(64 << 10)
	for range 200 {
		id := a.register(mem, types.RemoteNone)
		var wg sync.WaitGroup
		var n atomic.Int64
		for range 8 {
			wg.Go(func() {
				for {
					batch, err := a.Submit(one(types.Read, seg, id, remote.id, 0, 0, 4096))
					if err != nil {
						return
					}
					n.Add(1)
					batch.Wait(patience)
					_ = batch.Free()
				}
			})
		}
		for n.Load() < 20 {
			time.Sleep(100 * time.Microsecond)
		}
		a.drained([]types.BufferID{id}, 0)
		wg.Wait()
	}
}

// a post given to a path between PathDown's pathPeers.Delete and its p.mu.Lock is never reported.
func TestPostLostWhilePathGoesDown(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	_, p, err := a.segment("test", seg)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.paths) == a.cfg.ConnectionsPerPeer && p.dialing == 0
	}, patience, time.Millisecond)

	p.mu.Lock()
	type res struct {
		b   Batch
		err error
	}
	done := make(chan res, 1)
	go func() {
		batch, err := a.Submit(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
		done <- res{batch, err}
	}()
	require.Eventually(t, func() bool { a.batchMu.Lock(); defer a.batchMu.Unlock(); return len(a.batches) == 1 }, patience, time.Millisecond)
	time.Sleep(50 * time.Millisecond) // Submit waits for p.mu
	for id, ps := range p.paths {     // the connections break, as by a reset
		ps.path.Close(errcode.New(errcode.PeerUnreachable, "test", "reset"))
		_ = id
	}
	time.Sleep(200 * time.Millisecond) // both paths are down, and PathDown waits for p.mu behind Submit
	p.mu.Unlock()
	r := <-done
	require.NoError(t, r.err)
	if !r.b.Wait(patience) {
		x, _ := r.b.ExplainJSON()
		r.b.Cancel()
		ended := r.b.Wait(patience)
		t.Fatalf("batch does not end (after Cancel: ended=%v): %s", ended, x)
	}
}

// a batch submitted to a record that was evicted meanwhile spins and never gets a session.
func TestSubmitToEvictedPeer(t *testing.T) {
	for _, self := range []bool{false, true} {
		t.Run(fmt.Sprint("self=", self), func(t *testing.T) {
			a, b := newRig(t), newRig(t)
			if self {
				b = a
			}
			local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
			seg := a.open(b.address())
			if !self {
				b.mustSessionDownLater(a)
			}
			s := one(types.Read, seg, local.id, remote.id, 0, 0, 64)
			p, err := a.peerOfSegment("read", seg, types.InstanceID{}) // first half of Submit
			require.NoError(t, err)
			if !self {
				p.mu.Lock()
				sess := p.session
				p.mu.Unlock()
				if sess != nil {
					sess.Close(errcode.New(errcode.PeerDead, "test", "cut"))
				}
				require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.session == nil }, patience, time.Millisecond)
			}
			require.NoError(t, a.CloseSegment(seg)) // another goroutine
			require.Nil(t, a.peerIfKnown(p.instance))
			batch := newBatch(p, s.Op) // second half of Submit
			require.NoError(t, a.prepare("read", batch.slot, s))
			err = p.submit(batch.slot, s)
			if err != nil {
				a.giveUp(batch.slot)
				return // a refusal is right
			}
			if !batch.Wait(patience) {
				x, _ := batch.ExplainJSON()
				ups, _ := a.MetricsText()
				batch.Cancel()
				t.Fatalf("batch does not end: %s\n%s", x, grepLines(ups, "sessions"))
			}
		})
	}
}

func (r *rig) mustSessionDownLater(*rig) {}

func grepLines(text []byte, word string) (out string) {
	for _, l := range splitLines(string(text)) {
		if len(l) > 0 && l[0] != '#' && contains(l, word) {
			out += l + "\n"
		}
	}
	return out
}
