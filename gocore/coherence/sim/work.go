package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

const pathsWanted = 3

// workStep is something that an engine does by itself: dial, attach, post, a heartbeat.
func (w *world) workStep() bool {
	return w.any(numHosts, func(i int) bool {
		p := w.hosts[i]
		if p == nil || !p.running() {
			return false
		}
		for h, wanted := range p.sought {
			if wanted && p.byHost[h] == nil && w.hosts[h] != nil && w.hosts[h].running() {
				p.sought[h] = false
				p.dial(h, nil)
				return true
			}
		}
		return w.any(len(p.peers), func(j int) bool { return p.peers[j].work() })
	})
}

func (pe *peer) work() bool {
	w, p := pe.p.w, pe.p
	if pe.replaced {
		return pe.forget()
	}
	if pe.sess == nil {
		if !pe.wantsSession() || w.now < pe.nextDial || w.chance(2) {
			return pe.post() // paths outlive sessions
		}
		pe.nextDial = w.now + 50*types.Millisecond
		p.dial(pe.host, pe)
		return true
	}
	if pe.attach == 0 && w.now >= pe.nextAttach && len(pe.conns) < pathsWanted && pe.needsPath() {
		pe.attach = types.Nonce(w.rng.Uint64() | 1)
		pe.view.Attaching(1)
		p.touched = true
		pe.send(msgAttach{pe.attach, 1 + w.rng.IntN(pathsWanted)})
		return true
	}
	if pe.post() {
		return true
	}
	if w.chance(50) {
		p.touched = true
		pe.send(msgHeartbeat{p.owner.Published(), p.owner.Floor(pe.inst)})
		return !w.healing
	}
	return false
}

// needsPath says whether something is queued that no path could take.
func (pe *peer) needsPath() bool {
	return slices.ContainsFunc(pe.batches, func(b *batch) bool { return b.t.HasQueued() })
}

// post puts one post of some batch on some path.
func (pe *peer) post() bool {
	w := pe.p.w
	held := pe.view.WritesHeld() && w.cfg.mutant != laterWriteGoes
	return w.any(len(pe.batches), func(i int) bool {
		b := pe.batches[i]
		if b.op == types.Write && held || !b.t.HasQueued() {
			return false
		}
		p := b.t.NextPost(w.now)
		if p == nil {
			return false
		}
		return pe.place(b, p)
	})
}

// place chooses a path for a post: its floor is compared now, when posting, after the path was chosen.
func (pe *peer) place(b *batch, p *coherence.Post) bool {
	w := pe.p.w
	pe.p.touched = true
	if w.cfg.mutant != ignoreFloor {
		for _, s := range p.Slices {
			bind, code, acts := pe.view.Resolve(w.now, s.Remote)
			pe.do(acts)
			switch code {
			case errcode.OK:
				b.bound[s.Remote] = bind.Version
			case errcode.WaitTimeout:
				b.t.Requeue(p)
				b.do(nil)
				return len(acts) > 0
			default:
				b.t.Requeue(p)
				b.do(b.t.Blocked(w.now, s.Remote, code))
				return true
			}
		}
	}
	bound := ^types.Version(0)
	for _, s := range p.Slices {
		bound = min(bound, b.bound[s.Remote])
	}
	from := pe.conns
	if w.cfg.mutant == noTargetID {
		from = w.conns // of the name, not of the instance
	}
	ok := w.any(len(from), func(i int) bool {
		c := from[i]
		switch {
		case !c.open || c.from != pe.p || c.to.host != pe.host:
			return false
		case w.cfg.mutant != ignoreFloor && c.pe == pe && !pe.view.MayPost(c.token, bound):
			return false
		}
		pe.checkPost(c, p)
		w.stats.Posts++
		w.trace("%s posts %d of batch %d on %x", pe.p.inst.Short(), p.ID, b.n, uint64(c.token))
		b.t.Posted(w.now, p, c.token)
		c.give(p, b)
		return true
	})
	if !ok {
		b.t.Requeue(p)
	}
	b.do(nil)
	return ok
}

// checkPost is the promise and the floor, from the outside.
func (pe *peer) checkPost(c *conn, p *coherence.Post) {
	w := pe.p.w
	target := w.find(pe.inst)
	for _, s := range p.Slices {
		if pe.acked[s.Remote] {
			w.violate("S4", "%s posts on ID %d, for which it has promised never to", pe.p.inst.Short(), s.Remote)
		}
		if g := target.region(s.Remote); c.pe == pe && g.nonReady != 0 && g.nonReady < c.made&^staysGood {
			w.violate("S3 (floor)", "%s posts on ID %d over a path made after its drain began", pe.p.inst.Short(), s.Remote)
		}
	}
}

