package coherence

import (
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func (m *ownerModel) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"register":   m.register,
		"grant":      m.makeGrant,
		"drain":      m.startDrain,
		"check":      m.check,
		"attach":     m.doAttach,
		"connect":    m.useToken,
		"ack":        m.ack,
		"retire":     m.retire,
		"connGone":   func(t *rapid.T) { m.connGone(pick(t, m.dying, "dying")) },
		"connBreaks": m.connBreaks,
		"localQuiet": func(t *rapid.T) { m.localGone(pick(t, m.locals, "registration")) },
		"gateQuiet":  func(t *rapid.T) { m.gateGone(pick(t, m.gates, "gate")) },
		"session":    m.session,
		"peerGone":   m.peerGone,
		"time":       func(t *rapid.T) { m.tick(types.Time(rapid.IntRange(0, 2000).Draw(t, "ms")) * types.Millisecond) },
		"":           func(*rapid.T) { m.consistent() },
	}
}

func (m *ownerModel) register(t *rapid.T) {
	regs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Registration {
		return Registration{
			Length: rapid.Uint64Range(1, 32).Draw(t, "length"),
			Remote: types.Remote(rapid.IntRange(0, 2).Draw(t, "remote")), Perm: types.Perm(rapid.IntRange(1, 3).Draw(t, "perm")),
		}
	}), 1, 3).Draw(t, "regs")
	before := m.Version()
	ids, acts := m.Register(m.now, regs...)
	listed := 0
	for i, id := range ids {
		require.NotContains(t, m.state, id, "an ID is never used again")
		m.state[id], m.regs[id] = types.Ready, regs[i]
		if regs[i].Remote == types.RemoteAll {
			listed = 1
		}
	}
	require.Len(t, each[Publish](acts), listed)
	require.EqualValues(t, int(before)+listed, m.Version(), "one version per batch")
	m.take(acts)
}

