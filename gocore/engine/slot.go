package engine

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Slot is the memory of one batch at a time, used again for others when nobody refers to that one any more. Whoever is not
// the engine itself, holding peer.mu, comes to it by a Batch, which names one generation of it.
type Slot struct {
	life life
	peer *peer
	t    *coherence.Transfer // under peer.mu; always the same one
	op   types.Op
	// locals are the registrations whose local gates this batch is inside.
	locals []*registration
	words  *statusWords
	addr   uint64
	// unqueued: its submission was refused. The words go with the last reference, because a cancel may be about to write them.
	unqueued bool
	armed    atomic.Bool
	via      atomic.Pointer[pathState] // of a small one: where it may be helped along
	ended    atomic.Bool               // final, for those who do not hold peer.mu
	// baton wakes those who sleep in Wait: each who takes it hands it on.
	baton chan struct{}
	begun time.Time

	// Under peer.mu.
	bound   types.Version           // oldest metadata the remote buffers were resolved from
	remotes []remoteUse             // distinct remote buffers, in the order of their IDs
	waiting map[types.BufferID]bool // not resolved yet
	reqs    []coherence.Request     // until all remote buffers are resolved
	memory  *requests               // that reqs lie in
	paths   []pathUse               // for explain
	done    chan struct{}           // made for the first who asks, closed once final
	settled bool                    // nothing is owed to the View any more
	next    *Slot                   // in peer.settled
	err     error                   // once final
	final   bool
}

// life counts who refers to the present batch of a slot: generation (42 bits) | freed (1 bit) | references (21 bits). The
// caller's handle is a reference until Free, the engine's interest is one until the batch is settled, and every call
// holds one for as long as it lasts. With the last one the generation ends.
type life struct{ word atomic.Uint64 }

const (
	lifeRefs  = 1<<21 - 1
	lifeFreed = 1 << 21
	lifeShift = 22
)

// begin makes a generation with two references: the caller's and the engine's.
func (l *life) begin() (generation uint64) {
	generation = l.word.Load() >> lifeShift
	l.word.Store(generation<<lifeShift | 2)
	return generation
}

// generation is the present one's number. For those who know that it has not ended.
func (l *life) generation() uint64 { return l.word.Load() >> lifeShift }

// enter takes a reference. It fails once the batch was freed, and ever after.
func (l *life) enter(generation uint64) bool {
	for {
		w := l.word.Load()
		if w>>lifeShift != generation || w&lifeFreed != 0 || w&lifeRefs == 0 {
			return false
		}
		if l.word.CompareAndSwap(w, w+1) {
			return true
		}
	}
}

// free lets nobody enter any more. One of several callers is told true, and gives the caller's reference back.
func (l *life) free() bool {
	for {
		w := l.word.Load()
		if w&lifeFreed != 0 {
			return false
		}
		if l.word.CompareAndSwap(w, w|lifeFreed) {
			return true
		}
	}
}

// leave gives n references back and reports whether they were the last: the generation has ended, and the slot is the
// caller's alone.
func (l *life) leave(n uint64) bool {
	w := l.word.Add(-n)
	if w&lifeRefs != 0 {
		return false
	}
	l.word.Store((w>>lifeShift + 1) << lifeShift)
	return true
}

// remoteUse is how often a batch uses a remote buffer.
type remoteUse struct {
	id      types.BufferID
	n       uint64
	entered uint64 // what of it counts on the View's gate
}

// pathUse is how many posts of a batch went one kind of way.
type pathUse struct {
	kind  string
	posts int
}

// requests is memory for those of one batch, used again when the batch is settled: a slot waits for its caller as well.
type requests struct{ list []coherence.Request }

var (
	requestLists = sync.Pool{New: func() any { return new(requests) }}
	slots        = sync.Pool{New: func() any { return &Slot{t: new(coherence.Transfer), baton: make(chan struct{}, 1)} }}
)

// keptPerSlot is how many entries each list of a slot may have room for and still be kept.
const keptPerSlot = 256

// release gives references back, and the slot with the last of them.
func (b *Slot) release(n uint64) {
	if !b.life.leave(n) {
		return
	}
	if b.memory != nil {
		b.dropRequests()
	}
	if b.unqueued && b.words != nil {
		b.peer.e.status.put(b.addr)
	}
	select {
	case <-b.baton:
	default:
	}
	clear(b.locals)
	b.locals, b.remotes, b.paths = kept(b.locals), kept(b.remotes), kept(b.paths)
	b.peer, b.words, b.addr, b.begun, b.bound = nil, nil, 0, time.Time{}, 0
	b.waiting, b.reqs, b.done, b.err = nil, nil, nil, nil
	b.settled, b.final, b.unqueued = false, false, false
	b.armed.Store(false)
	b.ended.Store(false)
	b.via.Store(nil)
	slots.Put(b)
}

