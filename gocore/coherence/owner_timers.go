package coherence

import (
	"container/heap"
	"slices"

	"mooncake_te/gocore/types"
)

// ownerTimer is the deadline of a drain or the fencing of a holder whose session is down; one of the two is set.
type ownerTimer struct {
	at     types.Time
	order  uint64 // of two at the same time, the one set first
	drain  *drainRun
	holder *holder
}

// live says whether the timer still means anything: nothing is ever taken out of the middle of the heap.
func (t ownerTimer) live() bool {
	if t.drain != nil {
		return !t.drain.fencing
	}
	return !t.holder.alive && t.holder.fenceAt == t.at
}

// ownerTimers is a heap of deadlines. The zero value is empty.
type ownerTimers struct {
	heap  timerHeap
	order uint64
	limit int // size at which those that mean nothing any more are thrown out
}

// compact keeps the heap within twice of what is live: a drain that ended long before its deadline must not keep its
// timer, and with it its ids, until then.
func (ts *ownerTimers) compact() {
	if len(ts.heap) < max(ts.limit, 32) {
		return
	}
	ts.heap = slices.DeleteFunc(ts.heap, func(t ownerTimer) bool { return !t.live() })
	heap.Init(&ts.heap)
	ts.limit = 2 * len(ts.heap)
}

func (ts *ownerTimers) add(at types.Time, d *drainRun, h *holder) {
	ts.compact()
	ts.order++
	heap.Push(&ts.heap, ownerTimer{at: at, order: ts.order, drain: d, holder: h})
}

// first returns the next live timer, forgetting those before it that are not.
func (ts *ownerTimers) first() (ownerTimer, bool) {
	for len(ts.heap) > 0 {
		if ts.heap[0].live() {
			return ts.heap[0], true
		}
		ts.pop()
	}
	return ownerTimer{}, false
}

func (ts *ownerTimers) pop() { heap.Pop(&ts.heap) }

type timerHeap []ownerTimer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(ownerTimer)) }
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = ownerTimer{}
	*h = old[:len(old)-1]
	return t
}
