package engine

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// memory is the owner's side: the Owner machine, its table for the data path, inbound connections, and the sessions it
// speaks to. The table is what transports look at per chunk, without the machine's lock: a grant's state is an atomic
// and its gate is one atomic word.
type memory struct {
	e *Engine

	mu       sync.Mutex // the Owner, and the order of what it sends
	owner    *coherence.Owner
	sessions map[types.InstanceID]control.Session
	conns    map[types.PathID]transport.Conn
	drains   map[coherence.DrainID]*drain
	feeds    []func(types.Time) []coherence.Action // events found while carrying actions out; fed after them
	timer    *time.Timer
	stopped  bool

	registrations sync.Map // types.BufferID -> *registration
	grants        sync.Map // types.BufferID -> *grant
	version       atomic.Uint64
	floor         atomic.Uint64
	bytes         atomic.Int64
	regCount      atomic.Int64
	grantCount    atomic.Int64
}

// registration is memory that this engine may use; local counts its own batches that do.
type registration struct {
	id       types.BufferID
	addr     uint64
	length   uint64
	remote   types.Remote
	perm     types.Perm
	writable bool
	label    string
	location string
	local    gate.Gate
}

// grant is what peers may touch. state and gate are the fence that transports meet per chunk.
type grant struct {
	id     types.BufferID
	base   uint64 // address of the registration's start
	ranges []types.Range
	perm   types.Perm
	peer   types.InstanceID // zero: anybody
	state  atomic.Uint32    // types.State
	gate   gate.Gate
}

func newMemory(e *Engine) *memory {
	m := &memory{
		e:        e,
		sessions: map[types.InstanceID]control.Session{},
		conns:    map[types.PathID]transport.Conn{},
		drains:   map[coherence.DrainID]*drain{},
	}
	m.owner = coherence.NewOwner(coherence.OwnerConfig{
		Instance:  e.instance,
		Clock:     func() uint64 { return uint64(time.Now().UnixMicro()) },
		Heartbeat: types.Time(config.Millis(e.cfg.HeartbeatMS)),
		Random:    randomWord,
		MaxPaths:  max(e.cfg.MaxInboundConns/4, 4),
		Grace:     types.Time(e.grace()),
	})
	m.version.Store(uint64(m.owner.Version()))
	m.timer = time.AfterFunc(time.Hour, func() { m.do((*coherence.Owner).Tick) })
	m.timer.Stop()
	return m
}

func randomWord() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see types.NewInstanceID
	return binary.LittleEndian.Uint64(b[:])
}

// do feeds one event to the Owner and carries out what it answers, then whatever that brought up.
func (m *memory) do(event func(*coherence.Owner, types.Time) []coherence.Action) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run(event(m.owner, m.e.now()))
}

// run carries actions out in their order. Callers hold mu.
func (m *memory) run(actions []coherence.Action) {
	for {
		for _, a := range actions {
			m.apply(a)
		}
		if len(m.feeds) == 0 {
			break
		}
		next := m.feeds[0]
		m.feeds = m.feeds[1:]
		actions = next(m.e.now())
	}
	m.version.Store(uint64(m.owner.Version()))
	m.floor.Store(uint64(m.owner.Floor(types.InstanceID{})))
	if at, ok := m.owner.NextWake(); ok && !m.stopped {
		m.timer.Reset(max(time.Duration(at-m.e.now()), time.Millisecond))
	} else {
		m.timer.Stop()
	}
}

// stop forgets the timer; feeds that still arrive are harmless.
func (m *memory) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	m.timer.Stop()
}

func (m *memory) greeting(peer types.InstanceID) control.Greeting {
	var g control.Greeting
	g.Epoch, g.StoreID = m.e.ownership()
	m.mu.Lock()
	defer m.mu.Unlock()
	g.Version, g.Floor = m.owner.Published(), m.owner.Floor(peer)
	return g
}

// Registration describes memory to register; see te_registration.
type Registration struct {
	Address, Length uint64
	Remote          types.Remote
	Perm            types.Perm
	Writable        bool
	Label, Location string
}

