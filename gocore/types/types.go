// Package types holds the vocabulary that every layer shares: identities, ranges, states and outcomes.
//
// It decides nothing and imports nothing of ours, so that each layer can name the same thing by the same type.
package types

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// InstanceID says *who*: one engine instance, random at its start, never stored for reuse. Compare it for equality
// only; it has no order in time. The zero value means "nobody in particular".
type InstanceID [16]byte

// NewInstanceID draws a fresh random identity.
func NewInstanceID() InstanceID {
	var id InstanceID
	for id.IsZero() {
		// crypto/rand.Read never returns an error (it ends the process when the kernel has no entropy source).
		_, _ = rand.Read(id[:])
	}
	return id
}

// ParseInstanceID reads the 32 hexadecimal digits that String writes.
func ParseInstanceID(s string) (InstanceID, error) {
	var id InstanceID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("instance ID %q: want %d hexadecimal digits, got %d characters", s, 2*len(id), len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return InstanceID{}, fmt.Errorf("instance ID %q: %w", s, err)
	}
	return id, nil
}

// IsZero reports whether the identity is unset.
func (id InstanceID) IsZero() bool { return id == InstanceID{} }

func (id InstanceID) String() string { return hex.EncodeToString(id[:]) }

// Short is the first eight digits, for logs.
func (id InstanceID) Short() string { return hex.EncodeToString(id[:4]) }

type (
	// BufferID names one registration or grant of one instance. IDs count up and are never used again.
	BufferID uint64
	// SegmentID is one reader's handle of a segment name. It follows the name, not the instance.
	SegmentID uint64
	// Version orders the metadata of one instance: max(wall clock in microseconds, previous + 1).
	Version uint64
	// PathID names one path of a pair of instances. On TCP it is the connection's one-time random token, made by the
	// target; zero is never a path.
	PathID uint64
	// Nonce pairs a DRAIN or RETIRE with its answer.
	Nonce uint64
	// Time is a monotonic clock in nanoseconds with an arbitrary zero. Pure code never reads a clock; it is handed one.
	Time int64
)

// Second and friends are durations on the Time axis.
const (
	Millisecond Time = 1e6
	Second      Time = 1e9
)

// Perm is what a peer may do with granted memory.
type Perm uint8

// Permissions are bits.
const (
	PermRead      Perm = 1
	PermWrite     Perm = 2
	PermReadWrite      = PermRead | PermWrite
)

// Allows reports whether the permission covers the operation.
func (p Perm) Allows(op Op) bool {
	if op == Read {
		return p&PermRead != 0
	}
	return p&PermWrite != 0
}

func (p Perm) String() string {
	switch p {
	case PermRead:
		return "r"
	case PermWrite:
		return "w"
	case PermReadWrite:
		return "rw"
	}
	return "-"
}

// State is the life of a registration or grant. An unknown state on the wire is not READY.
type State uint8

// Ready memory may be used; Draining memory takes nothing new; Gone memory may be freed.
const (
	StateUnknown State = iota
	Ready
	Draining
	Gone
	// Quarantined memory could not be fenced: it stays pinned and is never reported as free.
	Quarantined
)

func (s State) String() string {
	switch s {
	case Ready:
		return "READY"
	case Draining:
		return "DRAINING"
	case Gone:
		return "GONE"
	case Quarantined:
		return "QUARANTINED"
	}
	return "UNKNOWN"
}

// Op is the direction of a transfer, seen from the initiator.
type Op uint8

// Read copies remote memory into local memory, Write the other way.
const (
	Read  Op = 1
	Write Op = 2
)

func (o Op) String() string {
	switch o {
	case Read:
		return "READ"
	case Write:
		return "WRITE"
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Class decides how a transfer shares a path with others.
type Class uint8

// Latency transfers are short and urgent; Bulk transfers take what is left, but never nothing.
const (
	Latency Class = iota
	Bulk
	// NumClasses sizes per-class tables.
	NumClasses = 2
)

func (c Class) String() string {
	if c == Bulk {
		return "bulk"
	}
	return "latency"
}

// Outcome says what happened to the bytes; the cause (an errcode.Code) says why.
type Outcome uint8

// The outcomes. Partial is an outcome of batches only.
const (
	Pending Outcome = iota
	// Completed: every byte was applied (WRITE) or returned (READ).
	Completed
	// NotApplied: no byte of it reached the target's memory and none ever will.
	NotApplied
	// Unknown: some or all bytes may have reached the target's memory.
	Unknown
	// Partial: a batch of which some requests are COMPLETED and others are not.
	Partial
)

func (o Outcome) String() string {
	switch o {
	case Pending:
		return "PENDING"
	case Completed:
		return "COMPLETED"
	case NotApplied:
		return "NOT_APPLIED"
	case Unknown:
		return "UNKNOWN"
	case Partial:
		return "PARTIAL"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Remote says what peers may do with a registration.
type Remote uint8

const (
	// RemoteNone: for the engine's own transfers only; never published, no key handed out.
	RemoteNone Remote = iota
	// RemoteAll: one grant over all of it, listed in the descriptor.
	RemoteAll
	// RemoteGrants: listed nowhere; peers may touch only what is granted.
	RemoteGrants
)

func (r Remote) String() string {
	switch r {
	case RemoteAll:
		return "all"
	case RemoteGrants:
		return "grants"
	}
	return "none"
}
