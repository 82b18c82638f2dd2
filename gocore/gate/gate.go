// Package gate is the atomic word on the hot path that keeps memory from being taken back while somebody is inside.
//
// A gate counts those inside and can be closed once. After Close nobody enters; when the last one leaves, the gate is
// quiet for ever and Quiet's channel is closed. Enter and Leave are one atomic operation each and never block or
// allocate. A Gate must not be copied after first use.
//
// This is the "wait for handlers inside a chunk" of the drain (model: drain.gate_quiet).
package gate

import (
	"sync"
	"sync/atomic"
)

const closedBit = 1 << 63

// Gate is open and empty as a zero value.
type Gate struct {
	word  atomic.Uint64 // bit 63: closed; the rest: how many are inside
	once  sync.Once
	mu    sync.Mutex
	quiet chan struct{}
}

// Enter reports whether the caller may go in; if so it must Leave exactly once.
func (g *Gate) Enter() bool { return g.EnterN(1) }

// EnterN enters n times at once.
func (g *Gate) EnterN(n uint64) bool {
	if g.word.Add(n)&closedBit != 0 {
		g.LeaveN(n)
		return false
	}
	return true
}

// Leave ends one Enter (model: drain.chunk_leave, ghost.chunk_leave).
func (g *Gate) Leave() { g.LeaveN(1) }

// LeaveN ends n Enters. Leaving more often than entering is a bug of the caller and panics.
func (g *Gate) LeaveN(n uint64) {
	w := g.word.Add(-n)
	if w&^closedBit > 1<<62 {
		panic("gate: more leaves than enters")
	}
	if w == closedBit {
		g.signal()
	}
}

// Close shuts the gate for ever and reports whether nobody is inside. It may be called again.
func (g *Gate) Close() (quiet bool) {
	w := g.word.Or(closedBit) | closedBit
	if w == closedBit {
		g.signal()
		return true
	}
	return false
}

// Closed reports whether Close was called.
func (g *Gate) Closed() bool { return g.word.Load()&closedBit != 0 }

// Count is how many are inside at this moment (those about to be turned away included).
func (g *Gate) Count() uint64 { return g.word.Load() &^ closedBit }

// IsQuiet reports whether the gate is closed and empty.
func (g *Gate) IsQuiet() bool { return g.word.Load() == closedBit }

// Quiet returns a channel that is closed once the gate is closed and empty.
func (g *Gate) Quiet() <-chan struct{} {
	ch := g.channel()
	if g.IsQuiet() {
		g.signal()
	}
	return ch
}

func (g *Gate) channel() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.quiet == nil {
		g.quiet = make(chan struct{})
	}
	return g.quiet
}

func (g *Gate) signal() { g.once.Do(func() { close(g.channel()) }) }
