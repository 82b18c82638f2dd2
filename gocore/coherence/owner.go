package coherence

import (
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Defaults of OwnerConfig, and the number of missed heartbeats after which a session counts as dead.
const (
	DefaultHeartbeat       = types.Second
	DefaultMaxTokens       = 64
	DefaultMaxPaths        = 256
	DefaultRememberRevoked = 65536
	deadHeartbeats         = 3
)

// OwnerConfig configures an Owner. Only Instance and Random are required.
type OwnerConfig struct {
	// Instance is who owns the memory.
	Instance types.InstanceID
	// Clock is the wall clock in microseconds, used for version numbers and for nothing else. Nil: a plain counter.
	Clock func() uint64
	// Heartbeat is the session heartbeat; a session that stays down for three of them has its holder fenced. Default 1 s.
	Heartbeat types.Time
	// Random is the source of tokens and nonces: crypto/rand in the engine, seeded in the simulator. Required.
	Random func() uint64
	// Grace is how long every drain of something listed lasts at least (unless its D is 0): peers that cannot be asked,
	// because they only read the stock copy of the descriptor, get that long to forget it. Default 0.
	Grace types.Time
	// MaxTokens caps the tokens of one peer that no connection has shown yet. Default 64.
	MaxTokens int
	// MaxPaths caps what one peer holds in all, tokens and connections, so that no peer takes every connection of the
	// data port. Default 256.
	MaxPaths int
	// RememberRevoked caps how many intervals of revoked grant IDs are remembered, only to answer REVOKED instead of
	// STALE_BUFFER. Default 65536.
	RememberRevoked int
}

// Owner is the state machine of the instance that owns memory: versions, registrations and grants, holders, drains,
// connection tokens. Its callers serialise; see the package comment for what they owe it.
//
// Every method that changes a state and samples another does both in one call, so a caller's lock around the call is
// the lock that the design speaks of: a handshake enters the holder set and samples the floor, READY -> DRAINING
// raises the floor and copies the holders, Describe takes versions and states.
type Owner struct {
	cfg       OwnerConfig
	version   types.Version
	published types.Version
	nextID    types.BufferID

	ids     map[types.BufferID]*ownedID // all that is not gone; quarantined ones stay for ever
	revoked idSet                       // grants that are gone, as far as remembered
	listing listing                     // what Describe tells

	floor      types.Version                      // of ids that concern everyone
	peerFloors map[types.InstanceID]types.Version // of grants for one peer; see raiseFloor

	peers  map[types.InstanceID]*holder // with a live session or a token
	tokens map[types.PathID]*token      // valid, connected, or killed and still inside a handler

	drains    map[DrainID]*drainRun
	byNonce   map[types.Nonce]*drainRun
	lastDrain DrainID

	timers ownerTimers
	counts ownerCounts
}

// NewOwner starts with the first version taken and nothing registered.
func NewOwner(cfg OwnerConfig) *Owner {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.MaxTokens <= 0 {
		cfg.MaxTokens = DefaultMaxTokens
	}
	if cfg.MaxPaths <= 0 {
		cfg.MaxPaths = DefaultMaxPaths
	}
	if cfg.RememberRevoked <= 0 {
		cfg.RememberRevoked = DefaultRememberRevoked
	}
	o := &Owner{
		cfg:        cfg,
		nextID:     1,
		ids:        map[types.BufferID]*ownedID{},
		peerFloors: map[types.InstanceID]types.Version{},
		peers:      map[types.InstanceID]*holder{},
		tokens:     map[types.PathID]*token{},
		drains:     map[DrainID]*drainRun{},
		byNonce:    map[types.Nonce]*drainRun{},
	}
	o.published = o.nextVersion()
	return o
}

// Clocks outside 2020-2100 are not used for versions (microseconds since 1970).
const (
	clockMin = 1_577_836_800_000_000
	clockMax = 4_102_444_800_000_000
)

// nextVersion takes the next version of the counter.
func (o *Owner) nextVersion() types.Version {
	next := o.version + 1
	if o.cfg.Clock != nil {
		if c := o.cfg.Clock(); c >= clockMin && c <= clockMax {
			next = max(next, types.Version(c))
		}
	}
	o.version = next
	return next
}

// Version is the counter: what Describe and grants are labelled with.
func (o *Owner) Version() types.Version { return o.version }

// Published is the version of the last published change: what heads and heartbeats carry.
func (o *Owner) Published() types.Version { return o.published }

// RaiseVersion takes a version above one that was found in a store under our name and publishes it, so that readers who
// know that one see ours as newer. Numbers that no clock gives are not followed.
func (o *Owner) RaiseVersion(above types.Version) []Action {
	if above > o.version && above < descriptor.MaxVersion-1 {
		o.version = above
	}
	o.nextVersion()
	return []Action{o.publish()}
}

func (o *Owner) publish() Action {
	o.published = o.version
	return Publish{Version: o.version}
}

// Floor is the version of the latest READY -> DRAINING that concerns this peer. A path made now may carry only slices
// bound to knowledge at least that new.
func (o *Owner) Floor(peer types.InstanceID) types.Version { return max(o.floor, o.peerFloors[peer]) }

// maxPeerFloors bounds the floors kept for single peers. They must outlive the peer's session and paths, since a peer
// may come back with old knowledge; beyond the cap the lowest is raised for everyone, which costs others a Describe.
const maxPeerFloors = 4096

func (o *Owner) raiseFloor(peer types.InstanceID, v types.Version) {
	if peer.IsZero() {
		o.floor = v
		return
	}
	o.peerFloors[peer] = v
	if len(o.peerFloors) <= maxPeerFloors {
		return
	}
	lowest := v
	for _, f := range o.peerFloors {
		lowest = min(lowest, f)
	}
	o.floor = max(o.floor, lowest)
	for p, f := range o.peerFloors {
		if f <= o.floor {
			delete(o.peerFloors, p)
		}
	}
}

// random draws a number that is not zero.
func (o *Owner) random() uint64 {
	for {
		if n := o.cfg.Random(); n != 0 {
			return n
		}
	}
}

// goneCode says why an ID that is not in the table cannot be had.
func (o *Owner) goneCode(id types.BufferID) errcode.Code {
	if o.revoked.Has(id) {
		return errcode.Revoked
	}
	return errcode.StaleBuffer
}
