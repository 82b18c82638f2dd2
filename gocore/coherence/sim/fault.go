package sim

import "mooncake_te/gocore/types"

// faultStep makes something go wrong, of a kind drawn evenly.
func (w *world) faultStep() bool {
	h := w.rng.IntN(len(w.hosts))
	p := w.hosts[h]
	switch f := [...]Fault{
		Crash, Goodbye, Pause, PauseSilent, SessionBreak, SessionBreak, SessionTail, HalfOpen, HalfOpen, Late, Crossing,
		ConnDrop, ConnDrop, ConnStall, Evict, ClockJump,
	}[w.rng.IntN(16)]; f {
	case Crash, Goodbye:
		return w.crashStep(h, f)
	case Pause, PauseSilent:
		if p == nil {
			return false
		}
		if p.paused {
			w.pause(p, false, false)
			return true
		}
		if !w.possible(f, 4) {
			return false
		}
		w.pause(p, true, f == PauseSilent)
		return true
	case SessionBreak, SessionTail, HalfOpen, Late:
		return w.any(len(w.sessions), func(i int) bool { return w.sessions[i].fail(f) })
	case Crossing:
		return p != nil && p.running() && w.any(len(p.peers), func(i int) bool {
			pe := p.peers[i]
			q := w.hosts[pe.host]
			if pe.replaced || pe.sess == nil || q == nil || q.inst != pe.inst || !q.running() || !w.possible(Crossing, 1) {
				return false
			}
			p.connect(q)
			return true
		})
	case ConnDrop:
		return w.any(len(w.conns), func(i int) bool { return w.conns[i].drop() })
	case ConnStall:
		return w.any(len(w.conns), func(i int) bool { return w.conns[i].stall() })
	case Evict:
		return p != nil && p.running() && w.any(len(p.peers), func(i int) bool {
			pe := p.peers[i]
			return !pe.replaced && pe.forgettable() && w.possible(Evict, 1) && pe.forget()
		})
	case ClockJump:
		return p != nil && p.clocked && w.possible(ClockJump, 4) && p.setClock()
	}
	return false
}

func (w *world) crashStep(h int, f Fault) bool {
	p := w.hosts[h]
	if p == nil {
		return w.boot(h) != nil
	}
	if !w.possible(f, 8) {
		return false
	}
	w.crash(p, f == Goodbye)
	if w.possible(Restart, 1) {
		w.boot(h)
	}
	return true
}

// drop is the network losing a connection: the initiator sees its end, the target some of what was under way first.
func (c *conn) drop() bool {
	if !c.open || c.from.dead || c.from == c.to || !c.w.possible(ConnDrop, 1) {
		return false
	}
	c.w.disturb(c.from, c.to, "its connection was dropped")
	c.lose(unreachable, "the network dropped it")
	c.toT = c.toT[:c.w.rng.IntN(len(c.toT)+1)]
	return true
}

// stall lets a handler stand still, wherever it is.
func (c *conn) stall() bool {
	w := c.w
	if c.state == left || c.stalled > w.now || !w.possible(ConnStall, 1) {
		return false
	}
	c.stalled = w.now + types.Time(1+w.rng.IntN(3000))*types.Millisecond
	w.disturb(c.from, c.to, "its peer's handler stood still")
	return true
}

// fail lets something go wrong with a session.
func (s *session) fail(f Fault) bool {
	w := s.w
	if s.over() || s.end[0] == s.end[1] || !w.possible(f, 1) {
		return false
	}
	w.trace("session of %s and %s: %s", s.end[0].inst.Short(), s.end[1].inst.Short(), f)
	switch f {
	case SessionTail:
		s.dying = true
		for i := range s.q {
			s.q[i] = s.q[i][:w.rng.IntN(len(s.q[i])+1)]
		}
		s.disturb("its session broke")
	case HalfOpen:
		s.cut()
		s.deaf[w.rng.IntN(2)] = w.now + types.Time(1+w.rng.IntN(8000))*types.Millisecond
	case Late:
		s.late = w.now + types.Time(1+w.rng.IntN(2000))*types.Millisecond
		s.disturb("its session stood still")
	default:
		s.cut()
	}
	return true
}

func (w *world) crash(p *proc, bye bool) {
	w.trace("%s dies, with a goodbye: %v", p.inst.Short(), bye)
	for _, s := range w.sessions {
		if s.over() || s.end[0] != p && s.end[1] != p {
			continue
		}
		other := 1 - s.side(p)
		if bye {
			s.q[other] = append(s.q[other], msgBye{})
		} else {
			s.cut()
		}
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
func (w *world) pause(p *proc, stop, sessions bool) {
	w.trace("%s paused: %v", p.inst.Short(), stop)
	p.paused = stop
	for _, q := range w.hosts {
		if q != nil {
			w.disturb(q, p, "its peer stood still")
			w.disturb(p, q, "its own process stood still")
		}
	}
	if stop {
		p.pausedAt = w.now
		for _, s := range w.sessions {
			if sessions && (s.end[0] == p || s.end[1] == p) {
				s.cut()
			}
		}
		return
	}
	for _, d := range p.drains { // it could not end while the process stood still
		d.due += w.now - p.pausedAt
	}
	p.tick()
}

// setClock gives a process another wall clock, far away or near.
func (p *proc) setClock() bool {
	const hour = 3_600_000_000
	p.skew = [...]int64{0, hour, -hour, 30 * 365 * 24 * hour, -30 * 365 * 24 * hour, 200 * 365 * 24 * hour}[p.w.rng.IntN(6)]
	p.w.trace("the clock of %s is %d us off", p.inst.Short(), p.skew)
	return true
}
