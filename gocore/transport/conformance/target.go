package conformance

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Target is an owner in miniature: grants with READY, DRAINING and a gate, and one-time tokens. It implements
// transport.Memory and transport.Admission.
type Target struct {
	instance types.InstanceID
	Enters   atomic.Uint64 // accesses that succeeded
	// OnEnter, if set, is called before each Enter with how many succeeded so far. Set it before any transfer.
	OnEnter func(id types.BufferID, n uint64)

	mu     sync.Mutex
	next   types.BufferID
	grants map[types.BufferID]*Grant
	tokens map[types.PathID]types.InstanceID
	conns  map[types.PathID]transport.Conn
	gone   map[types.PathID]chan struct{}
	token  types.PathID
}

// Grant is memory that peers may touch.
type Grant struct {
	ID    types.BufferID
	Block *mem.Mapping

	addr  uint64
	n     uint64
	perm  types.Perm
	peer  types.InstanceID
	state atomic.Uint32
	gate  gate.Gate
}

// NewTarget makes an owner without memory.
func NewTarget() *Target {
	return &Target{
		instance: types.NewInstanceID(), next: 100, token: 0x7000,
		grants: map[types.BufferID]*Grant{}, tokens: map[types.PathID]types.InstanceID{},
		conns: map[types.PathID]transport.Conn{}, gone: map[types.PathID]chan struct{}{},
	}
}

// Add grants n bytes of fresh memory to a peer (zero: to anybody).
func (o *Target) Add(t testing.TB, n int, perm types.Perm, peer types.InstanceID) *Grant {
	t.Helper()
	m := Block(t, n)
	g := o.AddMemory(m.Addr(), uint64(n), perm, peer)
	g.Block = m
	return g
}

// AddMemory grants memory that is somebody else's.
func (o *Target) AddMemory(addr, n uint64, perm types.Perm, peer types.InstanceID) *Grant {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	g := &Grant{ID: o.next, addr: addr, n: n, perm: perm, peer: peer}
	g.state.Store(uint32(types.Ready))
	o.grants[g.ID] = g
	return g
}

// Drain makes a grant DRAINING: nothing new is admitted.
func (g *Grant) Drain() { g.state.Store(uint32(types.Draining)) }

// Fence closes the grant's gate and returns a channel that is closed when nobody is inside.
func (g *Grant) Fence() <-chan struct{} {
	g.state.Store(uint32(types.Gone))
	g.gate.Close()
	return g.gate.Quiet()
}

// Inside is how many accesses are being held.
func (g *Grant) Inside() uint64 { return g.gate.Count() }

// Bytes is the granted memory.
func (g *Grant) Bytes() []byte { return mem.Bytes(g.addr, int(g.n)) }

// Instance is who we are.
func (o *Target) Instance() types.InstanceID { return o.instance }

func (o *Target) check(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) (*Grant, errcode.Code) {
	o.mu.Lock()
	g := o.grants[id]
	o.mu.Unlock()
	switch {
	case g == nil:
		return nil, errcode.StaleBuffer
	case !g.peer.IsZero() && g.peer != peer, !g.perm.Allows(op):
		return nil, errcode.Permission
	case !(types.Range{Len: g.n}).Contains(off, n):
		return nil, errcode.OutOfBounds
	}
	return g, errcode.OK
}

// Admit checks a new request.
func (o *Target) Admit(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) errcode.Code {
	g, code := o.check(peer, id, op, off, n)
	if code != errcode.OK {
		return code
	}
	switch types.State(g.state.Load()) {
	case types.Ready:
		return errcode.OK
	case types.Draining:
		return errcode.DrainingCode
	}
	return errcode.Revoked
}

// Enter takes an access.
func (o *Target) Enter(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) (transport.Access, errcode.Code) {
	if o.OnEnter != nil {
		o.OnEnter(id, o.Enters.Load())
	}
	g, code := o.check(peer, id, op, off, n)
	if code != errcode.OK {
		return transport.Access{}, code
	}
	if !g.gate.Enter() {
		return transport.Access{}, errcode.Revoked
	}
	o.Enters.Add(1)
	return transport.Access{Addr: g.addr + off, Gate: &g.gate}, errcode.OK
}

// Version and floor that every reply carries.
const (
	MetadataVersion types.Version = 4711
	MetadataFloor   types.Version = 4242
)

// Version returns the constants above.
func (o *Target) Version(types.InstanceID) (types.Version, types.Version) {
	return MetadataVersion, MetadataFloor
}

// Token makes a token for one connection of a peer.
func (o *Target) Token(peer types.InstanceID) types.PathID {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.token++
	o.tokens[o.token] = peer
	o.gone[o.token] = make(chan struct{})
	return o.token
}

// Retire makes a token invalid for ever and cuts its connection, if it has one. The channel is closed when its handler
// has left.
func (o *Target) Retire(token types.PathID) <-chan struct{} {
	o.mu.Lock()
	gone := o.gone[token]
	_, unused := o.tokens[token]
	delete(o.tokens, token)
	conn := o.conns[token]
	o.mu.Unlock()
	if unused {
		close(gone)
	}
	if conn != nil {
		conn.Kill(errcode.New(errcode.Fenced, "serve", "the token was retired"))
	}
	return gone
}

// TokenUsed turns a token into a connection.
func (o *Target) TokenUsed(token types.PathID, c transport.Conn) (types.InstanceID, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	peer, ok := o.tokens[token]
	if !ok {
		return types.InstanceID{}, false
	}
	delete(o.tokens, token)
	o.conns[token] = c
	return peer, true
}

// ConnGone ends a connection.
func (o *Target) ConnGone(token types.PathID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, token)
	close(o.gone[token]) // twice would panic: a connection goes once
}

// KillAll cuts every connection.
func (o *Target) KillAll() {
	o.mu.Lock()
	conns := slices.Collect(maps.Values(o.conns))
	o.mu.Unlock()
	for _, c := range conns {
		c.Kill(errcode.New(errcode.Fenced, "serve", "the test ends"))
	}
}

// Gone is closed when the connection of a token has gone.
func (o *Target) Gone(token types.PathID) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone[token]
}

// Connected reports whether a connection with this token is served.
func (o *Target) Connected(token types.PathID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns[token] != nil
}

// Block maps n bytes until the test ends.
func Block(t testing.TB, n int) *mem.Mapping {
	t.Helper()
	m, err := mem.Map(uint64(n))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Free()) })
	return m
}
