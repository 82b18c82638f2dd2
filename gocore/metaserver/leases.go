package metaserver

import (
	"container/heap"
	"time"
)

// leases is a heap of the owned names by the end of their leases.
type leases []*entry

func (l leases) Len() int           { return len(l) }
func (l leases) Less(i, j int) bool { return l[i].deadline < l[j].deadline }

func (l leases) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push and Pop are for container/heap.
func (l *leases) Push(x any) {
	e := x.(*entry)
	e.place = len(*l)
	*l = append(*l, e)
}

// Pop is for container/heap.
func (l *leases) Pop() any {
	old := *l
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	e.place = -1
	return e
}

func (l *leases) remove(e *entry) {
	if e.place >= 0 {
		heap.Remove(l, e.place)
	}
}

// extend starts the lease anew.
func (t *table) extend(e *entry) {
	e.deadline = t.now() + e.ttl
	if e.place < 0 {
		heap.Push(&t.leases, e)
	} else {
		heap.Fix(&t.leases, e.place)
	}
	if e.place == 0 {
		select {
		case t.due <- struct{}{}:
		default:
		}
	}
}

// expire ends every lease whose time has come.
func (t *table) expire() {
	if len(t.leases) == 0 {
		return
	}
	for now := t.now(); len(t.leases) > 0 && t.leases[0].deadline <= now; t.expired++ {
		t.end(t.leases[0])
	}
}

// endLeases ends leases in time until stop is closed, so that watchers hear of it although nobody asks anything.
func (t *table) endLeases(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t.lock()
		wait := time.Hour
		if len(t.leases) > 0 {
			wait = t.leases[0].deadline - t.now()
		}
		t.mu.Unlock()
		timer.Reset(max(wait, 0))
		select {
		case <-stop:
			return
		case <-t.due: // the earliest deadline changed
		case <-timer.C:
		}
	}
}
