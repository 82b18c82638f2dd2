package sim

import (
	"slices"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

const unreachable = errcode.PeerUnreachable

// check looks at everything that the last event may have changed.
func (w *world) check() {
	for _, p := range w.hosts {
		if p == nil {
			continue
		}
		for _, d := range p.drains {
			if w.now > d.due && !p.paused {
				if p.awaitsQuiet(d) { // fence and local quiet take as long as they take; settle looks whether they end
					d.due = w.now + types.Second
					continue
				}
				w.violate("L1", "the drain of %v by %s is still running %d ms after D", d.ids, p.inst.Short(), (w.now-d.due+foreverLate)/1e6)
			}
		}
		if p.touched {
			p.touched = false
			p.check()
		}
	}
}

// awaitsQuiet says whether a drain waits for handlers inside a chunk, for operations of our own, or for the news of it.
func (p *proc) awaitsQuiet(d *drain) bool {
	return len(p.gateQ) > 0 || len(p.localQ) > 0 || slices.ContainsFunc(p.regions, func(g *region) bool {
		ours := slices.Contains(d.ids, g.id) || g.reg != nil && slices.Contains(d.ids, g.reg.id)
		return ours && (g.inside > 0 || g.users > 0)
	})
}

func (p *proc) check() {
	w := p.w
	if err := p.owner.CheckInvariants(); err != nil {
		w.violate("owner of "+p.inst.Short(), "%v", err)
	}
	version, bufs := p.owner.Describe()
	if old, ok := p.history[version]; ok {
		if len(old) > 0 && len(bufs) > 0 && &old[0] != &bufs[0] && !slices.EqualFunc(old, bufs, descriptor.Buffer.Equal) || len(old) != len(bufs) {
			w.violate("S5", "version %d of %s stands for two states", version, p.inst.Short())
		}
	} else {
		p.history[version] = bufs
		p.versions = append(p.versions, version)
	}
	for _, pe := range p.peers {
		if err := pe.view.CheckInvariants(); err != nil {
			w.violate("view", "%v", err)
		}
		for _, b := range pe.batches {
			if err := b.t.CheckInvariants(); err != nil {
				w.violate("transfer", "batch %d: %v", b.n, err)
			}
		}
		pe.checkAdopted()
	}
}

// checkAdopted is S5 and S7: what is adopted is a state that the owner once had, and never an older one.
func (pe *peer) checkAdopted() {
	w := pe.p.w
	d := pe.view.Descriptor()
	if d == nil || d.Version == pe.adopted {
		return
	}
	if d.Version < pe.adopted {
		w.violate("S5", "%s goes back from version %d of %s to %d", pe.p.inst.Short(), pe.adopted, pe.inst.Short(), d.Version)
	}
	pe.adopted = d.Version
	truth, ok := w.find(pe.inst).history[d.Version]
	if !ok || !slices.EqualFunc(truth, d.Buffers, descriptor.Buffer.Equal) || d.Instance != pe.inst {
		w.violate("S7", "%s has adopted version %d of %s, which never looked like that", pe.p.inst.Short(), d.Version, pe.inst.Short())
	}
}
