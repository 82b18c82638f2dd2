package coherence

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// ownerRig feeds an Owner and looks for contradictions inside it after each event.
type ownerRig struct {
	require.TestingT
	*Owner
	now types.Time
}

var (
	peerA = types.InstanceID{0xa}
	peerB = types.InstanceID{0xb}
	peerC = types.InstanceID{0xc}
)

func newOwnerRig(t require.TestingT, change ...func(*OwnerConfig)) *ownerRig {
	cfg := OwnerConfig{Instance: types.InstanceID{0xf}, Random: rand.New(rand.NewPCG(1, 2)).Uint64}
	for _, c := range change {
		c(&cfg)
	}
	return &ownerRig{TestingT: t, Owner: NewOwner(cfg), now: types.Second}
}

// got checks the owner and passes the actions on.
func (r *ownerRig) got(acts []Action) []Action {
	if h, ok := r.TestingT.(*testing.T); ok {
		h.Helper()
	}
	require.NoError(r, r.CheckInvariants())
	return acts
}

func (r *ownerRig) register(regs ...Registration) []types.BufferID {
	ids, acts := r.Register(r.now, regs...)
	r.got(acts)
	return ids
}

// all registers one buffer of n bytes for everyone.
func (r *ownerRig) all(n uint64) types.BufferID {
	return r.register(Registration{Length: n, Remote: types.RemoteAll, Perm: types.PermReadWrite})[0]
}

// grants registers one buffer of n bytes for grants only.
func (r *ownerRig) grants(n uint64) types.BufferID {
	return r.register(Registration{Length: n, Remote: types.RemoteGrants, Perm: types.PermReadWrite})[0]
}

func (r *ownerRig) grant(reg types.BufferID, peer types.InstanceID, ranges ...types.Range) types.BufferID {
	if len(ranges) == 0 {
		ranges = []types.Range{{Off: 0, Len: 1}}
	}
	g, acts, err := r.Grant(r.now, reg, ranges, types.PermReadWrite, peer)
	require.NoError(r, err)
	r.got(acts)
	return g.ID
}

// attach brings a session up and hands out n tokens.
func (r *ownerRig) attach(peer types.InstanceID, n int) SendAttached {
	if h := r.peers[peer]; h == nil || !h.alive {
		r.got(r.SessionUp(r.now, peer))
	}
	return one[SendAttached](r, r.got(r.Attach(r.now, peer, 77, n)))
}

// connect attaches and connects once.
func (r *ownerRig) connect(peer types.InstanceID) types.PathID {
	tok := r.attach(peer, 1).Tokens[0]
	who, ok := r.TokenUsed(tok)
	require.True(r, ok)
	require.Equal(r, peer, who)
	return tok
}

func (r *ownerRig) drain(within types.Time, ids ...types.BufferID) (DrainID, []Action) {
	d, acts, err := r.Drain(r.now, ids, within)
	require.NoError(r, err)
	return d, r.got(acts)
}

// quiet reports every gate in an action CloseGates as empty.
func (r *ownerRig) quiet(acts []Action) []Action {
	var out []Action
	for _, c := range each[CloseGates](acts) {
		for _, id := range c.IDs {
			out = append(out, r.got(r.GateQuiet(r.now, id))...)
		}
	}
	return out
}

func (r *ownerRig) localQuiet(ids ...types.BufferID) []Action {
	var out []Action
	for _, id := range ids {
		out = append(out, r.got(r.LocalQuiet(r.now, id))...)
	}
	return out
}

// gone drains at once and feeds all quiets.
func (r *ownerRig) gone(ids ...types.BufferID) {
	_, acts := r.drain(0, ids...)
	r.localQuiet(ids...)
	r.quiet(acts)
}

func each[A Action](acts []Action) []A {
	var out []A
	for _, a := range acts {
		if a, ok := a.(A); ok {
			out = append(out, a)
		}
	}
	return out
}

func one[A Action](t require.TestingT, acts []Action) A {
	got := each[A](acts)
	require.Len(t, got, 1, "actions %v", acts)
	return got[0]
}

// order returns where the first action of this type stands, or -1.
func order[A Action](acts []Action) int {
	return slices.IndexFunc(acts, func(a Action) bool { _, ok := a.(A); return ok })
}
