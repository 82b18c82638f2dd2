package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// drain is the ground truth of one drain.
type drain struct {
	id     coherence.DrainID
	ids    []types.BufferID
	until  types.Time // D
	due    types.Time
	blocks []int   // to be used again
	asked  []*conn // connections that had a handler at the start, of peers that may use the ids
	report *coherence.DrainReport
}

// startDrain drains some of what is there.
func (p *proc) startDrain() bool {
	w := p.w
	var ids []types.BufferID
	for range 1 + w.rng.IntN(3) {
		g := p.regions[w.rng.IntN(len(p.regions))]
		if w.chance(2) {
			g = p.regions[max(0, len(p.regions)-1-w.rng.IntN(8))]
		}
		if w.chance(2) { // what somebody uses
			w.any(len(w.batches), func(i int) bool {
				b := w.batches[i]
				if b.target != p.inst {
					return false
				}
				g = p.region(b.reqs[0].Remote)
				return true
			})
		}
		if g.nonReady == 0 && !slices.Contains(ids, g.id) {
			ids = append(ids, g.id)
		}
	}
	if len(ids) == 0 {
		return false
	}
	within := types.Time(0)
	if !w.chance(4) {
		within = types.Time(1+w.rng.IntN(2000)) * types.Millisecond
		if w.chance(2) { // so short that operations have to be cut
			within /= 8
		}
	}
	p.drain(ids, within)
	return true
}

func (p *proc) drain(ids []types.BufferID, within types.Time) *drain {
	w := p.w
	id, acts, err := p.owner.Drain(w.now, ids, within)
	if err != nil {
		w.violate("model", "drain refused: %v", err)
	}
	w.did(DrainBegun)
	if within == 0 {
		w.did(DrainAtOnce)
	}
	w.trace("%s drains %v within %v ms", p.inst.Short(), ids, within/types.Millisecond)
	d := &drain{id: id, ids: ids, until: w.now + within, due: w.now + within + foreverLate}
	for _, i := range ids {
		if g := p.region(i); g.reg == nil {
			d.blocks = append(d.blocks, g.block)
		}
	}
	for _, c := range w.conns {
		if c.to == p && (c.state == idle || c.state == inside) && p.concerns(ids, c.from.inst) {
			d.asked = append(d.asked, c)
		}
	}
	p.drains = append(p.drains, d)
	p.doOwner(acts)
	return d
}

// concerns says whether a peer could use any of the ids, or a grant of one.
func (p *proc) concerns(ids []types.BufferID, peer types.InstanceID) bool {
	return slices.ContainsFunc(p.regions, func(g *region) bool {
		ours := slices.Contains(ids, g.id) || g.reg != nil && g.nonReady == 0 && slices.Contains(ids, g.reg.id)
		return ours && (g.reg != nil || g.remote == types.RemoteAll) && (g.peer.IsZero() || g.peer == peer)
	})
}

// checkAsked looks whether everyone was asked who had to be: whoever had a connection at the start has promised, or has
// no handler left, or D is over.
func (p *proc) checkAsked(d *drain, report coherence.DrainReport) {
	w := p.w
	if w.now >= d.until {
		return
	}
	for _, c := range d.asked {
		if c.state != idle && c.state != inside || slices.Contains(report.Fenced, c.from.inst) && w.cfg.mutant == retiredEarly {
			continue
		}
		pe := c.from.find(p.inst)
		for _, id := range report.IDs {
			if g := p.region(id); g.reg != nil && g.reg.closed {
				continue // taken along by its registration, whose D counts
			}
			if p.concerns([]types.BufferID{id}, c.from.inst) && (pe == nil || !pe.acked[id]) {
				w.violate("S4", "the drain of %d ended before D, and %s, which has a connection, has not promised", id, c.from.inst.Short())
			}
		}
	}
}

func (p *proc) refuseNew(ids []types.BufferID) {
	for _, id := range ids {
		g := p.region(id)
		g.nonReady = p.w.event
		p.localQuiet(g)
	}
}

// localQuiet reports a registration that no operation of our own uses.
func (p *proc) localQuiet(g *region) {
	if g.reg == nil && g.nonReady != 0 && !g.told && (g.users == 0 || p.w.cfg.mutant == localFreedEarly) {
		g.told = true
		p.localQ = append(p.localQ, g.id)
	}
}

func (p *proc) cancelLocal(ids []types.BufferID) {
	for _, pe := range p.peers {
		for _, b := range append([]*batch(nil), pe.batches...) {
			for _, id := range ids {
				if b.local.id == id {
					b.excuse("its local memory is being deregistered")
					b.do(b.t.Cancel(p.w.now, errcode.DrainingCode))
				}
			}
		}
	}
}

