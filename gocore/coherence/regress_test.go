package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// a drain that ended leaves its timer, and with it its ids, in the heap until its D is over.
func TestTimersOfDrainsThatEnded(t *testing.T) {
	n := uint64(0)
	o := NewOwner(OwnerConfig{Instance: types.NewInstanceID(), Random: func() uint64 { n++; return n }})
	regs, _ := o.Register(0, Registration{Length: 64, Remote: types.RemoteGrants, Perm: types.PermRead})
	o.SessionUp(0, types.InstanceID{9})
	o.Attach(0, types.InstanceID{9}, 1, 1)
	for range 1000 {
		g, _, err := o.Grant(0, regs[0], []types.Range{{Len: 8}}, types.PermRead, types.InstanceID{9})
		require.NoError(t, err)
		_, acts, err := o.Drain(0, []types.BufferID{g.ID}, types.Time(3600)*types.Second)
		require.NoError(t, err)
		for _, a := range acts {
			if d, ok := a.(SendDrain); ok {
				o.DrainAck(0, d.Peer, d.Nonce, d.IDs)
			}
		}
		o.GateQuiet(0, g.ID)
	}
	require.Zero(t, o.Stats().DrainsRunning)
	require.Less(t, len(o.timers.heap), 100)
}

// codes come from the peer as 32 bits and are kept as 16: one of a hostile peer becomes OK for a request that failed.
func TestCodesAreNotCut(t *testing.T) {
	id := uint64(0)
	tr := NewTransfer(0, TransferConfig{Op: types.Read, NextID: func() uint64 { id++; return id }}, []Request{{Local: 1, Remote: 7, Len: 8}})
	tr.Blocked(0, 7, errcode.Code(-65536)) // GRANT_REFUSED carries any negative number
	outcome, cause := tr.RequestOutcome(0)
	require.NotEqual(t, types.Completed, outcome)
	require.NotEqual(t, errcode.OK, cause)
	t.Log(cause.String())
}
