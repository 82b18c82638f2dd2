package coherence

import (
	"cmp"
	"maps"
	"slices"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// retire is one RETIRE, sent on every session until it is answered.
type retire struct {
	nonce types.Nonce
	paths []types.PathID
	hold  bool // a WRITE may still land by these paths: later WRITEs wait
}

// PathUp takes a path whose handshake was answered with this floor and these IDs that take nothing new
// (model: drain.path_up, ghost.new_path).
func (v *View) PathUp(now types.Time, path types.PathID, floor types.Version, nonReady []types.BufferID) []Action {
	if v.replaced || v.retiring(path) { // a token that is being retired must not be used any more
		return nil
	}
	v.paths[path] = floor
	v.floors()
	acts := v.shut(nonReady, nil)
	return append(acts, v.heard(now, floor, "floor of a new path")...)
}

func (v *View) floors() {
	v.minFloor, v.maxFloor = 0, 0
	first := true
	for _, f := range v.paths {
		if first || f < v.minFloor {
			v.minFloor = f
		}
		v.maxFloor = max(v.maxFloor, f)
		first = false
	}
}

// MayPost is asked when posting, after the path was chosen: never at submission, for the floor belongs to the path
// (model: drain.post, replace.post).
func (v *View) MayPost(path types.PathID, bound types.Version) bool {
	floor, up := v.paths[path]
	return up && !v.replaced && bound >= floor
}

// PathFloor is the floor of a path that is up, else 0.
func (v *View) PathFloor(path types.PathID) types.Version { return v.paths[path] }

// PathLost takes a path away. Dirty: something was sent on it whose end was not answered, so it may still land, and the
// owner must be asked to RETIRE it. Not dirty: the owner sees the close by itself. Saying it twice does nothing, so it
// may be said at the first lost post, before the path itself has ended (model: drain.path_dropped, replace.path_gone).
func (v *View) PathLost(now types.Time, path types.PathID, dirty bool) []Action {
	delete(v.paths, path)
	v.floors()
	var acts []Action
	if dirty && !v.replaced && !v.retiring(path) {
		acts = v.startRetire([]types.PathID{path}, true)
	}
	v.dropMootAcks()
	return acts
}

// TokensUnused retires tokens that were received and will not become paths: until then the owner takes us for a holder.
func (v *View) TokensUnused(now types.Time, tokens []types.PathID) []Action {
	if v.replaced {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(tokens), func(t types.PathID) bool {
		_, up := v.paths[t]
		return up || v.retiring(t)
	})
	if len(left) == 0 {
		return nil
	}
	return v.startRetire(left, false)
}

func (v *View) retiring(path types.PathID) bool {
	return slices.ContainsFunc(v.retires, func(r *retire) bool { return slices.Contains(r.paths, path) })
}

func (v *View) startRetire(paths []types.PathID, hold bool) []Action {
	var acts []Action
	if hold && !v.WritesHeld() {
		acts = append(acts, HoldWrites{})
	}
	r := &retire{nonce: v.nonce(), paths: paths, hold: hold}
	v.retires = append(v.retires, r)
	if v.session {
		acts = append(acts, v.sendRetire(r))
	}
	return acts
}

// sendRetire asks once per session (model: drain.ask_retire, ghost.ask_retire).
func (v *View) sendRetire(r *retire) Action {
	v.stats.RetiresSent++
	return SendRetire{Nonce: r.nonce, Paths: slices.Clone(r.paths)}
}

// nonce is unique among the unanswered ones and never 0.
func (v *View) nonce() types.Nonce {
	for {
		n := types.Nonce(v.cfg.Random())
		if n != 0 && !slices.ContainsFunc(v.retires, func(r *retire) bool { return r.nonce == n }) {
			return n
		}
	}
}

// Retired takes RETIRED: nothing of those paths can land any more. An answer to nothing (sent twice) does nothing
// (model: drain.retired, ghost.retired).
func (v *View) Retired(now types.Time, nonce types.Nonce) []Action {
	i := slices.IndexFunc(v.retires, func(r *retire) bool { return r.nonce == nonce })
	if i < 0 {
		return nil
	}
	r := v.retires[i]
	v.retires = slices.Delete(v.retires, i, i+1)
	acts := []Action{PathsRetired{Paths: r.paths}}
	if r.hold && !v.WritesHeld() {
		acts = append(acts, ReleaseWrites{})
	}
	v.dropMootAcks()
	return acts
}

// Retiring lists the paths whose RETIRED is awaited. A View that is given up because its peer is dead hands them to the
// next one of the same instance, by PathLost: should the peer live after all, nothing of them may land unnoticed.
func (v *View) Retiring() []types.PathID {
	var out []types.PathID
	for _, r := range v.retires {
		out = append(out, r.paths...)
	}
	return out
}

// WritesHeld reports whether later WRITEs to the peer must wait: one that was given up may still land over them
// (model: ghost.later_write).
func (v *View) WritesHeld() bool {
	return slices.ContainsFunc(v.retires, func(r *retire) bool { return r.hold })
}

// SessionUp says on the new session again whatever is unanswered: RETIRE before acknowledgements, then queries
// (model: drain.session_up, ghost.session_up).
func (v *View) SessionUp(now types.Time) []Action {
	if v.replaced {
		return nil
	}
	v.session = true
	var acts []Action
	for _, r := range v.retires {
		acts = append(acts, v.sendRetire(r))
	}
	for _, a := range v.acks {
		v.stats.DrainsAcked++
		acts = append(acts, a)
	}
	v.acks = nil
	for _, id := range v.waitingIDs() {
		acts = v.query(id, v.waiting[id], acts)
	}
	v.refresh.backoff = 0
	v.refresh.notBefore = min(v.refresh.notBefore, now+v.cfg.BackoffMin)
	return v.refreshIfDue(now, acts)
}

// SessionDown loses what was under way on the session. Paths, promises and what is owed outlive it
// (model: drain.session_down, ghost.session_down).
func (v *View) SessionDown(now types.Time) []Action {
	v.session = false
	for _, w := range v.waiting {
		w.asked = false
	}
	v.dropMootAcks()
	return nil
}

// Replaced takes the news that another instance answers at the peer's address, which it said itself: this one is gone,
// nothing of it can be touched and nothing sent to it can land (model: replace.replaced).
func (v *View) Replaced(now types.Time) []Action {
	if v.replaced {
		return nil
	}
	held := v.WritesHeld()
	v.replaced, v.session = true, false
	paths := slices.SortedFunc(maps.Keys(v.paths), cmp.Compare)
	for _, r := range v.retires {
		paths = append(paths, r.paths...)
	}
	waiting := v.waitingIDs()
	clear(v.paths)
	clear(v.waiting)
	clear(v.grants)
	v.ranges = 0
	clear(v.refused)
	clear(v.closing)
	v.retires, v.owed, v.acks, v.attaching = nil, nil, nil, 0
	v.refresh.forced = ""
	v.floors()
	acts := []Action{Drop{All: true, Cause: "another instance answered at its address"}}
	if len(paths) > 0 {
		acts = append(acts, PathsRetired{Paths: paths})
	}
	if held {
		acts = append(acts, ReleaseWrites{})
	}
	for _, id := range waiting {
		acts = append(acts, GrantResolved{ID: id, Code: errcode.StaleInstance})
	}
	return acts
}
