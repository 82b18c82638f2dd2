// Package transport is the one interface that every data path meets: TCP, same host, RDMA, and the wrapper that
// injects faults. A transport only carries posts; what to send where, when to retry, and what an answer means for a
// batch is decided above it (gocore/coherence), and which memory may be touched is decided by the owner (Memory).
//
// # Rules every transport keeps (the conformance suite checks them)
//
//   - Each post given to Path.Post gets exactly one Sink.PostDone, and only once nothing of the transport can read or
//     write its local memory any more (local quiet).
//   - Sink.PathDown comes exactly once per path, after the PostDone of every post that was given to it.
//   - A post reported Completed was applied (WRITE) or returned (READ) in full.
//   - On the target, user memory is touched only between a Memory.Enter that succeeded and the matching Leave, for at
//     most one chunk, and never while waiting for the peer.
//   - Nothing here blocks its caller: Post, Abort and Close return at once. Sink methods are called without any lock
//     of the transport held, from goroutines of the transport, or of callers of Prompt.Push and Prompt.Help.
package transport

import (
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/types"
)

// What travels is defined where it is decided; transports only carry it.
type (
	Slice       = coherence.Slice
	Post        = coherence.Post
	Result      = coherence.Result
	SliceResult = coherence.SliceResult
)

// Sink takes what happens on paths. All methods must return quickly.
type Sink interface {
	PostDone(Path, *Post, Result)
	PathDown(Path, error)
}

// Path is one ordered way to one peer instance (on TCP: one connection).
type Path interface {
	ID() types.PathID
	// Kind is the transport's name: "tcp", "local", "rdma".
	Kind() string
	// Post queues p. It never fails: what cannot be sent is reported by Sink.PostDone.
	Post(p *Post)
	// Abort asks to give p up: unsent parts are not sent, the target is told, and PostDone follows with
	// Code CANCELED unless p completed first. Aborting an unknown or finished post does nothing.
	Abort(p *Post)
	// Close destroys this end at once. Posts under way are reported with Answered false.
	Close(cause error)
	// Info describes the path for status: addresses, bytes, counters.
	Info() PathInfo
}

// PathInfo is a snapshot for status and explain.
type PathInfo struct {
	ID           types.PathID `json:"id,string"`
	Kind         string       `json:"kind"`
	Local        string       `json:"local"`
	Remote       string       `json:"remote"`
	BytesOut     uint64       `json:"bytes_out"`
	BytesIn      uint64       `json:"bytes_in"`
	PostsPending int          `json:"posts_pending"`
}

// Access is permission to touch [Addr, Addr+n) until Leave is called. It must be held for one chunk at most.
type Access struct {
	Addr uint64
	Gate *gate.Gate
	// Around is the granted range that the bytes lie in. Until Leave all of it may be touched in the same way, so that
	// the entries of a request on one buffer need one access and not one each. Empty: nothing but the bytes asked for.
	Around types.Range
}

// Leave gives the access back.
func (a Access) Leave() { a.Gate.Leave() }

// Memory is the owner's side of every transport: it checks each access where the memory is.
type Memory interface {
	// Instance is who we are.
	Instance() types.InstanceID
	// Admit checks a new request against the state of the grant: READY, for this peer, permission, bounds (S11). It
	// takes no access. DRAINING grants admit nothing new.
	Admit(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) errcode.Code
	// Enter takes access to one chunk of an admitted request. It checks peer, permission and bounds again and fails
	// once the grant is fenced (REVOKED, STALE_BUFFER); DRAINING still enters: what was admitted may finish.
	Enter(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) (Access, errcode.Code)
	// Version returns the present metadata version and the floor that holds for this peer, for replies.
	Version(peer types.InstanceID) (version, floor types.Version)
}

// Admission is the owner's side of connection tokens (wire.md section 2): a token is for one connection, once.
type Admission interface {
	// TokenUsed turns a valid token into a connection of the peer it was made for. A second use, an unknown or a
	// retired token is refused. From here until ConnGone the peer is a holder.
	TokenUsed(token types.PathID, conn Conn) (peer types.InstanceID, ok bool)
	// ConnGone says that the handler of this connection has left for good: it touches no user memory any more.
	ConnGone(token types.PathID)
}

// Conn is the owner's handle of one inbound connection.
type Conn interface {
	// Kill cuts the connection without waiting. Admission.ConnGone follows once its handler has left its chunk.
	Kill(cause error)
}

// Prompt is a Path on which a caller's own thread can do the work of a small operation, so that it needs no thread
// switches on this side.
type Prompt interface {
	Path
	// Hold is Post for a caller that will call Push as soon as it holds no lock: nobody else need be woken.
	Hold(p *Post)
	// Push sends what was held in the goroutine of its caller, as far as the socket takes it at once. It does not block.
	Push()
	// Help looks for replies in the goroutine of a caller that waits for a, for some tens of microseconds at most and only
	// while that has helped lately; what it finds goes to the Sink from here. It may return before a is final.
	Help(a Awaited)
	// Rouse says that somebody waits for a post and will not call Help.
	Rouse()
}

// Awaited is what the caller of Prompt.Help waits for.
type Awaited interface{ Final() bool }
