package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// handle lets the target's handler of a connection do one thing.
func (c *conn) handle() bool {
	c.to.touched = true
	switch c.state {
	case accepting:
		return c.accept()
	case inside:
		c.leave()
		return true
	case left:
		return false
	}
	if c.killed {
		c.exit()
		return true
	}
	if s := c.cur; s != nil && s.op == types.Read && s.code == errcode.OK {
		return c.produce(s)
	}
	if len(c.toT) == 0 {
		if c.eofT {
			c.exit()
		}
		return c.eofT
	}
	f := c.toT[0]
	c.toT = c.toT[1:]
	c.take(f)
	return true
}

// accept looks at the token, once the first header is there to show it.
func (c *conn) accept() bool {
	if len(c.toT) == 0 {
		if c.eofT { // closed without a word: nobody ever saw its token
			c.state, c.eofI = left, true
			return true
		}
		if c.w.chance(300) || c.w.healing && !c.to.owner.TokenValid(c.token) { // nobody waits for a header for ever
			c.state, c.eofI = left, true
			return true
		}
		return false
	}
	peer, ok := c.to.owner.TokenUsed(c.token)
	if !ok && c.to.attached[c.token]&staysGood != 0 {
		peer, ok = c.from.inst, true
	}
	if !ok {
		c.w.did(Refused)
		c.w.trace("%s refuses connection %x", c.to.inst.Short(), uint64(c.token))
		c.w.disturb(c.from, c.to, "its connection was refused")
		c.state, c.eofI, c.toT = left, true, nil
		return true
	}
	if peer != c.from.inst {
		c.w.violate("S12", "token %x of %s was shown by %s", uint64(c.token), peer.Short(), c.from.inst.Short())
	}
	c.state = idle
	return true
}

// exit is the handler's end.
func (c *conn) exit() {
	c.state, c.eofI, c.toT, c.cur = left, true, nil, nil
	c.to.doOwner(c.to.owner.ConnGone(c.w.now, c.token))
}

// take processes one frame.
func (c *conn) take(f frame) {
	switch f.kind {
	case header:
		c.admit(f)
	case payload:
		s := c.cur
		if s == nil || s.id != f.id {
			return // refused before its payload came (or answered early by a mutant)
		}
		ch := f.c
		ch.last = f.last
		if s.code == errcode.OK && s.codes[ch.si] == errcode.OK {
			c.enter(s, ch)
			return
		}
		c.chunkDone(s, ch)
	case abort:
		if s := c.cur; s != nil && s.id == f.id {
			s.code = errcode.Canceled
			c.answer(s)
		}
	}
}

// admit checks a new request, slice by slice.
func (c *conn) admit(f frame) {
	s := &serving{frame: f, codes: make([]errcode.Code, len(f.slices)), done: make([]uint64, len(f.slices))}
	c.cur = s
	if f.target != c.to.inst {
		s.code = errcode.StaleInstance
	} else if c.from != c.to && c.w.possible(Exhausted, 3) {
		s.code = errcode.ResourceExhausted
	} else {
		for i, sl := range f.slices {
			code := c.to.owner.Check(c.from.inst, sl.Remote, f.op, sl.Off, sl.Len)
			g := c.to.region(sl.Remote)
			truly := g != nil && g.nonReady == 0 && g.allows(c.from.inst, f.op, sl.Off, sl.Len)
			if truly != (code == errcode.OK) {
				c.w.violate("S11", "admission of %v %d [%d, +%d) by %s says %v", f.op, sl.Remote, sl.Off, sl.Len, c.from.inst.Short(), code)
			}
			if c.w.cfg.mutant == reuseID && g != nil && g.freed && c.to.block[g.block] != nil {
				code = errcode.OK
			}
			s.codes[i] = code
		}
	}
	if c.w.cfg.mutant == replyEarly && f.op == types.Write {
		s.codes = make([]errcode.Code, len(f.slices))
		c.reply(s)
	}
	if s.code != errcode.OK && c.cur != nil {
		c.answer(s) // at once, so that a peer with much to send can stop
	}
}

// enter goes into user memory for one chunk; it leaves in another event.
func (c *conn) enter(s *serving, ch chunk) {
	sl := s.slices[ch.si]
	g := c.to.region(sl.Remote)
	code := c.to.owner.CheckChunk(c.from.inst, sl.Remote, s.op, sl.Off+ch.off, ch.n)
	if (code == errcode.OK) != (!g.closed && g.allows(c.from.inst, s.op, sl.Off+ch.off, ch.n)) {
		c.w.violate("S11", "chunk of %d is answered %v, its gate is closed: %v", sl.Remote, code, g.closed)
	}
	switch m := c.w.cfg.mutant; {
	case m == noFence && g.allows(c.from.inst, s.op, sl.Off+ch.off, ch.n):
		code = errcode.OK
	case m == reuseID && g.freed && c.to.block[g.block] != nil:
		code = errcode.OK
	}
	if code != errcode.OK {
		s.codes[ch.si] = code
		if s.op == types.Read {
			s.si, s.off = ch.si+1, 0
			c.maybeEnd(s)
			return
		}
		c.chunkDone(s, ch)
		return
	}
	g.inside++
	ch.region = g
	c.in, c.state = ch, inside
}

