package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// conn is one data connection. Its two ends are separate: what was written to it may be processed long after the
// initiator gave it up, and after it died.
type conn struct {
	w        *world
	token    types.PathID
	from, to *proc
	pe       *peer  // the initiator's record
	made     uint64 // event in which the token was made
	floor    types.Version
	slow     bool       // its handler hardly runs
	shown    bool       // something was sent, and the token with it
	stalled  types.Time // until when the handler stands still

	// the initiator's end
	open    bool
	posts   []*outPost // without result, in order
	results []result   // on their way to the engine
	toI     []reply    // from the target
	eofI    bool       // and then its end
	down    bool       // the engine was told

	// the target's end
	toT    []frame // in its socket buffer
	eofT   bool    // and then the initiator's end
	state  connState
	killed bool
	cur    *serving
	in     chunk // while inside
}

type connState uint8

const (
	accepting connState = iota // in the accept queue: nobody has looked at its token
	idle
	inside // the handler is inside user memory
	left   // the handler has left for good
)

const window = 6 // frames that a socket buffer takes

// outPost is a post at its initiator.
type outPost struct {
	post    *coherence.Post
	b       *batch
	id      uint64
	op      types.Op
	slices  []coherence.Slice
	header  bool // sent
	si      int  // WRITE: next to send
	off     uint64
	abort   bool // asked for
	aborted bool // sent
	sunk    bool // READ: data that came after the abort was thrown away
	bad     bool // READ: bytes changed on the way
}

type result struct {
	post *coherence.Post
	b    *batch
	res  coherence.Result
}

type frameKind uint8

const (
	header frameKind = iota
	payload
	abort
)

// frame goes to the target.
type frame struct {
	kind   frameKind
	id     uint64
	op     types.Op
	target types.InstanceID
	slices []coherence.Slice
	b      *batch
	c      chunk
	last   bool
}

// chunk is a piece of a slice.
type chunk struct {
	si     int
	off, n uint64 // in the slice
	region *region
	last   bool
	bad    bool // changed on the way
}

// reply goes back: data of a READ, or the end of a post.
type reply struct {
	id   uint64
	data bool
	c    chunk
	res  coherence.Result
}

// serving is a request at the target.
type serving struct {
	frame
	code  errcode.Code // of the request as a whole
	bad   bool         // WRITE: bytes changed on the way
	codes []errcode.Code
	done  []uint64
	si    int // READ: next to produce
	off   uint64
}

// dataStep lets one end of some connection do one thing.
func (w *world) dataStep() bool {
	w.conns = slices.DeleteFunc(w.conns, (*conn).over)
	return w.any(4*len(w.conns), func(n int) bool {
		c := w.conns[n/4]
		switch n % 4 {
		case 0:
			return c.from.running() && c.sendStep()
		case 1:
			return c.from.running() && c.receiveStep()
		case 2:
			return c.from.running() && c.resultStep()
		}
		if !w.healing && (c.slow && !w.chance(w.mix.lag) || w.now < c.stalled) || w.scene.holds(c.to, c) {
			return false
		}
		return c.to.running() && c.handle()
	})
}

func (c *conn) over() bool {
	return (c.from.dead || !c.open && c.down) && (c.to.dead || c.state == left)
}

// give hands a post to the connection.
func (c *conn) give(p *coherence.Post, b *batch) {
	c.posts = append(c.posts, &outPost{post: p, b: b, id: p.ID, op: p.Op, slices: slices.Clone(p.Slices)})
}

// sendStep puts one frame on the wire.
func (c *conn) sendStep() bool {
	if !c.open || len(c.toT) >= window {
		return false
	}
	for i, o := range c.posts {
		switch {
		case o.aborted, o.header && !o.abort && (o.op == types.Read || o.si == len(o.slices)):
			continue // nothing more of it to send
		case o.abort && !o.header:
			c.posts = slices.Delete(c.posts, i, i+1)
			c.result(o, coherence.Result{Code: errcode.Canceled, Detail: "given up before it was sent"})
		case o.abort:
			o.aborted = true
			c.toT = append(c.toT, frame{kind: abort, id: o.id})
		case !o.header:
			o.header, c.shown = true, true
			c.toT = append(c.toT, frame{kind: header, id: o.id, op: o.op, target: c.pe.inst, slices: o.slices, b: o.b})
			if c.w.cfg.mutant == noTargetID {
				c.toT[len(c.toT)-1].target = c.to.inst
			}
		default:
			s := o.slices[o.si]
			n := min(s.Len-o.off, chunkLen)
			o.b.touchLocal("read for sending")
			ch := chunk{si: o.si, off: o.off, n: n}
			if o.b.crc && c.w.possible(Corrupt, 3) {
				ch.bad = true
			}
			o.off += n
			if o.off == s.Len {
				o.si, o.off = o.si+1, 0
			}
			o.post.Moved.Add(n)
			c.toT = append(c.toT, frame{kind: payload, id: o.id, b: o.b, c: ch, last: o.si == len(o.slices)})
		}
		return true
	}
	return false
}

