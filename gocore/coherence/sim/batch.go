package sim

import (
	"maps"
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// batch is the ground truth of one transfer.
type batch struct {
	w         *world
	n         uint64
	pe        *peer
	initiator types.InstanceID
	target    types.InstanceID
	op        types.Op
	t         *coherence.Transfer
	reqs      []coherence.Request
	bound     map[types.BufferID]types.Version
	class     types.Class
	local     *region
	crc       bool
	alias     bool // it goes by the peer's second name

	waiting    map[types.BufferID]bool   // not known yet
	entered    map[types.BufferID]uint64 // requests that count on the view's gates
	mark       int64                     // L8: what its peer had been sent when it last posted, or could not have
	pausedTill types.Time                // it was refused for want of room

	// by byte of the batch
	req      []int
	applied  []bool // WRITE: at the target, ever
	produced []bool // READ: read at the target
	got      []bool // READ: arrived here
	covered  []bool // WRITE: something older landed on it afterwards
	bad      []bool // WRITE: what landed last had changed on the way

	corrupted []int // by request: how often it was part of something that changed on the way

	submitted, ended uint64 // events
	endedAt          types.Time
	started          bool
	final, settled   bool
	quietAtEnd       bool
	excused          string
}

func (b *batch) base() uint64 { return b.n << 16 }

// index finds the byte of the batch that a slice's byte is.
func (b *batch) index(s coherence.Slice, at uint64) int { return int(s.Local - b.base() + at) }

func (b *batch) excuse(why string) {
	if b.excused == "" && !b.final {
		b.excused = why
	}
}

// disturb excuses the operations from one process to another: their pair has a fault.
func (w *world) disturb(from, to *proc, why string) {
	for _, b := range w.batches {
		if b.initiator == from.inst && b.target == to.inst {
			b.excuse(why)
		}
	}
}

// view is what the batch is bound by.
func (b *batch) view() *coherence.View {
	if b.alias {
		return b.pe.shadow
	}
	return b.pe.view
}

// start makes the batch count on its gates and queues it; every remote buffer is known.
func (b *batch) start() {
	w := b.w
	var gone []types.BufferID
	for i := range b.reqs {
		id := b.reqs[i].Remote
		if slices.Contains(gone, id) {
			continue
		}
		if code := b.view().Enter(id, 1); code != errcode.OK {
			gone = append(gone, id)
			b.do(b.t.Blocked(w.now, id, code))
			continue
		}
		b.entered[id]++
	}
	if !b.final {
		b.mark = b.pe.spent
		b.started = true
		b.pe.sched.Add(b.t)
	}
}

// resolved goes on after an answer about one ID.
func (b *batch) resolved(id types.BufferID, code errcode.Code) {
	w := b.w
	if b.final || b.alias {
		return
	}
	waited := b.waiting[id]
	delete(b.waiting, id)
	if waited && code == errcode.OK {
		bind, now, acts := b.pe.view.Resolve(w.now, id)
		b.bound[id] = bind.Version
		if code = now; code == errcode.WaitTimeout {
			b.waiting[id], code = true, errcode.OK
		}
		b.pe.do(acts)
	}
	if code != errcode.OK && (waited || b.entered[id] > 0) {
		b.do(b.t.Blocked(w.now, id, code))
	}
	if waited && len(b.waiting) == 0 && !b.final {
		b.start()
	}
}

// rebind looks the remote buffers up again, because a path wants newer knowledge than the batch was bound to.
func (b *batch) rebind() (newer bool) {
	w, pe := b.w, b.pe
	if b.final {
		return false
	}
	for _, id := range slices.Sorted(maps.Keys(b.bound)) {
		bind, code, acts := b.view().Resolve(w.now, id)
		switch code {
		case errcode.OK:
			newer = newer || bind.Version > b.bound[id]
			b.bound[id] = bind.Version
		case errcode.WaitTimeout:
		default:
			newer = true
			delete(b.bound, id)
			b.do(b.t.Blocked(w.now, id, code))
		}
		if b.alias {
			pe.doShadow(acts)
			continue
		}
		pe.do(acts)
	}
	if !newer && !b.alias {
		pe.do(pe.view.RefreshNow(w.now, "floor"))
	}
	return newer
}

// oldest is the oldest knowledge that the post rests on.
func (b *batch) oldest(p *coherence.Post) types.Version {
	bound := ^types.Version(0)
	for _, s := range p.Slices {
		bound = min(bound, b.bound[s.Remote])
	}
	return bound
}

// changed notes that bytes of these slices changed on the way.
func (b *batch) changed(on []coherence.Slice) {
	for i := range b.reqs {
		if slices.ContainsFunc(on, func(s coherence.Slice) bool {
			return b.reqs[i].Local < s.Local+s.Len && s.Local < b.reqs[i].Local+b.reqs[i].Len
		}) {
			b.corrupted[i]++
		}
	}
}

func (b *batch) cancel() {
	w := b.w
	b.excuse("it was cancelled")
	w.did(CancelBatch)
	w.trace("batch %d is cancelled", b.n)
	var shared []*batch
	if w.cfg.mutant == cancelClosesPath {
		for _, c := range b.pe.conns {
			if slices.ContainsFunc(c.posts, func(o *outPost) bool { return o.b == b }) {
				for _, o := range c.posts {
					shared = append(shared, o.b)
				}
			}
		}
	}
	b.do(b.t.Cancel(w.now, errcode.Canceled))
	for _, o := range shared {
		o.do(o.t.Cancel(w.now, errcode.Canceled))
	}
}

// result takes what became of a post.
func (b *batch) result(r result) {
	w := b.w
	if r.res.Code == errcode.ResourceExhausted {
		b.pausedTill = w.now + 200*types.Millisecond
	}
	before, lost := b.t.Retries(), b.t.Lost()
	b.do(b.t.Result(w.now, r.post, r.res))
	if b.t.Retries() > before || b.t.Lost() > lost {
		w.did(Retry)
	}
}

// do carries out what the transfer asks for, and tells the view what has become quiet.
func (b *batch) do(acts []coherence.Action) {
	w, p := b.w, b.pe.p
	p.touched = true
	for _, a := range acts {
		w.asked(a)
		switch a := a.(type) {
		case coherence.AbortPost:
			for _, c := range b.pe.conns {
				if c.token == a.Post.Path {
					c.abort(a.Post)
				}
			}
		case coherence.KillPath:
			for _, c := range slices.Clone(b.pe.conns) {
				if c.token == a.Path {
					c.closeWith(a.Cause, "an abort was not answered")
				}
			}
		case coherence.Finished:
			b.finish()
		default:
			w.violate("model", "a transfer asked for %T", a)
		}
	}
	// Copied, because what Leave brings about may come back here.
	for _, q := range slices.Clone(b.t.TakeQuiet()) {
		n := min(q.N, b.entered[q.ID]) // what never entered is not on the gate
		if n == 0 {
			continue
		}
		b.entered[q.ID] -= n
		if b.alias {
			b.pe.shadow.Leave(w.now, q.ID, n)
			continue
		}
		b.pe.do(b.pe.view.Leave(w.now, q.ID, n))
	}
	if b.t.Settled() && !b.settled {
		b.settled = true
		b.pe.sched.Remove(b.t)
		b.pe.batches = slices.DeleteFunc(b.pe.batches, func(o *batch) bool { return o == b })
		w.batches = slices.DeleteFunc(w.batches, func(o *batch) bool { return o == b })
	}
}

// finish checks the end of a batch against what really happened.
func (b *batch) finish() {
	w := b.w
	if b.final {
		w.violate("S10", "batch %d ended twice", b.n)
	}
	b.final, b.ended, b.endedAt, b.quietAtEnd = true, w.event, w.now, b.t.RemoteQuiet()
	outcome, code := b.t.Outcome()
	w.trace("batch %d ended %v (%v), remote quiet %v", b.n, outcome, code, b.quietAtEnd)
	switch outcome {
	case types.Completed:
		w.did(EndCompleted)
	case types.NotApplied:
		w.did(EndNotApplied)
	case types.Unknown:
		w.did(EndUnknown)
	case types.Partial:
		w.did(EndPartial)
	default:
		w.violate("S10", "batch %d ended %v", b.n, outcome)
	}
	if !b.quietAtEnd {
		w.did(EndNotQuiet)
		b.pe.again = b.reqs // the application will write there again
	}
	for k, i := range b.req {
		switch outcome, code := b.t.RequestOutcome(i); {
		case outcome == types.Pending:
			w.violate("S10", "batch %d ended with request %d pending", b.n, i)
		case outcome == types.Completed && b.op == types.Write && !b.applied[k]:
			w.violate("S8", "WRITE %d of batch %d is COMPLETED, its byte %d was not applied", i, b.n, k)
		case outcome == types.Completed && b.op == types.Read && !b.got[k]:
			w.violate("S8", "READ %d of batch %d is COMPLETED, its byte %d was not returned", i, b.n, k)
		case outcome == types.Completed && b.covered[k]:
			w.violate("S8", "WRITE %d of batch %d is COMPLETED, something that had ended before landed over byte %d", i, b.n, k)
		case outcome == types.Completed && b.bad[k]:
			w.violate("S8", "WRITE %d of batch %d is COMPLETED, its byte %d had changed on the way", i, b.n, k)
		case b.op == types.Write && code == errcode.Checksum && outcome != types.Unknown:
			w.violate("S8", "WRITE %d of batch %d has a wrong checksum and ended %v", i, b.n, outcome)
		case outcome == types.NotApplied && b.op == types.Write && (b.applied[k] || b.bad[k]):
			w.violate("S8", "WRITE %d of batch %d is NOT_APPLIED, its byte %d was applied", i, b.n, k)
		}
	}
	b.attribute(outcome, code)
	b.local.users--
	b.pe.p.localQuiet(b.local)
}

// attribute is S12 and S13: whoever fails has a reason of its own.
func (b *batch) attribute(outcome types.Outcome, code errcode.Code) {
	if outcome == types.Completed || b.excused != "" {
		return
	}
	m := b.w.mix
	if (code == errcode.Stalled || code == errcode.MetadataUnavailable) && (m.slow > 0 || m.rate[DialFails] > 0 ||
		m.rate[Exhausted] > 0 || m.rate[DescribeFails] > 0 || m.tick > 4*types.Millisecond || len(b.w.hosts) > 4) {
		return // handlers that hardly run, a peer that is hard to reach, messages that take seconds: what these deadlines are for
	}
	target := b.w.find(b.target)
	checksums := 1 // a READ is tried again once
	if b.op == types.Read {
		checksums = 2
	}
	for i, r := range b.reqs {
		outcome, code := b.t.RequestOutcome(i)
		switch {
		case outcome == types.Completed, target.region(r.Remote).nonReady != 0:
		case code == errcode.Checksum && b.corrupted[i] >= checksums:
		default:
			b.w.violate("S12/S13", "request %d of batch %d on ID %d ended %v (%v) for no reason of its own", i, b.n, r.Remote, outcome, code)
		}
	}
}

// lands is a byte of a WRITE reaching memory.
func (b *batch) lands(k int, at *cell, bad bool) {
	w := b.w
	if b.final {
		outcome, _ := b.t.RequestOutcome(b.req[k])
		switch {
		case outcome != types.Unknown:
			w.violate("S8", "a byte of batch %d lands after its request ended %v", b.n, outcome)
		case b.quietAtEnd || b.settled:
			w.violate("S8", "a byte of batch %d lands after its remote quiet", b.n)
		}
	}
	if o := at.b; o != nil && o != b && b.final && b.ended < o.submitted && (o.initiator == b.initiator || b.quietAtEnd) {
		o.covered[at.k] = true
		if outcome, _ := o.t.RequestOutcome(o.req[at.k]); o.final && outcome == types.Completed {
			w.violate("S8", "batch %d, which had ended, lands over batch %d, which is COMPLETED", b.n, o.n)
		}
	}
	b.bad[k] = bad
	b.applied[k] = b.applied[k] || !bad
	*at = cell{b, k}
}

// received is a chunk of a READ arriving in local memory.
func (b *batch) received(s coherence.Slice, c chunk) {
	b.touchLocal("written by a READ")
	for i := range c.n {
		k := b.index(s, c.off+i)
		if !b.produced[k] {
			b.w.violate("S8", "byte %d of batch %d came from nowhere", k, b.n)
		}
		b.got[k] = !c.bad
	}
}

// touchLocal is the transport's access to the initiator's own memory.
func (b *batch) touchLocal(what string) {
	if b.final {
		b.w.violate("S10", "local memory of batch %d is %s after the batch ended", b.n, what)
	}
	if b.local.freed {
		b.w.violate("S10", "local memory of batch %d is %s after it was deregistered", b.n, what)
	}
}
