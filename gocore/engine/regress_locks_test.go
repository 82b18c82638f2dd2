package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// evict and peerFor wait for one peer's lock while they hold Engine.mu, which every Submit takes: whatever makes one
// peer's lock busy stops the transfers to all peers.
func TestOneBusyPeerStopsNobodyElse(t *testing.T) {
	a, b, c := newRig(t), newRig(t), newRig(t)
	local := a.buffer(4096, types.RemoteNone)
	rb, rc := b.buffer(4096, types.RemoteAll), c.buffer(4096, types.RemoteAll)
	sb, sc := a.open(b.address()), a.open(c.address())
	a.must(one(types.Read, sb, local.id, rb.id, 0, 0, 64))
	a.must(one(types.Read, sc, local.id, rc.id, 0, 0, 64))
	_, p, err := a.segment("test", sb)
	require.NoError(t, err)
	p.mu.Lock() // one event of peer b takes long
	evicted := make(chan struct{})
	go func() { defer close(evicted); a.evict(p) }() // what PathDown and SessionDown of b do meanwhile
	time.Sleep(50 * time.Millisecond)
	done := make(chan struct{})
	go func() {
		defer close(done)
		batch, err := a.Submit(one(types.Read, sc, local.id, rc.id, 0, 0, 64))
		if err == nil {
			batch.Wait(patience)
		}
	}()
	ok := waitFor(done, patience)
	p.mu.Unlock()
	<-done
	<-evicted
	require.True(t, ok, "a transfer to another peer waited for this one's lock")
}
