package sim

import "mooncake_te/gocore/types"

// heal ends all faults and lets everything end that must.
func (w *world) heal() {
	w.healing = true
	w.mix = quietMix()
	w.trace("everything heals")
	for h, p := range w.hosts {
		if p == nil {
			w.boot(h) // nothing, where nobody is to be
		} else if p.paused {
			w.pause(p, false, false)
		}
	}
	w.settle("L5")
	if w.cfg.mutant != noMutant {
		return // a planted mistake may break liveness as well; it is safety that must show it
	}
	// L7: all pairs work again; of many hosts, neighbours.
	for i, p := range w.hosts {
		for h, q := range w.hosts {
			if p == nil || q == nil || len(w.hosts) > 5 && h != (i+1)%len(w.hosts) {
				continue
			}
			w.probe(p, h, q)
		}
	}
}

// settle runs until nothing is under way.
func (w *world) settle(rule string) {
	const most = 60_000
	for range most {
		w.step()
		if w.atRest() {
			return
		}
	}
	for _, b := range w.batches {
		w.violate(rule, "batch %d of %s to %s does not end (final %v)", b.n, b.initiator.Short(), b.target.Short(), b.final)
	}
	for _, p := range w.alive() {
		for _, d := range p.drains {
			w.violate("L1", "the drain of %v does not end", d.ids)
		}
	}
	w.violate(rule, "something does not come to rest")
}

func (w *world) alive() (ps []*proc) {
	for _, p := range w.hosts {
		if p != nil {
			ps = append(ps, p)
		}
	}
	return ps
}

func (w *world) atRest() bool {
	if len(w.batches) > 0 {
		return false
	}
	for _, p := range w.alive() {
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
	deadline, last := w.now+120*types.Second, w.event+20_000
	for p.byHost[h] == nil || p.byHost[h].inst != q.inst {
		p.sought[h] = true
		if pe := p.byHost[h]; pe != nil && pe.sess == nil && w.now >= pe.nextDial {
			p.dial(h, pe) // learns that it is another
		}
		w.step()
		if w.now > deadline || w.event > last {
			w.violate("L7", "%s does not find %s", p.inst.Short(), q.inst.Short())
		}
	}
	for _, op := range []types.Op{types.Write, types.Read} {
		before := w.stats.Actions[EndCompleted]
		// One operation may fail of what it finds broken (L2); the next may not.
		for try := 0; w.stats.Actions[EndCompleted] == before; try++ {
			if try > 1 {
				w.violate("L7", "%v from %s to %s fails after everything has healed", op, p.inst.Short(), q.inst.Short())
			}
			for !p.submit(p.byHost[h], order{op: op, local: p.block[forGrants], spans: []span{{g: q.block[0], n: blockLen}}}) {
				w.step()
				if w.now > deadline || w.event > last {
					w.violate("L7", "%s cannot submit to %s", p.inst.Short(), q.inst.Short())
				}
			}
			w.settle("L7")
		}
	}
}
