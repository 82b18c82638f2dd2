package coherence

import (
	"mooncake_te/gocore/types"
)

const (
	// quantum is what a batch, and the class bulk, may send before it is the turn of the next.
	quantum = 512 << 10
	// latencyWeight is how many times the share of bulk the class latency has while both want to send.
	latencyWeight = 4
	// postCost is what a post costs beside its bytes, so that many small ones are no free ride.
	postCost = 4 << 10
)

// Scheduler shares the paths to one peer between batches: deficit round robin by bytes, between the classes by weight and
// between the batches of a class evenly. It is asked whenever a path has room, and holds only batches that have
// something to post; a Transfer whose post comes back wakes itself.
//
// Like everything here it is pure; the caller's lock that guards the Transfers guards it too.
type Scheduler struct {
	classes [types.NumClasses]classQueue
	turn    types.Class
	call    uint64
}

// classQueue is a list of the class's batches, the head being next.
type classQueue struct {
	head, tail *Transfer
	n          int
	credit     int64
}

// schedState is a Transfer's place in a Scheduler.
type schedState struct {
	owner      *Scheduler
	prev, next *Transfer
	linked     bool
	credit     int64
	refused    uint64 // the call in which it had nothing that could be posted
}

// Add makes a batch take part, until Remove. Adding it again does nothing.
func (s *Scheduler) Add(t *Transfer) {
	if t.sched.owner == s {
		t.sched.wake(t)
		return
	}
	if t.sched.owner != nil {
		t.sched.owner.Remove(t)
	}
	t.sched.owner, t.sched.credit = s, quantum
	if t.HasQueued() {
		t.sched.wake(t)
	}
}

// Remove takes a batch out.
func (s *Scheduler) Remove(t *Transfer) {
	if t.sched.owner != s {
		return
	}
	if t.sched.linked {
		s.classes[t.cfg.Class].unlink(t)
	}
	t.sched = schedState{}
}

// Waiting counts the batches of a class that are known to want to post.
func (s *Scheduler) Waiting(c types.Class) int { return s.classes[c].n }

// Next gives the post whose turn it is, or nil. canPost looks at the floor of the chosen path, caps and the like; what it
// refuses keeps its place in its batch, and the turn goes on. holdWrites leaves WRITEs where they are
// (model: ghost.later_write). The caller gives the post to a path and calls Posted, or Requeue.
func (s *Scheduler) Next(now types.Time, holdWrites bool, canPost func(*Post) bool) *Post {
	if s.call++; s.call == 1 {
		s.turn = types.Bulk // without credit: the first turn goes to latency
	}
	var idle [types.NumClasses]bool
	for left := types.NumClasses; left > 0; {
		c := s.turn
		q := &s.classes[c]
		if idle[c] {
			s.pass()
			continue
		}
		if q.credit <= 0 && left > 1 {
			s.pass()
			continue
		}
		p := s.pick(q, now, holdWrites, canPost)
		if p == nil {
			// Who has nothing to send saves nothing up, and owes nothing later.
			idle[c], q.credit = true, 0
			left--
			s.pass()
			continue
		}
		q.credit = max(q.credit, 1) - int64(p.Bytes) - postCost
		return p
	}
	return nil
}

// pass gives the turn to the next class, and that class its quantum.
func (s *Scheduler) pass() {
	s.turn = (s.turn + 1) % types.NumClasses
	share := int64(quantum)
	if s.turn == types.Latency {
		share *= latencyWeight
	}
	q := &s.classes[s.turn]
	q.credit = min(q.credit+share, share)
}

// pick goes round the batches of a class until one with credit has a post.
func (s *Scheduler) pick(q *classQueue, now types.Time, holdWrites bool, canPost func(*Post) bool) *Post {
	for poor := true; poor; {
		poor = false
		for range q.n {
			t := q.head
			switch {
			case t == nil:
				return nil
			case t.sched.refused == s.call:
				q.rotate()
				continue
			case !t.HasQueued():
				q.unlink(t)
				continue
			case holdWrites && t.cfg.Op == types.Write:
				t.sched.refused = s.call
				q.rotate()
				continue
			case t.sched.credit <= 0 && q.n > 1:
				t.sched.credit += quantum
				poor = true
				q.rotate()
				continue
			}
			p := t.NextPost(now)
			if p == nil || !canPost(p) {
				if p != nil {
					t.Requeue(p)
				}
				t.sched.refused = s.call
				q.rotate()
				continue
			}
			if t.sched.credit = max(t.sched.credit, 1) - int64(p.Bytes) - postCost; t.sched.credit <= 0 {
				t.sched.credit = min(t.sched.credit+quantum, quantum)
				q.rotate()
			}
			return p
		}
	}
	return nil
}

// wake links a batch that has something to post.
func (st *schedState) wake(t *Transfer) {
	if st.owner != nil && !st.linked {
		st.owner.classes[t.cfg.Class].push(t)
	}
}

func (q *classQueue) push(t *Transfer) {
	t.sched.prev, t.sched.next, t.sched.linked = q.tail, nil, true
	if q.tail == nil {
		q.head = t
	} else {
		q.tail.sched.next = t
	}
	q.tail = t
	q.n++
}

func (q *classQueue) unlink(t *Transfer) {
	if t.sched.prev == nil {
		q.head = t.sched.next
	} else {
		t.sched.prev.sched.next = t.sched.next
	}
	if t.sched.next == nil {
		q.tail = t.sched.prev
	} else {
		t.sched.next.sched.prev = t.sched.prev
	}
	t.sched.prev, t.sched.next, t.sched.linked = nil, nil, false
	q.n--
}

func (q *classQueue) rotate() {
	if t := q.head; t != q.tail {
		q.unlink(t)
		q.push(t)
	}
}
