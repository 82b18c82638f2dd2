package storesim

import (
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// doDir carries out what the directory asks for.
func (p *proc) doDir(acts []coherence.Action) {
	w := p.w
	for _, a := range acts {
		w.stats.asked(a)
		switch a := a.(type) {
		case coherence.DirGet:
			p.get(a)
		case coherence.DirBind:
			p.bind(a)
		case coherence.DirAdopted:
			w.trace("%s: %s leads to %s epoch %d version %d (%s)", p, a.Name, a.Instance.Short(), a.Epoch, a.Version, a.Source)
			w.truth.adopted(p, a)
			p.adopted[a.Name] = a
		case coherence.DirAnswer:
			w.trace("%s: ticket %d of %s: %v %s", p, a.Ticket, a.Name, a.Code, a.Detail)
			t, ok := p.tickets[a.Ticket]
			if !ok || t.name != a.Name {
				w.violate("answer", "%s got an answer to ticket %d of %s, which nobody waits for", p, a.Ticket, a.Name)
			}
			delete(p.tickets, a.Ticket)
			if _, led := p.adopted[a.Name]; a.Code == errcode.OK && !led {
				w.violate("answer", "%s got OK for %s, which leads nowhere", p, a.Name)
			}
			if a.Code != errcode.OK && t.patient && a.Code != errcode.MetadataRefused && a.Code != errcode.MetadataInvalid {
				w.violate("answer", "%s waits patiently for %s and got %v", p, a.Name, a.Code)
			}
		case coherence.DirGone:
			w.trace("%s: %s is gone", p, a.Name)
		case coherence.StoreRemake:
			p.remake(a, func(id string, code errcode.Code) { p.doDir(p.dir.Remade(w.now, id, code)) })
		case coherence.StoreWentBack:
			w.trace("%s reads: store went back from %s to %s at %d", p, short(a.From), short(a.To), a.Revision)
		default:
			w.violate("model", "the directory asked for %T", a)
		}
	}
}

func (p *proc) get(a coherence.DirGet) {
	w := p.w
	if g := p.gets[a.Name]; g.failed && w.now-g.at < 50*types.Millisecond {
		w.violate("L6", "%s reads %s %d ms after a failure", p, a.Name, (w.now-g.at)/types.Millisecond)
	}
	p.ask("get "+a.Name+": "+a.Why, false, func() func() {
		rec := w.store.record(a.Name)
		return func() {
			w.trace("%s got %s at %d of %s: owner %s, %s", p, a.Name, rec.Revision, short(rec.StoreID), rec.Owner.Short(), describe(rec.Head))
			p.gets[a.Name] = pace{w.now, false}
			p.doDir(p.dir.Got(w.now, a.Name, rec))
		}
	}, func(code errcode.Code, _ bool) {
		p.gets[a.Name] = pace{w.now, true}
		p.doDir(p.dir.GetFailed(w.now, a.Name, code, "no answer"))
	})
}

// bind is a handshake with whoever lives at the address.
func (p *proc) bind(a coherence.DirBind) {
	w := p.w
	target := w.byInst[a.Head.Instance]
	w.truth.published(w, a.Head)
	w.trace("%s reaches for %s: %s", p, describe(a.Head), a.Why)
	answer := func(code errcode.Code) func() {
		return func() { p.doDir(p.dir.Bound(w.now, a.Name, a.Head.Instance, code, "")) }
	}
	if p.host != target.host && (w.cut(p.host, target.host) || w.possible(BindFails, 10)) {
		w.at(w.now+w.some(2*types.Second), func() { p.deliver(answer(errcode.PeerUnreachable)) })
		return
	}
	w.at(w.now+w.latency(), func() {
		code := errcode.OK
		switch lives := w.hosts[target.host]; {
		case lives == nil || lives.paused:
			code = errcode.PeerUnreachable
		case lives != target:
			code = errcode.StaleInstance
		default:
			w.truth.answered[beatKey{p.inst, target.inst}] = true
		}
		if w.cfg.mutant == bindAnyone {
			code = errcode.OK
		}
		w.at(w.now+w.latency(), func() { p.deliver(answer(code)) })
	})
}

func (p *proc) deliver(feed func()) {
	if !p.dead {
		p.receive(feed)
	}
}

// beat is the heartbeat of every session that the process has with an instance that its names lead to.
func (p *proc) beat() {
	w := p.w
	if p.dead {
		return
	}
	w.at(w.now+types.Second, p.beat)
	if p.paused {
		return
	}
	p.touched = true
	done := map[types.InstanceID]bool{}
	for _, name := range sortedKeys(p.adopted) {
		inst := p.adopted[name].Instance
		if done[inst] {
			continue
		}
		done[inst] = true
		q := w.byInst[inst]
		switch {
		case q.dead && w.now-w.truth.deaths[inst] > 3*types.Second:
			delete(w.truth.beats, beatKey{p.inst, inst})
			p.doDir(p.dir.Unbound(w.now, inst, "its session is dead"))
		case !q.running() || w.cut(p.host, q.host):
		case w.possible(BeatLost, 10):
		default:
			epoch, id, _ := q.pub.Owning(q.clock())
			p.doDir(p.dir.Heartbeat(w.now, inst, id, epoch))
			w.truth.beat(p, inst, id, epoch)
		}
	}
}

// Things that an application does with names.

func (p *proc) openName(name string, opts coherence.OpenOptions) {
	w := p.w
	p.touched = true
	if inst, ok := p.dir.OpenFresh(w.now, name); ok && !opts.NoCache {
		w.stats.did(OpenWarm)
		if inst != p.adopted[name].Instance {
			w.violate("S5", "%s opens %s as %s, it leads to %s", p, name, inst.Short(), p.adopted[name].Instance.Short())
		}
		p.open[name]++
		return
	} else if ok {
		p.doDir(p.dir.Close(w.now, name))
	}
	w.stats.did(Open)
	p.open[name]++
	p.hold(name, opts.Patient, func() (uint64, []coherence.Action) { return p.dir.Open(w.now, name, opts) })
}

// hold files a ticket before the actions that may end it.
func (p *proc) hold(name string, patient bool, f func() (uint64, []coherence.Action)) {
	t, acts := f()
	p.w.trace("%s waits for %s by ticket %d, patiently: %v", p, name, t, patient)
	p.tickets[t] = ticket{name: name, since: p.w.now, patient: patient}
	p.doDir(acts)
}

func (p *proc) closeName(name string) {
	p.touched = true
	p.w.trace("%s closes %s", p, name)
	p.open[name]--
	if p.open[name] == 0 {
		delete(p.open, name)
		p.opened[name]++
		for t, k := range p.tickets {
			if k.name == name {
				delete(p.tickets, t)
			}
		}
	}
	p.doDir(p.dir.Close(p.w.now, name))
	if p.dir.Head(name) == nil {
		delete(p.adopted, name)
	}
}

// lookup is L4: while the instance behind a name is alive and its heartbeats come, the name can be used, whatever the
// store does.
func (p *proc) lookup(name string) {
	w := p.w
	p.touched = true
	inst, code, acts := p.dir.Lookup(w.now, name)
	p.doDir(acts)
	w.stats.did(Lookup)
	a, led := p.adopted[name]
	if !led || p.dir.Head(name) == nil || code == errcode.PeerUnreachable { // given up and not reached again
		return
	}
	if code == errcode.OK && inst != a.Instance {
		w.violate("S5", "%s looks %s up as %s, it leads to %s", p, name, inst.Short(), a.Instance.Short())
	}
	if b := w.truth.beats[beatKey{p.inst, a.Instance}]; code != errcode.OK && b.at > 0 && w.now-b.at < 30*types.Second {
		w.violate("L4", "%s cannot use %s: %v, though its owner's heartbeat came %d ms ago", p, name, code, (w.now-b.at)/types.Millisecond)
	}
}
