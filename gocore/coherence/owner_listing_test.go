package coherence

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// However registrations, phases of drains and looks alternate, Describe tells what a new listing would, and what it told
// before does not change under those who hold it.
func TestListingIsWhatStandsInTheTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var l listing
	ids := map[types.BufferID]*ownedID{}
	var all []*ownedID
	type held struct{ given, copied []descriptor.Buffer }
	var told []held
	for step := range 3000 {
		switch n := rng.IntN(10); {
		case n < 5:
			e := &ownedID{id: types.BufferID(step + 1), state: types.Ready, length: 64, remote: types.Remote(rng.IntN(3)), perm: types.PermRead}
			ids[e.id] = e
			all = append(all, e)
			l.registered(e)
		case n < 9 && len(all) > 0:
			e := all[rng.IntN(len(all))]
			switch {
			case e.state == types.Ready:
				e.state = types.Draining
			case e.state == types.Draining && rng.IntN(4) == 0:
				e.state = types.Quarantined
			case e.state == types.Draining:
				e.state = types.Gone
				delete(ids, e.id)
			}
			l.altered([]*ownedID{e})
		default:
			var anew listing
			now := l.look(ids)
			require.Equal(t, anew.look(ids), now)
			told = append(told, held{now, slices.Clone(now)})
		}
	}
	require.Greater(t, len(told), 100)
	for _, h := range told {
		require.Equal(t, h.copied, h.given)
	}
}

// A listing that nobody looks at does not grow with all that ever was.
func TestListingThatNobodyLooksAtIsDropped(t *testing.T) {
	var l listing
	l.look(nil)
	for i := range 10_000 {
		e := &ownedID{id: types.BufferID(i + 1), remote: types.RemoteAll, state: types.Ready}
		l.registered(e)
		e.state = types.Gone
		l.altered([]*ownedID{e})
	}
	require.Less(t, len(l.buffers)+len(l.changed), 1000)
}