func (m *ownerModel) makeGrant(t *rapid.T) {
	reg, peer := pick(t, m.regs, "registration"), types.InstanceID{}
	if rapid.Bool().Draw(t, "named") {
		peer = m.peer()
	}
	r := m.regs[reg]
	off := rapid.Uint64Range(0, r.Length-1).Draw(t, "off")
	rng := types.Range{Off: off, Len: rapid.Uint64Range(1, r.Length-off).Draw(t, "len")}
	before := m.Version()
	g, acts, err := m.Grant(m.now, reg, []types.Range{rng}, r.Perm, peer)
	if m.state[reg] != types.Ready {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	require.NotContains(t, m.state, g.ID)
	require.Equal(t, before+1, g.Version)
	require.Empty(t, each[Publish](acts))
	m.state[g.ID], m.grants[g.ID] = types.Ready, modelGrant{reg, peer, r.Perm, []types.Range{rng}}
	m.take(acts)
}

func (m *ownerModel) startDrain(t *rapid.T) {
	n := rapid.IntRange(1, 3).Draw(t, "n")
	var ids []types.BufferID
	for range n {
		ids = append(ids, pick(t, m.state, "id"))
	}
	within := types.Time(rapid.IntRange(0, 4).Draw(t, "within")) * types.Second
	before, published := m.Version(), m.Published()
	drain, acts, err := m.Drain(m.now, ids, within)
	for _, id := range ids {
		if m.state[id] != types.Ready {
			require.Error(t, err)
			require.Equal(t, before, m.Version())
			return
		}
	}
	require.NoError(t, err)
	want := map[types.BufferID]bool{}
	for _, id := range ids {
		want[id] = true
		for g, of := range m.grants {
			if of.reg == id && m.state[g] == types.Ready {
				want[g] = true
			}
		}
	}
	d := &modelDrain{
		ids: slices.Sorted(maps.Keys(want)), deadline: m.now + within, wait: map[types.InstanceID][]types.BufferID{},
		acked: map[types.InstanceID]bool{}, left: map[types.InstanceID]bool{},
	}
	require.Equal(t, RefuseNew{IDs: d.ids}, acts[0])
	remote, listed := false, false
	for _, id := range d.ids {
		m.state[id] = types.Draining
		_, isGrant := m.grants[id]
		remote = remote || isGrant || m.regs[id].Remote == types.RemoteAll
		listed = listed || m.regs[id].Remote == types.RemoteAll
		if m.regs[id].Length > 0 {
			m.locals[id] = true
		}
	}
	version := before
	if remote {
		version++
	}
	if listed {
		published = version
	}
	require.Equal(t, version, m.Version(), "one drain, one version")
	require.Equal(t, published, m.Published())
	for _, p := range m.peers {
		var concerned []types.BufferID
		for _, id := range d.ids {
			if m.concerns(id, p) {
				concerned = append(concerned, id)
			}
		}
		if len(concerned) > 0 {
			m.floors[p] = version
			if m.holds(p) {
				d.wait[p] = concerned
			}
		}
	}
	sent := map[types.InstanceID][]types.BufferID{}
	for _, s := range each[SendDrain](acts) {
		require.True(t, m.alive[s.Peer])
		require.Equal(t, version, s.Version)
		require.Equal(t, within, s.Within)
		m.asked[s.Nonce] = drain
		sent[s.Peer] = s.IDs
	}
	for p, ids := range d.wait {
		if m.alive[p] {
			require.Equal(t, ids, sent[p])
		}
	}
	m.drains[drain] = d
	m.take(acts)
}

func (m *ownerModel) check(t *rapid.T) {
	id, p := pick(t, m.state, "id"), m.peer()
	op := types.Op(rapid.IntRange(1, 2).Draw(t, "op"))
	num := rapid.OneOf(rapid.Uint64Range(0, 40), rapid.Uint64Min(1<<64-4))
	off, n := num.Draw(t, "off"), num.Draw(t, "n")
	// The rule of S11 in wider arithmetic, byte by byte where that is possible.
	g, isGrant := m.grants[id]
	if !isGrant {
		g = modelGrant{perm: m.regs[id].Perm, ranges: []types.Range{{Len: m.regs[id].Length}}}
	}
	inside := n > 0 && n <= 64 && off <= 64
	for b := off; inside && b < off+n; b++ {
		inside = slices.ContainsFunc(g.ranges, func(r types.Range) bool { return b >= r.Off && b < r.Off+r.Len })
	}
	want := m.state[id] == types.Ready && m.concerns(id, p) && g.perm.Allows(op) && inside
	require.Equal(t, want, m.Check(p, id, op, off, n) == errcode.OK, "%v %d [%d,+%d) by %v", op, id, off, n, p.Short())
}

func (m *ownerModel) doAttach(t *rapid.T) {
	p, n := m.peer(), rapid.IntRange(0, 3).Draw(t, "n")
	m.nonce++
	acts := m.Attach(m.now, p, m.nonce, n)
	if !m.alive[p] {
		require.Empty(t, acts)
		return
	}
	a := one[SendAttached](t, acts)
	require.Equal(t, m.floors[p], a.Floor)
	require.Equal(t, m.Version(), a.Version)
	require.LessOrEqual(t, len(a.Tokens), n)
	for _, tok := range a.Tokens {
		require.NotContains(t, m.tokens, tok)
		m.tokens[tok] = &modelToken{peer: p}
	}
	for tok, mt := range m.tokens { // those evicted to make room
		if m.Owner.tokens[tok] == nil {
			require.False(t, mt.used)
			delete(m.tokens, tok)
		}
	}
	for _, id := range a.NonReady {
		require.Equal(t, types.Draining, m.state[id])
		require.True(t, m.concerns(id, p))
	}
	for id, s := range m.state {
		if s == types.Draining && m.concerns(id, p) && m.ids[id] != nil {
			require.Contains(t, a.NonReady, id)
		}
	}
	m.take(acts)
}

func (m *ownerModel) useToken(t *rapid.T) {
	tok := pick(t, m.tokens, "token")
	p, ok := m.TokenUsed(tok)
	mt := m.tokens[tok]
	require.Equal(t, !mt.used && m.alive[mt.peer], ok)
	if ok {
		require.Equal(t, mt.peer, p)
		mt.used = true
	}
	m.take(nil)
}

func (m *ownerModel) ack(t *rapid.T) {
	nonce := pick(t, m.asked, "nonce")
	p := m.peer()
	d := m.drains[m.asked[nonce]]
	if d == nil {
		require.Empty(t, m.got(m.DrainAck(m.now, p, nonce, []types.BufferID{1})))
		return
	}
	ids, waited := d.wait[p]
	if !waited || d.over(m.now) {
		require.Empty(t, m.got(m.DrainAck(m.now, p, nonce, d.ids)))
		return
	}
	if len(ids) > 1 && rapid.Bool().Draw(t, "partial") {
		require.Empty(t, m.got(m.DrainAck(m.now, p, nonce, ids[1:])), "an acknowledgement must cover all")
		return
	}
	delete(d.wait, p)
	d.acked[p] = true
	m.take(m.DrainAck(m.now, p, nonce, ids))
}

func (m *ownerModel) retire(t *rapid.T) {
	p := m.peer()
	m.nonce++
	var toks []types.PathID
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		toks = append(toks, pick(t, m.tokens, "token"))
	}
	toks = append(toks, types.PathID(rapid.Uint64Range(1, 9).Draw(t, "unknown")))
	m.sendRetire(p, m.nonce, toks)
	if rapid.Bool().Draw(t, "again") {
		m.sendRetire(p, m.nonce, toks)
	}
}

