package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

const drainingCode = errcode.DrainingCode

// Memory of a process: blocks of cells. The first blocks are listed, the next for grants only, the last local.
const (
	blocks      = 6
	blockLen    = 16
	listed      = 2
	forGrants   = 4
	chunkLen    = 4 // cells that a handler touches at a time
	foreverLate = 5 * types.Second
)

// cell is one unit of fake memory: who wrote it last. A nil batch is the owner itself.
type cell struct {
	b *batch
	k int // index into the batch's bytes
}

// region is the ground truth of one ID.
type region struct {
	id     types.BufferID
	reg    *region // of a grant
	block  int
	remote types.Remote
	peer   types.InstanceID
	perm   types.Perm
	ranges []types.Range

	nonReady uint64 // event of READY -> DRAINING, 0 before
	closed   bool   // its gate
	inside   int    // handlers inside
	freed    bool   // the owner was told that it may use the memory
	users    int    // batches of our own that use it as local memory
	told     bool   // LocalQuiet is queued
}

// allows is S11 and the rest of admission, written once more and differently.
func (g *region) allows(by types.InstanceID, op types.Op, off, n uint64) bool {
	if g.reg == nil && g.remote != types.RemoteAll || !g.peer.IsZero() && g.peer != by {
		return false
	}
	if op == types.Read && g.perm&types.PermRead == 0 || op == types.Write && g.perm&types.PermWrite == 0 || n == 0 || n > blockLen {
		return false
	}
	for i := off; i < off+n; i++ {
		if !g.covers(i) {
			return false
		}
	}
	return true
}

func (g *region) covers(off uint64) bool {
	for i := len(g.ranges) - 1; i >= 0; i-- {
		if r := g.ranges[i]; off >= r.Off && off < r.Off+r.Len {
			return true
		}
	}
	return false
}

func (p *proc) region(id types.BufferID) *region {
	if id == 0 || int(id) > len(p.regions) {
		return nil
	}
	return p.regions[id-1]
}

func (p *proc) addRegion(g *region) {
	if int(g.id) != len(p.regions)+1 {
		p.w.violate("S3", "ID %d was given out after %d IDs: they count up and are never used again", g.id, len(p.regions))
	}
	p.regions = append(p.regions, g)
}

// register puts a free block to use.
func (p *proc) register(block int) {
	if p.block[block] != nil {
		return
	}
	r := coherence.Registration{Length: blockLen, Perm: types.PermReadWrite}
	switch {
	case block < listed:
		r.Remote = types.RemoteAll
	case block < forGrants:
		r.Remote = types.RemoteGrants
	}
	before := p.owner.Version()
	ids, acts := p.owner.Register(p.w.now, r)
	if r.Remote == types.RemoteAll && p.owner.Version() <= before {
		p.w.violate("S5", "a listed registration took no version")
	}
	g := &region{id: ids[0], block: block, remote: r.Remote, perm: r.Perm, ranges: []types.Range{{Len: blockLen}}}
	p.addRegion(g)
	p.block[block] = g
	p.doOwner(acts)
}

func (p *proc) grant() bool {
	w := p.w
	reg := p.block[listed+w.rng.IntN(forGrants-listed)]
	if reg == nil || reg.nonReady != 0 {
		return false
	}
	perm := types.PermReadWrite
	if w.chance(4) {
		perm = types.PermRead
	}
	var peer types.InstanceID
	if q := w.hosts[w.rng.IntN(numHosts)]; q != nil && !w.chance(3) {
		peer = q.inst
	}
	lo := uint64(w.rng.IntN(blockLen / 2))
	ranges := []types.Range{{Off: lo, Len: 1 + uint64(w.rng.IntN(4))}}
	if w.chance(2) {
		ranges = append(ranges, types.Range{Off: ranges[0].Off + ranges[0].Len + uint64(w.rng.IntN(2)), Len: 2})
	}
	g, acts, err := p.owner.Grant(w.now, reg.id, ranges, perm, peer)
	if err != nil {
		w.violate("model", "grant refused: %v", err)
	}
	w.trace("%s grants %d of %d %v to %s", p.inst.Short(), g.ID, reg.id, ranges, peer.Short())
	p.addRegion(&region{id: g.ID, reg: reg, block: reg.block, peer: peer, perm: perm, ranges: ranges})
	p.doOwner(acts)
	return true
}

// drain is the ground truth of one drain.
type drain struct {
	id     coherence.DrainID
	ids    []types.BufferID
	until  types.Time // D
	due    types.Time
	blocks []int   // to be used again
	asked  []*conn // connections that had a handler at the start, of peers that may use the ids
}

func (p *proc) startDrain() bool {
	w := p.w
	var ids []types.BufferID
	var reuse []int
	for range 1 + w.rng.IntN(3) {
		g := p.regions[w.rng.IntN(len(p.regions))]
		if w.chance(2) {
			g = p.regions[max(0, len(p.regions)-1-w.rng.IntN(8))]
		}
		if g.nonReady != 0 {
			continue
		}
		ids = append(ids, g.id)
		if g.reg == nil {
			reuse = append(reuse, g.block)
		}
	}
	if len(ids) == 0 {
		return false
	}
	within := types.Time(0)
	if !w.chance(4) {
		within = types.Time(1+w.rng.IntN(2000)) * types.Millisecond
	}
	id, acts, err := p.owner.Drain(w.now, ids, within)
	if err != nil {
		w.violate("model", "drain refused: %v", err)
	}
	w.stats.Drains++
	w.trace("%s drains %v within %v ms", p.inst.Short(), ids, within/types.Millisecond)
	d := &drain{id: id, ids: ids, until: w.now + within, due: w.now + within + foreverLate, blocks: reuse}
	for _, c := range w.conns {
		if c.to == p && (c.state == idle || c.state == inside) && p.concerns(ids, c.from.inst) {
			d.asked = append(d.asked, c)
		}
	}
	p.drains = append(p.drains, d)
	p.doOwner(acts)
	return true
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
					b.do(b.t.Cancel(p.w.now, drainingCode))
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
	return w.any(numHosts, func(i int) bool {
		p := w.hosts[i]
		if p == nil || !p.running() {
			return false
		}
		if n := len(p.gateQ); n > 0 {
			id := p.gateQ[0]
			p.gateQ = p.gateQ[1:]
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
	w.trace("%s drain of %v is done: acknowledged %d, fenced %d, timed out %d", p.inst.Short(), a.Report.IDs,
		len(a.Report.Acknowledged), len(a.Report.Fenced), len(a.Report.TimedOut))
	p.checkAsked(d, a.Report)
	w.stats.DrainsTimedOut += uint64(len(a.Report.TimedOut))
	w.stats.DrainsFenced += uint64(len(a.Report.Fenced))
	for _, id := range a.Report.IDs {
		g := p.region(id)
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
			p.mem[g.block*blockLen+i] = cell{}
		}
		p.block[g.block] = nil
	}
	for _, b := range d.blocks {
		if !w.chance(4) {
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
