package mem

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestWordsAreOffHeapAndAccounted(t *testing.T) {
	before := Accounted()
	w, err := NewWords(1000)
	require.NoError(t, err)
	require.Equal(t, 1000, w.Len())
	require.Equal(t, before.Mappings+1, Accounted().Mappings)
	require.GreaterOrEqual(t, Accounted().Bytes, before.Bytes+8000)
	w.At(999).Store(42)
	require.Equal(t, w.Addr(0)+999*8, w.Addr(999))
	require.EqualValues(t, 42, Bytes(w.Addr(999), 8)[0])
	require.NoError(t, w.Free())
	require.Equal(t, before, Accounted())
}

func TestMapRefusesNonsense(t *testing.T) {
	before := Accounted()
	_, err := Map(0)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = Map(1 << 60)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = NewWords(-1)
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