func kept[T any](list []T) []T {
	if cap(list) > keptPerSlot {
		return nil
	}
	return list[:0]
}

// dropRequests gives the memory of the requests back: nothing looks at them any more.
func (b *Slot) dropRequests() {
	requestLists.Put(b.memory)
	b.memory, b.reqs = nil, nil
}

// entered is what counts on the View's gate of a remote buffer; nil for one that the batch does not use.
func (b *Slot) entered(id types.BufferID) *uint64 {
	i, ok := slices.BinarySearchFunc(b.remotes, id, func(u remoteUse, id types.BufferID) int { return cmp.Compare(u.id, id) })
	if !ok {
		return nil
	}
	return &b.remotes[i].entered
}

// went counts a post.
func (b *Slot) went(kind string) {
	for i := range b.paths {
		if b.paths[i].kind == kind {
			b.paths[i].posts++
			return
		}
	}
	b.paths = append(b.paths, pathUse{kind, 1})
}

// cancel ends the batch for a reason. The caller holds a reference.
func (b *Slot) cancel(code errcode.Code, detail string) {
	p := b.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.releaseSettled()
	if b.final {
		return
	}
	if b.err == nil {
		err := p.error(code, b.op.String(), detail)
		err.Hint = "" // it was our own side that ended it
		if code == errcode.DrainingCode {
			err.Hint = "the local buffer was closed while the transfer was under way: wait for transfers first"
		}
		b.err = err
	}
	p.runFor(b.t, b.t.Cancel(p.e.now(), code))
	p.settle(b)
	p.pump()
}

// finish makes the batch final. Callers hold peer.mu; local memory is quiet by the Transfer's word.
func (b *Slot) finish() {
	if b.final {
		return
	}
	b.final = true
	e := b.peer.e
	b.peer.unfinished--
	outcome, cause := b.t.Outcome()
	if outcome == types.Completed {
		b.err = nil
	} else if _, detail := b.t.Cause(); b.err == nil || errcode.Of(b.err) != cause {
		b.err = b.peer.error(cause, b.op.String(), detail)
	}
	m := e.metrics
	m.Batches.WithLabelValues(b.op.String(), outcome.String()).Inc()
	m.Requests.WithLabelValues(b.op.String(), outcome.String()).Add(float64(b.t.Requests()))
	m.BatchSeconds.WithLabelValues(b.op.String()).Observe(time.Since(b.begun).Seconds())
	if outcome != types.Completed {
		m.Errors.WithLabelValues(cause.String()).Inc()
	}
	if r := b.t.Retries(); r > 0 {
		m.PostRetries.Add(float64(r))
	}
	b.reqs = nil
	b.peer.stopWaiting(b)
	b.peer.sched.Remove(b.t)
	leaveAll(b.locals)
	b.words.final(outcome, cause, b.t.RemoteQuiet(), b.t.BytesDone())
	b.ended.Store(true)
	b.wake()
	if b.done != nil {
		close(b.done)
	}
	if b.armed.Load() {
		e.wake.signal()
	}
	e.forgetBatch(b, b.t.Requests())
}

// failure is the reason of one that is final and did not complete. The caller holds a reference.
func (b *Slot) failure() error {
	b.peer.mu.Lock()
	defer b.peer.mu.Unlock()
	return b.err
}

// wake lets one of those who sleep in Wait go on, or the next who comes.
func (b *Slot) wake() {
	select {
	case b.baton <- struct{}{}:
	default:
	}
}

// wait reports whether the batch got final within the timeout. The caller holds a reference.
func (b *Slot) wait(timeout time.Duration) bool {
	if b.ended.Load() {
		return true
	}
	if timeout <= 0 {
		return false
	}
	if b.help() {
		return true
	}
	timer := timers.Get().(*time.Timer)
	timer.Reset(timeout)
	defer func() {
		timer.Stop()
		timers.Put(timer)
	}()
	select {
	case <-b.baton:
		b.wake()
		return true
	case <-timer.C:
		return b.ended.Load()
	}
}

// timers are stopped ones, whose channel holds nothing.
var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

// doneChannel is closed once the batch is final. The caller holds a reference.
func (b *Slot) doneChannel() <-chan struct{} {
	b.peer.mu.Lock()
	defer b.peer.mu.Unlock()
	switch {
	case b.final:
		return over
	case b.done == nil:
		b.done = make(chan struct{})
	}
	return b.done
}

// over is a channel of what has ended.
var over = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
