package coherence

import (
	"container/heap"
	"slices"

	"mooncake_te/gocore/types"
)

// dirTimer is when a name needs a Tick.
type dirTimer struct {
	at    types.Time
	order uint64 // of two at the same time, the one set first
	n     *dirName
}

// live says whether it is still what the name waits for: nothing is ever taken out of the middle of the heap.
func (t dirTimer) live() bool { return t.n.wakeSet && t.n.wakeAt == t.at }

// dirTimers is a heap. The zero value is empty.
type dirTimers struct {
	heap  dirHeap
	order uint64
	limit int // size at which those that mean nothing any more are thrown out
}

func (ts *dirTimers) add(at types.Time, n *dirName) {
	if len(ts.heap) >= max(ts.limit, 32) {
		ts.heap = slices.DeleteFunc(ts.heap, func(t dirTimer) bool { return !t.live() })
		heap.Init(&ts.heap)
		ts.limit = 2 * len(ts.heap)
	}
	ts.order++
	heap.Push(&ts.heap, dirTimer{at: at, order: ts.order, n: n})
}

// first is the next live timer; those before it are forgotten.
func (ts *dirTimers) first() (dirTimer, bool) {
	for len(ts.heap) > 0 {
		if ts.heap[0].live() {
			return ts.heap[0], true
		}
		heap.Pop(&ts.heap)
	}
	return dirTimer{}, false
}

type dirHeap []dirTimer

func (h dirHeap) Len() int      { return len(h) }
func (h dirHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h dirHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}
func (h *dirHeap) Push(x any) { *h = append(*h, x.(dirTimer)) }
func (h *dirHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = dirTimer{}
	*h = (*h)[:len(*h)-1]
	return last
}
