package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// appStep is something that an application does.
func (w *world) appStep() bool {
	p := w.hosts[w.rng.IntN(numHosts)]
	if p == nil || !p.running() {
		return false
	}
	p.touched = true
	switch n := w.rng.IntN(40); {
	case n < 28:
		return w.submit(p)
	case n < 32:
		return p.grant()
	case n < 32+w.mix.drains:
		return p.startDrain()
	case n == 36:
		return w.chance(3) && w.cancel(p, func(*batch) bool { return true })
	case n == 37: // what may haunt
		return w.cancel(p, func(b *batch) bool { return b.t.Lost() > 0 })
	}
	p.register(w.rng.IntN(blocks))
	return true
}

// submit makes a batch of one to four requests to some peer, on IDs that somebody once handed out.
func (w *world) submit(p *proc) bool {
	host := w.rng.IntN(numHosts)
	if host == p.host || len(w.batches) >= w.mix.maxBatches {
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
	target := w.find(pe.inst)
	local := p.block[forGrants+w.rng.IntN(blocks-forGrants)]
	if local == nil || local.nonReady != 0 {
		return false
	}
	op := types.Write
	if w.chance(3) {
		op = types.Read
	}
	rogue := w.chance(25)
	var spans []span
	if op == types.Write && len(pe.again) > 0 && w.chance(2) {
		for _, r := range pe.again {
			if g := target.region(r.Remote); g.allows(p.inst, op, r.Off, r.Len) {
				spans = append(spans, span{g: g, off: r.Off, n: r.Len})
			}
		}
		return len(spans) > 0 && p.submit(pe, op, local, spans, 0, false)
	}
	for range 1 + w.rng.IntN(4) {
		n := len(target.regions)
		g := target.regions[w.rng.IntN(n)]
		if !w.chance(3) {
			g = target.regions[max(0, n-1-w.rng.IntN(10))]
		}
		s := span{g: g, off: g.ranges[w.rng.IntN(len(g.ranges))].Off, n: 1 + uint64(w.rng.IntN(8))}
		if w.chance(2) {
			s.off += uint64(w.rng.IntN(4))
		}
		fits := g.allows(p.inst, op, s.off, s.n)
		apart := !slices.ContainsFunc(spans, func(o span) bool {
			return o.g.block == s.g.block && o.off < s.off+s.n && s.off < o.off+o.n
		})
		if apart && (fits || rogue) {
			spans = append(spans, s)
		}
	}
	if len(spans) == 0 {
		return false
	}
	var deadline types.Time
	if w.chance(4) {
		deadline = w.now + types.Time(w.rng.IntN(3000))*types.Millisecond + 1
	}
	return p.submit(pe, op, local, spans, deadline, rogue)
}

type span struct {
	g      *region
	off, n uint64
}

// submit does what the engine does: resolve, check, enter, and hand the batch over.
func (p *proc) submit(pe *peer, op types.Op, local *region, spans []span, deadline types.Time, rogue bool) bool {
	w := p.w
	w.stats.Batches++
	b := &batch{
		w: w, n: w.stats.Batches, pe: pe, initiator: p.inst, target: pe.inst, op: op, local: local, submitted: w.event,
		bound: map[types.BufferID]types.Version{},
	}
	at := b.base()
	for i, s := range spans {
		if w.chance(3) && i > 0 {
			continue // fewer
		}
		bind, code, acts := pe.view.Resolve(w.now, s.g.id)
		pe.do(acts)
		if code == errcode.OK {
			b.bound[s.g.id] = bind.Version
			if code = pe.view.Check(s.g.id, op, s.off, s.n); code != errcode.OK && !rogue {
				w.violate("S11", "a reader refuses %v %d [%d, +%d): %v", op, s.g.id, s.off, s.n, code)
			}
			code = errcode.OK
		}
		if code != errcode.OK && code != errcode.WaitTimeout {
			continue
		}
		if pe.view.Enter(s.g.id, 1) != errcode.OK {
			continue
		}
		for range s.n {
			b.req = append(b.req, len(b.reqs))
		}
		b.reqs = append(b.reqs, coherence.Request{Local: at, Remote: s.g.id, Off: s.off, Len: s.n})
		at += s.n
	}
	if len(b.reqs) == 0 {
		return false
	}
	n := len(b.req)
	b.applied, b.produced, b.got, b.covered = make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
	if rogue {
		b.excused = "it is rogue"
	}
	if target := w.find(pe.inst); deadline > 0 {
		b.excused = "it has a deadline"
	} else if !target.running() {
		b.excused = "its peer was dead or stood still from the start"
	}
	cfg := coherence.TransferConfig{
		Op: op, Deadline: deadline, MaxPostBytes: 1 + uint64(w.rng.IntN(12)), MaxPostEntries: 1 + w.rng.IntN(3),
		NextID: func() uint64 { p.nextPost++; return p.nextPost },
	}
	b.t = coherence.NewTransfer(w.now, cfg, b.reqs)
	local.users++
	pe.batches = append(pe.batches, b)
	w.batches = append(w.batches, b)
	w.trace("%s submits batch %d: %v to %s %+v", p.inst.Short(), b.n, op, pe.inst.Short(), b.reqs)
	return true
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
		b.excuse("it was cancelled")
		w.trace("batch %d is cancelled", b.n)
		b.do(b.t.Cancel(w.now, errcode.Canceled))
		return true
	})
}
