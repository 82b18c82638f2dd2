package coherence

import (
	"bytes"
	"slices"

	"mooncake_te/gocore/types"
)

// holder is what the owner knows of one peer instance. The peer is in G, the set that drains must ask, while it has a
// token, whatever its session does.
type holder struct {
	peer      types.InstanceID
	alive     bool       // session up
	session   uint64     // counts its sessions
	fenceAt   types.Time // while the session is down: when it is fenced
	tokens    map[types.PathID]*token
	unused    int // tokens that no connection has shown yet
	retires   []*retireRun
	waiting   map[DrainID]*drainRun // drains in whose W it is
	lastToken uint64                // order in which tokens were made
}

// holds says whether the peer is in G.
func (h *holder) holds() bool { return len(h.tokens) > 0 }

// token is good for one connection, once. It leaves the table when nothing can use it any more: while unused, at once;
// afterwards when its handler has left.
type token struct {
	id      types.PathID
	holder  *holder
	made    types.Time
	session uint64 // of the holder, in which it was handed out
	order   uint64
	used    bool
	killed  bool // connected and told to die
}

// retireRun is one RETIRE being answered, proctype Target of the model.
type retireRun struct {
	nonce   types.Nonce
	waiting map[types.PathID]struct{}
}

// tokenLife is how long an unused token is safe from eviction in favour of a new one.
const tokenLife = 30 * types.Second

// Attach answers a handshake: it first makes the peer a holder and then samples floor and non-READY ids. It is
// accepted inside a live session only, since it must be ordered against DRAIN. A peer with MaxTokens unused tokens
// gets none; tokens whose ATTACHED was lost with an earlier session make room first (model: drain.handshake,
// replace.handshake).
func (o *Owner) Attach(now types.Time, peer types.InstanceID, request types.Nonce, n int) []Action {
	h := o.peers[peer]
	if h == nil || !h.alive {
		return nil
	}
	n = max(min(n, o.cfg.MaxTokens), 0)
	if h.unused+n > o.cfg.MaxTokens {
		o.evictTokens(now, h, h.unused+n-o.cfg.MaxTokens)
		n = min(n, o.cfg.MaxTokens-h.unused)
	}
	n = max(min(n, o.cfg.MaxPaths-len(h.tokens)), 0)
	ids := make([]types.PathID, 0, n)
	for range n {
		id := types.PathID(o.random())
		for o.tokens[id] != nil {
			id = types.PathID(o.random())
		}
		h.lastToken++
		t := &token{id: id, holder: h, made: now, session: h.session, order: h.lastToken}
		o.tokens[id], h.tokens[id] = t, t
		h.unused++
		ids = append(ids, id)
	}
	return []Action{SendAttached{
		Peer: peer, Request: request, Tokens: ids,
		Floor: o.Floor(peer), Version: o.version, NonReady: o.nonReady(peer),
	}}
}

// evictTokens drops up to n unused tokens that were handed out in an earlier session or long ago, oldest first. The
// holder stays a holder, or is about to become one again in the same step.
func (o *Owner) evictTokens(now types.Time, h *holder, n int) {
	var old []*token
	for _, t := range h.tokens {
		if !t.used && (t.session != h.session || now-t.made >= tokenLife) {
			old = append(old, t)
		}
	}
	slices.SortFunc(old, func(a, b *token) int {
		if a.order < b.order {
			return -1
		}
		return 1
	})
	for _, t := range old[:min(n, len(old))] {
		o.dropToken(t)
	}
}

// dropToken makes a token invalid for ever. The caller looks after what waits for it and after G.
func (o *Owner) dropToken(t *token) {
	delete(o.tokens, t.id)
	delete(t.holder.tokens, t.id)
	if !t.used {
		t.holder.unused--
	}
}

// TokenUsed turns an unused token into a connection. While the peer's session is down it is refused, and stays good
// (model: ghost.accept).
func (o *Owner) TokenUsed(id types.PathID) (types.InstanceID, bool) {
	t := o.tokens[id]
	if t == nil || t.used || !t.holder.alive {
		return types.InstanceID{}, false
	}
	t.used = true
	t.holder.unused--
	return t.holder.peer, true
}

// TokenValid says whether a connection could still be made with this token, now or in a later session.
func (o *Owner) TokenValid(id types.PathID) bool {
	t := o.tokens[id]
	return t != nil && !t.used
}

