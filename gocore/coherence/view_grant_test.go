package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func writeGrant(id types.BufferID, version types.Version, length uint64) Grant {
	return Grant{ID: id, Version: version, Length: length, Perm: types.PermWrite, Ranges: []types.Range{{Len: length}}}
}

func TestViewGrantNeverGoesBack(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	v.AdoptGrant(0, writeGrant(5, 30, 4096))
	v.AdoptGrant(1, writeGrant(5, 20, 64)) // sampled before, delivered after
	b, code, _ := v.Resolve(2, 5)
	require.Equal(t, errcode.OK, code)
	require.Equal(t, Binding{ID: 5, Version: 30, Length: 4096}, b)
	require.Equal(t, errcode.OK, v.Check(5, types.Write, 0, 4096))
	v.AdoptGrant(3, writeGrant(5, 31, 128))
	require.Equal(t, errcode.OutOfBounds, v.Check(5, types.Write, 0, 4096), "newer knowledge takes the place of older")
}

func TestViewGrantThatADrainOvertook(t *testing.T) {
	v := newTestView(0)
	v.SessionUp(0)
	require.NotEmpty(t, v.OnDrain(0, []types.BufferID{5}, 9, types.Second, 1), "acknowledged at once: nothing counts")
	require.Empty(t, v.AdoptGrant(1, writeGrant(5, 40, 4096)))
	_, code, acts := v.Resolve(2, 5)
	require.Equal(t, errcode.Revoked, code)
	require.Empty(t, acts, "a promise is for ever, so there is nothing to ask")
	require.Equal(t, errcode.StaleBuffer, v.Check(5, types.Write, 0, 64))
	require.Equal(t, errcode.Revoked, v.Enter(5, 1))
	require.Zero(t, v.Stats().Grants)
	require.NoError(t, v.CheckInvariants())
}
