package coherence

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// ownerModel drives an Owner with random events beside a model made of plain maps, which knows the rules and none of
// the bookkeeping.
type ownerModel struct {
	*ownerRig
	t     *rapid.T
	peers []types.InstanceID

	regs   map[types.BufferID]Registration
	grants map[types.BufferID]modelGrant
	state  map[types.BufferID]types.State // of every ID ever given out

	alive  map[types.InstanceID]bool
	tokens map[types.PathID]*modelToken // not gone
	floors map[types.InstanceID]types.Version
	drains map[DrainID]*modelDrain
	asked  map[types.Nonce]DrainID

	locals map[types.BufferID]bool // registrations that owe LocalQuiet
	gates  map[types.BufferID]bool // ids that owe GateQuiet
	dying  map[types.PathID]bool   // killed connections that owe ConnGone
	// retires by peer and nonce: the tokens that must be gone before RETIRED
	retires map[types.InstanceID]map[types.Nonce][]types.PathID
	nonce   types.Nonce
	lastV   types.Version
	lastPub types.Version
}

type modelGrant struct {
	reg    types.BufferID
	peer   types.InstanceID
	perm   types.Perm
	ranges []types.Range
}

type modelToken struct {
	peer types.InstanceID
	used bool
}

type modelDrain struct {
	ids      []types.BufferID
	deadline types.Time
	wait     map[types.InstanceID][]types.BufferID
	acked    map[types.InstanceID]bool
	left     map[types.InstanceID]bool
	closed   bool
}

// over says whether the drain has stopped asking.
func (d *modelDrain) over(now types.Time) bool { return d.closed || now >= d.deadline }

func newOwnerModel(t *rapid.T) *ownerModel {
	m := &ownerModel{
		ownerRig: newOwnerRig(t, func(c *OwnerConfig) { c.MaxTokens = 3 }), t: t, peers: []types.InstanceID{peerA, peerB, peerC},
		regs: map[types.BufferID]Registration{}, grants: map[types.BufferID]modelGrant{}, state: map[types.BufferID]types.State{},
		alive: map[types.InstanceID]bool{}, tokens: map[types.PathID]*modelToken{}, floors: map[types.InstanceID]types.Version{},
		drains: map[DrainID]*modelDrain{}, asked: map[types.Nonce]DrainID{}, locals: map[types.BufferID]bool{},
		gates: map[types.BufferID]bool{}, dying: map[types.PathID]bool{},
		retires: map[types.InstanceID]map[types.Nonce][]types.PathID{},
	}
	m.lastV, m.lastPub = m.Version(), m.Published()
	return m
}

func (m *ownerModel) peer() types.InstanceID { return rapid.SampledFrom(m.peers).Draw(m.t, "peer") }

// pick draws a member of a map, or skips the action.
func pick[K interface{ ~uint64 }, V any](t *rapid.T, from map[K]V, what string) K {
	keys := slices.Sorted(maps.Keys(from))
	if len(keys) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(keys).Draw(t, what)
}

func (m *ownerModel) holds(p types.InstanceID) bool {
	for _, t := range m.tokens {
		if t.peer == p {
			return true
		}
	}
	return false
}

func (m *ownerModel) concerns(id types.BufferID, p types.InstanceID) bool {
	if g, ok := m.grants[id]; ok {
		return g.peer.IsZero() || g.peer == p
	}
	return m.regs[id].Remote == types.RemoteAll
}

// dropped follows tokens that leave the table: a peer without any has left G and every wait set.
func (m *ownerModel) dropped(tok types.PathID) {
	p := m.tokens[tok].peer
	delete(m.tokens, tok)
	delete(m.dying, tok)
	if !m.holds(p) {
		for _, d := range m.drains {
			if _, ok := d.wait[p]; ok {
				delete(d.wait, p)
				d.left[p] = true
			}
		}
	}
}

