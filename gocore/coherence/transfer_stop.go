package coherence

import (
	"slices"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Blocked ends what is not posted yet on id: its gate is shut or it does not exist. What is posted goes on, but is not
// tried again.
func (t *Transfer) Blocked(now types.Time, id types.BufferID, code errcode.Code) []Action {
	return t.block(now, []types.BufferID{id}, code, false)
}

// Cut gives up whatever is under way on ids: queued ends NOT_APPLIED, posted is aborted. Posts are aborted as a whole;
// their slices on other IDs are queued again.
func (t *Transfer) Cut(now types.Time, ids []types.BufferID, code errcode.Code) []Action {
	return t.block(now, ids, code, true)
}

func (t *Transfer) block(now types.Time, ids []types.BufferID, code errcode.Code, cut bool) []Action {
	if t.finished || t.over != errcode.OK {
		return nil
	}
	fresh := make(map[types.BufferID]bool, len(ids))
	for _, id := range ids {
		if _, old := t.blocked[id]; !old {
			fresh[id] = true
		}
	}
	if t.blocked == nil {
		t.blocked = make(map[types.BufferID]errcode.Code, len(ids))
	}
	for id := range fresh {
		t.blocked[id] = code
	}
	if len(fresh) > 0 {
		t.endUncut(lastAnswer(func(id types.BufferID) bool { return fresh[id] }), code)
		queue := t.queue
		t.queue = nil
		for _, p := range queue {
			t.enqueue(p)
		}
		for _, p := range slices.Clone(t.lost) {
			t.giveUpBlocked(p)
		}
	}
	var acts []Action
	if cut {
		on := lastAnswer(func(id types.BufferID) bool { _, ok := t.blocked[id]; return ok })
		for _, p := range t.posted {
			if slices.ContainsFunc(p.Slices, func(s Slice) bool { return on(s.Remote) }) {
				acts = t.handAbort(now, p, code, acts)
			}
		}
	}
	return t.finish(now, acts)
}

// lastAnswer spares a map look-up per request: neighbours mostly have the same ID.
func lastAnswer(f func(types.BufferID) bool) func(types.BufferID) bool {
	var last types.BufferID
	var answer, known bool
	return func(id types.BufferID) bool {
		if !known || id != last {
			last, answer, known = id, f(id), true
		}
		return answer
	}
}

// Cancel ends all of it: on the user's wish, at a deadline, when the engine closes or the peer is dead. What has not
// ended by its own accord by then has code as its cause.
func (t *Transfer) Cancel(now types.Time, code errcode.Code) []Action {
	if t.finished || t.over != errcode.OK {
		return nil
	}
	t.over = code
	queue := t.queue
	t.queue = nil
	for _, p := range queue {
		t.dropSlices(p, code)
	}
	t.endUncut(nil, code)
	for _, p := range t.lost {
		if !p.state.givenUp {
			p.state.givenUp = true
			for _, s := range p.Slices {
				t.endSlice(s, types.Unknown, code, false)
			}
		}
	}
	var acts []Action
	for _, p := range t.posted {
		acts = t.handAbort(now, p, code, acts)
	}
	return t.finish(now, acts)
}

// PeerReplaced ends all of it, because another instance answers at the peer's address. Nothing sent to the old one can
// land any more, so remote quiet is immediate; local quiet is not (model: replace.not_applied).
func (t *Transfer) PeerReplaced(now types.Time) []Action {
	t.replaced = true
	acts := t.Cancel(now, errcode.StaleInstance)
	if len(t.lost) == 0 {
		return acts
	}
	back := t.lost
	t.lost = nil
	t.release(back)
	return t.finish(now, acts)
}

func (t *Transfer) abort(now types.Time, p *Post, code errcode.Code) {
	p.state.aborting, p.state.reused = true, true
	p.state.cause, p.state.killAt = code, now+t.cfg.AbortGrace
	t.aborting++
}

func (t *Transfer) handAbort(now types.Time, p *Post, code errcode.Code, acts []Action) []Action {
	if p.state.aborting {
		return acts
	}
	t.abort(now, p, code)
	return append(acts, AbortPost{Post: p})
}

// Tick does what is due: deadline, stall, killing paths that do not answer an abort, the end of the wait for RETIRED.
// After it NextPost may have something again: a pause may be over.
func (t *Transfer) Tick(now types.Time) []Action {
	if t.finished {
		return nil
	}
	var acts []Action
	if t.over == errcode.OK {
		t.sample(now)
		switch {
		case t.cfg.Deadline > 0 && now >= t.cfg.Deadline:
			acts = t.Cancel(now, errcode.Deadline)
		case now-t.progressAt >= t.cfg.Stall:
			acts = t.Cancel(now, errcode.Stalled)
		}
	}
	if t.aborting > 0 {
		acts = t.kill(now, acts)
	}
	if t.pauseUntil > 0 && now >= t.pauseUntil {
		t.pauseUntil = 0
		if t.HasQueued() {
			t.sched.wake(t)
		}
	}
	if t.finished { // by Cancel above
		return acts
	}
	return t.finish(now, acts)
}

// sample looks for bytes that moved since the last look.
func (t *Transfer) sample(now types.Time) {
	t.sampledAt = now
	for _, p := range t.posted {
		if m := p.Moved.Load(); m != p.state.seen {
			p.state.seen = m
			t.progressAt = now
		}
	}
}

// kill destroys paths on which an abort was not answered in time. Their other posts, also of other batches, come back as
// lost and are tried again.
func (t *Transfer) kill(now types.Time, acts []Action) []Action {
	var killed []types.PathID
	for _, p := range t.posted {
		if !p.state.aborting || p.state.killed || now < p.state.killAt {
			continue
		}
		if p.state.unsaid { // it was posted while the batch was being cancelled
			p.state.unsaid = false
			p.state.killAt = now + t.cfg.AbortGrace
			acts = append(acts, AbortPost{Post: p})
			continue
		}
		p.state.killed = true
		t.aborting--
		if !slices.Contains(killed, p.Path) {
			killed = append(killed, p.Path)
			acts = append(acts, KillPath{Path: p.Path, Cause: p.state.cause})
		}
	}
	return acts
}

// NextWake is when Tick is needed next.
func (t *Transfer) NextWake() (types.Time, bool) {
	var w wake
	if t.finished {
		return w.get()
	}
	if t.over == errcode.OK {
		if t.cfg.Deadline > 0 {
			w.at(t.cfg.Deadline)
		}
		// Progress is seen by looking: four looks per stall deadline notice its passing at most a quarter late.
		w.at(min(t.progressAt+t.cfg.Stall, t.sampledAt+max(t.cfg.Stall/4, 1)))
		if t.pauseUntil > 0 {
			w.at(t.pauseUntil)
		}
	}
	if t.aborting > 0 {
		for _, p := range t.posted {
			if p.state.aborting && !p.state.killed {
				w.at(p.state.killAt)
			}
		}
	}
	if t.open == 0 && len(t.posted) == 0 && t.out == 0 {
		w.at(t.graceUntil) // 0, that is at once, when there is nothing to wait for
	}
	return w.get()
}
