package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

const pathsWanted = 3

// workStep is something that an engine does by itself: dial, attach, post, a heartbeat.
func (w *world) workStep() bool {
	return w.any(len(w.hosts), func(i int) bool {
		p := w.hosts[i]
		if p == nil || !p.running() {
			return false
		}
		for h, wanted := range p.sought {
			if wanted && p.byHost[h] == nil && w.hosts[h] != nil && w.hosts[h].running() && w.now >= p.nextOpen {
				p.nextOpen = w.now + dialPauseMin
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
	if w.now >= pe.nextBeat && w.chance(4) {
		p.touched = true
		pe.nextBeat = w.now + beatPause*types.Time(len(w.hosts))
		pe.send(msgHeartbeat{p.owner.Published(), p.owner.Floor(pe.inst)})
		return !w.healing
	}
	return false
}

// needsPath says whether something is queued.
func (pe *peer) needsPath() bool {
	return slices.ContainsFunc(pe.batches, func(b *batch) bool { return b.started && b.t.HasQueued() })
}

// post puts one post on some path: which path is luck, which post the Scheduler decides.
func (pe *peer) post() bool {
	w := pe.p.w
	if !pe.needsPath() {
		return false
	}
	from := pe.conns
	if w.cfg.mutant == noTargetID {
		from = w.conns // of the name, not of the instance
	}
	return w.any(len(from), func(i int) bool {
		c := from[i]
		return c.open && c.from == pe.p && c.to.host == pe.host && len(c.posts) < postsPerPath && pe.postOn(c)
	})
}

const postsPerPath = 8

// postOn asks the Scheduler for a post that may go on this path: the path's floor is compared now, when posting, after the
// path was chosen. What is bound to older knowledge is bound anew.
func (pe *peer) postOn(c *conn) bool {
	w := pe.p.w
	pe.p.touched = true
	held := pe.view.WritesHeld() && w.cfg.mutant != laterWriteGoes
	var stale []*batch
	mayPost := func(p *coherence.Post) bool {
		b := pe.batchOf(p.Transfer)
		if w.cfg.mutant == ignoreFloor || c.pe != pe || b.view().MayPost(c.token, b.oldest(p)) {
			return true
		}
		if !slices.Contains(stale, b) {
			stale = append(stale, b)
		}
		return false
	}
	p := pe.next(held, mayPost)
	if p == nil {
		again := false
		for _, b := range stale {
			again = b.rebind() || again
		}
		return again
	}
	b := pe.batchOf(p.Transfer)
	pe.checkPost(c, p)
	pe.checkShare(c, b, p, held)
	w.did(Posted)
	w.trace("%s posts %d of batch %d on %x", pe.p.inst.Short(), p.ID, b.n, uint64(c.token))
	b.t.Posted(w.now, p, c.token)
	c.give(p, b)
	b.do(nil)
	for _, o := range stale {
		o.rebind()
	}
	return true
}

func (pe *peer) next(held bool, mayPost func(*coherence.Post) bool) *coherence.Post {
	w := pe.p.w
	if w.cfg.mutant != oneBatchFirst {
		return pe.sched.Next(w.now, held, mayPost)
	}
	for _, b := range pe.batches {
		if !b.started || b.op == types.Write && held {
			continue
		}
		if p := b.t.NextPost(w.now); p != nil && mayPost(p) {
			return p
		} else if p != nil {
			b.t.Requeue(p)
		}
	}
	return nil
}

func (pe *peer) batchOf(t *coherence.Transfer) *batch {
	return pe.batches[slices.IndexFunc(pe.batches, func(b *batch) bool { return b.t == t })]
}

// What the Scheduler charges: see coherence.Scheduler. Written down once more, because it is the bound to be kept.
const (
	quantum  = 512 << 10
	postCost = 4 << 10
)

// checkShare is L8 at the initiator: while a batch could have posted, the others to the same peer may post no more than
// the shares of its class and of its fellows allow.
func (pe *peer) checkShare(c *conn, posting *batch, p *coherence.Post, held bool) {
	w := pe.p.w
	most := int64(0)
	if len(pe.batches) > 1 {
		most = pe.mostBefore()
	}
	pe.spent += int64(p.Bytes) + postCost
	for _, b := range pe.batches {
		could := b != posting && b.started && b.t.HasQueued() && !(b.op == types.Write && held) && w.now >= b.pausedTill
		if could {
			for _, v := range b.bound {
				could = could && b.view().MayPost(c.token, v)
			}
		}
		if !could {
			b.mark = pe.spent
			continue
		}
		if pe.spent-b.mark > most {
			w.violate("L8", "batch %d waits while others to %s have posted %d bytes, at most %d is fair", b.n, pe.inst.Short(),
				pe.spent-b.mark, most)
		}
	}
}

// mostBefore bounds what others may post before a batch has its turn: a quantum of each fellow of its class, and what the
// other class may post meanwhile at four to one, each with one post too much.
func (pe *peer) mostBefore() int64 {
	const over = 64 << 10
	var n [types.NumClasses]int64
	for _, b := range pe.batches {
		n[b.class]++
	}
	fellows := max(n[0], n[1]) * (quantum + over)
	return fellows + (fellows/quantum+2)*4*(quantum+over)
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