// leave finishes the chunk, whatever has happened to the connection meanwhile, and leaves the gate.
func (c *conn) leave() {
	s, ch := c.cur, c.in
	sl := s.slices[ch.si]
	c.state = idle
	c.w.did(ChunkDone)
	for i := range ch.n {
		c.touch(s, sl, sl.Off+ch.off+i, ch.off+i, ch.bad)
	}
	s.bad = s.bad || ch.bad
	g := ch.region
	g.inside--
	if g.closed && g.inside == 0 {
		c.to.gateQ = append(c.to.gateQ, g.id)
	}
	s.done[ch.si] += ch.n
	if c.killed {
		c.exit()
		return
	}
	if s.op == types.Read {
		c.toI = append(c.toI, reply{id: s.id, data: true, c: ch})
		if s.off += ch.n; s.off == sl.Len {
			s.si, s.off = s.si+1, 0
		}
		c.maybeEnd(s)
		return
	}
	c.chunkDone(s, ch)
}

// produce reads the next chunk for a READ, unless an abort is waiting.
func (c *conn) produce(s *serving) bool {
	for i, f := range c.toT {
		if f.kind == abort && f.id == s.id {
			c.toT = slices.Delete(slices.Clone(c.toT), i, i+1)
			s.code = errcode.Canceled
			c.answer(s)
			return true
		}
	}
	if len(c.toI) >= window {
		return false
	}
	for s.si < len(s.slices) && s.codes[s.si] != errcode.OK {
		s.si++
	}
	if s.si < len(s.slices) {
		c.enter(s, chunk{si: s.si, off: s.off, n: min(s.slices[s.si].Len-s.off, chunkLen)})
		return true
	}
	c.answer(s)
	return true
}

func (c *conn) maybeEnd(s *serving) {
	for s.si < len(s.slices) && s.codes[s.si] != errcode.OK {
		s.si++
	}
	if s.si == len(s.slices) {
		c.answer(s)
	}
}

// chunkDone answers a WRITE after its last chunk.
func (c *conn) chunkDone(s *serving, ch chunk) {
	if !ch.last {
		return
	}
	if s.bad {
		s.b.changed(s.slices)
		if s.code == errcode.OK && c.w.cfg.mutant != checksumIgnored {
			s.code = errcode.Checksum
		}
	}
	c.answer(s)
}

func (c *conn) answer(s *serving) {
	c.cur = nil
	if c.w.cfg.mutant == replyEarly && s.op == types.Write {
		return
	}
	c.reply(s)
}

func (c *conn) reply(s *serving) {
	res := coherence.Result{Code: s.code, Sent: true, Answered: true, Instance: c.to.inst}
	res.Version, res.Floor = c.to.owner.Version(), c.to.owner.Floor(c.from.inst)
	for i, code := range s.codes {
		res.Applied += s.done[i]
		if s.code == errcode.OK && code != errcode.OK {
			res.Failed = append(res.Failed, coherence.SliceResult{Index: uint32(i), Code: code, Applied: s.done[i]})
		}
	}
	if common := s.codes[0]; res.Code == errcode.OK && common != errcode.OK && allSame(s.codes) {
		res.Code, res.Failed = common, nil // one code for all of them is that of the request
	}
	c.toI = append(c.toI, reply{id: s.id, res: res})
}

func allSame(codes []errcode.Code) bool {
	return !slices.ContainsFunc(codes, func(c errcode.Code) bool { return c != codes[0] })
}

// touch is one access to one cell of user memory: the place where most of safety is decided.
func (c *conn) touch(s *serving, sl coherence.Slice, off, at uint64, bad bool) {
	w, p, b := c.w, c.to, s.b
	k := b.index(sl, at)
	g := p.region(sl.Remote)
	switch {
	case b.target != p.inst:
		w.violate("S1", "batch %d, bound to %s, touches memory of %s", b.n, b.target.Short(), p.inst.Short())
	case sl.Remote != b.reqs[b.req[k]].Remote:
		w.violate("S3", "batch %d, bound to ID %d, touches ID %d", b.n, b.reqs[b.req[k]].Remote, sl.Remote)
	case g.freed && p.block[g.block] != nil && g.reg == nil:
		w.violate("S3", "batch %d, bound to ID %d, touches ID %d at the same place", b.n, g.id, p.block[g.block].id)
	case g.freed:
		w.violate("S2", "batch %d touches ID %d after its drain ended", b.n, g.id)
	case !g.covers(off):
		w.violate("S11", "batch %d touches offset %d outside ID %d", b.n, off, g.id)
	}
	addr := uint64(g.base) + off
	if s.op == types.Read {
		b.produced[k] = true
		return
	}
	b.lands(k, &p.mem[addr], bad)
}
