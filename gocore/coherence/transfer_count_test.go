package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Each request ends once and gets quiet once (S10), whatever happens to it afterwards.

func TestTransferCancelAfterALostWriteWasCut(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(4, 2, 100), nil)
	p := start(t, tr, 0, 1)[0]
	require.Empty(t, tr.Result(0, p, pathLost))
	require.Empty(t, tr.Cut(0, []types.BufferID{2}, errcode.DrainingCode), "these have ended, and wait for RETIRED")
	require.NoError(t, tr.CheckInvariants())
	tr.Cancel(1, errcode.Canceled)
	require.NoError(t, tr.CheckInvariants())
	for i, want := range []errcode.Code{errcode.Canceled, errcode.DrainingCode, errcode.Canceled, errcode.DrainingCode} {
		o, c := tr.RequestOutcome(i)
		require.Equal(t, types.Unknown, o)
		require.Equal(t, want, c, "request %d keeps its first outcome", i)
	}
	require.Empty(t, tr.TakeQuiet())
	require.Equal(t, []Action{Finished{}}, tr.PathsRetired(2, []types.PathID{1}))
	counts := map[types.BufferID]uint64{}
	for _, q := range tr.TakeQuiet() {
		counts[q.ID] += q.N
	}
	require.Equal(t, map[types.BufferID]uint64{1: 2, 2: 2}, counts)
	require.Empty(t, tr.TakeQuiet())
	requireOutcome(t, tr, types.Unknown, errcode.DrainingCode)
}

func TestTransferHalfOfARequestIsNone(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(1, 1, 512<<10), func(cfg *TransferConfig) { cfg.MaxPostBytes = 256 << 10 })
	first := tr.NextPost(0)
	tr.Posted(0, first, 1)
	require.Empty(t, tr.Result(0, first, done), "the second half is not cut yet")
	require.False(t, tr.Final())
	require.Empty(t, tr.TakeQuiet())
	o, _ := tr.RequestOutcome(0)
	require.Equal(t, types.Pending, o)
	second := tr.NextPost(0)
	require.NotNil(t, second)
	tr.Posted(0, second, 1)
	require.Equal(t, []Action{Finished{}}, tr.Result(0, second, done))
	requireOutcome(t, tr, types.Completed, errcode.OK)
	require.Equal(t, []IDCount{{1, 1}}, tr.TakeQuiet())
}
