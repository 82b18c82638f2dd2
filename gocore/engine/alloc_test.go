//go:build !race

package engine

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/types"
)

// What a batch allocates does not grow with its blocks, and is a handful of objects that outlive it because the caller
// may hold on to the Batch: itself, its Transfer, its channel, and small lists of these. Not with the race detector, which
// allocates and makes sync.Pool forgetful: tests/bench/micro.sh runs it.
func TestBatchAllocatesNothingPerBlock(t *testing.T) {
	const most = 16
	a, b := newRig(t, func(c *config.Config) { c.LogLevel = "off" }), newRig(t)
	const blocks, size = 2048, 1024
	local, remote := a.buffer(blocks*size, types.RemoteNone), b.buffer(blocks*size, types.RemoteAll)
	seg := a.open(b.address())
	for _, op := range []types.Op{types.Read, types.Write} {
		for _, n := range []int{1, blocks} {
			s := &Submission{
				Op: op, Segment: seg, LocalIDs: []uint64{uint64(local.id)}, RemoteIDs: []uint64{uint64(remote.id)},
				Lens: []uint64{size},
			}
			for i := range n {
				s.LocalOffs = append(s.LocalOffs, uint64(i*7919%blocks*size))
				s.RemoteOffs = append(s.RemoteOffs, uint64(i*5003%blocks*size))
			}
			step := func() {
				batch, err := a.Submit(s)
				if err != nil {
					t.Fatal(err)
				}
				<-batch.Done()
				if err := batch.Free(); err != nil {
					t.Fatal(err)
				}
			}
			for range 50 {
				step()
			}
			// The collector empties pools; a run in which it came is tried again.
			perBatch := 0.0
			for range 20 {
				var before, after runtime.MemStats
				runtime.GC()
				step()
				step()
				runtime.ReadMemStats(&before)
				perBatch = testing.AllocsPerRun(20, step)
				if runtime.ReadMemStats(&after); perBatch <= most && after.NumGC == before.NumGC {
					break
				}
			}
			require.LessOrEqual(t, perBatch, float64(most), "%v of %d blocks", op, n)
		}
	}
}
