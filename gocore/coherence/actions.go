package coherence

import (
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Action is something the engine must do. Each is a plain value.
type Action interface{ action() }

// ---- actions of Owner

// Publish: the listed metadata changed and carries this version; tell the store and push INVALIDATE to every session.
type Publish struct{ Version types.Version }

// SendGrant tells the named peer about a grant made for it.
type SendGrant struct {
	Peer  types.InstanceID
	Grant Grant
}

// SendGrantRefused answers a GRANT_QUERY for an ID that is not to be had: Code is REVOKED, STALE_BUFFER or PERMISSION.
type SendGrantRefused struct {
	Peer types.InstanceID
	ID   types.BufferID
	Code errcode.Code
}

// SendDrain asks a holder to stop using ids. Sent again on every new session until acknowledged.
type SendDrain struct {
	Peer    types.InstanceID
	IDs     []types.BufferID
	Version types.Version // the floor this drain raises to
	Within  types.Time    // D: what is not over by then will be fenced
	Nonce   types.Nonce
}

// RefuseNew: from now on, nothing new may be admitted on these ids, neither from peers nor of our own (READY ->
// DRAINING). It must take effect before the next event is fed.
type RefuseNew struct{ IDs []types.BufferID }

// CancelLocal: end our own operations that use these registrations as local memory, by the rules of local quiet.
type CancelLocal struct{ IDs []types.BufferID }

// CloseGates is the fence: refuse every further chunk on these ids; feed GateQuiet for each once nobody is inside.
type CloseGates struct{ IDs []types.BufferID }

// KillConns cuts inbound connections; feed ConnGone for each once its handler has left. Tokens without a connection
// are already invalid and are not listed.
type KillConns struct {
	Peer   types.InstanceID
	Tokens []types.PathID
}

// SendAttached answers ATTACH with fresh tokens.
type SendAttached struct {
	Peer     types.InstanceID
	Request  types.Nonce
	Tokens   []types.PathID
	Floor    types.Version
	Version  types.Version
	NonReady []types.BufferID
}

// SendRetired answers RETIRE: no byte of these paths can land any more.
type SendRetired struct {
	Peer  types.InstanceID
	Nonce types.Nonce
}

// DrainDone ends a drain: from here the caller may free or reuse the memory (unless Report.Quarantined).
type DrainDone struct {
	Drain  DrainID
	Report DrainReport
}

// ---- actions of View

// SendDrainAck promises for the life of this instance that nothing of it will touch ids again.
type SendDrainAck struct {
	Nonce types.Nonce
	IDs   []types.BufferID
}

// CutOperations: give up what is under way on ids so that the drain can be acknowledged in time (cause DRAINING).
type CutOperations struct{ IDs []types.BufferID }

// SendRetire asks the target to make these tokens invalid for ever and to answer once their handlers have left.
type SendRetire struct {
	Nonce types.Nonce
	Paths []types.PathID
}

// PathsRetired: RETIRED came (or another instance answered): nothing of these paths can land any more.
type PathsRetired struct{ Paths []types.PathID }

// SendGrantQuery asks the owner once about an ID that is in no descriptor.
type SendGrantQuery struct{ ID types.BufferID }

// GrantResolved: operations waiting for this ID can go on (OK) or must end with the code.
type GrantResolved struct {
	ID   types.BufferID
	Code errcode.Code
}

// Refresh: describe the peer in the background; feed Adopt or RefreshFailed. One at a time.
type Refresh struct{ Why string }

// Drop says what a change made stale: paths of the whole peer, of some devices, or nothing but keys.
type Drop struct {
	All     bool
	Devices []string
	Cause   string
}

// HoldWrites and ReleaseWrites bracket the time in which later WRITEs to this peer must wait for RETIRED.
type (
	HoldWrites    struct{}
	ReleaseWrites struct{}
)

// ---- actions of Transfer

// AbortPost: give this post up on its path; its result still comes.
type AbortPost struct{ Post *Post }

// KillPath: the post's path does not answer; destroy it (its posts' results follow) so that local memory gets quiet.
type KillPath struct {
	Path  types.PathID
	Cause errcode.Code
}

// Finished: the batch is final and its local memory is quiet.
type Finished struct{}

func (Publish) action()          {}
func (SendGrant) action()        {}
func (SendGrantRefused) action() {}
func (SendDrain) action()        {}
func (RefuseNew) action()        {}
func (CancelLocal) action()      {}
func (CloseGates) action()       {}
func (KillConns) action()        {}
func (SendAttached) action()     {}
func (SendRetired) action()      {}
func (DrainDone) action()        {}
func (SendDrainAck) action()     {}
func (CutOperations) action()    {}
func (SendRetire) action()       {}
func (PathsRetired) action()     {}
func (SendGrantQuery) action()   {}
func (GrantResolved) action()    {}
func (Refresh) action()          {}
func (Drop) action()             {}
func (HoldWrites) action()       {}
func (ReleaseWrites) action()    {}
func (AbortPost) action()        {}
func (KillPath) action()         {}
func (Finished) action()         {}

// Grant is what a peer may touch, as it goes over the session.
type Grant struct {
	ID     types.BufferID
	Ranges []types.Range // normalized
	Perm   types.Perm
	// Version is the owner's counter when this message was sampled (not when the grant was made): a path with a higher
	// floor needs a newer sample, and asking again gives one.
	Version types.Version
	Length  uint64 // of the registration
	Label   string
}

// DrainID names one drain of one owner.
type DrainID uint64

// DrainReport says how a drain went, peer by peer.
type DrainReport struct {
	IDs          []types.BufferID
	Version      types.Version // of the final state
	Acknowledged []types.InstanceID
	Fenced       []types.InstanceID // lost all their paths before they acknowledged
	TimedOut     []types.InstanceID // did not answer within D; the fence kept them out
	Waited       types.Time         // from the start of the drain to its end
	Quarantined  bool
}

// Change says what an adopted descriptor changed, for counters and logs.
type Change struct {
	Adopted bool
	First   bool
	Added   []types.BufferID
	Removed []types.BufferID
	States  []types.BufferID
	Devices []string
	From    types.Version
	To      types.Version
}

// compile-time use of the descriptor package in the API below
var _ *descriptor.Descriptor
