package coherence

import (
	"slices"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Result takes what became of a post, exactly once per Posted. From here the post belongs to the Transfer again, which
// may use it for the next one: nobody else may hold on to it.
func (t *Transfer) Result(now types.Time, p *Post, r Result) []Action {
	if p.Transfer != t || p.state.place != placePosted {
		t.misused("Result of a post that is not posted")
		return nil
	}
	t.unpost(p)
	t.why = r.Detail
	if r.Code == errcode.OK {
		t.answered(now, p, r)
	} else {
		t.failedPost(now, p, r)
	}
	t.why = ""
	return t.finish(now, nil)
}

func (t *Transfer) unpost(p *Post) {
	last := len(t.posted) - 1
	moved := t.posted[last]
	t.posted[p.state.index] = moved
	moved.state.index = p.state.index
	t.posted[last] = nil
	t.posted = t.posted[:last]
	if p.state.aborting && !p.state.killed {
		t.aborting--
	}
}

// answered takes a post whose slices completed, but for those in Failed (model: ghost.completed).
func (t *Transfer) answered(now types.Time, p *Post, r Result) {
	failed := r.Failed
	kept := p.Slices[:0] // to be tried again; never overtakes the slice being looked at
	tainted := p.state.tainted
	completed := false
	var retried [4]errcode.Code // the kinds of refusal to be tried again, each decided and noted once
	kinds := retried[:0]
	for i, s := range p.Slices {
		if len(failed) == 0 || failed[0].Index != uint32(i) {
			t.endSlice(s, types.Completed, errcode.OK, true)
			completed = true
			continue
		}
		f := failed[0]
		failed = failed[1:]
		mayHave := tainted || f.Applied > 0 || dirties(f.Code)
		if t.over == errcode.OK && t.mayRetry(p, f.Code) {
			p.state.tainted = p.state.tainted || mayHave
			kept = append(kept, s)
			if !slices.Contains(kinds, f.Code) {
				kinds = append(kinds, f.Code)
			}
			continue
		}
		t.endSlice(s, t.unfinished(mayHave), t.blame(f.Code, true), true)
	}
	if completed {
		t.progressAt = now
		t.pause = 0
	}
	p.Slices = kept
	if len(kept) == 0 {
		t.recycle(p)
		return
	}
	for _, code := range kinds {
		t.noteRetry(now, p, code)
	}
	t.again(p)
}

// failedPost takes a post that did not complete as a whole (model: drain.cut, ghost.lost).
func (t *Transfer) failedPost(now types.Time, p *Post, r Result) {
	landing := p.Op == types.Write && r.Sent && !r.Answered
	if r.Sent && (!r.Answered || r.Applied > 0 || dirties(r.Code)) {
		p.state.tainted = true
	}
	if r.Answered && r.Applied > 0 {
		t.progressAt = now
	}
	retry := t.over == errcode.OK && t.retry(now, p, r)
	quiet := !landing || p.state.retired || t.replaced
	switch {
	case retry && quiet:
		t.again(p)
	case retry:
		t.lose(p)
	default:
		code := t.blame(r.Code, r.Answered)
		for _, s := range p.Slices {
			t.endSlice(s, t.unfinished(p.state.tainted), code, quiet)
		}
		if quiet {
			t.recycle(p)
			return
		}
		p.state.place, p.state.givenUp = placeLost, true
		t.lost = append(t.lost, p)
	}
}

// lose keeps a WRITE that may still land until its path is retired; only then may it be posted elsewhere. Slices whose
// ID is blocked have no second try: they end now, and only their remote quiet is awaited.
func (t *Transfer) lose(p *Post) {
	p.state.place = placeLost
	t.lost = append(t.lost, p)
	if len(t.blocked) > 0 {
		t.giveUpBlocked(p)
	}
}

// giveUpBlocked moves the slices of a lost post whose ID is blocked into a given-up post of their own.
func (t *Transfer) giveUpBlocked(p *Post) {
	if p.state.givenUp {
		return
	}
	var gone []Slice
	p.Slices = slices.DeleteFunc(p.Slices, func(s Slice) bool {
		code, blocked := t.blocked[s.Remote]
		if blocked {
			t.endSlice(s, types.Unknown, code, false)
			gone = append(gone, s)
		}
		return blocked
	})
	switch {
	case len(gone) == 0:
	case len(p.Slices) == 0:
		p.Slices, p.state.givenUp = gone, true
	default:
		q := &Post{Transfer: t, Op: p.Op, Path: p.Path, Slices: gone}
		q.state = postState{seq: p.state.seq, place: placeLost, givenUp: true, tainted: true, reused: true}
		t.lost = append(t.lost, q)
	}
}

// PathsRetired says that nothing of these paths can land any more: what was lost on them is queued again, or has its
// remote quiet (model: drain.retired).
func (t *Transfer) PathsRetired(now types.Time, paths []types.PathID) []Action {
	for _, p := range t.posted {
		if slices.Contains(paths, p.Path) {
			p.state.retired = true // its result is still to come
		}
	}
	if len(t.lost) == 0 {
		return nil
	}
	var back []*Post
	t.lost = slices.DeleteFunc(t.lost, func(p *Post) bool {
		hit := slices.Contains(paths, p.Path)
		if hit {
			back = append(back, p)
		}
		return hit
	})
	t.release(back)
	return t.finish(now, nil)
}

// release ends the wait of posts that were lost (model: ghost.retry).
func (t *Transfer) release(back []*Post) {
	for _, p := range back {
		if !p.state.givenUp {
			t.again(p)
			continue
		}
		for _, s := range p.Slices {
			t.quietSlice(s)
		}
		t.recycle(p)
	}
}

// blame is the cause to report: what ended the batch or the ID, when the failure is only how that ended.
func (t *Transfer) blame(code errcode.Code, answered bool) errcode.Code {
	if t.over != errcode.OK && (!answered || code == errcode.Canceled) {
		return t.over
	}
	if code == errcode.OK {
		return errcode.Internal
	}
	return code
}

// dirties: a WRITE refused with this code may have touched memory although no byte of it counts as applied.
func dirties(code errcode.Code) bool { return code == errcode.Checksum || code == errcode.MemoryFault }

// retry decides on a post that failed as a whole, and notes it.
func (t *Transfer) retry(now types.Time, p *Post, r Result) bool {
	again := false
	switch {
	case r.Answered:
		again = t.mayRetry(p, r.Code)
	case r.Code == errcode.Checksum, r.Code == errcode.ResourceExhausted && !r.Sent:
		again = t.mayRetry(p, r.Code)
	case final(r.Code):
	case collateral(r.Code):
		return true // never counted: a cancel or a deadline fails no other operation (S13)
	default:
		again = p.state.attempts < t.cfg.Retries
	}
	if again {
		t.noteRetry(now, p, r.Code)
	}
	return again
}

// mayRetry decides on what the target itself refused.
func (t *Transfer) mayRetry(p *Post, code errcode.Code) bool {
	switch code {
	case errcode.ResourceExhausted:
		return true
	case errcode.Checksum: // the source of a READ may have changed under it: once more
		return p.Op == types.Read && !p.state.checked
	case errcode.Canceled:
		return p.state.aborting || p.state.attempts < t.cfg.Retries
	}
	return false
}

func (t *Transfer) noteRetry(now types.Time, p *Post, code errcode.Code) {
	switch {
	case code == errcode.ResourceExhausted:
		if now >= t.pauseUntil {
			t.pause = min(max(2*t.pause, pauseMin), pauseMax)
			t.pauseUntil = now + t.pause
		}
	case code == errcode.Checksum:
		p.state.checked = true
	case code == errcode.Canceled && p.state.aborting: // by ourselves, for other slices of the post
	default:
		p.state.attempts++
	}
}

// collateral: we closed the path ourselves, mostly because another post on it did not answer an abort. Transports report
// the cause given to Path.Close.
func collateral(code errcode.Code) bool {
	switch code {
	case errcode.Canceled, errcode.Deadline, errcode.Stalled, errcode.DrainingCode, errcode.Revoked, errcode.Closed:
		return true
	}
	return false
}

// final: another path would say the same.
func final(code errcode.Code) bool {
	switch code {
	case errcode.MemoryFault, errcode.Permission, errcode.OutOfBounds, errcode.InvalidArgument, errcode.Unsupported,
		errcode.StaleInstance, errcode.VersionSkew, errcode.Forked:
		return true
	}
	return false
}