// Register makes memory usable, all or nothing and as one metadata change.
func (e *Engine) Register(regs []Registration) ([]types.BufferID, error) {
	const op = "register"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	if len(regs) == 0 {
		return nil, e.errorf(errcode.InvalidArgument, op, "nothing to register")
	}
	specs := make([]coherence.Registration, len(regs))
	for i := range regs {
		if err := checkRegistration(op, i, &regs[i]); err != nil {
			return nil, err
		}
		r := &regs[i]
		specs[i] = coherence.Registration{Length: r.Length, Remote: r.Remote, Perm: r.Perm, Label: r.Label, Location: r.Location}
	}
	m := e.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	ids, actions := m.owner.Register(e.now(), specs...)
	// In the tables before anybody can hear of the IDs.
	for i, id := range ids {
		m.insert(id, &regs[i])
	}
	m.run(actions)
	return ids, nil
}

func (m *memory) insert(id types.BufferID, r *Registration) {
	reg := &registration{
		id: id, addr: r.Address, length: r.Length, remote: r.Remote, perm: r.Perm,
		writable: r.Writable, label: r.Label, location: r.Location,
	}
	m.registrations.Store(id, reg)
	m.regCount.Add(1)
	m.bytes.Add(int64(r.Length))
	if r.Remote == types.RemoteAll {
		m.addGrant(reg, id, []types.Range{{Off: 0, Len: r.Length}}, r.Perm, types.InstanceID{})
	}
}

func (m *memory) addGrant(reg *registration, id types.BufferID, ranges []types.Range, perm types.Perm, peer types.InstanceID) {
	g := &grant{id: id, base: reg.addr, ranges: ranges, perm: perm, peer: peer}
	g.state.Store(uint32(types.Ready))
	m.grants.Store(id, g)
	m.grantCount.Add(1)
}

func checkRegistration(op string, i int, r *Registration) error {
	bad := func(format string, args ...any) error {
		return errcode.New(errcode.InvalidArgument, op, sprintf("buffer %d: ", i)+sprintf(format, args...))
	}
	switch {
	case r.Address == 0:
		return bad("the address is 0")
	case r.Length == 0:
		return bad("the length is 0").(*errcode.Error).WithHint("empty memory cannot be transferred; skip it")
	case r.Address+r.Length < r.Address || r.Address+r.Length > 1<<63:
		return bad("[0x%x, +%d) is no range of a process", r.Address, r.Length)
	case r.Remote > types.RemoteGrants:
		return bad("remote=%d is not one of none, all, grants", r.Remote)
	case r.Perm&^types.PermReadWrite != 0:
		return bad("permission %d has unknown bits", r.Perm)
	case r.Remote != types.RemoteNone && r.Perm == 0:
		return bad("peers would get no permission at all").(*errcode.Error).WithHint("use remote=none for memory that peers must not touch")
	case !r.Writable && r.Perm&types.PermWrite != 0 && r.Remote != types.RemoteNone:
		return bad("the memory is read-only, and write permission is asked for").(*errcode.Error).WithHint("register it with permission r")
	case len(r.Label) > 256 || len(r.Location) > 64:
		return bad("label or location is too long (256 and 64 bytes)")
	case !utf8.ValidString(r.Label) || !utf8.ValidString(r.Location) || strings.ContainsRune(r.Label+r.Location, 0):
		return bad("label %q or location %q is not UTF-8 text", r.Label, r.Location)
	}
	return nil
}

