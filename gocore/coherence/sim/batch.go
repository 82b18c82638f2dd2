package sim

import (
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
	local     *region

	// by byte of the batch
	req      []int
	applied  []bool // WRITE: at the target, ever
	produced []bool // READ: read at the target
	got      []bool // READ: arrived here
	covered  []bool // WRITE: something older landed on it afterwards

	submitted, ended uint64 // events
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

// do carries out what the transfer asks for, and tells the view what has become quiet.
func (b *batch) do(acts []coherence.Action) {
	w, p := b.w, b.pe.p
	p.touched = true
	for _, a := range acts {
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
		b.pe.do(b.pe.view.Leave(w.now, q.ID, q.N))
	}
	if b.t.Settled() && !b.settled {
		b.settled = true
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
	b.final, b.ended, b.quietAtEnd = true, w.event, b.t.RemoteQuiet()
	outcome, code := b.t.Outcome()
	w.trace("batch %d ended %v (%v), remote quiet %v", b.n, outcome, code, b.quietAtEnd)
	switch outcome {
	case types.Completed:
		w.stats.Completed++
	case types.NotApplied:
		w.stats.NotApplied++
	case types.Unknown:
		w.stats.Unknown++
	case types.Partial:
		w.stats.Partial++
	default:
		w.violate("S10", "batch %d ended %v", b.n, outcome)
	}
	if !b.quietAtEnd {
		w.stats.RemoteNotQuiet++
		b.pe.again = b.reqs // the application will write there again
	}
	for k, i := range b.req {
		switch outcome, _ := b.t.RequestOutcome(i); {
		case outcome == types.Pending:
			w.violate("S10", "batch %d ended with request %d pending", b.n, i)
		case outcome == types.Completed && b.op == types.Write && !b.applied[k]:
			w.violate("S8", "WRITE %d of batch %d is COMPLETED, its byte %d was not applied", i, b.n, k)
		case outcome == types.Completed && b.op == types.Read && !b.got[k]:
			w.violate("S8", "READ %d of batch %d is COMPLETED, its byte %d was not returned", i, b.n, k)
		case outcome == types.Completed && b.covered[k]:
			w.violate("S8", "WRITE %d of batch %d is COMPLETED, something that had ended before landed over byte %d", i, b.n, k)
		case outcome == types.NotApplied && b.applied[k]:
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
	if (code == errcode.Stalled || code == errcode.MetadataUnavailable) && (m.slow > 0 || m.dials > 1 || m.tick > 4*types.Millisecond) {
		return // handlers that hardly run, a peer that is hard to reach, messages that take seconds: what these deadlines are for
	}
	target := b.w.find(b.target)
	for i, r := range b.reqs {
		if outcome, code := b.t.RequestOutcome(i); outcome == types.Completed {
			continue
		} else if target.region(r.Remote).nonReady == 0 {
			b.w.violate("S12/S13", "request %d of batch %d on ID %d ended %v (%v) for no reason of its own", i, b.n, r.Remote, outcome, code)
		}
	}
}

// lands is a byte of a WRITE reaching memory.
func (b *batch) lands(k int, at *cell) {
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
	b.applied[k] = true
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
		b.got[k] = true
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
