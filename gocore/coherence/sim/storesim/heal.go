package storesim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// heal ends all faults: then every name gets one owner whose present state lies in the store, every reader finds it, an
// orderly restart is followed within a second (L2), and what a dead owner leaves behind goes with its lease (L3).
func (w *world) heal() {
	w.healing = true
	w.trace("the faults heal")
	w.store.downTill, w.store.refuse = w.now, w.now
	clear(w.cuts)
	for h, p := range w.hosts {
		switch {
		case p == nil:
			w.boot(h)
		case p.paused:
			p.resume()
		}
	}
	for _, wa := range slices.Clone(w.store.watches) {
		if max(wa.last, wa.stalled) > w.now+10*types.Millisecond { // it stands still
			wa.cut()
		}
	}
	for _, p := range w.hosts {
		for _, name := range w.names {
			if p.open[name] == 0 {
				p.openName(name, coherence.OpenOptions{Patient: true})
			}
		}
	}
	w.until("L7", 90*types.Second, w.settled)
	for late := w.now + 15*types.Second; w.now < late; { // the last requests that were held up land
		w.event++
		w.next()
		w.advance()
		w.check()
	}
	w.until("L7", 15*types.Second, w.settled)
	for _, p := range w.hosts { // a new version reaches everybody
		p.change()
	}
	w.until("L7", 5*types.Second, w.settled)

	old := w.ownerOf(w.names[0])
	old.doPub(old.pub.Release(old.clock()))
	w.until("L7", 5*types.Second, func() string {
		if s := old.pub.Stats().State; s != coherence.NotWanted {
			return "the released name is " + s.String()
		}
		return ""
	})
	w.kill(old)
	w.boot(old.host)
	for _, name := range w.names {
		w.hosts[old.host].openName(name, coherence.OpenOptions{Patient: true})
	}
	if w.store.stock { // heard of at the next poll; what a dead owner leaves stays
		w.until("L2", types.Second+progressEvery+w.mix.softTTL, w.settled)
		return
	}
	w.until("L2", types.Second, w.settled)

	dead := w.ownerOf(w.names[0])
	w.kill(dead)
	w.until("L3", coherence.DefaultLeaseTTL+3*types.Second, func() string {
		if e := w.store.entries[dead.name]; e.owner == dead.inst || e.head != nil && e.head.Instance == dead.inst {
			return "keys of a dead owner are still there"
		}
		return ""
	})
}

// until runs the world until nothing is said to be missing.
func (w *world) until(rule string, within types.Time, missing func() string) {
	deadline := w.now + within
	for range 200_000 {
		what := missing()
		if what == "" {
			return
		}
		if w.now > deadline {
			w.violate(rule, "after %d s: %s", within/types.Second, what)
		}
		w.event++
		w.next()
		w.advance()
		w.check()
		for _, p := range w.hosts {
			if p != nil && p.sawFenced && w.ownerOf(p.name) == nil && w.store.entries[p.name].owner.IsZero() {
				p.want(false)
			}
		}
	}
	w.violate(rule, "the world does not come to rest: %s", missing())
}

func (w *world) ownerOf(name string) *proc {
	for _, p := range w.hosts {
		if p != nil && p.name == name {
			if _, _, ok := p.pub.Owning(p.clock()); ok {
				return p
			}
		}
	}
	return nil
}

// settled says what is missing until all is well, if anything.
func (w *world) settled() string {
	for _, name := range w.names {
		owner := w.ownerOf(name)
		if owner == nil {
			return name + " has no owner"
		}
		e := w.store.entries[name]
		if e.owner != owner.inst && !w.store.stock || e.head == nil || e.head.Instance != owner.inst || e.head.Version != owner.version || e.head.Epoch != e.epoch {
			return name + ": the store holds " + describe(e.head) + ", not the present state of " + owner.String()
		}
		for _, p := range w.hosts {
			if p == nil {
				continue
			}
			if _, _, ok := p.pub.Owning(p.clock()); ok && p.name == name && p != owner {
				return p.String() + " has not noticed that " + name + " is another's"
			}
			a, led := p.adopted[name]
			inst, code, acts := p.dir.Lookup(w.now, name)
			p.doDir(acts)
			switch {
			case !led || a.Instance != owner.inst || a.Version != owner.version:
				return p.String() + " has not adopted the present " + name
			case code != errcode.OK || inst != owner.inst:
				return p.String() + " cannot use " + name + ": " + code.String()
			case len(p.tickets) > 0:
				return p.String() + " still waits for names"
			}
		}
	}
	return ""
}

// check looks at every machine that the last event may have touched.
func (w *world) check() {
	for _, p := range w.hosts {
		if p == nil || !p.touched {
			continue
		}
		p.touched = false
		if err := p.pub.CheckInvariants(); err != nil {
			w.violate("publisher", "%s: %v", p, err)
		}
		if err := p.dir.CheckInvariants(); err != nil {
			w.violate("directory", "%s: %v", p, err)
		}
		for t, k := range p.tickets {
			if !k.patient && w.now-k.since > 60*types.Second && !p.paused {
				w.violate("answer", "ticket %d of %s for %s is not answered after a minute", t, p, k.name)
			}
		}
	}
}
