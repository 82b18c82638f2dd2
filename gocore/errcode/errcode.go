// Package errcode is the one table of errors that Go, C and Python share: the same numbers, names and meanings.
//
// An Error is typed (Code), says what was tried (Op), with which segment, peer, device and path, and what to do (Hint).
// The table is append-only: numbers are part of the C ABI.
package errcode

import (
	"errors"
	"strconv"
	"strings"
)

// Code is a negative number of the C ABI; OK is zero.
type Code int32

// The table. Keep it in step with capi/te.h and python/mooncake_te/_errors.py (a test compares the three).
const (
	OK                  Code = 0
	Internal            Code = -1
	Forked              Code = -2
	BufferTooSmall      Code = -3 // the caller's output buffer is too small; the needed size was returned
	InvalidArgument     Code = -4
	Closed              Code = -5
	Unsupported         Code = -6
	ResourceExhausted   Code = -7
	WaitTimeout         Code = -8
	StaleInstance       Code = -9
	StaleBuffer         Code = -10
	DrainingCode        Code = -11
	Revoked             Code = -12
	PeerUnreachable     Code = -13
	PeerDead            Code = -14
	MetadataUnavailable Code = -15
	MetadataRefused     Code = -16
	MetadataInvalid     Code = -17
	SegmentNotFound     Code = -18
	SegmentGone         Code = -19
	SegmentOwned        Code = -20
	Fenced              Code = -21
	Quarantined         Code = -22
	OutOfBounds         Code = -23
	Permission          Code = -24
	Deadline            Code = -25
	Stalled             Code = -26
	Canceled            Code = -27
	Checksum            Code = -28
	MemoryFault         Code = -29
	RailDown            Code = -30
	VersionSkew         Code = -31
)

var names = map[Code]string{
	OK: "OK", Internal: "INTERNAL", Forked: "FORKED", BufferTooSmall: "BUFFER_TOO_SMALL",
	InvalidArgument: "INVALID_ARGUMENT", Closed: "CLOSED", Unsupported: "UNSUPPORTED",
	ResourceExhausted: "RESOURCE_EXHAUSTED", WaitTimeout: "WAIT_TIMEOUT", StaleInstance: "STALE_INSTANCE",
	StaleBuffer: "STALE_BUFFER", DrainingCode: "DRAINING", Revoked: "REVOKED", PeerUnreachable: "PEER_UNREACHABLE",
	PeerDead: "PEER_DEAD", MetadataUnavailable: "METADATA_UNAVAILABLE", MetadataRefused: "METADATA_REFUSED",
	MetadataInvalid: "METADATA_INVALID", SegmentNotFound: "SEGMENT_NOT_FOUND", SegmentGone: "SEGMENT_GONE",
	SegmentOwned: "SEGMENT_OWNED", Fenced: "FENCED", Quarantined: "QUARANTINED", OutOfBounds: "OUT_OF_BOUNDS",
	Permission: "PERMISSION", Deadline: "DEADLINE", Stalled: "STALLED", Canceled: "CANCELED", Checksum: "CHECKSUM",
	MemoryFault: "MEMORY_FAULT", RailDown: "RAIL_DOWN", VersionSkew: "VERSION_SKEW",
}

// String is the name of the table, or "CODE(n)" for a number that is not in it.
func (c Code) String() string {
	if s, ok := names[c]; ok {
		return s
	}
	return "CODE(" + strconv.Itoa(int(c)) + ")"
}

// FromWire takes a code that a peer sent: a failure that this table does not know is INTERNAL, so that a newer or hostile
// peer cannot make it look like anything else. A positive number is no code; it is left for decoders to refuse.
func FromWire(n int32) Code {
	if _, known := names[Code(n)]; !known && n < 0 {
		return Internal
	}
	return Code(n)
}

// All returns every code of the table, for the tests that compare it with C and Python.
func All() map[Code]string {
	out := make(map[Code]string, len(names))
	for c, n := range names {
		out[c] = n
	}
	return out
}

// Error is a failure with everything a caller needs to act on it. Empty fields are unknown or do not apply.
type Error struct {
	Code    Code
	Op      string // what was tried, e.g. "open segment"
	Segment string
	Peer    string // instance ID and address
	Device  string
	Path    string
	Detail  string // what was wrong, naming the bad value
	Hint    string // what to do about it
	Err     error  // the cause underneath, if any
}

// New makes an error from a code, the operation and what was wrong.
func New(c Code, op, detail string) *Error { return &Error{Code: c, Op: op, Detail: detail} }

// WithHint returns the error with advice added.
func (e *Error) WithHint(hint string) *Error { e.Hint = hint; return e }

// Wrap adds the underlying cause.
func (e *Error) Wrap(err error) *Error { e.Err = err; return e }

func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(e.Code.String())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	for _, f := range [...]struct{ name, v string }{{"segment", e.Segment}, {"peer", e.Peer}, {"device", e.Device}, {"path", e.Path}} {
		if f.v != "" {
			b.WriteString(" [" + f.name + " " + f.v + "]")
		}
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap gives errors.Is and errors.As the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: c}) compare codes only.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Of returns the code of an error: OK for nil, Internal for one that carries none.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
