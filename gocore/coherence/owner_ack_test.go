package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// A peer acknowledges a large drain part by part; it has promised when it has acknowledged everything it was asked (S4).
func TestPartOfAnAckIsNone(t *testing.T) {
	r := newOwnerRig(t)
	a, b, c := r.all(10), r.all(10), r.all(10)
	r.connect(peerA)
	_, acts := r.drain(types.Second, a, b, c)
	r.localQuiet(a, b, c)
	nonce := one[SendDrain](t, acts).Nonce
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, nil)))
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{b})))
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{b, b})), "the same part again")
	require.Empty(t, r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{a, b})))
	acts = r.got(r.DrainAck(r.now, peerA, nonce, []types.BufferID{c}))
	require.Equal(t, []types.BufferID{a, b, c}, one[CloseGates](t, acts).IDs)
	require.Equal(t, []types.InstanceID{peerA}, one[DrainDone](t, r.quiet(acts)).Report.Acknowledged)
}