// take checks what the owner asks for against the model.
func (m *ownerModel) take(acts []Action) {
	m.got(acts)
	require.LessOrEqual(m.t, len(each[Publish](acts)), 1+len(each[DrainDone](acts)))
	for _, a := range acts {
		switch a := a.(type) {
		case Publish:
			require.Greater(m.t, a.Version, m.lastPub)
			m.lastPub = a.Version
		case CancelLocal:
			for _, id := range a.IDs {
				require.True(m.t, m.locals[id], "local use of %d is over", id)
			}
		case CloseGates:
			for _, id := range a.IDs {
				require.Equal(m.t, types.Draining, m.state[id])
				require.False(m.t, m.gates[id], "closed twice")
				m.gates[id] = true
			}
			for _, d := range m.drains {
				if slices.ContainsFunc(d.ids, func(id types.BufferID) bool { return slices.Contains(a.IDs, id) }) {
					m.closing(d, a)
				}
			}
		case KillConns:
			for _, tok := range a.Tokens {
				require.Equal(m.t, a.Peer, m.tokens[tok].peer)
				require.True(m.t, m.tokens[tok].used)
				require.False(m.t, m.dying[tok], "killed twice")
				m.dying[tok] = true
			}
		case SendRetired:
			require.True(m.t, m.alive[a.Peer])
			for _, tok := range m.retires[a.Peer][a.Nonce] {
				require.NotContains(m.t, m.tokens, tok, "RETIRED before its handler has left")
			}
			delete(m.retires[a.Peer], a.Nonce)
		case DrainDone:
			m.done(a)
		}
	}
	require.Equal(m.t, m.lastPub, m.Published())
	require.GreaterOrEqual(m.t, m.Version(), m.lastV)
	m.lastV = m.Version()
}

// closing checks when a drain may fence: nobody left to wait for, D over, or its ids taken along by their registration.
func (m *ownerModel) closing(d *modelDrain, a CloseGates) {
	if d.closed {
		return
	}
	quiet := len(d.wait) == 0
	for _, id := range d.ids {
		quiet = quiet && !m.locals[id]
	}
	if m.now >= d.deadline || quiet {
		d.closed = true
		return
	}
	for _, id := range a.IDs {
		if slices.Contains(d.ids, id) {
			require.Contains(m.t, a.IDs, m.grants[id].reg, "drain fenced with %v still to wait for", d.wait)
		}
	}
}

func (m *ownerModel) done(a DrainDone) {
	d := m.drains[a.Drain]
	require.NotNil(m.t, d, "ended twice or never begun")
	require.Equal(m.t, d.ids, a.Report.IDs)
	require.False(m.t, a.Report.Quarantined)
	for _, id := range d.ids {
		require.False(m.t, m.locals[id], "local quiet of %d is missing", id)
		require.False(m.t, m.gates[id], "gate quiet of %d is missing", id)
		for _, p := range m.peers {
			require.NotEqual(m.t, errcode.OK, m.CheckChunk(p, id, types.Read, 0, 1), "%d", id)
		}
		m.state[id] = types.Gone
		for g, of := range m.grants {
			if of.reg == id {
				require.False(m.t, m.gates[g], "gate of grant %d is not quiet", g)
			}
		}
	}
	for _, p := range a.Report.Acknowledged {
		require.True(m.t, d.acked[p])
	}
	for _, p := range a.Report.Fenced {
		require.True(m.t, d.left[p])
	}
	require.Equal(m.t, len(d.acked), len(a.Report.Acknowledged))
	for _, p := range a.Report.TimedOut {
		require.NotContains(m.t, a.Report.Acknowledged, p)
		require.NotContains(m.t, a.Report.Fenced, p)
	}
	delete(m.drains, a.Drain)
}

func TestOwnerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newOwnerModel(t)
		t.Repeat(m.actions())
		// L1: with D over and every quiet reported, each drain has ended.
		m.tick(100 * types.Second)
		for len(m.dying) > 0 {
			m.connGone(slices.Sorted(maps.Keys(m.dying))[0])
		}
		for len(m.locals) > 0 {
			m.localGone(slices.Sorted(maps.Keys(m.locals))[0])
		}
		for len(m.gates) > 0 {
			m.gateGone(slices.Sorted(maps.Keys(m.gates))[0])
		}
		require.Empty(t, m.drains)
		for id, s := range m.state {
			require.NotEqual(t, types.Draining, s, "%d", id)
		}
	})
}