// ConnGone says that the handler of this connection has left for good. Only now may RETIRED be said and may the peer
// leave G.
func (o *Owner) ConnGone(now types.Time, id types.PathID) []Action {
	t := o.tokens[id]
	if t == nil || !t.used {
		return nil
	}
	o.dropToken(t)
	return o.pathsGone(now, t.holder)
}

// pathsGone follows the end of some of a peer's paths (model: ghost.retire_answered).
func (o *Owner) pathsGone(now types.Time, h *holder) []Action {
	var out []Action
	h.retires = slices.DeleteFunc(h.retires, func(r *retireRun) bool {
		for id := range r.waiting {
			if h.tokens[id] == nil {
				delete(r.waiting, id)
			}
		}
		if len(r.waiting) > 0 {
			return false
		}
		if h.alive { // else it asks again in its next session
			out = append(out, SendRetired{Peer: h.peer, Nonce: r.nonce})
		}
		return true
	})
	if h.holds() {
		return out
	}
	// It has left G: nothing of it can come any more, so no drain waits for it.
	for _, id := range sortedDrainIDs(h.waiting) {
		d := h.waiting[id]
		o.leaveWait(d, h.peer)
		d.fenced = append(d.fenced, h.peer)
		out = append(out, o.advance(now, d)...)
	}
	o.forget(h)
	return out
}

// Retire makes tokens of this peer invalid for ever, kills their handlers and answers once these have left. Unknown
// tokens, and tokens of others, count as retired. The same RETIRE may come again on every session
// (model: drain.retire, ghost.retire).
func (o *Owner) Retire(now types.Time, peer types.InstanceID, nonce types.Nonce, tokens []types.PathID) []Action {
	h := o.peers[peer]
	if h == nil {
		return []Action{SendRetired{Peer: peer, Nonce: nonce}}
	}
	// A repeat takes the place of the one that is being answered: it may name more.
	r := &retireRun{nonce: nonce, waiting: map[types.PathID]struct{}{}}
	for _, old := range h.retires {
		if old.nonce == nonce {
			r = old
		}
	}
	var kill []types.PathID
	for _, id := range tokens {
		t := h.tokens[id]
		switch {
		case t == nil:
		case !t.used:
			o.dropToken(t)
		default:
			r.waiting[id] = struct{}{}
			if !t.killed {
				t.killed = true
				kill = append(kill, id)
			}
		}
	}
	if !slices.Contains(h.retires, r) {
		h.retires = append(h.retires, r)
	}
	var out []Action
	if len(kill) > 0 {
		out = append(out, KillConns{Peer: peer, Tokens: kill})
	}
	return append(out, o.pathsGone(now, h)...)
}

// cutOff makes all tokens of a peer invalid and kills its connections (model: drain.fence_dead).
func (o *Owner) cutOff(now types.Time, h *holder) []Action {
	var kill []types.PathID
	for _, t := range h.tokens {
		switch {
		case !t.used:
			o.dropToken(t)
		case !t.killed:
			t.killed = true
			kill = append(kill, t.id)
		}
	}
	var out []Action
	if len(kill) > 0 {
		slices.Sort(kill)
		out = append(out, KillConns{Peer: h.peer, Tokens: kill})
	}
	return append(out, o.pathsGone(now, h)...)
}

// forget drops the record of a peer that has neither session nor token.
func (o *Owner) forget(h *holder) {
	if !h.alive && !h.holds() {
		h.fenceAt = 0 // its timer means nothing any more
		if o.peers[h.peer] == h {
			delete(o.peers, h.peer)
		}
	}
}

// Holders lists G, sorted.
func (o *Owner) Holders() []types.InstanceID {
	var out []types.InstanceID
	for _, p := range sortedPeers(o.peers) {
		if o.peers[p].holds() {
			out = append(out, p)
		}
	}
	return out
}

func sortedPeers[V any](m map[types.InstanceID]V) []types.InstanceID {
	var out []types.InstanceID
	for p := range m {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b types.InstanceID) int { return bytes.Compare(a[:], b[:]) })
	return out
}

func sortedDrainIDs(m map[DrainID]*drainRun) []DrainID {
	out := make([]DrainID, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
