package control

import (
	"bytes"

	"mooncake_te/gocore/types"
)

// facts are what both sides know of a session once both HELLOs are in; the choice rests on nothing else.
type facts struct {
	dialler types.InstanceID
	number  uint64 // the dialler's counter
	// ended is the highest number of a session dialled by the acceptor that had ended at the dialler when it dialled.
	ended uint64
}

// prefer says which of two sessions between the same two instances stays: true if a does. It is a strict order on any
// two that differ, so both sides come to the same choice, in whatever order they learn of them.
func prefer(a, b facts) bool {
	if a.dialler == b.dialler {
		return a.number > b.number
	}
	switch {
	// The dialler of one has seen the other end, so only this side still takes that one for alive.
	case a.ended >= b.number:
		return true
	case b.ended >= a.number:
		return false
	}
	return bytes.Compare(a.dialler[:], b.dialler[:]) < 0
}
