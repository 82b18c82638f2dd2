package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

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
	base   int // where its block lies
	remote types.Remote
	peer   types.InstanceID
	perm   types.Perm
	ranges []types.Range

	nonReady uint64 // event of READY -> DRAINING, 0 before
	closed   bool   // its gate
	failed   bool   // it could not be fenced
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
	p.w.did(Register)
	if slices.ContainsFunc(p.regions, func(o *region) bool { return o.reg == nil && o.base == p.base[block] }) {
		p.w.did(RegisterAgain)
	}
	g := &region{id: ids[0], block: block, base: p.base[block], remote: r.Remote, perm: r.Perm, ranges: []types.Range{{Len: blockLen}}}
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
	if q := w.hosts[w.rng.IntN(len(w.hosts))]; q != nil && !w.chance(3) {
		peer = q.inst
	}
	lo := uint64(w.rng.IntN(blockLen / 2))
	ranges := []types.Range{{Off: lo, Len: 1 + uint64(w.rng.IntN(4))}}
	if w.chance(2) {
		ranges = append(ranges, types.Range{Off: ranges[0].Off + ranges[0].Len + uint64(w.rng.IntN(2)), Len: 2})
	}
	p.grantTo(reg, ranges, perm, peer)
	return true
}

func (p *proc) grantTo(reg *region, ranges []types.Range, perm types.Perm, peer types.InstanceID) {
	w := p.w
	g, acts, err := p.owner.Grant(w.now, reg.id, ranges, perm, peer)
	if err != nil {
		w.violate("model", "grant refused: %v", err)
	}
	w.did(GrantMade)
	w.trace("%s grants %d of %d %v to %s", p.inst.Short(), g.ID, reg.id, ranges, peer.Short())
	p.addRegion(&region{id: g.ID, reg: reg, block: reg.block, base: reg.base, peer: peer, perm: perm, ranges: ranges})
	p.doOwner(acts)
}
