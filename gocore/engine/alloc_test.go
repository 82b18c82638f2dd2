//go:build !race

package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/types"
)

// In steady state a batch allocates nothing: not per block, not per operation, neither where it is submitted nor where it
// is served (both engines are in this process). Not with the race detector, which allocates and makes sync.Pool forgetful:
// tests/bench/micro.sh runs it.
// quietMS keeps heartbeats, which allocate, out of the time in which is counted.
const quietMS = 60_000

func TestBatchAllocatesNothing(t *testing.T) {
	for _, c := range []struct{ blocks, size int }{{1, 4 << 10}, {1024, 4 << 10}, {1, 64 << 20}} {
		for _, crc := range []bool{false, true} {
			a, b := newRig(t, func(c *config.Config) { c.LogLevel, c.CRC, c.HeartbeatMS = "off", crc, quietMS }), newRig(t, func(c *config.Config) { c.HeartbeatMS = quietMS })
			local, remote := a.buffer(c.blocks*c.size, types.RemoteNone), b.buffer(c.blocks*c.size, types.RemoteAll)
			seg := a.open(b.address())
			for _, op := range []types.Op{types.Read, types.Write} {
				s := scattered(op, seg, local.id, remote.id, c.blocks, c.size)
				t.Run(fmt.Sprintf("%v/%dx%d/crc=%v", op, c.blocks, c.size, crc), func(t *testing.T) {
					requireNoAllocs(t, a.Engine, s)
				})
			}
		}
	}
}

// scattered is blocks of one size in no order, so that nothing merges.
func scattered(op types.Op, seg types.SegmentID, local, remote types.BufferID, blocks, size int) *Submission {
	s := &Submission{
		Op: op, Segment: seg, LocalIDs: []uint64{uint64(local)}, RemoteIDs: []uint64{uint64(remote)}, Lens: []uint64{uint64(size)},
	}
	for i := range blocks {
		s.LocalOffs = append(s.LocalOffs, uint64(i*7919%blocks*size))
		s.RemoteOffs = append(s.RemoteOffs, uint64(i*5003%blocks*size))
	}
	return s
}

// requireNoAllocs submits, waits and frees as package capi does.
func requireNoAllocs(t *testing.T, e *Engine, s *Submission) {
	t.Helper()
	step := func() {
		batch, err := e.Submit(s)
		if err == nil && !batch.Wait(patience) {
			t.Fatal("the batch does not end")
		}
		if err == nil {
			err = batch.Err()
		}
		if err == nil {
			err = batch.Free()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		step()
	}
	// The collector empties pools; a run in which it came is tried again.
	for range 100 {
		var before, after runtime.MemStats
		runtime.GC()
		for range 5 {
			step()
		}
		runtime.ReadMemStats(&before)
		allocs := testing.AllocsPerRun(20, step)
		if runtime.ReadMemStats(&after); after.NumGC == before.NumGC {
			require.Zero(t, allocs)
			return
		}
	}
	t.Fatal("the collector came into each of 100 runs")
}
