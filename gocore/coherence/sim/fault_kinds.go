package sim

import "fmt"

// Fault is a kind of thing that goes wrong. Each run switches kinds on and off and gives those that are on a random
// frequency, since a fixed mix never sees what is rare in it.
type Fault uint8

// The kinds of fault.
const (
	Crash          Fault = iota // a process ends, with everything that was in it
	Goodbye                     // it says BYE before
	Restart                     // another instance starts at once under the same name and address
	Pause                       // a process stands still
	PauseSilent                 // the same, and its sessions end meanwhile
	SessionBreak                // both ends notice in their own time; what was under way is lost
	SessionTail                 // what was said last is lost, what was said before still arrives
	HalfOpen                    // one end does not notice for seconds
	Crossing                    // a second session is made while one is there
	Late                        // a session's messages stand still for a while
	Duplicate                   // a message comes twice
	DialFails                   // nobody answers
	ConnDrop                    // the network loses a data connection: some of what was written still arrives
	ConnStall                   // a handler stands still for a while, also inside a chunk
	TokenUnused                 // a connection token is not used
	Corrupt                     // bytes change on the way, and the checksum says so
	Exhausted                   // the target has no room for a request
	FenceFails                  // memory cannot be fenced
	Evict                       // the record of a peer is forgotten
	DescribeFails               // no answer
	DescribeLate                // an answer of long ago
	DescribeOld                 // an earlier state instead
	DescribeBroken              // no valid descriptor
	DescribeOther               // another instance's
	ClockJump                   // the wall clock
	numFaults
)

var faultNames = [numFaults]string{
	"crash", "goodbye", "restart", "pause", "pause-silent", "session-break", "session-tail", "half-open", "crossing",
	"late", "duplicate", "dial-fails", "conn-drop", "conn-stall", "token-unused", "corrupt", "exhausted", "fence-fails",
	"evict", "describe-fails", "describe-late", "describe-old", "describe-broken", "describe-other", "clock-jump",
}

func (f Fault) String() string { return faultNames[f] }

// ParseFault is the inverse of String.
func ParseFault(s string) (Fault, error) {
	for i, name := range faultNames {
		if name == s {
			return Fault(i), nil
		}
	}
	return 0, fmt.Errorf("there is no fault %q; there are %v", s, faultNames)
}

// Injected is one fault that happened. Its number is the same in every replay up to where the replays part.
type Injected struct {
	Event uint64
	Fault Fault
	Nth   int // of those in this event
}

// possible asks whether a fault of this kind happens here, where it could: once in n times at frequency 1. What it draws
// depends on the event's number alone, so that a replay without some fault meets the others again.
func (w *world) possible(f Fault, n int) bool {
	rate := w.mix.rate[f]
	if rate == 0 || w.healing || w.luck.IntN(n*rate) != 0 {
		return false
	}
	return w.inject(f)
}

// inject makes a fault happen, unless this replay leaves it out.
func (w *world) inject(f Fault) bool {
	w.nth++
	in := Injected{w.event, f, w.nth}
	if w.cfg.Off[f] || w.cfg.Keep != nil && !w.cfg.Keep[in] {
		return false
	}
	w.stats.Faults[f]++
	if w.cfg.Record != nil {
		w.cfg.Record(in)
	}
	w.trace("FAULT %s", f)
	return true
}
