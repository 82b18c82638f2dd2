package engine

import (
	"slices"
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
	reqs, locals, err := e.resolveLocal(op, s)
	defer func() {
		if err != nil {
			leaveAll(locals)
		}
	}()
	if err != nil {
		return nil, err
	}
	if err = checkOverlap(op, s.Op, reqs); err != nil {
		return nil, err
	}
	if b, err = e.admit(op, p, s, reqs, locals); err != nil {
		return nil, err
	}
	if err = p.submit(b, s); err != nil {
		e.forgetBatch(b, len(reqs))
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
// them: at once after an error, else when the batch is final.
func (e *Engine) resolveLocal(op string, s *Submission) (reqs []coherence.Request, locals []*registration, err error) {
	reqs = make([]coherence.Request, s.n())
	var reg *registration
	for i := range reqs {
		id := types.BufferID(pick(s.LocalIDs, i))
		if reg == nil || reg.id != id {
			if reg, locals, err = e.enterLocal(op, s, id, locals); err != nil {
				return nil, locals, err
			}
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
	return reqs, locals, nil
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

// checkOverlap refuses two requests of one batch that write the same byte: which one wins would be chance.
func checkOverlap(op string, dir types.Op, reqs []coherence.Request) error {
	type span struct{ space, off, n uint64 }
	at := func(r *coherence.Request) span {
		if dir == types.Read {
			return span{0, r.Local, r.Len}
		}
		return span{uint64(r.Remote), r.Off, r.Len}
	}
	overlap := func(a, b span) bool { return a.space == b.space && b.off-a.off < a.n }
	refuse := func(a, b span) error {
		where := "the local target"
		if dir == types.Write {
			where = sprintf("remote buffer %d", a.space)
		}
		return errcode.New(errcode.InvalidArgument, op,
			sprintf("two requests of the batch overlap at the target: [0x%x, +%d) and [0x%x, +%d) in %s", a.off, a.n, b.off, b.n, where)).
			WithHint("each byte may be written once per batch")
	}
	sorted := true
	for i := 1; i < len(reqs) && sorted; i++ {
		a, b := at(&reqs[i-1]), at(&reqs[i])
		sorted = a.space < b.space || a.space == b.space && a.off <= b.off
		if sorted && overlap(a, b) {
			return refuse(a, b)
		}
	}
	if sorted {
		return nil
	}
	spans := make([]span, len(reqs))
	for i := range reqs {
		spans[i] = at(&reqs[i])
	}
	slices.SortFunc(spans, func(a, b span) int {
		switch {
		case a.space != b.space && a.space < b.space, a.space == b.space && a.off < b.off:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	for i := 1; i < len(spans); i++ {
		if overlap(spans[i-1], spans[i]) {
			return refuse(spans[i-1], spans[i])
		}
	}
	return nil
}

// admit takes the batch against the engine's caps, all or nothing.
func (e *Engine) admit(op string, p *peer, s *Submission, reqs []coherence.Request, locals []*registration) (*Batch, error) {
	words, addr, err := e.status.take()
	if err != nil {
		return nil, err
	}
	b := &Batch{
		e: e, peer: p, op: s.Op, locals: locals, words: words, addr: addr, done: make(chan struct{}), begun: time.Now(),
		reqs: reqs, paths: map[string]int{}, entered: map[types.BufferID]uint64{},
	}
	if err = e.usable(op); err == nil {
		err = e.count(op, b, len(reqs))
	}
	if err != nil {
		e.status.put(addr)
		return nil, err
	}
	return b, nil
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
		NextID:  func() uint64 { return e.postID.Add(1) },
	}
	if s.Deadline > 0 {
		cfg.Deadline = now + types.Time(s.Deadline)
	}
	if s.Stall > 0 {
		cfg.Stall = types.Time(s.Stall)
	}
	return cfg
}
