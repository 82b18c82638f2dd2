package tcp

import (
	"sync/atomic"
	"time"

	"mooncake_te/gocore/transport"
)

// item is a post on its way. Its flags are guarded by Path.mu unless said otherwise.
type item struct {
	post *transport.Post
	// stop tells the writer to give up at the next chunk; written under Path.mu, read without.
	stop     atomic.Bool
	sent     bool // a byte may have left
	writing  bool // the writer has it
	written  bool // the writer is done with it
	replied  bool // result is the target's
	reported bool // PostDone was or is being called
	aborted  bool
	pushed   time.Time // when it was sent by its submitter; zero: it was not
	fault    bool      // our own memory could not be read
	result   transport.Result
}

// fifo is a queue that reuses its memory.
type fifo struct {
	items []*item
	head  int
}

func (q *fifo) push(it *item) {
	if q.head > 64 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

// peek is what pop would return.
func (q *fifo) peek() *item {
	if q.head == len(q.items) {
		return nil
	}
	return q.items[q.head]
}

func (q *fifo) pop() *item {
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		return nil
	}
	it := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	return it
}
