package coherence

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// A Transfer that was used, in every way in which a batch can go wrong, begins the next one as a new one would.
func TestTransferBeginsAnewAfterUse(t *testing.T) {
	var id uint64
	cfg := TransferConfig{Op: types.Write, MaxPostBytes: 1 << 16, NextID: func() uint64 { id++; return id }}
	large := []Request{{Local: 1 << 20, Remote: 1, Len: 3 << 16}, {Local: 1 << 24, Remote: 2, Len: 100}, {Local: 1 << 25, Remote: 3, Len: 100}}
	used := NewTransfer(0, cfg, large)
	sched := &Scheduler{}
	sched.Add(used)
	used.Blocked(1, 3, errcode.Revoked)
	for path := types.PathID(1); ; path++ {
		p := used.NextPost(2)
		if p == nil {
			break
		}
		used.Posted(2, p, path)
	}
	require.Greater(t, used.InFlight(), 1)
	lost := used.posted[0]
	used.Result(3, used.posted[len(used.posted)-1], Result{Code: errcode.ResourceExhausted, Sent: true, Answered: true, Detail: "full"})
	used.Result(3, lost, Result{Code: errcode.PeerUnreachable, Sent: true, Detail: "gone"})
	used.Cancel(4, errcode.Canceled)
	for used.InFlight() > 0 {
		used.Result(5, used.posted[0], Result{Code: errcode.Canceled, Sent: true, Answered: true})
	}
	used.PathsRetired(6, []types.PathID{lost.Path})
	require.True(t, used.Settled())
	sched.Remove(used)

	small := []Request{{Local: 64, Remote: 9, Len: 64}}
	cfg.Op = types.Read
	used.Begin(7, cfg, small)
	cfg.NextID = used.cfg.NextID
	require.Equal(t, fmt.Sprintf("%+v", *NewTransfer(7, cfg, small)), fmt.Sprintf("%+v", *used))
	require.NoError(t, used.CheckInvariants())

	p := used.NextPost(8)
	require.Len(t, p.Slices, 1)
	used.Posted(8, p, 1)
	require.Equal(t, []Action{Finished{}}, used.Result(9, p, Result{Answered: true, Sent: true, Applied: 64}))
	outcome, code := used.Outcome()
	require.Equal(t, types.Completed, outcome)
	require.Equal(t, errcode.OK, code)
	require.Equal(t, []IDCount{{ID: 9, N: 1}}, used.TakeQuiet())
}
