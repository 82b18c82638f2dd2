package tcp

import (
	"time"
)

const (
	// hotStreak is how many replies in a row a waiter must have taken itself for its path to get hot.
	hotStreak = 16
	// maxHotStreak is how many at most, after the path was hot for nothing.
	maxHotStreak = 1 << 16
	// hotWatch is how often a hot path is looked after: nobody may come for a reply.
	hotWatch = time.Millisecond
)

// hot is a path on which whoever submits a small post waits for it, too, and at once. There the reader is left asleep when
// a reply comes: it would take the processor that the waiter or the peer runs on. The kernel wakes it for the end of the
// connection and for much data only (stream.hush). Anything that might leave a reply to the reader cools the path, and so
// does, after a millisecond or two, a reply that nobody came for. Guarded by Path.mu.
type hot struct {
	on     bool
	streak int
	need   int
	beats  uint64 // replies taken by waiters
	seen   uint64 // of these at the last look
	timer  *time.Timer
}

// helped notes that a waiter took its reply itself.
func (p *Path) helped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &p.hot
	h.beats++
	switch {
	case len(p.posts) > 0: // of others, who may be asleep
		p.cool()
	case h.on || p.cause != nil:
	case h.streak+1 < max(h.need, hotStreak):
		h.streak++
	default:
		h.on, h.seen = true, h.beats
		p.s.hush()
		if h.timer == nil {
			h.timer = time.AfterFunc(hotWatch, p.watch)
		} else {
			h.timer.Reset(hotWatch)
		}
	}
}

// Rouse makes replies wake the reader again: somebody waits without looking (transport.Prompt).
func (p *Path) Rouse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cool()
}

// cool makes a path what paths are as a rule. Callers hold mu.
func (p *Path) cool() {
	p.hot.streak = 0
	if p.hot.on {
		p.hot.on = false
		p.s.rouse()
	}
}

// watch cools a path on which nobody takes replies.
func (p *Path) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &p.hot
	switch {
	case !h.on:
	case h.beats != h.seen:
		h.seen = h.beats
		h.timer.Reset(hotWatch)
	default:
		if len(p.posts) > 0 {
			h.need = min(2*max(h.need, hotStreak), maxHotStreak)
		}
		p.cool()
	}
}
