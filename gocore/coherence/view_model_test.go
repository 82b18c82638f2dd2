package coherence

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// viewModel is the map model that a View is compared with.
type viewModel struct {
	t        *rapid.T
	v        *View
	now      types.Time
	session  bool
	flying   bool
	held     bool
	version  types.Version
	counts   map[types.BufferID]uint64
	shut     map[types.BufferID]bool
	promised map[types.BufferID]bool
	owed     map[types.Nonce][]types.BufferID
	paths    map[types.PathID]types.Version
	retires  map[types.Nonce][]types.PathID // as sent
	toRetire map[types.PathID]bool          // dirty: true
	nextPath types.PathID
	nextID   types.Nonce
	gone     bool
}

func newViewModel(t *rapid.T) *viewModel {
	seed := uint64(7)
	return &viewModel{
		t: t,
		v: NewView(ViewConfig{
			Instance: types.InstanceID{1}, SoftTTL: types.Second,
			Random: func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 20 },
		}),
		counts: map[types.BufferID]uint64{}, shut: map[types.BufferID]bool{}, promised: map[types.BufferID]bool{},
		owed: map[types.Nonce][]types.BufferID{}, paths: map[types.PathID]types.Version{},
		retires: map[types.Nonce][]types.PathID{}, toRetire: map[types.PathID]bool{},
	}
}

func (m *viewModel) do(acts []Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case SendDrainAck:
			require.True(m.t, m.session)
			for _, id := range a.IDs {
				require.Zero(m.t, m.counts[id], "acknowledged ID %d while requests count on it", id)
				m.promised[id] = true
			}
			delete(m.owed, a.Nonce)
		case CutOperations:
			for _, id := range a.IDs {
				require.NotZero(m.t, m.counts[id])
			}
		case SendRetire:
			require.True(m.t, m.session)
			m.retires[a.Nonce] = a.Paths
		case PathsRetired:
			for _, p := range a.Paths {
				_, up := m.paths[p]
				require.True(m.t, m.gone || !up)
				delete(m.toRetire, p)
			}
		case HoldWrites:
			require.False(m.t, m.held)
			m.held = true
		case ReleaseWrites:
			require.True(m.t, m.held)
			m.held = false
		case Refresh:
			require.False(m.t, m.flying, "two refreshes at a time")
			m.flying = true
		case SendGrantQuery:
			require.True(m.t, m.session)
		case GrantResolved, Drop:
		default:
			m.t.Fatalf("unexpected action %T", a)
		}
	}
	m.check()
}

func (m *viewModel) check() {
	require.NoError(m.t, m.v.CheckInvariants())
	dirty := false
	for _, d := range m.toRetire {
		dirty = dirty || d
	}
	require.Equal(m.t, dirty, m.v.WritesHeld())
	require.Equal(m.t, dirty, m.held)
	for path := types.PathID(0); path <= m.nextPath; path++ {
		floor, up := m.paths[path]
		for _, bound := range []types.Version{0, 5, 10} {
			require.Equal(m.t, up && bound >= floor, m.v.MayPost(path, bound))
		}
	}
	if d := m.v.Descriptor(); d != nil {
		require.GreaterOrEqual(m.t, d.Version, m.version, "the adopted version went back")
		m.version = d.Version
	}
	busy := len(m.paths) > 0 || len(m.toRetire) > 0
	for _, n := range m.counts {
		busy = busy || n > 0
	}
	if busy {
		require.False(m.t, m.v.Evictable())
	}
	for nonce, ids := range m.owed {
		if !m.session || m.gone {
			continue
		}
		sum := uint64(0)
		for _, id := range ids {
			sum += m.counts[id]
		}
		require.NotZero(m.t, sum, "drain %d is not acknowledged although nothing counts", nonce)
	}
}

func drawIDs(t *rapid.T) []types.BufferID {
	return rapid.SliceOfN(rapid.Map(rapid.IntRange(1, 8), func(i int) types.BufferID { return types.BufferID(i) }), 1, 3).
		Draw(t, "ids")
}

