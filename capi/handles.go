package capi

import (
	"sync"
	"sync/atomic"

	"mooncake_te/gocore/errcode"
)

// A handle is kind (4 bits) | generation (36 bits) | index (24 bits). Kind and generation start at 1, so 0 is never a
// handle. A slot's generation goes up each time it is taken, and a freed slot rests until minRest others were freed
// after it: one slot's generations last for 2^36 uses, a table's for at least 2^36 * minRest.
const (
	indexBits      = 24
	generationBits = 36

	maxIndex      = 1<<indexBits - 1
	maxGeneration = 1<<generationBits - 1

	minRest   = 1024
	chunkBits = 12
	chunkSize = 1 << chunkBits
)

type kind uint64

const (
	kindEngine kind = 1 + iota
	kindBatch
	kindTask
	kindServer
)

// verdict says what a handle is.
type verdict int

const (
	live    verdict = iota
	closed          // it was handed out once, and what it named was removed
	foreign         // this table never handed it out
)

// table turns handles into values: a pointer and a word. Look-ups take no lock, and storing allocates nothing: a slot's
// value changes only while the slot has no handle, and handles do not come again, so who sees the same handle before and
// after reading the value has read the value of exactly that handle.
type table[T any] struct {
	kind   kind
	chunks [(maxIndex + 1) / chunkSize]atomic.Pointer[[chunkSize]slot[T]]
	used   atomic.Uint32 // slots ever taken; those below exist

	mu   sync.Mutex // insert and release
	free queue
	rest int // how many must be free before the first of them is used again
}

type slot[T any] struct {
	handle     atomic.Uint64 // 0: free
	value      atomic.Pointer[T]
	word       atomic.Uint64
	generation atomic.Uint64 // of the present or last handle
}

func newTable[T any](k kind) *table[T] { return &table[T]{kind: k, rest: minRest} }

// insert stores a value under a new handle.
func (t *table[T]) insert(value *T, word uint64) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	index, ok := t.takeIndex()
	if !ok {
		return 0, errcode.New(errcode.ResourceExhausted, "make a handle", "2^24 objects of one kind are alive").
			WithHint("free batches and tasks once they are final")
	}
	s := &t.chunks[index>>chunkBits].Load()[index&(chunkSize-1)]
	generation := s.generation.Load()%maxGeneration + 1
	h := uint64(t.kind)<<(generationBits+indexBits) | generation<<indexBits | uint64(index)
	s.generation.Store(generation)
	s.value.Store(value)
	s.word.Store(word)
	s.handle.Store(h)
	return h, nil
}

func (t *table[T]) takeIndex() (uint32, bool) {
	used := t.used.Load()
	if t.free.len() >= t.rest || used > maxIndex && t.free.len() > 0 {
		return t.free.pop(), true
	}
	if used > maxIndex {
		return 0, false
	}
	if chunk := &t.chunks[used>>chunkBits]; chunk.Load() == nil {
		chunk.Store(new([chunkSize]slot[T]))
	}
	t.used.Store(used + 1)
	return used, true
}

// find returns the slot of a handle, or nil for one that this table cannot have made.
func (t *table[T]) find(h uint64) *slot[T] {
	index := uint32(h & maxIndex)
	if kind(h>>(generationBits+indexBits)) != t.kind || index >= t.used.Load() {
		return nil
	}
	return &t.chunks[index>>chunkBits].Load()[index&(chunkSize-1)]
}

// lookup returns the value of a handle.
func (t *table[T]) lookup(h uint64) (*T, uint64, verdict) {
	s := t.find(h)
	if s == nil {
		return nil, 0, foreign
	}
	if s.handle.Load() == h {
		value, word := s.value.Load(), s.word.Load()
		if s.handle.Load() == h {
			return value, word, live
		}
	}
	return nil, 0, s.missing(h)
}

// remove takes a handle out of the table. Of several callers exactly one is told live, and owns the value from then on.
func (t *table[T]) remove(h uint64) (*T, uint64, verdict) {
	s := t.find(h)
	if s == nil {
		return nil, 0, foreign
	}
	if !s.handle.CompareAndSwap(h, 0) {
		return nil, 0, s.missing(h)
	}
	value, word := s.value.Swap(nil), s.word.Load()
	t.mu.Lock()
	t.free.push(uint32(h & maxIndex))
	t.mu.Unlock()
	return value, word, live
}

// removeIf takes out every value that the function picks. Values inserted meanwhile may be missed.
func (t *table[T]) removeIf(pick func(*T, uint64) bool) {
	for index := range t.used.Load() {
		h := t.chunks[index>>chunkBits].Load()[index&(chunkSize-1)].handle.Load()
		if value, word, is := t.lookup(h); is == live && pick(value, word) {
			t.remove(h)
		}
	}
}

// missing tells a handle that was removed from one that never was.
func (s *slot[T]) missing(h uint64) verdict {
	generation := h >> indexBits & maxGeneration
	if generation == 0 || generation > s.generation.Load() {
		return foreign
	}
	return closed
}

// count is how many handles are live.
func (t *table[T]) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.used.Load()) - t.free.len()
}

// queue is a first-in, first-out list of free indexes.
type queue struct {
	items []uint32
	head  int
}

func (q *queue) len() int      { return len(q.items) - q.head }
func (q *queue) push(i uint32) { q.items = append(q.items, i) }

func (q *queue) pop() uint32 {
	i := q.items[q.head]
	q.head++
	if q.head > 2*minRest && q.head > len(q.items)/2 {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
	return i
}
