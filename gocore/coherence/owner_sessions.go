package coherence

import "mooncake_te/gocore/types"

// SessionUp says that a session with this peer was chosen, whether or not it had one before. What it has not
// acknowledged is sent again (model: drain.session_up).
func (o *Owner) SessionUp(now types.Time, peer types.InstanceID) []Action {
	h := o.peers[peer]
	if h == nil {
		h = &holder{peer: peer, tokens: map[types.PathID]*token{}, waiting: map[DrainID]*drainRun{}}
		o.peers[peer] = h
	}
	h.alive = true
	h.session++
	h.fenceAt = 0
	var out []Action
	for _, id := range sortedDrainIDs(h.waiting) {
		out = append(out, h.waiting[id].ask(now, peer))
	}
	return out
}

// SessionDown says that the peer has no session any more. Its paths live on; it is fenced if it does not come back
// within three heartbeats (model: drain.session_down).
func (o *Owner) SessionDown(now types.Time, peer types.InstanceID) []Action {
	h := o.peers[peer]
	if h == nil || !h.alive {
		return nil
	}
	h.alive = false
	if h.holds() {
		h.fenceAt = later(now, deadHeartbeats*o.cfg.Heartbeat)
		o.timers.add(h.fenceAt, nil, h)
	}
	o.forget(h)
	return nil
}

// PeerGone says that the peer has said goodbye or is known to be dead: it is fenced at once.
func (o *Owner) PeerGone(now types.Time, peer types.InstanceID) []Action {
	h := o.peers[peer]
	if h == nil {
		return nil
	}
	h.alive, h.fenceAt = false, 0
	return o.cutOff(now, h)
}

// Tick does what is due.
func (o *Owner) Tick(now types.Time) []Action {
	var out []Action
	for {
		t, ok := o.timers.first()
		if !ok || t.at > now {
			return out
		}
		o.timers.pop()
		if t.drain != nil {
			out = append(out, o.advance(now, t.drain)...)
		} else {
			t.holder.fenceAt = 0
			out = append(out, o.cutOff(now, t.holder)...)
		}
	}
}

// NextWake is when Tick has something to do.
func (o *Owner) NextWake() (types.Time, bool) {
	t, ok := o.timers.first()
	return t.at, ok
}