// receiveStep takes one reply.
func (c *conn) receiveStep() bool {
	if !c.open {
		return false
	}
	if len(c.toI) == 0 {
		if c.eofI {
			c.lose(errcode.PeerUnreachable, "the target closed it")
		}
		return c.eofI
	}
	r := c.toI[0]
	c.toI = c.toI[1:]
	i := slices.IndexFunc(c.posts, func(o *outPost) bool { return o.id == r.id })
	if i < 0 {
		c.w.violate("S10", "reply to post %d, which has no reply to come", r.id)
	}
	o := c.posts[i]
	if r.data {
		if o.abort {
			o.sunk = true
			return true
		}
		if o.b.crc && c.w.possible(Corrupt, 3) {
			r.c.bad, o.bad = true, true
		}
		o.b.received(o.slices[r.c.si], r.c)
		o.post.Moved.Add(r.c.n)
		return true
	}
	c.posts = slices.Delete(c.posts, i, i+1)
	if o.sunk && r.res.Code == errcode.OK {
		r.res.Code, r.res.Failed = errcode.Canceled, nil
	}
	if o.bad {
		o.b.changed(o.slices)
		if r.res.Code == errcode.OK && c.w.cfg.mutant != checksumIgnored {
			r.res.Code, r.res.Failed = errcode.Checksum, nil
		}
	}
	c.result(o, r.res)
	return true
}

func (c *conn) result(o *outPost, res coherence.Result) {
	c.results = append(c.results, result{o.post, o.b, res})
}

// lose is the end of the initiator's end: what is not answered is lost.
func (c *conn) lose(code errcode.Code, why string) {
	c.w.trace("%s loses its path %x: %s", c.from.inst.Short(), uint64(c.token), why)
	c.open, c.eofT = false, true
	for _, o := range c.posts {
		c.result(o, coherence.Result{Code: code, Sent: o.header, Detail: why})
	}
	c.posts = nil
}

// closeWith is Path.Close.
func (c *conn) closeWith(code errcode.Code, why string) {
	if c.open {
		c.lose(code, why)
	}
}

// resultStep tells the engine of one result, or, after all of them, that the path is down.
func (c *conn) resultStep() bool {
	pe := c.pe
	w := c.w
	if len(c.results) > 0 {
		r := c.results[0]
		c.results = c.results[1:]
		if r.res.Sent && !r.res.Answered {
			w.did(PostLost)
			pe.lost(c, true)
		}
		w.trace("%s post %d of batch %d: %v answered %v sent %v failed %v",
			c.from.inst.Short(), r.post.ID, r.b.n, r.res.Code, r.res.Answered, r.res.Sent, r.res.Failed)
		r.b.result(r)
		return true
	}
	if c.open || c.down {
		return false
	}
	c.down = true
	w.did(PathDown)
	pe.conns = slices.DeleteFunc(pe.conns, func(o *conn) bool { return o == c })
	pe.lost(c, false)
	if !c.shown { // the owner saw a connection end, but not whose: it must be told which token will not come
		pe.do(pe.view.TokensUnused(w.now, []types.PathID{c.token}))
	}
	return true
}

// lost tells the view of a lost path before any batch hears of it, so that no WRITE is retried in between.
func (pe *peer) lost(c *conn, dirty bool) {
	pe.do(pe.view.PathLost(pe.p.w.now, c.token, dirty))
	if pe.shadow != nil {
		pe.shadow.PathLost(pe.p.w.now, c.token, false)
	}
	if dirty && pe.p.w.cfg.mutant == retryAtOnce {
		pe.pathsRetired([]types.PathID{c.token})
	}
}

// abort is Path.Abort.
func (c *conn) abort(p *coherence.Post) {
	for _, o := range c.posts {
		if o.id == p.ID {
			o.abort = true
		}
	}
}
