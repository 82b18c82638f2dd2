package engine

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// relay is an address that leads to one engine, and can be moved to another.
type relay struct {
	net.Listener
	to atomic.Value

	mu    sync.Mutex
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{Listener: l}
	r.to.Store(to)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.to.Load().(string))
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
			wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.cut()
		wg.Wait()
	})
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// A name that moves to another instance leaves its first bearer, which lives on, alone.
func TestMovedNameDoesNotEndALivingPeer(t *testing.T) {
	r, a, b := newRig(t), newRig(t), newRig(t)
	name := newRelay(t, a.address())
	ba, bb, local := a.buffer(4096, types.RemoteAll), b.buffer(4096, types.RemoteAll), r.buffer(4096, types.RemoteNone)
	moved, direct := r.open(name.Addr().String()), r.open(a.address())
	r.must(one(types.Write, moved, local.id, ba.id, 0, 0, 4096))
	name.to.Store(b.address())
	name.cut()
	r.must(one(types.Write, direct, local.id, ba.id, 0, 0, 4096))
	paths := r.statusNow().pathIDs()

	task, err := r.Refresh(moved, patience)
	require.NoError(t, err)
	r.opened(task)
	pattern(local.bytes, 3)
	r.must(one(types.Write, moved, local.id, bb.id, 0, 0, 4096))
	require.Equal(t, local.bytes, bb.bytes)
	r.must(one(types.Write, direct, local.id, ba.id, 0, 0, 4096))
	after := r.statusNow().pathIDs()
	for id := range paths {
		require.True(t, after[id], "a path to the first bearer was rebuilt")
	}
}

// What was sent to a peer that then closed cannot land: its engine has fenced everything before it says goodbye.
func TestGoodbyeSettlesWhatWasLost(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const n = 16 << 20
	local, remote := a.buffer(n, types.RemoteNone), b.buffer(n, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Write, seg, local.id, remote.id, 0, 0, 4096))
	var batches []Batch
	for range 8 {
		batches = append(batches, a.submit(one(types.Write, seg, local.id, remote.id, 0, 0, n)))
	}
	b.Destroy()
	for _, batch := range batches {
		require.True(t, batch.Wait(patience))
		if batch.Err() != nil {
			require.EqualValues(t, 1, wordsAt(batch.StatusAddr()).remoteQuiet, "%v", batch.Err())
		}
	}
	require.NoError(t, a.CloseSegment(seg))
	require.True(t, waitUntil(func() bool { return len(a.statusNow().Peers) == 0 }), "the record of a closed peer is dropped")
}
