package sim

import (
	"fmt"
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

// session is one ordered stream between two processes. End 0 dialled. When it breaks, what is under way is lost, and
// each end notices in its own time, or not at all if it is replaced first.
type session struct {
	w      *world
	end    [2]*proc
	q      [2][]any // messages to end i, in order
	broken bool
	dying  bool          // nothing more is said; what is queued still arrives
	deaf   [2]types.Time // until when an end does not notice
	late   types.Time    // until when nothing arrives
}

func (s *session) over() bool { return s.broken || s.dying }

// Messages that are no action of a machine.
type (
	msgHello      struct{}
	msgHeartbeat  struct{ version, floor types.Version }
	msgInvalidate struct{ version types.Version }
	msgAttach     struct {
		request types.Nonce
		n       int
	}
	msgBye struct{}
)

func (s *session) side(p *proc) int {
	if s.end[0] == p {
		return 0
	}
	return 1
}

// send queues a message to a peer on its present session, if there is one.
func (pe *peer) send(m any) {
	s := pe.sess
	if s == nil || s.over() {
		return
	}
	to := 1 - s.side(pe.p)
	s.q[to] = append(s.q[to], m)
	switch m.(type) { // what may be said again on a session, and then is said twice
	case coherence.SendDrain, coherence.SendDrainAck, coherence.SendRetire, coherence.SendRetired, msgInvalidate:
		if pe.p.w.possible(Duplicate, 4) {
			s.q[to] = append(s.q[to], m)
		}
	}
}

// dial makes a session with whoever lives at the host, or learns that it is not the one expected.
func (p *proc) dial(host int, expect *peer) {
	w := p.w
	w.did(Dial)
	q := w.hosts[host]
	if expect != nil {
		if w.now < expect.nextDial {
			w.violate("L6", "%s dials %s again within its pause", p.inst.Short(), expect.inst.Short())
		}
		expect.dialPause = min(max(2*expect.dialPause, dialPauseMin), dialPauseMax)
		expect.nextDial = w.now + expect.dialPause
	}
	if q == nil || !q.running() || q != p && w.possible(DialFails, 2) {
		return
	}
	p.touched = true
	if expect != nil && expect.inst != q.inst {
		expect.gone()
		return
	}
	p.connect(q)
}

// connect makes a session: the end that was dialled has it at once, the other with its first message.
func (p *proc) connect(q *proc) {
	w := p.w
	s := &session{w: w, end: [2]*proc{p, q}}
	s.q[0] = append(s.q[0], msgHello{})
	w.trace("%s dials %s", p.inst.Short(), q.inst.Short())
	w.sessions = append(w.sessions, s)
	q.sessionUp(p, s)
}

// sessionUp makes a session the present one of both directions between two instances. The one that it replaces is not
// reported as down.
func (p *proc) sessionUp(with *proc, s *session) {
	pe := p.peer(with)
	if old := pe.sess; old != nil && old != s {
		old.cut()
	}
	if pe.replaced {
		return
	}
	p.w.did(SessionUp)
	pe.sess, pe.dialPause = s, 0
	pe.dropAttach()
	if p.byHost[with.host] == nil {
		p.byHost[with.host] = pe
	}
	p.w.trace("%s has a session with %s", p.inst.Short(), with.inst.Short())
	p.doOwner(p.owner.SessionUp(p.w.now, pe.inst))
	pe.do(pe.view.SessionUp(p.w.now))
}

// dropAttach forgets an ATTACH whose answer was lost with its session.
func (pe *peer) dropAttach() {
	if pe.attach != 0 {
		pe.attach = 0
		pe.view.Attaching(-1)
	}
}

// cut breaks the stream: nothing more arrives.
func (s *session) cut() {
	if s.broken {
		return
	}
	s.broken = true
	s.q = [2][]any{}
	s.disturb("its session broke")
}

func (s *session) disturb(why string) {
	s.w.disturb(s.end[0], s.end[1], why)
	s.w.disturb(s.end[1], s.end[0], why)
}

// notice tells one end of a broken session; true if there was one to tell.
func (s *session) notice(i int) bool {
	p := s.end[i]
	pe := p.find(s.end[1-i].inst)
	if pe == nil || pe.sess != s || !p.running() || s.w.now < s.deaf[i] && !s.w.healing {
		return false
	}
	p.w.did(SessionDown)
	p.w.trace("%s notices that its session with %s is down", p.inst.Short(), pe.inst.Short())
	pe.sess = nil
	pe.dropAttach()
	p.doOwner(p.owner.SessionDown(p.w.now, pe.inst))
	pe.do(pe.view.SessionDown(p.w.now))
	return true
}

// deliver hands over the next message of some session, or the news of its end.
func (w *world) deliver() bool {
	w.sessions = slices.DeleteFunc(w.sessions, func(s *session) bool {
		return s.over() && !s.held(0) && !s.held(1)
	})
	return w.any(2*len(w.sessions), func(n int) bool {
		s, i := w.sessions[n/2], n%2
		if s.broken || s.dying && len(s.q[i]) == 0 {
			return s.notice(i)
		}
		if len(s.q[i]) == 0 || !s.end[i].running() || s.late > w.now && !w.healing || w.scene.holds(s.end[i], s.q[i][0]) {
			return false
		}
		m := s.q[i][0]
		s.q[i] = s.q[i][1:]
		s.take(i, m)
		return true
	})
}

func (s *session) held(i int) bool {
	pe := s.end[i].find(s.end[1-i].inst)
	return pe != nil && pe.sess == s && !s.end[i].dead
}

// take processes one message at end i.
func (s *session) take(i int, m any) {
	p, from := s.end[i], s.end[1-i]
	w := p.w
	p.touched = true
	if w.cfg.Trace != nil {
		w.trace("%s <- %s %s", p.inst.Short(), from.inst.Short(), describe(m))
	}
	if _, hello := m.(msgHello); hello {
		p.sessionUp(from, s)
		return
	}
	pe := p.find(from.inst)
	if pe == nil || pe.sess != s {
		return // of a session that was replaced
	}
	now := w.now
	switch m := m.(type) {
	case msgHeartbeat:
		w.did(Heartbeat)
		pe.do(pe.view.Heartbeat(now, m.version, m.floor))
	case msgInvalidate:
		pe.do(pe.view.Invalidate(now, m.version))
	case msgBye:
		from.w.trace("%s says goodbye", from.inst.Short())
		pe.sess = nil
		pe.dropAttach()
		pe.do(pe.view.SessionDown(now))
		p.doOwner(p.owner.PeerGone(now, pe.inst))
	// to the owner
	case msgAttach:
		p.doOwner(p.owner.Attach(now, pe.inst, m.request, m.n))
	case coherence.SendGrantQuery:
		p.doOwner(p.owner.GrantQuery(now, pe.inst, m.ID))
	case coherence.SendDrainAck:
		p.doOwner(p.owner.DrainAck(now, pe.inst, m.Nonce, m.IDs))
	case coherence.SendRetire:
		p.retire(pe, m)
	// to the view
	case coherence.SendAttached:
		pe.attachedBy(from, m)
	case coherence.SendGrant:
		pe.do(pe.view.AdoptGrant(now, m.Grant))
		if pe.shadow != nil {
			pe.shadow.AdoptGrant(now, m.Grant)
		}
	case coherence.SendGrantRefused:
		pe.do(pe.view.GrantRefused(now, m.ID, m.Code))
	case coherence.SendRetired:
		pe.do(pe.view.Retired(now, m.Nonce))
	case coherence.SendDrain:
		if w.cfg.mutant == ackAtOnce {
			pe.do([]coherence.Action{coherence.SendDrainAck{Nonce: m.Nonce, IDs: m.IDs}})
		}
		pe.do(pe.view.OnDrain(now, m.IDs, m.Version, m.Within, m.Nonce))
	default:
		w.violate("model", "message %T", m)
	}
}

func (p *proc) retire(pe *peer, m coherence.SendRetire) {
	acts := p.owner.Retire(p.w.now, pe.inst, m.Nonce, m.Paths)
	if p.w.cfg.mutant == tokenStaysGood {
		for _, tok := range m.Paths {
			if c := p.tokens[tok]; c == nil || c.state == accepting {
				defer func() { p.attached[tok] |= staysGood }()
			}
		}
	}
	p.doOwner(acts)
}

// staysGood marks a token that a mutant accepts although it was retired.
const staysGood = 1 << 63

// attachedBy takes tokens: it dials with them, or gives them back.
func (pe *peer) attachedBy(target *proc, m coherence.SendAttached) {
	w := pe.p.w
	if pe.attach != m.Request {
		pe.do(pe.view.TokensUnused(w.now, m.Tokens))
		return
	}
	if len(m.Tokens) == 0 {
		pe.attachPause = min(max(2*pe.attachPause, attachPauseMin), attachPauseMax)
		pe.nextAttach = w.now + pe.attachPause
	}
	var unused []types.PathID
	for _, tok := range m.Tokens {
		if w.possible(TokenUnused, 3) {
			unused = append(unused, tok)
			continue
		}
		c := &conn{w: w, token: tok, from: pe.p, pe: pe, to: target, open: true, made: target.attached[tok], floor: m.Floor}
		c.slow = w.mix.slow > 0 && w.chance(w.mix.slow)
		target.tokens[tok] = c
		pe.conns = append(pe.conns, c)
		w.conns = append(w.conns, c)
		w.did(PathUp)
		pe.attachPause = 0
		pe.do(pe.view.PathUp(w.now, tok, m.Floor, m.NonReady))
		if pe.shadow != nil {
			pe.shadow.PathUp(w.now, tok, m.Floor, nil)
		}
	}
	if len(unused) > 0 {
		pe.do(pe.view.TokensUnused(w.now, unused))
	}
	pe.dropAttach()
}

func describe(m any) string {
	switch m := m.(type) {
	case coherence.SendDrain:
		return fmt.Sprintf("DRAIN %v", m.IDs)
	case coherence.SendDrainAck:
		return fmt.Sprintf("DRAIN_ACK %v", m.IDs)
	case coherence.SendRetire:
		return fmt.Sprintf("RETIRE %x", m.Paths)
	case coherence.SendAttached:
		return fmt.Sprintf("ATTACHED %x floor %d", m.Tokens, m.Floor)
	case coherence.SendGrant:
		return fmt.Sprintf("GRANT %d", m.Grant.ID)
	}
	return fmt.Sprintf("%T %+v", m, m)
}
