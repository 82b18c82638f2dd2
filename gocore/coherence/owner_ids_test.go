package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// An ID names one registration or grant for ever: what was bound to it must never mean another (S3).
func TestIDsAreNeverUsedAgain(t *testing.T) {
	r := newOwnerRig(t)
	last := types.BufferID(0)
	for range 20 {
		reg := r.grants(10)
		grant := r.grant(reg, peerA)
		require.Greater(t, reg, last)
		require.Greater(t, grant, reg)
		r.gone(grant)
		again := r.grant(reg, peerA)
		require.Greater(t, again, grant, "also when the newest one went")
		require.Equal(t, errcode.Revoked, r.Check(peerA, grant, types.Read, 0, 1))
		require.Equal(t, errcode.OK, r.Check(peerA, again, types.Read, 0, 1))
		r.gone(reg)
		last = again
	}
}
