package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// The peer closes while WRITEs to it are in flight; once its segment is closed nothing of it is kept.
func TestClosedPeersAreForgotten(t *testing.T) {
	a := newRig(t)
	const n = 4 << 20
	local := a.buffer(n, types.RemoteNone)
	for range 20 {
		b := newRig(t)
		remote := b.buffer(n, types.RemoteAll)
		seg := a.open(b.address())
		var batches []Batch
		for range 8 {
			batches = append(batches, a.submit(one(types.Write, seg, local.id, remote.id, 0, 0, n)))
		}
		b.Destroy()
		for _, x := range batches {
			_ = a.finish(x)
		}
		require.NoError(t, a.CloseSegment(seg))
	}
	waitUntil(func() bool { return len(a.statusNow().Peers) == 0 })
	for _, p := range a.statusNow().Peers {
		t.Errorf("kept: %s batches=%d retiring=%d ended=%s", p.Instance, p.Batches, p.View.Of.Retiring, p.Ended)
	}
}
