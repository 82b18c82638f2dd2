package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Every way of looking for an overlap finds the same as comparing all pairs.
func TestOverlapIsFoundInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	hits := 0
	for range 20000 {
		equal, aligned := rng.IntN(3) > 0, rng.IntN(2) == 0
		reqs := make([]coherence.Request, 1+rng.IntN(12))
		size := 1 + rng.Uint64N(8)
		for i := range reqs {
			n := size
			if !equal {
				n = 1 + rng.Uint64N(8)
			}
			off := rng.Uint64N(120)
			if aligned {
				off = off / 8 * n
			}
			reqs[i] = coherence.Request{Local: off + 1<<40, Remote: types.BufferID(1 + rng.IntN(2)), Off: off, Len: n}
		}
		for _, dir := range []types.Op{types.Read, types.Write} {
			want := false
			for i := range reqs {
				for j := range i {
					a, b := writes(dir, &reqs[i]), writes(dir, &reqs[j])
					want = want || overlap(a, b) || overlap(b, a)
				}
			}
			err := checkOverlap("test", dir, reqs)
			if !want {
				require.NoError(t, err, "%v %+v", dir, reqs)
				continue
			}
			hits++
			require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%v %+v", dir, reqs)
		}
	}
	require.Greater(t, hits, 1000)
}

func BenchmarkCheckOverlap(b *testing.B) {
	reqs := make([]coherence.Request, 1024)
	for i, k := range rand.Perm(len(reqs)) {
		reqs[i] = coherence.Request{Local: uint64(k) << 12, Off: uint64(k) << 12, Remote: 1, Len: 4096}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := checkOverlap("bench", types.Read, reqs); err != nil {
			b.Fatal(err)
		}
	}
}
