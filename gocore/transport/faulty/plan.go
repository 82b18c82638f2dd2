package faulty

import "math/rand/v2"

// Kind is what goes wrong.
type Kind uint8

// The kinds. After Delay and Partial every byte still arrives; after Stall and HalfOpen nobody is told.
const (
	None      Kind = iota
	Delay          // some writes wait before they go on
	Partial        // writes go out in pieces
	Cut            // the connection is closed in order, in the middle
	Reset          // the connection is reset
	Corrupt        // one bit flips
	Duplicate      // some bytes arrive twice
	Stall          // nothing more is taken: the writer waits until Close
	HalfOpen       // what is written is taken and lost, and nothing is read any more: the other end just vanished
)

// Kinds are all that do something.
var Kinds = []Kind{Delay, Partial, Cut, Reset, Corrupt, Duplicate, Stall, HalfOpen}

var names = [...]string{"none", "delay", "partial write", "cut", "reset", "corrupt", "duplicate", "stall", "half-open"}

func (k Kind) String() string { return names[k] }

// Lossless reports whether every byte arrives once, in order and in the end.
func (k Kind) Lossless() bool { return k <= Partial }

// Silent reports whether the ends are left to find out for themselves.
func (k Kind) Silent() bool { return k == Stall || k == HalfOpen }

// Plan is one fault of one direction of one connection.
type Plan struct {
	Kind  Kind
	After int64 // bytes written before it happens
	Seed  uint64
}

// NewPlan draws a place among the first within bytes. The same arguments make the same plan.
func NewPlan(k Kind, seed uint64, within int64) Plan {
	rng := rand.New(rand.NewPCG(seed, uint64(k)))
	after := rng.Int64N(within)
	if rng.IntN(4) == 0 {
		after = rng.Int64N(min(within, 512)) // in the first few frames, where the states are many
	}
	if k.Lossless() {
		after = 0
	}
	return Plan{Kind: k, After: after, Seed: seed}
}
