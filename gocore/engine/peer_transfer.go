package engine

import (
	"cmp"
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// submit binds a batch to this peer's buffers and starts it. An error means that nothing was bound or posted.
func (p *peer) submit(b *Slot, _ *Submission) error {
	path, err := p.begin(b)
	if path != nil {
		path.Push()
	}
	return err
}

// begin does all of submit that needs mu, and says on which path something waits to be pushed.
func (p *peer) begin(b *Slot) (transport.Prompt, error) {
	op := b.op.String()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.releaseSettled()
	if p.ended {
		return nil, p.endErr
	}
	if p.evicted {
		return nil, errcode.New(errcode.Closed, op, "the segment was closed")
	}
	if b.t.Final() { // cancelled before it began: its buffer is drained, or the engine closes
		return nil, b.err
	}
	now := p.e.now()
	b.remotes = remoteUses(b.reqs, b.remotes[:0])
	if err := p.checkRemotes(op, b, now); err != nil {
		return nil, err
	}
	p.live[b.t] = b
	p.unfinished++
	if len(b.waiting) == 0 {
		p.start(b)
	}
	return p.prompt(b), nil
}

// remoteUses finds the distinct buffers of a batch, in the order of their IDs.
func remoteUses(reqs []coherence.Request, uses []remoteUse) []remoteUse {
	last := -1
	for i := range reqs {
		id := reqs[i].Remote
		if last < 0 || uses[last].id != id {
			k, ok := slices.BinarySearchFunc(uses, id, func(u remoteUse, id types.BufferID) int { return cmp.Compare(u.id, id) })
			if !ok {
				if len(uses) == manyRemotes {
					return countRemotes(reqs)
				}
				uses = slices.Insert(uses, k, remoteUse{id: id})
			}
			last = k
		}
		uses[last].n++
	}
	return uses
}

// manyRemotes is from how many distinct buffers on sorting is quicker.
const manyRemotes = 64

func countRemotes(reqs []coherence.Request) (uses []remoteUse) {
	for i := range reqs {
		uses = append(uses, remoteUse{id: reqs[i].Remote, n: 1})
	}
	slices.SortFunc(uses, func(a, b remoteUse) int { return cmp.Compare(a.id, b.id) })
	last := 0
	for _, u := range uses[1:] {
		if uses[last].id == u.id {
			uses[last].n++
			continue
		}
		last++
		uses[last] = u
	}
	return uses[:last+1]
}

// checkRemotes resolves every remote buffer and checks every request on those that are known. Buffers that are not are
// asked for, and b.waiting names them.
func (p *peer) checkRemotes(op string, b *Slot, now types.Time) error {
	var unknown map[types.BufferID]bool
	var asks []coherence.Action
	for _, u := range b.remotes {
		binding, code, actions := p.view.Resolve(now, u.id)
		asks = append(asks, actions...)
		switch code {
		case errcode.OK:
			p.boundTo(b, binding.Version)
		case errcode.WaitTimeout:
			if unknown == nil {
				unknown = map[types.BufferID]bool{}
			}
			unknown[u.id] = true
		default:
			p.run(asks)
			return p.error(code, op, sprintf("remote buffer %d", u.id))
		}
	}
	for i := range b.reqs {
		r := &b.reqs[i]
		if len(unknown) > 0 && unknown[r.Remote] {
			continue
		}
		if code := p.view.Check(r.Remote, b.op, r.Off, r.Len); code != errcode.OK {
			p.run(asks)
			return p.refusal(code, op, i, r)
		}
	}
	if len(unknown) > 0 {
		b.waiting = unknown
		for id := range unknown {
			p.waiters[id] = append(p.waiters[id], b)
		}
	}
	p.run(asks)
	return nil
}

func (p *peer) refusal(code errcode.Code, op string, i int, r *coherence.Request) *errcode.Error {
	detail := sprintf("request %d: [%d, +%d) of remote buffer %d", i, r.Off, r.Len, r.Remote)
	err := p.error(code, op, detail)
	switch code {
	case errcode.OutOfBounds:
		err.Detail += " is outside what the peer offers"
	case errcode.Permission:
		err.Detail += " may not be used this way"
		err.Hint = "the owner registered or granted it without this permission, or for another peer"
	}
	return err
}

func (p *peer) boundTo(b *Slot, v types.Version) {
	if b.bound == 0 || v < b.bound {
		b.bound = v
	}
}

// start counts the batch on the View's gates and queues it. Callers hold mu; every remote buffer is resolved.
func (p *peer) start(b *Slot) {
	now := p.e.now()
	for i := range b.remotes {
		u := &b.remotes[i]
		if code := p.view.Enter(u.id, u.n); code != errcode.OK {
			p.runFor(b.t, b.t.Blocked(now, u.id, code))
			continue
		}
		u.entered += u.n
	}
	p.settle(b)
	if !b.final {
		p.sched.Add(b.t)
	}
}

// resolved goes on with batches that waited for an answer about one ID. A refusal also ends what is queued on it and not
// posted: its gate is shut.
func (p *peer) resolved(id types.BufferID, code errcode.Code) {
	if code != errcode.OK {
		for t, b := range p.live {
			if n := b.entered(id); n != nil && *n > 0 && !b.final {
				p.runFor(t, t.Blocked(p.e.now(), id, code))
				p.settle(b)
			}
		}
	}
	batches := p.waiters[id]
	delete(p.waiters, id)
	for _, b := range batches {
		if b.final || !b.waiting[id] {
			continue
		}
		delete(b.waiting, id)
		if code == errcode.OK {
			code = p.checkLate(b, id)
		}
		if code != errcode.OK {
			p.runFor(b.t, b.t.Blocked(p.e.now(), id, code))
			p.settle(b)
			b.remotes = withoutRemote(b.remotes, id)
		}
		if len(b.waiting) == 0 && !b.final {
			p.start(b)
		}
	}
	p.pump()
}

// stopWaiting forgets that a batch waits for answers about its buffers: it is final.
func (p *peer) stopWaiting(b *Slot) {
	for id := range b.waiting {
		left := slices.DeleteFunc(p.waiters[id], func(w *Slot) bool { return w == b })
		if len(left) == 0 {
			delete(p.waiters, id)
		} else {
			p.waiters[id] = left
		}
	}
	b.waiting = nil
}

func withoutRemote(uses []remoteUse, id types.BufferID) []remoteUse {
	out := uses[:0]
	for _, u := range uses {
		if u.id != id {
			out = append(out, u)
		}
	}
	return out
}

// checkLate is the check of checkRemotes for a buffer that got known only now.
func (p *peer) checkLate(b *Slot, id types.BufferID) errcode.Code {
	binding, code, actions := p.view.Resolve(p.e.now(), id)
	p.run(actions)
	if code != errcode.OK {
		return code
	}
	p.boundTo(b, binding.Version)
	for i := range b.reqs {
		r := &b.reqs[i]
		if r.Remote != id {
			continue
		}
		if code := p.view.Check(id, b.op, r.Off, r.Len); code != errcode.OK {
			if b.err == nil {
				b.err = p.refusal(code, b.op.String(), i, r)
			}
			return code
		}
	}
	return errcode.OK
}

// pump posts whatever may be posted and sees that there are paths to post on. Callers hold mu.
func (p *peer) pump() {
	for p.postSome() {
	}
	if p.sched.Waiting(types.Latency)+p.sched.Waiting(types.Bulk) > 0 || len(p.waiters) > 0 {
		p.ensurePaths()
	}
	p.arm()
}

// postSome fills the paths; it reports whether batches were bound anew, so that another round may post them.
func (p *peer) postSome() (again bool) {
	var stale []*Slot
	var idle map[*pathState]bool // had room and found nothing: another path may, if its floor is lower
	for {
		ps := p.pathWithRoom(idle)
		if ps == nil {
			break
		}
		id := ps.path.ID()
		post := p.sched.Next(p.e.now(), p.view.WritesHeld(), func(post *coherence.Post) bool {
			b := p.live[post.Transfer]
			if b == nil || b.final {
				return false
			}
			if !p.view.MayPost(id, b.bound) {
				stale = append(stale, b)
				return false
			}
			return true
		})
		if post == nil {
			if len(p.paths) == 1 || p.sched.Waiting(types.Latency)+p.sched.Waiting(types.Bulk) == 0 {
				break // none of the others would find something
			}
			if idle == nil {
				idle = map[*pathState]bool{}
			}
			idle[ps] = true
			continue
		}
		b := p.live[post.Transfer]
		b.t.Posted(p.e.now(), post, id)
		b.went(ps.path.Kind())
		ps.posts++
		ps.bytes += post.Bytes
		p.give(ps, b, post)
	}
	for _, b := range stale {
		again = p.rebind(b) || again
	}
	return again
}

// rebind looks the remote buffers of a queued batch up again because a path wants newer metadata than it was bound to
// (safety.md section 2, the floor). What is gone meanwhile ends; what is not new enough yet waits for the refresh.
func (p *peer) rebind(b *Slot) (newer bool) {
	if b.final {
		return false
	}
	now := p.e.now()
	bound := types.Version(0)
	for _, u := range b.remotes {
		binding, code, actions := p.view.Resolve(now, u.id)
		p.run(actions)
		switch code {
		case errcode.OK:
			if bound == 0 || binding.Version < bound {
				bound = binding.Version
			}
		case errcode.WaitTimeout:
			bound = b.bound // asked for; the answer pumps again
		default:
			p.runFor(b.t, b.t.Blocked(now, u.id, code))
			p.settle(b)
		}
	}
	if bound > b.bound {
		b.bound = bound
		return true
	}
	p.run(p.view.RefreshNow(now, "floor"))
	return false
}

// pathWithRoom is the least loaded path that may take another post and is not left out.
func (p *peer) pathWithRoom(without map[*pathState]bool) *pathState {
	limit := uint64(p.e.cfg.MaxPeerBytesInFlight) / uint64(max(1, p.e.cfg.ConnectionsPerPeer))
	var best *pathState
	for _, ps := range p.paths {
		if ps.closing || without[ps] || ps.posts >= maxPostsPerPath || ps.posts > 0 && ps.bytes >= limit {
			continue
		}
		if best == nil || ps.lighter(best) {
			best = ps
		}
	}
	return best
}

// PostDone takes a post's result from a transport: see transport.Sink.
func (e *Engine) PostDone(path transport.Path, post *transport.Post, r transport.Result) {
	p := e.peerOfPath(path.ID())
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.releaseSettled()
	ps := p.paths[path.ID()]
	if ps == nil {
		if ps = p.fallen[path.ID()]; ps != nil && ps.posts == 1 {
			delete(p.fallen, path.ID())
			e.pathPeers.Delete(path.ID())
		}
	}
	if ps != nil {
		ps.posts--
		ps.bytes -= post.Bytes
		ps.proven = ps.proven || r.Answered
		if r.Sent && !r.Answered && !ps.dirty {
			ps.dirty = true
			ps.closing = true // nothing more goes out on it, and later WRITEs wait, before the path itself has ended
			p.run(p.view.PathLost(e.now(), path.ID(), true))
		}
	}
	b := p.live[post.Transfer]
	if b == nil {
		return
	}
	before := b.t.BytesDone()
	if r.Code != errcode.OK && b.err == nil && r.Answered && r.Code != errcode.Canceled {
		b.err = p.error(r.Code, b.op.String(), r.Detail)
	}
	p.runFor(b.t, b.t.Result(e.now(), post, r))
	if n := b.t.BytesDone() - before; n > 0 {
		e.metrics.Bytes.WithLabelValues(b.op.String(), path.Kind()).Add(float64(n))
	}
	p.settle(b)
	if r.Code == errcode.StaleBuffer || r.Code == errcode.Revoked || r.Code == errcode.DrainingCode {
		p.run(p.view.RefreshNow(e.now(), "refused"))
	}
	p.pump()
}
