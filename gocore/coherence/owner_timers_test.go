package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// A session that is lost again gives its peer three heartbeats again: the timer of the earlier loss is over.
func TestSessionLostAgainStartsTheClockAnew(t *testing.T) {
	r := newOwnerRig(t)
	conn := r.connect(peerA)
	r.got(r.SessionDown(r.now, peerA))
	r.now += 2 * types.Second
	r.got(r.SessionUp(r.now, peerA))
	second := r.now
	r.got(r.SessionDown(r.now, peerA))
	r.now = second + types.Second // three heartbeats after the first loss
	require.Empty(t, r.got(r.Tick(r.now)))
	at, ok := r.NextWake()
	require.True(t, ok)
	require.Equal(t, second+3*types.Second, at)
	require.Equal(t, []Action{KillConns{Peer: peerA, Tokens: []types.PathID{conn}}}, r.got(r.Tick(at)))
}