// TestViewModel throws every event at a view in any order.
func TestViewModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newViewModel(t)
		id := func() types.BufferID { return types.BufferID(rapid.IntRange(1, 8).Draw(t, "id")) }
		version := func() types.Version { return types.Version(rapid.IntRange(1, 12).Draw(t, "version")) }
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 15).Draw(t, "event") {
			case 0, 1:
				i := id()
				code := m.v.Enter(i, 2)
				require.Equal(t, !m.shut[i] && !m.gone, code == errcode.OK)
				if code == errcode.OK {
					m.counts[i] += 2
				}
			case 2, 3:
				for _, i := range drawIDs(t) {
					if m.counts[i] > 0 {
						n := rapid.Uint64Range(1, m.counts[i]).Draw(t, "leave")
						m.counts[i] -= n
						m.do(m.v.Leave(m.now, i, n))
					}
				}
			case 4:
				ids := drawIDs(t)
				m.nextID++
				nonce := m.nextID
				if rapid.Bool().Draw(t, "again") && len(m.owed) > 0 {
					for n := types.Nonce(1); n <= m.nextID; n++ {
						if old, ok := m.owed[n]; ok {
							nonce, ids = n, old
							break
						}
					}
				}
				for _, i := range ids {
					m.shut[i] = true
				}
				m.owed[nonce] = ids
				m.do(m.v.OnDrain(m.now, ids, version(), types.Second, nonce))
			case 5:
				m.nextPath++
				if m.gone {
					break
				}
				f := version()
				m.paths[m.nextPath] = f
				nonReady := []types.BufferID{id()}
				m.shut[nonReady[0]] = true
				m.do(m.v.PathUp(m.now, m.nextPath, f, nonReady))
			case 6:
				for p := types.PathID(1); p <= m.nextPath; p++ {
					if _, up := m.paths[p]; up {
						dirty := rapid.Bool().Draw(t, "dirty")
						delete(m.paths, p)
						if dirty {
							m.toRetire[p] = true
						}
						m.do(m.v.PathLost(m.now, p, dirty))
						break
					}
				}
			case 7:
				m.nextPath++
				if !m.gone {
					m.toRetire[m.nextPath] = false
				}
				m.do(m.v.TokensUnused(m.now, []types.PathID{m.nextPath}))
			case 8:
				if m.session && len(m.retires) > 0 {
					var nonces []types.Nonce
					for n := range m.retires {
						nonces = append(nonces, n)
					}
					slices.Sort(nonces)
					n := nonces[0]
					for _, p := range m.retires[n] {
						delete(m.toRetire, p)
					}
					delete(m.retires, n)
					m.do(m.v.Retired(m.now, n))
					m.do(m.v.Retired(m.now, n))
				}
			case 9:
				if m.gone {
					break
				}
				m.session = true
				m.retires = map[types.Nonce][]types.PathID{}
				acts := m.v.SessionUp(m.now)
				for n := types.Nonce(1); n <= m.nextID; n++ { // as the owner does, until it is acknowledged
					if ids, ok := m.owed[n]; ok {
						acts = append(acts, m.v.OnDrain(m.now, ids, 1, types.Second, n)...)
					}
				}
				m.do(acts)
				all := 0
				for _, ps := range m.retires {
					all += len(ps)
				}
				require.Equal(t, len(m.toRetire), all, "every unanswered RETIRE is sent again on a new session")
			case 10:
				m.session = false
				m.do(m.v.SessionDown(m.now))
			case 11:
				d := &descriptor.Descriptor{Head: descriptor.Head{Name: "n", Instance: types.InstanceID{1}, Version: version()}}
				m.flying = false
				ch, acts, err := m.v.Adopt(m.now, d)
				if m.gone {
					require.Equal(t, errcode.StaleInstance, errcode.Of(err))
				} else {
					require.NoError(t, err)
					require.Equal(t, d.Version > m.version, ch.Adopted)
				}
				m.do(acts)
			case 12:
				m.flying = false
				m.do(m.v.RefreshFailed(m.now, errcode.PeerUnreachable))
			case 13:
				i := id()
				b, code, acts := m.v.Resolve(m.now, i)
				if m.shut[i] || m.gone {
					require.NotContains(t, []errcode.Code{errcode.OK, errcode.WaitTimeout}, code)
				}
				if code == errcode.OK && len(m.paths) > 0 {
					ok := false
					for p := range m.paths {
						ok = ok || m.v.MayPost(p, b.Version)
					}
					require.True(t, ok, "bound to what no path may carry")
				}
				m.do(acts)
			case 14:
				m.do(m.v.AdoptGrant(m.now, Grant{ID: id(), Version: version(), Length: 10}))
				m.do(m.v.Heartbeat(m.now, version(), version()))
			case 15:
				m.now += types.Time(rapid.IntRange(0, 800).Draw(t, "ms")) * types.Millisecond
				m.do(m.v.Tick(m.now))
				if rapid.IntRange(0, 15).Draw(t, "replaced") == 0 {
					m.gone, m.session = true, false
					clear(m.paths)
					clear(m.toRetire)
					clear(m.owed)
					m.do(m.v.Replaced(m.now))
				}
			}
		}
		for i := range m.promised {
			require.NotEqual(t, errcode.OK, m.v.Enter(i, 1), "a promise was forgotten")
		}
	})
}
