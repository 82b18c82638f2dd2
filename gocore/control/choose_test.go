package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/types"
)

func TestPrefer(t *testing.T) {
	small, large := types.InstanceID{1}, types.InstanceID{2}
	for _, c := range []struct {
		name string
		a, b facts
		want bool
	}{
		{"same dialler, newer", facts{small, 2, 0}, facts{small, 1, 0}, true},
		{"same dialler, older", facts{large, 1, 0}, facts{large, 2, 0}, false},
		{"same session", facts{small, 1, 0}, facts{small, 1, 0}, false},
		{"crossing, smaller instance", facts{small, 1, 0}, facts{large, 9, 0}, true},
		{"crossing, larger instance", facts{large, 9, 0}, facts{small, 1, 0}, false},
		{"larger instance has seen the other end", facts{large, 1, 3}, facts{small, 3, 0}, true},
		{"larger instance has seen an older one end", facts{large, 1, 2}, facts{small, 3, 0}, false},
		{"smaller instance against one that saw it end", facts{small, 3, 0}, facts{large, 1, 3}, false},
	} {
		require.Equal(t, c.want, prefer(c.a, c.b), c.name)
	}
}

// Both sides must come to the same choice whichever of the two they learn of first.
func TestPreferIsStrict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) facts {
			f := facts{
				dialler: types.InstanceID{rapid.ByteRange(1, 2).Draw(t, label+" dialler")},
				number:  rapid.Uint64Range(1, 4).Draw(t, label+" number"),
			}
			return f
		}
		a, b := draw("a"), draw("b")
		// That each saw the other end before it dialled would be a circle in time.
		if ended := rapid.Uint64Range(0, 4).Draw(t, "ended"); rapid.Bool().Draw(t, "a saw it") {
			a.ended = ended
		} else {
			b.ended = ended
		}
		if a.dialler == b.dialler && a.number == b.number {
			require.False(t, prefer(a, b) || prefer(b, a))
			return
		}
		require.NotEqual(t, prefer(a, b), prefer(b, a))
	})
}

func TestSilence(t *testing.T) {
	const beat = time.Second
	at := time.Unix(0, 0)
	s := silence{every: beat, limit: 3, last: at}
	tick := func(after time.Duration, heard int64, listening bool) bool {
		at = at.Add(after)
		return s.tick(at, heard, listening)
	}
	require.False(t, tick(beat, 1, true))
	require.False(t, tick(beat, 1, true), "first missed")
	require.False(t, tick(beat, 1, true), "second missed")
	require.False(t, tick(beat, 2, true), "heard: starts again")
	require.False(t, tick(beat, 2, true))
	require.False(t, tick(beat, 2, true))
	require.False(t, tick(time.Hour, 2, true), "this process was stopped: messages may wait")
	require.False(t, tick(beat, 2, true))
	require.False(t, tick(beat, 2, false), "our own handler is busy")
	require.False(t, tick(beat, 2, true))
	require.False(t, tick(beat, 2, true))
	require.True(t, tick(beat, 2, true), "third missed")
}
