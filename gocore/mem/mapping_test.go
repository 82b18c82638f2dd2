package mem

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestMapRefusesNonsense(t *testing.T) {
	before := Accounted()
	_, err := Map(0)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = Map(1 << 60)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = Map(1 << 47) // one byte more than user space has
	require.Equal(t, errcode.ResourceExhausted, errcode.Of(err))
	require.Equal(t, before, Accounted())
}

func TestArena(t *testing.T) {
	before := Accounted()
	a := NewArena(1 << 20)
	p, err := a.Allocate(1000)
	require.NoError(t, err)
	require.GreaterOrEqual(t, a.Size(p), uint64(1000))
	require.Equal(t, make([]byte, 1000), Bytes(p, 1000))
	_, err = a.Allocate(1 << 20)
	require.Equal(t, errcode.ResourceExhausted, errcode.Of(err))
	require.Equal(t, errcode.InvalidArgument, errcode.Of(a.Free(p+1)))
	require.NoError(t, a.Free(p))
	require.Equal(t, errcode.InvalidArgument, errcode.Of(a.Free(p)), "freed twice")
	require.Zero(t, a.Used())
	_, err = a.Allocate(4096)
	require.NoError(t, err)
	require.NoError(t, a.Close())
	_, err = a.Allocate(1)
	require.Equal(t, errcode.Closed, errcode.Of(err))
	require.Equal(t, before, Accounted())
}
