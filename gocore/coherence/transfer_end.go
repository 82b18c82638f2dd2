package coherence

import (
	"fmt"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// unfinished is the outcome of what did not complete and is not under way. A READ never applies anything at the target.
func (t *Transfer) unfinished(mayHaveApplied bool) types.Outcome {
	if mayHaveApplied && t.cfg.Op == types.Write {
		return types.Unknown
	}
	return types.NotApplied
}

// endSlice gives all requests that a slice covers their outcome, or counts one piece of a request of several.
func (t *Transfer) endSlice(s Slice, outcome types.Outcome, code errcode.Code, quiet bool) {
	if outcome == types.Completed {
		t.bytes += s.Len
	} else {
		t.failed(code)
	}
	if s.Count == 0 {
		t.endPiece(s.Req, outcome, code, quiet)
		return
	}
	t.record(s.Req, s.Count, outcome, code)
	if quiet {
		t.addQuiet(s.Remote, uint64(s.Count))
	}
}

// quietSlice says that a slice which had ended before is remotely quiet now.
func (t *Transfer) quietSlice(s Slice) {
	if s.Count > 0 {
		t.addQuiet(s.Remote, uint64(s.Count))
		return
	}
	sp := t.split[s.Req]
	sp.loud--
	t.keep(s.Req, sp)
}

// endPiece counts one piece. After the first failure the rest of the request is not cut any more.
func (t *Transfer) endPiece(req uint32, outcome types.Outcome, code errcode.Code, quiet bool) {
	sp := t.split[req]
	sp.pieces--
	if quiet {
		sp.loud--
	}
	sp.applied = sp.applied || outcome != types.NotApplied
	if outcome != types.Completed {
		t.failRest(req, &sp, code)
	}
	t.keep(req, sp)
}

func (t *Transfer) failRest(req uint32, sp *split, code errcode.Code) {
	if !sp.failed {
		sp.failed, sp.code = true, code
	}
	if sp.uncut { // then the cursor stands on it
		sp.uncut = false
		t.cur, t.curOff = int(req)+1, 0
		t.uncut--
	}
}

// keep stores a split request's state; ends it with its last piece and forgets it once it is quiet.
func (t *Transfer) keep(req uint32, sp split) {
	if sp.pieces == 0 && !sp.uncut && !sp.ended {
		sp.ended = true
		outcome := types.Completed
		if sp.failed {
			outcome = t.unfinished(sp.applied)
		}
		t.record(req, 1, outcome, sp.code)
	}
	if sp.ended && sp.loud == 0 {
		t.addQuiet(t.reqs[req].Remote, 1)
		delete(t.split, req)
		return
	}
	t.split[req] = sp
}

func (t *Transfer) record(req, count uint32, outcome types.Outcome, code errcode.Code) {
	t.open -= int(count)
	t.ended[outcome] += int(count)
	if outcome == types.Completed {
		return
	}
	if t.fails == nil {
		t.fails = make([]failure, len(t.reqs))
	}
	f := failure{outcome: outcome, code: code}
	for i := range t.fails[req : req+count] {
		t.fails[int(req)+i] = f
	}
}

func (t *Transfer) failed(code errcode.Code) {
	if t.cause == errcode.OK {
		t.cause, t.detail = code, t.why
	}
}

func (t *Transfer) addQuiet(id types.BufferID, n uint64) {
	if last := len(t.quiet) - 1; last >= 0 && t.quiet[last].ID == id {
		t.quiet[last].N += n
		return
	}
	t.quiet = append(t.quiet, IDCount{ID: id, N: n})
}

// dropSlices ends all slices of a post that is on no path (model: drain.not_posted).
func (t *Transfer) dropSlices(p *Post, code errcode.Code) {
	for _, s := range p.Slices {
		t.endSlice(s, t.unfinished(p.state.tainted), code, true)
	}
	t.recycle(p)
}

// endUncut ends what was never cut, or the rest of a request of which pieces were. match nil = all.
func (t *Transfer) endUncut(match func(types.BufferID) bool, code errcode.Code) {
	first := t.cur
	if first < len(t.reqs) && t.curOff > 0 {
		if match == nil || match(t.reqs[first].Remote) {
			req := uint32(first)
			sp := t.split[req]
			t.failed(code)
			t.failRest(req, &sp, code)
			t.keep(req, sp)
		}
		first++
	}
	for i := first; i < len(t.reqs); i++ {
		id := t.reqs[i].Remote
		if match != nil && !match(id) {
			continue
		}
		if match == nil && len(t.blocked) > 0 {
			if _, ended := t.blocked[id]; ended {
				continue
			}
		}
		t.failed(code)
		t.record(uint32(i), 1, types.NotApplied, code)
		t.addQuiet(id, 1)
		t.uncut--
	}
	if match == nil {
		t.cur, t.curOff = len(t.reqs), 0
	}
}

// finish returns Finished once, when every request has its outcome, local memory is quiet, and what was lost is retired
// or has been waited for long enough (model: ghost.unknown).
func (t *Transfer) finish(now types.Time, acts []Action) []Action {
	if t.finished || t.open > 0 || len(t.posted) > 0 || t.out > 0 {
		return acts
	}
	if len(t.lost) > 0 {
		if !t.inGrace {
			t.inGrace, t.graceUntil = true, now+t.cfg.RetireGrace
		}
		if now < t.graceUntil {
			return acts
		}
	}
	t.finished = true
	for _, p := range t.free {
		t.spare(p)
	}
	clear(t.free)
	t.free = t.free[:0]
	if acts == nil {
		return justFinished[:]
	}
	return append(acts, Finished{})
}

// justFinished is what most batches end with; it is only read.
var justFinished = [...]Action{Finished{}}

// CheckInvariants recounts what the Transfer keeps incrementally.
func (t *Transfer) CheckInvariants() error {
	if t.misuse != "" {
		return fmt.Errorf("transfer: %s", t.misuse)
	}
	ended := t.ended[types.Completed] + t.ended[types.NotApplied] + t.ended[types.Unknown]
	if ended+t.open != t.count {
		return fmt.Errorf("transfer: %d requests ended and %d are open, of %d", ended, t.open, t.count)
	}
	if t.uncut < 0 || t.uncut > t.open {
		return fmt.Errorf("transfer: %d requests are uncut, %d are open", t.uncut, t.open)
	}
	under := t.uncut
	seen := map[uint32]bool{}
	if t.cur < len(t.reqs) && t.curOff > 0 {
		seen[uint32(t.cur)] = true
	}
	for _, list := range [][]*Post{t.queue, t.posted, t.lost} {
		for _, p := range list {
			for _, s := range p.Slices {
				switch {
				case p.state.givenUp:
				case s.Count > 0:
					under += int(s.Count)
				case !seen[s.Req]:
					seen[s.Req] = true
					under++
				}
			}
		}
	}
	if t.out == 0 && under != t.open {
		return fmt.Errorf("transfer: %d requests are uncut or in posts, %d are open", under, t.open)
	}
	if t.finished && (t.open > 0 || len(t.posted) > 0 || len(t.queue) > 0) {
		return fmt.Errorf("transfer: finished with %d open, %d posted, %d queued", t.open, len(t.posted), len(t.queue))
	}
	return nil
}
