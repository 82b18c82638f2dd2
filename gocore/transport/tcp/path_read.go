package tcp

import (
	"encoding/binary"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
)

// readLoop is the goroutine that takes replies.
func (p *Path) readLoop() { p.leave(lostPeer(p.rd.run())) }

// reader is what takes replies: readLoop, or a caller that helps. It belongs to whoever has the stream's input.
type reader struct {
	p       *Path
	rep     Reply
	list    []Failure // of the last reply
	mem     local
	failed  failures
	between func()
}

func (r *reader) run() error {
	for {
		if err := r.p.s.await(); err != nil {
			return err
		}
		r.p.help.spin.slept()
		r.p.Rouse()
		if err := r.reply(false); err != nil {
			return err
		}
		if err := r.answer(); err != nil {
			return err
		}
	}
}

// answer takes what belongs to the present reply, and reports the post if that was all.
func (r *reader) answer() error {
	it, err := r.find()
	if err != nil {
		return err
	}
	res := transport.Result{Sent: true, Answered: true}
	if r.rep.Flags&ReplyPayload != 0 {
		if err := r.payload(it, &res); err != nil {
			return err
		}
	} else {
		r.fill(&res)
	}
	p := r.p
	if !it.pushed.IsZero() {
		p.help.spin.took(it.pushed)
	}
	p.mu.Lock()
	if it.fault {
		res.Code, res.Failed = errcode.MemoryFault, nil
		res.Detail = "the local memory of the post cannot be read"
	}
	it.result, it.replied = res, true
	it.stop.Store(true) // a WRITE that was refused need not go on
	p.mu.Unlock()
	p.settle(it)
	return nil
}

// reply takes a reply and its failures. inside says that a request is not complete without it.
func (r *reader) reply(inside bool) error {
	s := r.p.s
	if err := s.fill(HeaderLen); err != nil {
		if inside {
			return unexpected(err)
		}
		return err
	}
	if err := r.rep.Decode(s.buffered(), r.p.limits()); err != nil {
		return err
	}
	s.take(HeaderLen)
	r.list = r.list[:0]
	if r.rep.Failures == 0 {
		return nil
	}
	it, err := r.find()
	if err != nil {
		return err
	}
	entries := len(it.post.Slices)
	if int(r.rep.Failures) > entries {
		return badFrame(errcode.InvalidArgument, "%d failures of %d entries", r.rep.Failures, entries)
	}
	d := failureDecoder{count: int(r.rep.Failures), entries: entries}
	for len(r.list) < d.count {
		if err := s.fill(failureLen); err != nil {
			return unexpected(err)
		}
		list, n, err := d.feed(r.list, s.buffered())
		if err != nil {
			return err
		}
		r.list = list
		s.take(n)
	}
	if err := s.fill(sumLen); err != nil {
		return unexpected(err)
	}
	if err := d.finish(binary.LittleEndian.Uint32(s.buffered())); err != nil {
		return err
	}
	s.take(sumLen)
	return nil
}

// find is the post that the present reply answers.
func (r *reader) find() (*item, error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.posts[r.rep.RequestID]
	if it == nil || !it.writing || it.replied || Opcode(it.post.Op) != r.rep.Op {
		return nil, badFrame(errcode.Internal, "a reply to opcode %d, request %d, which nobody waits for", r.rep.Op, r.rep.RequestID)
	}
	return it, nil
}

// payload takes the payload of a READ and the reply behind it, if there is one.
func (r *reader) payload(it *item, res *transport.Result) error {
	p, post := r.p, it.post
	if post.CRC != (r.rep.Flags&ReplyCRC != 0) {
		return badFrame(errcode.Internal, "checksums of request %d are not as asked for", post.ID)
	}
	r.failed.reset()
	r.failed.list = append(r.failed.list, r.list...)
	r.mem.post = post
	err := p.recv.payload(&r.mem, post.Bytes, uint32(p.d.cfg.ChunkBytes), post.CRC, &r.failed, false, &post.Moved, r.between)
	r.mem.post = nil
	p.bytesIn.Add(p.recv.applied)
	if err != nil {
		return err
	}
	applied := p.recv.applied
	if p.recv.end.Flags&ChunkTrailer != 0 {
		id := r.rep.RequestID
		if err := r.reply(true); err != nil {
			return err
		}
		if r.rep.RequestID != id || r.rep.Flags&ReplyPayload != 0 || r.rep.Op != OpRead {
			return badFrame(errcode.Internal, "the reply behind the payload of request %d answers request %d", id, r.rep.RequestID)
		}
		applied = r.rep.Applied
	} else if p.recv.end.Flags&ChunkAbort != 0 {
		return badFrame(errcode.Internal, "the payload of request %d was given up without a word why", post.ID)
	}
	for _, f := range r.list {
		r.failed.replace(f)
	}
	r.fill(res)
	res.Applied = applied
	switch {
	case res.Code != errcode.OK:
	case p.recv.torn:
		res.Code, res.Detail = errcode.MemoryFault, "the local memory of the post vanished"
	case p.recv.badSum:
		p.d.cfg.Counters.Add(CounterChecksumFails, 1)
		res.Code, res.Detail = errcode.Checksum, "the bytes that came are not those that were sent"
	}
	if res.Code != errcode.OK {
		res.Failed = nil
		return nil
	}
	r.results(res, len(post.Slices), r.failed.list)
	return nil
}

// fill takes the result from the present reply.
func (r *reader) fill(res *transport.Result) {
	res.Code, res.Applied = errcode.FromWire(int32(r.rep.Status)), r.rep.Applied
	res.Version, res.Floor = r.rep.Metadata, r.rep.Floor
	if res.Code == errcode.StaleInstance {
		res.Instance = r.rep.Responder
	}
	if r.rep.Flags&ReplyPayload == 0 && len(r.list) > 0 {
		r.results(res, -1, r.list)
	}
}

// results gives the caller the failures in memory of their own. When all entries of a READ failed alike, that is the
// result of the post.
func (r *reader) results(res *transport.Result, entries int, list []Failure) {
	if len(list) == 0 {
		return
	}
	f := failures{list: list}
	if code, _ := f.common(entries); code != errcode.OK {
		res.Code, res.Failed = errcode.FromWire(int32(code)), nil
		return
	}
	res.Failed = make([]transport.SliceResult, len(list))
	for i, x := range list {
		res.Failed[i] = transport.SliceResult{Index: x.Index, Code: errcode.FromWire(int32(x.Code)), Applied: x.Applied}
		if x.Code == errcode.MemoryFault {
			r.p.d.cfg.Counters.Add(CounterMemoryFaults, 1)
		}
	}
}
