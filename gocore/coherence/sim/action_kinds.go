package sim

import "mooncake_te/gocore/coherence"

// Action is a kind of thing that happens: what applications and engines do, and what the machines ask for.
type Action uint8

// What is done to the machines.
const (
	Boot Action = iota
	Register
	RegisterAgain // at an address that was registered before
	GrantMade
	DrainBegun
	DrainAtOnce // D = 0
	SubmitRead
	SubmitWrite
	SubmitSelf
	SubmitRogue // more than it may
	SubmitDeadline
	CancelBatch
	Dial
	SessionUp
	SessionDown
	PathUp
	PathDown
	Heartbeat
	FetchEnds
	FetchFails
	Refused // a connection with a bad token
	Posted
	PostLost
	ChunkDone
	Retry
	EndCompleted
	EndNotApplied
	EndUnknown
	EndPartial
	EndNotQuiet
	DrainAcknowledged // by one peer
	DrainFenced
	DrainTimedOut
	DrainQuarantined
	PeerReplaced
	// What the machines ask for.
	firstAsked
	askPublish
	askSendGrant
	askSendGrantRefused
	askSendDrain
	askRefuseNew
	askCancelLocal
	askCloseGates
	askKillConns
	askSendAttached
	askSendRetired
	askDrainDone
	askSendDrainAck
	askCutOperations
	askSendRetire
	askPathsRetired
	askSendGrantQuery
	askGrantResolved
	askRefresh
	askDrop
	askHoldWrites
	askReleaseWrites
	askAbortPost
	askKillPath
	askFinished
	numActions
)

var actionNames = [numActions]string{
	"boot", "register", "register at an old address", "grant", "drain", "drain at once", "READ", "WRITE", "to itself",
	"more than it may", "with a deadline", "cancel", "dial", "session up", "session down", "path up", "path down",
	"heartbeat", "fetch ends", "fetch fails", "connection refused", "post", "post lost", "chunk", "retry",
	"COMPLETED", "NOT_APPLIED", "UNKNOWN", "PARTIAL", "remote_quiet=false", "peer acknowledged",
	"peer fenced", "peer timed out", "quarantined", "peer replaced", "",
	"Publish", "SendGrant", "SendGrantRefused", "SendDrain", "RefuseNew", "CancelLocal", "CloseGates", "KillConns",
	"SendAttached", "SendRetired", "DrainDone", "SendDrainAck", "CutOperations", "SendRetire", "PathsRetired",
	"SendGrantQuery", "GrantResolved", "Refresh", "Drop", "HoldWrites", "ReleaseWrites", "AbortPost", "KillPath", "Finished",
}

func (a Action) String() string { return actionNames[a] }

// asked counts an action of a machine.
func (w *world) asked(a coherence.Action) {
	w.did(kindOf(a))
}

func (w *world) did(a Action) { w.stats.Actions[a]++ }

func kindOf(a coherence.Action) Action {
	switch a.(type) {
	case coherence.Publish:
		return askPublish
	case coherence.SendGrant:
		return askSendGrant
	case coherence.SendGrantRefused:
		return askSendGrantRefused
	case coherence.SendDrain:
		return askSendDrain
	case coherence.RefuseNew:
		return askRefuseNew
	case coherence.CancelLocal:
		return askCancelLocal
	case coherence.CloseGates:
		return askCloseGates
	case coherence.KillConns:
		return askKillConns
	case coherence.SendAttached:
		return askSendAttached
	case coherence.SendRetired:
		return askSendRetired
	case coherence.DrainDone:
		return askDrainDone
	case coherence.SendDrainAck:
		return askSendDrainAck
	case coherence.CutOperations:
		return askCutOperations
	case coherence.SendRetire:
		return askSendRetire
	case coherence.PathsRetired:
		return askPathsRetired
	case coherence.SendGrantQuery:
		return askSendGrantQuery
	case coherence.GrantResolved:
		return askGrantResolved
	case coherence.Refresh:
		return askRefresh
	case coherence.Drop:
		return askDrop
	case coherence.HoldWrites:
		return askHoldWrites
	case coherence.ReleaseWrites:
		return askReleaseWrites
	case coherence.AbortPost:
		return askAbortPost
	case coherence.KillPath:
		return askKillPath
	case coherence.Finished:
		return askFinished
	}
	return firstAsked
}
