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

// Submit checks everything, queues the batch and returns. All or nothing: on an error nothing was posted.
func (e *Engine) Submit(s *Submission) (b *Batch, err error) {
	op := s.Op.String()
	if err := e.usable(op); err != nil {
		return nil, err
	}
	if err := s.checkShape(op); err != nil {
		return nil, err
	}
	p, err := e.peerOfSegment(op, s.Segment, s.Expected)
	if err != nil {
		return nil, err
	}
	memory, locals, err := e.resolveLocal(op, s)
	defer func() {
		if err != nil {
			leaveAll(locals)
		}
	}()
	if err != nil {
		return nil, err
	}
	if err = checkOverlap(op, s.Op, memory.list); err != nil {
		return nil, err
	}
	if b, err = e.admit(op, p, s, memory, locals); err != nil {
		return nil, err
	}
	if err = p.submit(b, s); err != nil {
		e.forgetBatch(b, s.n())
		e.status.put(b.addr)
		return nil, err
	}
	return b, nil
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

// resolveLocal turns local offsets into addresses and enters the gates of the registrations used. The caller leaves
// them: at once after an error, else when the batch is final. The memory of the requests is used again once the batch is
// settled; after an error it is left to the collector.
func (e *Engine) resolveLocal(op string, s *Submission) (memory *requests, locals []*registration, err error) {
	memory = requestLists.Get().(*requests)
	memory.list = slices.Grow(memory.list[:0], s.n())[:s.n()]
	reqs := memory.list
	var reg *registration
	for i := range reqs {
		id := types.BufferID(pick(s.LocalIDs, i))
		if reg == nil || reg.id != id {
			if reg, locals, err = e.enterLocal(op, s, id, locals); err != nil {
				return nil, locals, err
			}
		}
		if pick(s.RemoteIDs, i) == 0 {
			return nil, locals, errcode.New(errcode.InvalidArgument, op, sprintf("request %d: 0 is no remote buffer", i)).
				WithHint("use the ID that the owner gave")
		}
		off, n := s.LocalOffs[i], pick(s.Lens, i)
		if n == 0 {
			return nil, locals, errcode.New(errcode.InvalidArgument, op, sprintf("request %d has length 0", i)).
				WithHint("leave empty blocks out")
		}
		if !(types.Range{Off: 0, Len: reg.length}).Contains(off, n) {
			return nil, locals, errcode.New(errcode.OutOfBounds, op,
				sprintf("request %d: [%d, +%d) is outside local buffer %d of %d bytes", i, off, n, id, reg.length))
		}
		reqs[i] = coherence.Request{Local: reg.addr + off, Remote: types.BufferID(pick(s.RemoteIDs, i)), Off: s.RemoteOffs[i], Len: n}
	}
	return memory, locals, nil
}

func (e *Engine) enterLocal(op string, s *Submission, id types.BufferID, locals []*registration) (*registration, []*registration, error) {
	for _, r := range locals {
		if r.id == id {
			return r, locals, nil
		}
	}
	r, ok := e.memory.registration(id)
	if !ok {
		return nil, locals, errcode.New(errcode.StaleBuffer, op, sprintf("local buffer %d is not registered (any more)", id)).
			WithHint("register the memory, and keep the Buffer open while transfers use it")
	}
	if s.Op == types.Read && !r.writable {
		return nil, locals, errcode.New(errcode.Permission, op, sprintf("local buffer %d is read-only and cannot be the target of a READ", id)).
			WithHint("register writable memory")
	}
	if !r.local.Enter() {
		return nil, locals, errcode.New(errcode.DrainingCode, op, sprintf("local buffer %d is being deregistered", id))
	}
	return r, append(locals, r), nil
}

// admit takes the batch against the engine's caps, all or nothing.
func (e *Engine) admit(op string, p *peer, s *Submission, memory *requests, locals []*registration) (*Batch, error) {
	reqs := memory.list
	words, addr, err := e.status.take()
	if err != nil {
		return nil, err
	}
	b := &Batch{
		e: e, peer: p, op: s.Op, locals: locals, words: words, addr: addr, done: make(chan struct{}), begun: time.Now(),
		reqs: memory.list, memory: memory,
	}
	// Before it stands in the table: whoever finds it there may cancel it.
	now := e.now()
	b.t = coherence.NewTransfer(now, e.transferConfig(s, now), reqs)
	b.words.bytesTotal = b.t.Bytes()
	if err = e.usable(op); err == nil {
		err = e.count(op, b, len(reqs))
	}
	if err == nil {
		err = stillOpen(op, locals)
	}
	if err != nil {
		e.forgetBatch(b, len(reqs))
		e.status.put(addr)
		return nil, err
	}
	return b, nil
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
func (e *Engine) count(op string, b *Batch, n int) error {
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

func (e *Engine) forgetBatch(b *Batch, n int) {
	e.batchMu.Lock()
	defer e.batchMu.Unlock()
	if _, ok := e.batches[b]; ok {
		delete(e.batches, b)
		e.queued -= n
	}
}

func (e *Engine) nextPostID() uint64 { return e.postID.Add(1) }

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
		NextID:  e.nextPostID,
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