func (p *proc) closeGates(ids []types.BufferID) {
	for _, id := range ids {
		g := p.region(id)
		g.closed = true
		if g.inside == 0 || p.w.cfg.mutant == freeBeforeFence {
			p.gateQ = append(p.gateQ, id)
		}
	}
}

// quietStep feeds one report of quiet.
func (w *world) quietStep() bool {
	return w.any(len(w.hosts), func(i int) bool {
		p := w.hosts[i]
		if p == nil || !p.running() {
			return false
		}
		if n := len(p.gateQ); n > 0 {
			id := p.gateQ[0]
			p.gateQ = p.gateQ[1:]
			if w.possible(FenceFails, 8) {
				p.region(id).failed = true
				if w.cfg.mutant != quarantineIgnored {
					p.doOwner(p.owner.FenceFailed(w.now, id, "it cannot be fenced"))
					return true
				}
			}
			w.trace("%s gate of %d is quiet", p.inst.Short(), id)
			p.doOwner(p.owner.GateQuiet(w.now, id))
			return true
		}
		if n := len(p.localQ); n > 0 {
			id := p.localQ[0]
			p.localQ = p.localQ[1:]
			w.trace("%s has no local use of %d", p.inst.Short(), id)
			p.doOwner(p.owner.LocalQuiet(w.now, id))
			return true
		}
		return false
	})
}

// drainDone lets the application have its memory back: it fills it, and may register it again at once.
func (p *proc) drainDone(a coherence.DrainDone) {
	w := p.w
	at := -1
	for i, d := range p.drains {
		if d.id == a.Drain {
			at = i
		}
	}
	if at < 0 {
		w.violate("S10", "drain %d ended twice or never began", a.Drain)
	}
	d := p.drains[at]
	p.drains = append(p.drains[:at], p.drains[at+1:]...)
	w.trace("%s drain of %v is done: acknowledged %d, fenced %d, timed out %d, quarantined %v", p.inst.Short(), a.Report.IDs,
		len(a.Report.Acknowledged), len(a.Report.Fenced), len(a.Report.TimedOut), a.Report.Quarantined)
	d.report = &a.Report
	p.checkAsked(d, a.Report)
	w.stats.Actions[DrainAcknowledged] += uint64(len(a.Report.Acknowledged))
	w.stats.Actions[DrainTimedOut] += uint64(len(a.Report.TimedOut))
	w.stats.Actions[DrainFenced] += uint64(len(a.Report.Fenced))
	if p.checkQuarantine(a.Report) {
		w.did(DrainQuarantined)
	}
	for _, id := range a.Report.IDs {
		g := p.region(id)
		if p.unfenced(g) { // it stays pinned, and the application has to do without
			if g.reg == nil {
				p.block[g.block] = nil
				p.base[g.block] = len(p.mem)
				p.mem = append(p.mem, make([]cell, blockLen)...)
			}
			continue
		}
		p.free(g)
		if g.reg != nil {
			continue
		}
		for _, other := range p.regions {
			if other.reg == g {
				p.free(other)
			}
		}
		if g.users > 0 {
			w.violate("S10", "local memory of ID %d is free while %d operations use it", id, g.users)
		}
		for i := range blockLen {
			p.mem[g.base+i] = cell{}
		}
		p.block[g.block] = nil
	}
	for _, b := range d.blocks {
		if w.scene == nil && !w.chance(4) {
			p.register(b)
		}
	}
}

func (p *proc) free(g *region) {
	if g.inside > 0 {
		p.w.violate("S2", "ID %d is free while %d handlers are inside", g.id, g.inside)
	}
	g.freed = true
}

// unfenced says whether a handler may still come into this memory.
func (p *proc) unfenced(g *region) bool {
	return g.failed || slices.ContainsFunc(p.regions, func(o *region) bool { return o.reg == g && o.failed })
}

// checkQuarantine is S2 where the fence fails: memory is never reported free then, and only then is it kept.
func (p *proc) checkQuarantine(report coherence.DrainReport) bool {
	bad := slices.ContainsFunc(report.IDs, func(id types.BufferID) bool { return p.unfenced(p.region(id)) })
	if bad != report.Quarantined {
		p.w.violate("S2", "the drain of %v could not be fenced: %v, and its report says %v", report.IDs, bad, report.Quarantined)
	}
	return bad
}