// Grant lets peers touch some ranges of a registration until the grant is drained.
func (e *Engine) Grant(reg types.BufferID, ranges []types.Range, perm types.Perm, peer types.InstanceID) (types.BufferID, error) {
	const op = "grant"
	if err := e.usable(op); err != nil {
		return 0, err
	}
	m := e.memory
	r, ok := m.registration(reg)
	if !ok {
		return 0, e.errorf(errcode.StaleBuffer, op, "buffer %d is not registered here (any more)", reg)
	}
	if m.grantCount.Load() >= int64(e.cfg.MaxGrants) {
		return 0, e.errorf(errcode.ResourceExhausted, op, "%d grants are alive", m.grantCount.Load()).
			WithHint("revoke grants that are not needed, or raise max_grants")
	}
	normal, err := types.NormalizeRanges(ranges, r.length)
	if err != nil {
		return 0, errcode.New(errcode.InvalidArgument, op, err.Error())
	}
	if len(normal) > control.MaxIDs {
		return 0, e.errorf(errcode.ResourceExhausted, op, "%d separate ranges in one grant, at most %d", len(normal), control.MaxIDs).
			WithHint("split it into several grants")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g, actions, err := m.owner.Grant(e.now(), reg, normal, perm, peer)
	if err != nil {
		return 0, err
	}
	m.addGrant(r, g.ID, normal, perm, peer)
	m.run(actions)
	return g.ID, nil
}

func (m *memory) registration(id types.BufferID) (*registration, bool) {
	v, ok := m.registrations.Load(id)
	if !ok {
		return nil, false
	}
	return v.(*registration), true
}

func (m *memory) grantOf(id types.BufferID) *grant {
	v, ok := m.grants.Load(id)
	if !ok {
		return nil
	}
	return v.(*grant)
}

// ---- transport.Memory

// Instance is who we are: transports refuse a request that names another target (model: replace.admit).
func (m *memory) Instance() types.InstanceID { return m.e.instance }

// Admit checks a new request: see transport.Memory.
func (m *memory) Admit(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) errcode.Code {
	g := m.grantOf(id)
	if g == nil {
		return m.whyGone(peer, id, op, off, n)
	}
	if types.State(g.state.Load()) != types.Ready {
		return errcode.DrainingCode
	}
	_, code := g.covers(peer, op, off, n)
	return code
}

// Enter takes access to one chunk: see transport.Memory (model: drain.chunk_enter, ghost.chunk_enter).
func (m *memory) Enter(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) (transport.Access, errcode.Code) {
	g := m.grantOf(id)
	if g == nil {
		return transport.Access{}, m.whyGone(peer, id, op, off, n)
	}
	around, code := g.covers(peer, op, off, n)
	if code != errcode.OK {
		return transport.Access{}, code
	}
	if !g.gate.Enter() {
		return transport.Access{}, errcode.Revoked
	}
	return transport.Access{Addr: g.base + off, Gate: &g.gate, Around: around}, errcode.OK
}

// covers finds the range of the grant that a peer's access lies in.
func (g *grant) covers(peer types.InstanceID, op types.Op, off, n uint64) (types.Range, errcode.Code) {
	if !g.peer.IsZero() && g.peer != peer {
		return types.Range{}, errcode.Permission
	}
	if !g.perm.Allows(op) {
		return types.Range{}, errcode.Permission
	}
	i := types.FindRange(g.ranges, off, n)
	if i < 0 {
		return types.Range{}, errcode.OutOfBounds
	}
	return g.ranges[i], errcode.OK
}

// whyGone asks the Owner, which remembers recently revoked IDs.
func (m *memory) whyGone(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) errcode.Code {
	m.mu.Lock()
	defer m.mu.Unlock()
	if code := m.owner.Check(peer, id, op, off, n); code != errcode.OK {
		return code
	}
	return errcode.StaleBuffer
}

// Version labels replies. The floor here is the one for everybody: in a reply it only starts a refresh.
func (m *memory) Version(types.InstanceID) (version, floor types.Version) {
	return types.Version(m.version.Load()), types.Version(m.floor.Load())
}

// ---- transport.Admission

// TokenUsed turns a token into a connection; the peer stays a holder until ConnGone (model: ghost.accept).
func (m *memory) TokenUsed(token types.PathID, conn transport.Conn) (types.InstanceID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	peer, ok := m.owner.TokenUsed(token)
	if ok {
		m.conns[token] = conn
	}
	return peer, ok
}

// ConnGone says that this connection's handler has left for good.
func (m *memory) ConnGone(token types.PathID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, token)
	m.run(m.owner.ConnGone(m.e.now(), token))
}

// send queues one event for a peer. Without a session it is dropped: the machine sends it again on the next one.
func (m *memory) send(peer types.InstanceID, ev *controlpb.Event) {
	s := m.sessions[peer]
	if s == nil {
		return
	}
	if err := s.Send(ev); err != nil {
		m.e.log.Debug("control message not queued", "peer", peer.Short(), "error", err)
	}
}

// toWire and fromWire turn lists of IDs and tokens into the plain numbers of messages, and back.
func toWire[T ~uint64](list []T) []uint64 {
	out := make([]uint64, len(list))
	for i, v := range list {
		out[i] = uint64(v)
	}
	return out
}

func fromWire[T ~uint64](list []uint64) []T {
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = T(v)
	}
	return out
}

func (m *memory) registrationIDs() []types.BufferID {
	var ids []types.BufferID
	m.registrations.Range(func(k, _ any) bool {
		ids = append(ids, k.(types.BufferID))
		return true
	})
	slices.Sort(ids)
	return ids
}
