package engine

import (
	"slices"
	"sync"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// MaxRequests is how many transfer requests one batch holds.
const MaxRequests = 1 << 20

// Submission is one batch in structure-of-arrays form; see te_batch_request. The slices are only read during Submit.
// IDs and lengths have one entry for all or one for each.
type Submission struct {
	Op       types.Op
	Class    types.Class
	CRC      int8 // -1 off, 0 the engine's setting, 1 on
	Segment  types.SegmentID
	Expected types.InstanceID // zero: whoever the segment is now
	Trace    uint32
	Deadline time.Duration // from now; 0: none
	Stall    time.Duration // 0: the engine's default

	LocalIDs, LocalOffs, RemoteIDs, RemoteOffs, Lens []uint64
}

func (s *Submission) n() int { return len(s.LocalOffs) }

func pick(v []uint64, i int) uint64 {
	if len(v) == 1 {
		return v[0]
	}
	return v[i]
}

// Submit checks everything, queues the batch and returns. All or nothing: on an error nothing was posted. Once slots and
// lists have their size it allocates nothing.
func (e *Engine) Submit(s *Submission) (Batch, error) {
	op := s.Op.String()
	if err := e.usable(op); err != nil {
		return Batch{}, err
	}
	if err := s.checkShape(op); err != nil {
		return Batch{}, err
	}
	p, err := e.peerOfSegment(op, s.Segment, s.Expected)
	if err != nil {
		return Batch{}, err
	}
	if err = e.checkKnown(op, s.Segment, p); err != nil {
		return Batch{}, err
	}
	b := newBatch(p, s.Op)
	if err = e.prepare(op, b.slot, s); err == nil {
		err = p.submit(b.slot, s)
	}
	if err != nil {
		e.giveUp(b.slot)
		return Batch{}, err
	}
	return b, nil
}

// newBatch takes a slot.
func newBatch(p *peer, op types.Op) Batch {
	slot := slots.Get().(*Slot)
	slot.peer, slot.op, slot.begun = p, op, time.Now()
	return Batch{slot, slot.life.begin()}
}

// prepare checks a submission on this side and counts the batch in; whether it failed or not, giveUp takes all of it back.
func (e *Engine) prepare(op string, b *Slot, s *Submission) error {
	if err := e.resolveLocal(op, s, b); err != nil {
		return err
	}
	if err := checkOverlap(op, s.Op, b.reqs); err != nil {
		return err
	}
	return e.admit(op, s, b)
}

// giveUp lets go of a batch that was not queued. Nobody has its handle, but somebody may be about to cancel it.
func (e *Engine) giveUp(b *Slot) {
	leaveAll(b.locals)
	e.forgetBatch(b, len(b.reqs))
	b.unqueued = true
	b.life.free()
	b.release(2)
}

func leaveAll(locals []*registration) {
	for _, r := range locals {
		r.local.Leave()
	}
}

func (s *Submission) checkShape(op string) error {
	n := s.n()
	bad := func(detail, hint string) error {
		return errcode.New(errcode.InvalidArgument, op, detail).WithHint(hint)
	}
	if s.Op != types.Read && s.Op != types.Write {
		return bad(sprintf("operation %d is neither READ nor WRITE", s.Op), "use 1 or 2")
	}
	if s.Class >= types.NumClasses {
		return bad(sprintf("class %d is neither latency nor bulk", s.Class), "use 0 or 1")
	}
	if n == 0 {
		return bad("the batch has no request", "submit at least one block")
	}
	if n > MaxRequests {
		return errcode.New(errcode.ResourceExhausted, op, sprintf("%d requests in one batch, at most %d", n, MaxRequests)).
			WithHint("split the batch, or merge adjacent blocks")
	}
	for _, f := range []struct {
		name   string
		n      int
		single bool
	}{
		{"remote_offsets", len(s.RemoteOffs), false}, {"lengths", len(s.Lens), true},
		{"local_ids", len(s.LocalIDs), true}, {"remote_ids", len(s.RemoteIDs), true},
	} {
		if f.n != n && !(f.single && f.n == 1) {
			return bad(sprintf("%s has %d entries for %d requests", f.name, f.n, n), "block lists must be equally long")
		}
	}
	if s.Deadline < 0 || s.Stall < 0 {
		return bad("a deadline is negative", "give milliseconds from now, or 0 for none")
	}
	return nil
}

// resolveLocal turns local offsets into addresses and enters the gates of the registrations used, b.locals. They are left
// at once after an error, else when the batch is final.
func (e *Engine) resolveLocal(op string, s *Submission, b *Slot) (err error) {
	b.memory = requestLists.Get().(*requests)
	b.memory.list = slices.Grow(b.memory.list[:0], s.n())[:s.n()]
	b.reqs = b.memory.list
	var reg *registration
	for i := range b.reqs {
		id := types.BufferID(pick(s.LocalIDs, i))
		if reg == nil || reg.id != id {
			if reg, err = e.enterLocal(op, s, id, b); err != nil {
				return err
			}
		}
		if pick(s.RemoteIDs, i) == 0 {
			return errcode.New(errcode.InvalidArgument, op, sprintf("request %d: 0 is no remote buffer", i)).
				WithHint("use the ID that the owner gave")
		}
		off, n := s.LocalOffs[i], pick(s.Lens, i)
		if n == 0 {
			return errcode.New(errcode.InvalidArgument, op, sprintf("request %d has length 0", i)).
				WithHint("leave empty blocks out")
		}
		if !(types.Range{Off: 0, Len: reg.length}).Contains(off, n) {
			return errcode.New(errcode.OutOfBounds, op,
				sprintf("request %d: [%d, +%d) is outside local buffer %d of %d bytes", i, off, n, id, reg.length))
		}
		b.reqs[i] = coherence.Request{Local: reg.addr + off, Remote: types.BufferID(pick(s.RemoteIDs, i)), Off: s.RemoteOffs[i], Len: n}
	}
	return nil
}

func (e *Engine) enterLocal(op string, s *Submission, id types.BufferID, b *Slot) (*registration, error) {
	for _, r := range b.locals {
		if r.id == id {
			return r, nil
		}
	}
	r, ok := e.memory.registration(id)
	if !ok {
		return nil, errcode.New(errcode.StaleBuffer, op, sprintf("local buffer %d is not registered (any more)", id)).
			WithHint("register the memory, and keep the Buffer open while transfers use it")
	}
	if s.Op == types.Read && !r.writable {
		return nil, errcode.New(errcode.Permission, op, sprintf("local buffer %d is read-only and cannot be the target of a READ", id)).
			WithHint("register writable memory")
	}
	if !r.local.Enter() {
		return nil, errcode.New(errcode.DrainingCode, op, sprintf("local buffer %d is being deregistered", id))
	}
	b.locals = append(b.locals, r)
	return r, nil
}

// admit takes the batch against the engine's caps, all or nothing.
func (e *Engine) admit(op string, s *Submission, b *Slot) (err error) {
	if b.words, b.addr, err = e.status.take(); err != nil {
		return err
	}
	// Before it stands in the table: whoever finds it there may cancel it.
	now := e.now()
	b.t.Begin(now, e.transferConfig(s, now), b.reqs)
	b.words.bytesTotal = b.t.Bytes()
	if err = e.usable(op); err != nil {
		return err
	}
	if err = e.count(op, b, len(b.reqs)); err != nil {
		return err
	}
	return stillOpen(op, b.locals)
}

// stillOpen looks at the gates again once the batch can be found: a drain that began before did not see it.
func stillOpen(op string, locals []*registration) error {
	for _, r := range locals {
		if r.local.Closed() {
			return errcode.New(errcode.DrainingCode, op, sprintf("local buffer %d is being deregistered", r.id))
		}
	}
	return nil
}

// count takes a batch into the table of live ones.
func (e *Engine) count(op string, b *Slot, n int) error {
	e.batchMu.Lock()
	defer e.batchMu.Unlock()
	if len(e.batches) >= e.cfg.MaxBatches {
		return errcode.New(errcode.ResourceExhausted, op, sprintf("%d batches are under way", len(e.batches))).
			WithHint("wait for some, or raise max_batches")
	}
	if e.queued+n > e.cfg.MaxQueuedRequests {
		return errcode.New(errcode.ResourceExhausted, op, sprintf("%d requests are queued, %d more are too many", e.queued, n)).
			WithHint("wait for some batches, or raise max_queued_requests")
	}
	e.batches[b] = struct{}{}
	e.queued += n
	return nil
}

func (e *Engine) forgetBatch(b *Slot, n int) {
	e.batchMu.Lock()
	defer e.batchMu.Unlock()
	if _, ok := e.batches[b]; ok {
		delete(e.batches, b)
		e.queued -= n
	}
}

// posts are kept between batches of all engines of the process.
var posts = sync.Pool{New: func() any { return new(coherence.Post) }}

type postPool struct{}

func (postPool) Get() *coherence.Post  { return posts.Get().(*coherence.Post) }
func (postPool) Put(p *coherence.Post) { posts.Put(p) }

// transferConfig is what the Transfer machine needs to know of a submission.
func (e *Engine) transferConfig(s *Submission, now types.Time) coherence.TransferConfig {
	crc := e.cfg.CRC
	if s.CRC != 0 {
		crc = s.CRC > 0
	}
	cfg := coherence.TransferConfig{
		Op: s.Op, Class: s.Class, CRC: crc, Trace: s.Trace,
		Stall:   types.Time(config.Millis(e.cfg.StallMS)),
		Streams: e.cfg.ConnectionsPerPeer,
		NextID:  e.nextID,
		Pool:    postPool{},
	}
	if s.Deadline > 0 {
		cfg.Deadline = now + types.Time(s.Deadline)
	}
	if s.Stall > 0 {
		cfg.Stall = types.Time(s.Stall)
	}
	return cfg
}