func (m *ownerModel) sendRetire(p types.InstanceID, nonce types.Nonce, toks []types.PathID) {
	if m.retires[p] == nil {
		m.retires[p] = map[types.Nonce][]types.PathID{}
	}
	m.retires[p][nonce] = nil
	known := m.alive[p] || m.holds(p)
	for _, tok := range toks {
		mt := m.tokens[tok]
		if mt == nil || mt.peer != p {
			continue
		}
		if mt.used {
			m.retires[p][nonce] = append(m.retires[p][nonce], tok)
		} else {
			m.dropped(tok)
		}
	}
	acts := m.Retire(m.now, p, nonce, toks)
	if !known {
		require.Equal(m.t, []Action{SendRetired{Peer: p, Nonce: nonce}}, acts)
		delete(m.retires[p], nonce)
		return
	}
	if !m.alive[p] && len(m.retires[p][nonce]) == 0 {
		delete(m.retires[p], nonce) // will be asked again
	}
	m.take(acts)
}

func (m *ownerModel) connGone(tok types.PathID) {
	p := m.tokens[tok].peer
	m.dropped(tok)
	m.take(m.ConnGone(m.now, tok))
	m.forgetRetires(p)
}

// forgetRetires drops what would have been answered now had there been a session.
func (m *ownerModel) forgetRetires(p types.InstanceID) {
	for nonce, toks := range m.retires[p] {
		if !slices.ContainsFunc(toks, func(tok types.PathID) bool { return m.tokens[tok] != nil }) {
			require.False(m.t, m.alive[p], "RETIRE %d of a live session is not answered", nonce)
			delete(m.retires[p], nonce)
		}
	}
}

func (m *ownerModel) connBreaks(t *rapid.T) {
	tok := pick(t, m.tokens, "token")
	if !m.tokens[tok].used {
		t.Skip("no connection")
	}
	m.connGone(tok)
}

func (m *ownerModel) localGone(id types.BufferID) {
	delete(m.locals, id)
	m.take(m.LocalQuiet(m.now, id))
}

func (m *ownerModel) gateGone(id types.BufferID) {
	delete(m.gates, id)
	m.take(m.GateQuiet(m.now, id))
}

func (m *ownerModel) session(t *rapid.T) {
	p := m.peer()
	if m.alive[p] && rapid.Bool().Draw(t, "down") {
		m.alive[p] = false
		m.take(m.SessionDown(m.now, p))
		return
	}
	m.alive[p] = true
	acts := m.SessionUp(m.now, p)
	owed := 0
	for _, d := range m.drains {
		if _, ok := d.wait[p]; ok && !d.over(m.now) {
			owed++
		}
	}
	require.Len(t, each[SendDrain](acts), owed)
	for _, s := range each[SendDrain](acts) {
		for id, d := range m.drains { // a holder that had no session at the start is asked only now
			if slices.Contains(d.ids, s.IDs[0]) {
				m.asked[s.Nonce] = id
			}
		}
	}
	m.take(acts)
}

func (m *ownerModel) cutOff(p types.InstanceID) {
	m.alive[p] = false
	for tok, mt := range m.tokens {
		if mt.peer == p && !mt.used {
			m.dropped(tok)
		}
	}
}

func (m *ownerModel) peerGone(*rapid.T) {
	p := m.peer()
	m.cutOff(p)
	m.take(m.PeerGone(m.now, p))
	m.forgetRetires(p)
}

func (m *ownerModel) tick(step types.Time) {
	m.now += step
	for _, h := range m.Owner.peers {
		if !h.alive && h.fenceAt != 0 && h.fenceAt <= m.now {
			m.cutOff(h.peer)
		}
	}
	m.take(m.Tick(m.now))
	if at, ok := m.NextWake(); ok {
		require.Greater(m.t, at, m.now, "Tick leaves nothing undone")
	}
}

// consistent compares what can be looked up.
func (m *ownerModel) consistent() {
	var holders []types.InstanceID
	for _, p := range m.peers {
		if m.holds(p) {
			holders = append(holders, p)
		}
		require.Equal(m.t, m.floors[p], m.Floor(p))
	}
	require.Equal(m.t, holders, m.Holders())
	version, bufs := m.Describe()
	require.Equal(m.t, m.Version(), version)
	want := 0
	for id, r := range m.regs {
		if r.Remote == types.RemoteAll && m.state[id] != types.Gone {
			want++
		}
	}
	require.Len(m.t, bufs, want)
	for _, b := range bufs {
		require.Equal(m.t, m.state[b.ID], b.State)
	}
	require.Equal(m.t, len(m.drains), m.Stats().DrainsRunning)
}
