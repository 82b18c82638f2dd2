package coherence

import (
	"slices"
	"sort"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// postPlace is where a post is in its life.
type postPlace uint8

const (
	placeFree   postPlace = iota
	placeQueued           // waits to be posted
	placeOut              // handed to the caller by NextPost
	placePosted           // its path has it
	placeLost             // its path ended without an answer, and it may still land
)

// postState is what a Transfer knows of a post of its own.
type postState struct {
	seq      uint64
	index    int // in Transfer.posted
	place    postPlace
	attempts int  // that were lost
	tainted  bool // an earlier attempt may have applied bytes
	checked  bool // has been tried again after a checksum error
	retired  bool // its path was retired while it was posted: nothing of it can land
	givenUp  bool // lost, its requests have ended, only remote quiet is awaited
	aborting bool
	killed   bool
	unsaid   bool // the abort was not handed out yet; Tick does
	reused   bool // must not be used again: an Abort of it may still be on its way
	cause    errcode.Code
	killAt   types.Time
	seen     uint64 // Moved at the last sample
}

// split is a request of several pieces.
type split struct {
	pieces  uint32 // cut and without outcome
	loud    uint32 // cut and not remotely quiet
	uncut   bool   // there is more to cut
	failed  bool
	applied bool // bytes of it were, or may have been, applied
	ended   bool
	code    errcode.Code
}

// HasQueued reports whether NextPost has, or will have after a pause, something to give.
func (t *Transfer) HasQueued() bool { return len(t.queue) > 0 || t.uncut > 0 }

// NextPost gives the next post, or nil. It must be followed by Posted or Requeue before anything else is fed.
func (t *Transfer) NextPost(now types.Time) *Post {
	if now < t.pauseUntil {
		return nil
	}
	t.pauseUntil = 0
	var p *Post
	if len(t.queue) > 0 {
		p = t.queue[0]
		t.queue = slices.Delete(t.queue, 0, 1)
	} else if p = t.cut(); p == nil {
		return nil
	}
	p.state.place = placeOut
	t.out++
	return p
}

// Requeue takes back a post that could not be posted after all, to the place it had.
func (t *Transfer) Requeue(p *Post) {
	if p.Transfer != t || p.state.place != placeOut {
		t.misused("Requeue of a post that is not out")
		return
	}
	t.out--
	if t.over != errcode.OK {
		t.dropSlices(p, t.over)
		return
	}
	t.enqueue(p)
}

// Posted says that path has the post now. Its Result follows.
func (t *Transfer) Posted(now types.Time, p *Post, path types.PathID) {
	if p.Transfer != t || p.state.place != placeOut {
		t.misused("Posted of a post that is not out")
		return
	}
	t.out--
	t.posts++
	p.Path = path
	p.state.place, p.state.index, p.state.seen = placePosted, len(t.posted), 0
	t.posted = append(t.posted, p)
	if t.over != errcode.OK {
		t.abort(now, p, t.over)
		p.state.unsaid, p.state.killAt = true, now
	}
}

// enqueue puts a post into the queue by its age, without the slices whose ID is blocked meanwhile.
func (t *Transfer) enqueue(p *Post) {
	if len(t.blocked) > 0 {
		p.Slices = slices.DeleteFunc(p.Slices, func(s Slice) bool {
			code, blocked := t.blocked[s.Remote]
			if blocked {
				t.endSlice(s, t.unfinished(p.state.tainted), code, true)
			}
			return blocked
		})
	}
	if len(p.Slices) == 0 {
		t.recycle(p)
		return
	}
	p.Bytes = 0
	for i := range p.Slices {
		p.Bytes += p.Slices[i].Len
	}
	p.state.place = placeQueued
	i := sort.Search(len(t.queue), func(i int) bool { return t.queue[i].state.seq > p.state.seq })
	t.queue = slices.Insert(t.queue, i, p)
	t.sched.wake(t)
}

// again queues a post that was posted before, under a new ID: an answer to the old one must not be taken for its own.
func (t *Transfer) again(p *Post) {
	t.retries++
	if p.state.reused {
		q := &Post{Slices: slices.Clone(p.Slices), Transfer: t}
		q.state = postState{seq: p.state.seq, attempts: p.state.attempts, tainted: p.state.tainted, checked: p.state.checked}
		p = q
	}
	t.stamp(p)
	t.enqueue(p)
}

// stamp makes a post ready for a path that has not seen it.
func (t *Transfer) stamp(p *Post) {
	p.ID, p.Path = t.cfg.NextID(), 0
	p.Op, p.Class, p.CRC, p.Trace = t.cfg.Op, t.cfg.Class, t.cfg.CRC, t.cfg.Trace
	p.Moved.Store(0)
	p.state.retired, p.state.seen = false, 0
}

// recycle keeps a post for the next cut. Not one under abort: the abort may reach the path after the post's result, and
// must not meet another post there.
func (t *Transfer) recycle(p *Post) {
	p.state.place = placeFree
	switch {
	case p.state.reused:
	case t.uncut == 0:
		t.spare(p)
	default:
		t.free = append(t.free, p)
	}
}

// spare gives a post back that no path and no Transfer knows any more.
func (t *Transfer) spare(p *Post) {
	if t.cfg.Pool != nil {
		p.Slices = p.Slices[:0]
		t.cfg.Pool.Put(p)
	}
}

// cut makes a post of the requests at the cursor.
func (t *Transfer) cut() *Post {
	if t.uncut == 0 {
		return nil
	}
	var p *Post
	if n := len(t.free); n > 0 {
		p, t.free = t.free[n-1], t.free[:n-1]
		p.Slices = p.Slices[:0]
	} else {
		n := t.target/max(t.total/uint64(len(t.reqs)), 1) + 1
		if t.cfg.Pool != nil {
			p = t.cfg.Pool.Get()
		} else {
			p = new(Post)
		}
		p.Transfer = t
		if want := min(n, uint64(t.uncut), uint64(t.cfg.MaxPostEntries)); uint64(cap(p.Slices)) < want {
			p.Slices = make([]Slice, 0, want)
		}
	}
	p.Bytes = 0
	t.fill(p)
	if len(p.Slices) == 0 {
		t.free = append(t.free, p)
		return nil
	}
	t.seq++
	p.state = postState{seq: t.seq}
	t.stamp(p)
	return p
}

// fill adds slices until the post is full. A request that fits a post is never cut in two; a larger one is cut into
// pieces of a post, or of what is left of one if that is no scrap.
func (t *Transfer) fill(p *Post) {
	for t.cur < len(t.reqs) && p.Bytes < t.target && len(p.Slices) < t.cfg.MaxPostEntries {
		r := &t.reqs[t.cur]
		if len(t.blocked) > 0 && t.curOff == 0 {
			if _, ended := t.blocked[r.Remote]; ended {
				t.cur++
				continue
			}
		}
		room, rest := t.target-p.Bytes, r.Len-t.curOff
		switch {
		case t.curOff == 0 && rest <= room:
			t.whole(p, r)
			continue
		case r.Len <= t.target, room < minPostBytes && room < rest && p.Bytes > 0:
			return
		}
		n := min(room, rest)
		p.Slices = append(p.Slices, Slice{
			Local: r.Local + t.curOff, Remote: r.Remote, Off: r.Off + t.curOff, Len: n, Req: uint32(t.cur),
		})
		p.Bytes += n
		t.piece(n)
	}
}

// whole adds the request at the cursor, to the last slice if it goes on where that one ends on both sides.
func (t *Transfer) whole(p *Post, r *Request) {
	p.Bytes += r.Len
	req := uint32(t.cur)
	t.cur++
	t.uncut--
	if n := len(p.Slices); n > 0 {
		last := &p.Slices[n-1]
		if last.Count > 0 && last.Remote == r.Remote && last.Local+last.Len == r.Local &&
			last.Off+last.Len == r.Off && last.Req+last.Count == req {
			last.Len += r.Len
			last.Count++
			return
		}
	}
	p.Slices = append(p.Slices, Slice{Local: r.Local, Remote: r.Remote, Off: r.Off, Len: r.Len, Req: req, Count: 1})
}

// piece moves the cursor over n bytes of the request it stands on.
func (t *Transfer) piece(n uint64) {
	if t.split == nil {
		t.split = make(map[uint32]split)
	}
	req := uint32(t.cur)
	sp := t.split[req]
	sp.pieces++
	sp.loud++
	t.curOff += n
	sp.uncut = t.curOff < t.reqs[t.cur].Len
	if !sp.uncut {
		t.cur, t.curOff = t.cur+1, 0
		t.uncut--
	}
	t.split[req] = sp
}

func (t *Transfer) misused(what string) {
	if t.misuse == "" {
		t.misuse = what
	}
}
