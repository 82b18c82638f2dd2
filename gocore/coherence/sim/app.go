package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// appStep is something that an application does.
func (w *world) appStep() bool {
	p := w.hosts[w.rng.IntN(len(w.hosts))]
	if p == nil || !p.running() {
		return false
	}
	p.touched = true
	switch n := w.rng.IntN(44); {
	case n < 28:
		return w.submit(p)
	case n < 32:
		return p.grant()
	case n < 32+2*w.mix.drains:
		return p.startDrain()
	case n == 40:
		return w.chance(3) && w.cancel(p, func(*batch) bool { return true })
	case n == 41: // what may haunt
		return w.cancel(p, func(b *batch) bool { return b.t.Lost() > 0 })
	}
	p.register(w.rng.IntN(blocks))
	return true
}

// submit makes a batch of one to four requests to some peer, on IDs that somebody once handed out.
func (w *world) submit(p *proc) bool {
	host := w.rng.IntN(len(w.hosts))
	if host == p.host && !(w.mix.names && w.chance(3)) || len(w.batches) >= w.mix.maxBatches {
		return false
	}
	pe := p.byHost[host]
	w.any(len(p.peers), func(i int) bool { // a second name may lead to another instance than the first
		if o := p.peers[i]; o.host == host && !o.replaced && w.chance(2) {
			pe = o
		}
		return false
	})
	if pe == nil || pe.replaced {
		p.sought[host] = true
		return false
	}
	o := order{op: types.Write, local: p.block[forGrants+w.rng.IntN(blocks-forGrants)], rogue: w.chance(25)}
	if o.local == nil || o.local.nonReady != 0 {
		return false
	}
	if w.chance(3) {
		o.op = types.Read
	}
	if w.chance(2) {
		o.class = types.Bulk
	}
	o.crc, o.alias = w.chance(w.mix.crc), w.chance(3)
	target := w.find(pe.inst)
	if o.op == types.Write && len(pe.again) > 0 && w.chance(2) {
		for _, r := range pe.again {
			if g := target.region(r.Remote); g.allows(p.inst, o.op, r.Off, r.Len) {
				o.spans = append(o.spans, span{g: g, off: r.Off, n: r.Len})
			}
		}
		return len(o.spans) > 0 && p.submit(pe, o)
	}
	for range 1 + w.rng.IntN(4) {
		if s, ok := w.drawSpan(p, target, o); ok {
			o.spans = append(o.spans, s)
		}
	}
	if w.chance(4) {
		o.deadline = w.now + types.Time(w.rng.IntN(3000))*types.Millisecond + 1
	}
	return len(o.spans) > 0 && p.submit(pe, o)
}

// drawSpan chooses bytes of the target that do not overlap with what was chosen before.
func (w *world) drawSpan(p, target *proc, o order) (span, bool) {
	n := len(target.regions)
	g := target.regions[w.rng.IntN(n)]
	if !w.chance(3) {
		g = target.regions[max(0, n-1-w.rng.IntN(10))]
	}
	s := span{g: g, off: g.ranges[w.rng.IntN(len(g.ranges))].Off, n: 1 + uint64(w.rng.IntN(8))}
	if w.chance(2) {
		s.off += uint64(w.rng.IntN(4))
	}
	apart := !slices.ContainsFunc(o.spans, func(o span) bool {
		return o.g.base == s.g.base && o.off < s.off+s.n && s.off < o.off+o.n
	})
	return s, apart && (o.rogue || g.allows(p.inst, o.op, s.off, s.n))
}

type span struct {
	g      *region
	off, n uint64
}

// order is what an application asks for.
type order struct {
	op       types.Op
	class    types.Class
	local    *region
	spans    []span
	deadline types.Time
	rogue    bool // its requests may be more than is allowed
	crc      bool
	alias    bool // by the peer's second name
}

// submit does what the engine does: resolve, check, and hand the batch over, at once or when its buffers are known.
func (p *proc) submit(pe *peer, o order) bool {
	w := p.w
	w.lastBatch++
	b := &batch{
		w: w, n: w.lastBatch, pe: pe, initiator: p.inst, target: pe.inst, op: o.op, class: o.class, local: o.local,
		crc: o.crc, alias: o.alias && pe.shadow != nil, submitted: w.event, bound: map[types.BufferID]types.Version{},
		waiting: map[types.BufferID]bool{}, entered: map[types.BufferID]uint64{},
	}
	at := b.base()
	var asks []coherence.Action
	for i, s := range o.spans {
		if i > 0 && w.scene == nil && w.chance(3) {
			continue // fewer
		}
		bind, code, acts := b.view().Resolve(w.now, s.g.id)
		asks = append(asks, acts...)
		switch {
		case code == errcode.OK:
			b.bound[s.g.id] = bind.Version
			if code = b.view().Check(s.g.id, o.op, s.off, s.n); code != errcode.OK && !o.rogue {
				w.violate("S11", "a reader refuses %v %d [%d, +%d): %v", o.op, s.g.id, s.off, s.n, code)
			}
		case code == errcode.WaitTimeout && !b.alias:
			b.waiting[s.g.id] = true
		default:
			continue
		}
		for range s.n {
			b.req = append(b.req, len(b.reqs))
		}
		b.reqs = append(b.reqs, coherence.Request{Local: at, Remote: s.g.id, Off: s.off, Len: s.n})
		at += s.n
	}
	if len(b.reqs) > 0 {
		p.launch(b, o)
	}
	if b.alias {
		pe.doShadow(asks)
	} else {
		pe.do(asks)
	}
	return len(b.reqs) > 0
}

func (p *proc) launch(b *batch, o order) {
	w, pe := p.w, b.pe
	n := len(b.req)
	b.applied, b.produced, b.got, b.covered = make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
	b.bad, b.corrupted = make([]bool, n), make([]int, len(b.reqs))
	switch target := w.find(pe.inst); {
	case o.rogue:
		b.excused = "it is rogue"
		w.did(SubmitRogue)
	case o.deadline > 0:
		b.excused = "it has a deadline"
		w.did(SubmitDeadline)
	case !target.running():
		b.excused = "its peer was dead or stood still from the start"
	}
	switch {
	case pe.inst == p.inst:
		w.did(SubmitSelf)
	case o.op == types.Read:
		w.did(SubmitRead)
	default:
		w.did(SubmitWrite)
	}
	cfg := coherence.TransferConfig{
		Op: o.op, Class: o.class, CRC: o.crc, Deadline: o.deadline, MaxPostBytes: 1 + uint64(w.rng.IntN(12)),
		MaxPostEntries: 1 + w.rng.IntN(3), NextID: func() uint64 { p.nextPost++; return p.nextPost },
	}
	b.t = coherence.NewTransfer(w.now, cfg, b.reqs)
	b.local.users++
	pe.batches = append(pe.batches, b)
	w.batches = append(w.batches, b)
	w.trace("%s submits batch %d: %v to %s %+v", p.inst.Short(), b.n, o.op, pe.inst.Short(), b.reqs)
	if len(b.waiting) == 0 {
		b.start()
	}
}

func (w *world) cancel(p *proc, which func(*batch) bool) bool {
	return w.any(len(p.peers), func(i int) bool {
		pe := p.peers[i]
		if len(pe.batches) == 0 {
			return false
		}
		b := pe.batches[w.rng.IntN(len(pe.batches))]
		if b.final || !which(b) {
			return false
		}
		b.cancel()
		return true
	})
}
