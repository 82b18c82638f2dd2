package sim

import "mooncake_te/gocore/types"

// faultStep makes something go wrong.
func (w *world) faultStep() bool {
	h := w.rng.IntN(numHosts)
	p := w.hosts[h]
	m := w.mix
	hit := func(n int) bool { return n > 0 && w.chance(n) }
	switch w.rng.IntN(8) {
	case 0, 1:
		return hit(m.breaks) && w.any(len(w.sessions), func(i int) bool {
			s := w.sessions[i]
			if s.broken {
				return false
			}
			w.stats.SessionBreaks++
			w.trace("session of %s and %s breaks", s.end[0].inst.Short(), s.end[1].inst.Short())
			s.cut()
			return true
		})
	case 2, 3:
		return hit(m.drops) && w.any(len(w.conns), func(i int) bool { return w.conns[i].drop() })
	case 4:
		if !hit(5 * m.crashes) {
			return false
		}
		if p == nil {
			w.boot(h)
			return true
		}
		w.crash(p)
		if w.chance(2) {
			w.boot(h)
		}
		return true
	case 5, 6:
		if p == nil || !hit(m.pauses) || !p.paused && !w.chance(4) {
			return false
		}
		w.pause(p, !p.paused)
		return true
	}
	return p != nil && p.running() && hit(m.evicts) && w.any(len(p.peers), func(i int) bool { return p.peers[i].forget() })
}

// drop is the network losing a connection: the initiator sees its end, the target some of what was under way first.
func (c *conn) drop() bool {
	if !c.open || c.from.dead {
		return false
	}
	c.w.stats.ConnDrops++
	c.w.disturb(c.from, c.to, "its connection was dropped")
	c.lose(unreachable, "the network dropped it")
	c.toT = c.toT[:c.w.rng.IntN(len(c.toT)+1)]
	return true
}

func (w *world) crash(p *proc) {
	w.stats.Crashes++
	w.trace("%s dies", p.inst.Short())
	bye := w.chance(3)
	for _, s := range w.sessions {
		if s.broken || s.end[0] != p && s.end[1] != p {
			continue
		}
		other := 1 - s.side(p)
		if bye {
			s.q[other] = append(s.q[other], msgBye{})
		} else {
			s.cut()
		}
		w.disturb(s.end[other], p, "its peer died")
	}
	for _, q := range w.procs {
		w.disturb(q, p, "its peer died")
	}
	p.dead, p.paused = true, false
	w.hosts[p.host] = nil
	for _, c := range w.conns {
		if c.to == p {
			c.state, c.eofI, c.toT = left, true, nil
		}
		if c.from == p { // what it had written lives on
			c.eofT = true
		}
	}
	for _, b := range append([]*batch(nil), w.batches...) {
		if b.initiator == p.inst {
			w.remove(b)
		}
	}
}

func (w *world) remove(b *batch) {
	kept := w.batches[:0]
	for _, o := range w.batches {
		if o != b {
			kept = append(kept, o)
		}
	}
	w.batches = kept
}

// pause is SIGSTOP and SIGCONT. The others notice by missing heartbeats, if it lasts.
func (w *world) pause(p *proc, stop bool) {
	w.trace("%s paused: %v", p.inst.Short(), stop)
	p.paused = stop
	for _, q := range w.procs {
		w.disturb(q, p, "its peer stood still")
		w.disturb(p, q, "its own process stood still")
	}
	if stop {
		w.stats.Pauses++
		p.pausedAt = w.now
		if w.chance(2) {
			for _, s := range w.sessions {
				if s.end[0] == p || s.end[1] == p {
					s.cut()
				}
			}
		}
		return
	}
	for _, d := range p.drains { // it could not end while the process stood still
		d.due += w.now - p.pausedAt
	}
	p.tick()
}

// heal ends all faults and lets everything end that must.
func (w *world) heal() {
	w.healing = true
	w.mix = quietMix()
	w.trace("everything heals")
	for h, p := range w.hosts {
		if p == nil {
			w.boot(h)
		} else if p.paused {
			w.pause(p, false)
		}
	}
	w.settle("L5")
	if w.cfg.mutant != noMutant {
		return // a planted mistake may break liveness as well; it is safety that must show it
	}
	// L7: all pairs work again.
	for _, p := range w.hosts {
		for h, q := range w.hosts {
			if p == q {
				continue
			}
			w.probe(p, h, q)
		}
	}
}

// settle runs until nothing is under way.
func (w *world) settle(rule string) {
	const most = 200_000
	for range most {
		w.step()
		if w.atRest() {
			return
		}
	}
	for _, b := range w.batches {
		w.violate(rule, "batch %d of %s to %s does not end (final %v)", b.n, b.initiator.Short(), b.target.Short(), b.final)
	}
	for _, p := range w.hosts {
		for _, d := range p.drains {
			w.violate("L1", "the drain of %v does not end", d.ids)
		}
	}
	w.violate(rule, "something does not come to rest")
}

func (w *world) atRest() bool {
	if len(w.batches) > 0 {
		return false
	}
	for _, p := range w.hosts {
		if len(p.drains) > 0 || len(p.gateQ) > 0 || len(p.localQ) > 0 {
			return false
		}
	}
	return true
}

// probe writes and reads back once from p to host h.
func (w *world) probe(p *proc, h int, q *proc) {
	for b := range blocks {
		p.register(b)
		q.register(b)
	}
	deadline := w.now + 120*types.Second
	for p.byHost[h] == nil || p.byHost[h].inst != q.inst {
		p.sought[h] = true
		if pe := p.byHost[h]; pe != nil && pe.sess == nil {
			p.dial(h, pe) // learns that it is another
		}
		w.step()
		if w.now > deadline {
			w.violate("L7", "%s does not find %s", p.inst.Short(), q.inst.Short())
		}
	}
	for _, op := range []types.Op{types.Write, types.Read} {
		before := w.stats.Completed
		// One operation may fail of what it finds broken (L2); the next may not.
		for try := 0; w.stats.Completed == before; try++ {
			if try > 1 {
				w.violate("L7", "%v from %s to %s fails after everything has healed", op, p.inst.Short(), q.inst.Short())
			}
			for !p.submit(p.byHost[h], op, p.block[forGrants], []span{{g: q.block[0], n: blockLen}}, 0, false) {
				w.step()
				if w.now > deadline {
					w.violate("L7", "%s cannot submit to %s", p.inst.Short(), q.inst.Short())
				}
			}
			w.settle("L7")
		}
	}
}
