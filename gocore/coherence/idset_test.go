package coherence

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/types"
)

func TestIDSetAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s idSet
		model := map[types.BufferID]bool{}
		id := rapid.Custom(func(t *rapid.T) types.BufferID {
			if rapid.IntRange(0, 15).Draw(t, "edge") == 0 {
				return types.BufferID(math.MaxUint64 - rapid.Uint64Range(0, 2).Draw(t, "fromTop"))
			}
			return types.BufferID(rapid.Uint64Range(0, 40).Draw(t, "id"))
		})
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			if rapid.IntRange(0, 19).Draw(t, "op") == 0 {
				below := id.Draw(t, "below")
				s.dropBelow(below)
				for m := range model {
					if m < below {
						delete(model, m)
					}
				}
			} else {
				ids := rapid.SliceOfN(id, 1, 4).Draw(t, "ids")
				s.AddAll(ids)
				for _, m := range ids {
					model[m] = true
				}
			}
			require.EqualValues(t, len(model), s.Len())
			runs := 0
			for m := range model {
				require.True(t, s.Has(m), "member %d is missing", m)
				if m == 0 || !model[m-1] {
					runs++
				}
			}
			for m := types.BufferID(0); m <= 42; m++ {
				require.Equal(t, model[m], s.Has(m), "id %d", m)
			}
			require.Equal(t, runs, s.Intervals(), "touching intervals must have coalesced: %v", s.spans)
		}
	})
}

func TestIDSetCoalesces(t *testing.T) {
	var s idSet
	for id := types.BufferID(1); id <= 100_000; id += 2 {
		s.Add(id)
	}
	require.Equal(t, 50_000, s.Intervals())
	for id := types.BufferID(100_000); id >= 2; id -= 2 {
		s.Add(id)
	}
	require.Equal(t, 1, s.Intervals())
	require.EqualValues(t, 100_000, s.Len())
}
