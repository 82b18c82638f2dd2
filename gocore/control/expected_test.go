package control

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// A HELLO that is meant for another instance is refused by whoever gets it, and told who is there (S1).
func TestHelloForAnotherInstanceIsRefused(t *testing.T) {
	n := start(t)
	p := newRawPeer(t, n)
	h := p.hello()
	before := types.NewInstanceID()
	h.ExpectedInstance = before[:]
	require.NoError(t, p.Send(event(h)))
	r := p.next(t).GetRefused()
	require.NotNil(t, r)
	require.Equal(t, int32(errcode.StaleInstance), r.GetCode())
	require.Equal(t, n.id[:], r.GetInstance())
	require.Empty(t, n.rec.kinds("up"))

	meant := newRawPeer(t, n)
	h = meant.hello()
	h.ExpectedInstance = n.id[:]
	require.NoError(t, meant.Send(event(h)))
	require.NotNil(t, meant.next(t).GetHello())
}