// checkAck is S4 at the moment of the promise: nothing of this instance that could still land is in flight. A READ whose
// connection is lost has nobody left to answer to, and is refused at the target like any other chunk.
func (pe *peer) checkAck(ids []types.BufferID) {
	for _, id := range ids {
		pe.acked[id] = true
	}
	on := func(op types.Op, slices_ []coherence.Slice) bool {
		return op == types.Write && slices.ContainsFunc(slices_, func(s coherence.Slice) bool { return slices.Contains(ids, s.Remote) })
	}
	for _, c := range pe.p.w.conns {
		if c.from != pe.p || c.to.inst != pe.inst || c.to.dead || c.state == left {
			continue
		}
		flying := c.cur != nil && on(c.cur.op, c.cur.slices)
		for _, f := range c.toT {
			flying = flying || f.kind == header && on(f.op, f.slices)
		}
		for _, o := range c.posts {
			flying = flying || on(o.op, o.slices)
		}
		if flying && (c.state != accepting || pe.p.w.find(pe.inst).tokenGood(c.token)) {
			pe.p.w.violate("S4", "%s acknowledges the drain of %v with a WRITE in flight on path %x", pe.p.inst.Short(), ids, uint64(c.token))
		}
	}
}

// tokenGood says whether a connection in the accept queue could still be accepted.
func (p *proc) tokenGood(tok types.PathID) bool {
	return p.attached[tok]&staysGood != 0 || p.owner.TokenValid(tok)
}

// call is one Describe under way: a request, then an answer of any age.
type call struct {
	pe  *peer
	ans *descriptor.Descriptor
	// split is the listing that a mutant labels with a later version.
	split []descriptor.Buffer
}

func (w *world) callStep() bool {
	w.calls = slices.DeleteFunc(w.calls, func(c *call) bool { return c.pe.p.dead })
	return w.any(len(w.calls), func(i int) bool {
		c := w.calls[i]
		if !c.pe.p.running() {
			return false
		}
		if c.ans == nil {
			return c.sample()
		}
		w.calls = slices.Delete(w.calls, i, i+1)
		c.deliver()
		return true
	})
}

// sample asks the owner, or fails.
func (c *call) sample() bool {
	pe := c.pe
	w := pe.p.w
	q := w.hosts[pe.host]
	fail := func() bool {
		w.calls = slices.DeleteFunc(w.calls, func(o *call) bool { return o == c })
		pe.calling = false
		pe.do(pe.view.RefreshFailed(w.now, errcode.PeerUnreachable))
		return true
	}
	switch {
	case q == nil || !q.running():
		return fail()
	case q.inst != pe.inst:
		fail()
		pe.gone()
		return true
	case w.mix.stales > 0 && !w.healing && w.chance(8*w.mix.stales):
		return fail()
	}
	version, bufs := q.owner.Describe()
	if w.cfg.mutant == splitDescribe {
		if c.split == nil {
			c.split = append([]descriptor.Buffer{}, bufs...)
			return true
		}
		bufs = c.split
	}
	c.ans = &descriptor.Descriptor{Head: descriptor.Head{Name: "sim", Instance: q.inst, Version: version}, Buffers: bufs}
	return true
}

// deliver hands the answer to the view; sometimes an older or a broken one instead, as a store or a bug might.
func (c *call) deliver() {
	pe := c.pe
	w := pe.p.w
	pe.calling = false
	if pe.replaced {
		return
	}
	d := c.ans
	if w.mix.stales > 0 && !w.healing && w.chance(4*w.mix.stales) {
		d = w.spoil(pe, d)
	}
	before := pe.view.Descriptor()
	change, acts, err := pe.view.Adopt(w.now, d)
	after := pe.view.Descriptor()
	if err != nil && after != before {
		w.violate("S7", "an invalid descriptor (%v) replaced a valid one", err)
	}
	if change.Adopted && after != d {
		w.violate("S7", "what was adopted is not what was fetched")
	}
	w.trace("%s adopts version %d of %s: %v %v", pe.p.inst.Short(), d.Version, pe.inst.Short(), change.Adopted, err)
	pe.do(acts)
}

// spoil makes a descriptor old, invalid, or another instance's.
func (w *world) spoil(pe *peer, d *descriptor.Descriptor) *descriptor.Descriptor {
	bad := *d
	switch q := w.find(pe.inst); w.rng.IntN(4) {
	case 0:
		bad.Instance[3]++
	case 1:
		twice := descriptor.Buffer{ID: 1, Length: 1, Perm: types.PermRead, State: types.Ready}
		bad.Buffers = append(slices.Clone(d.Buffers), twice, twice)
		bad.Version += 1000
	case 2:
		bad.Buffers = slices.Clone(d.Buffers)
		if len(bad.Buffers) > 0 {
			bad.Buffers[0].Length = 0
			bad.Version += 1000
		}
	default: // one of an earlier time
		for v := d.Version; v > 0 && v+20 > d.Version; v-- {
			if bufs, ok := q.history[v]; ok && w.chance(3) {
				bad.Version, bad.Buffers = v, bufs
				break
			}
		}
	}
	return &bad
}
