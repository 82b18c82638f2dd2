package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// A peer that floods an engine whose application takes nothing costs it a bounded amount of memory, and what was taken
// makes room again.
func TestNotificationsAreBoundedInBytes(t *testing.T) {
	n := newNotifications(1 << 20)
	peer := types.NewInstanceID()
	payload := make([]byte, 1<<20)
	taken := 0
	for nonce := range uint64(1000) {
		if n.receive(peer, nonce, "", payload) == errcode.OK {
			taken++
		}
	}
	require.Equal(t, notifyHeld/len(payload), taken)
	require.Equal(t, errcode.ResourceExhausted, n.receive(peer, 2000, "", payload))
	require.Len(t, n.take(), taken)
	require.Equal(t, errcode.OK, n.receive(peer, 2000, "", payload), "one that was refused may be sent again")
}
