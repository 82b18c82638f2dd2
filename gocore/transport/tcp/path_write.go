package tcp

import (
	"mooncake_te/gocore/types"
)

// writeLoop is the goroutine that sends.
func (p *Path) writeLoop() {
	p.leave(lostPeer(p.wr.run()))
}

// writer is what sends: writeLoop, or a caller that pushes. It belongs to whoever set Path.busy.
type writer struct {
	p      *Path
	it     *item
	stage  stage // of it
	mem    local
	failed failures
	stop   func() bool
	mine   bool // writeLoop is the one who set Path.busy; its own
}

// stage is how far the post of a writer is, so that another goroutine can go on with it.
type stage uint8

const (
	fresh     stage = iota
	inPayload       // of a WRITE
	inFlush         // what is left lies in the sender
)

func (w *writer) run() error {
	for {
		abort, err := w.next()
		switch {
		case err != nil:
			return err
		case abort != 0:
			h := w.header(OpAbort)
			h.RequestID = abort
			w.p.send.out = h.Append(w.p.send.out)
			err = w.p.send.flush()
		default:
			err = w.write()
		}
		if err != nil {
			return err
		}
	}
}

// next waits for an abort to send or a post in w.it; aborts go first, then latency, then bulk. A post that somebody else
// has begun goes before everything.
func (w *writer) next() (abort uint64, err error) {
	p := w.p
	p.mu.Lock()
	p.busy = p.busy && !w.mine
	w.mine = false
	for {
		switch {
		case p.cause != nil:
			p.mu.Unlock()
			return 0, errCut
		case p.busy && !p.begun: // a pusher is at it, and wakes us if it leaves something
		case p.begun:
			p.begun, w.mine = false, true
			p.mu.Unlock()
			return 0, nil
		case len(p.aborts) > 0:
			abort = p.aborts[0]
			p.aborts = append(p.aborts[:0], p.aborts[1:]...)
			p.busy, w.mine = true, true
			p.mu.Unlock()
			return abort, nil
		default:
			if it := p.head(); it != nil {
				p.take(it)
				w.mine = true
				p.mu.Unlock()
				return 0, nil
			}
		}
		p.mu.Unlock()
		<-p.wake
		p.mu.Lock()
	}
}

// head is the queued post whose turn it is. Callers hold mu.
func (p *Path) head() *item {
	for class := range p.queues {
		q := &p.queues[class]
		for it := q.peek(); it != nil; it = q.peek() {
			if !it.reported {
				return it
			}
			p.recycle(q.pop()) // given up while it was queued
		}
	}
	return nil
}

// take makes the queued post whose turn it is the writer's. Callers hold mu, and are the writer from here.
func (p *Path) take(it *item) {
	p.queues[it.post.Class%types.NumClasses].pop()
	it.writing, it.sent = true, true
	p.busy = true
	p.wr.it, p.wr.stage = it, fresh
}

func (w *writer) header(op Opcode) Header {
	return Header{Version: Version, Op: op, Target: w.p.target, Token: w.p.token}
}

// stopped is asked before each chunk of a WRITE.
func (w *writer) stopped() bool { return w.it.stop.Load() }

// write sends one post, or the rest of one.
func (w *writer) write() error {
	p, it := w.p, w.it
	if w.stage == fresh {
		w.request()
		if w.stage = inFlush; it.post.Op == types.Write {
			w.stage = inPayload
		}
	}
	if w.stage == inPayload {
		if err := w.payload(); err != nil {
			return err
		}
		w.stage = inFlush
	}
	if err := p.send.flush(); err != nil {
		return err
	}
	w.it, w.stage = nil, fresh
	p.mu.Lock()
	it.written = true
	p.mu.Unlock()
	p.settle(it)
	return nil
}

// request puts header and table in line.
func (w *writer) request() {
	x, post := w.p.send, w.it.post
	h := w.header(Opcode(post.Op))
	h.RequestID, h.Length, h.Chunk, h.Trace = post.ID, post.Bytes, uint32(w.p.d.cfg.ChunkBytes), post.Trace
	if post.CRC {
		h.Flags |= FlagCRC
	}
	if post.Class == types.Bulk {
		h.Flags |= FlagBulk
	}
	if len(post.Slices) == 1 {
		h.Buffer, h.Offset = post.Slices[0].Remote, post.Slices[0].Off
		x.out = h.Append(x.out)
		return
	}
	h.Flags |= FlagVectored
	h.Offset = uint64(len(post.Slices))
	x.reserve(HeaderLen + len(post.Slices)*entryLen + sumLen)
	x.out = h.Append(x.out)
	for i := range post.Slices {
		s := &post.Slices[i]
		x.out = appendEntry(x.out, Entry{s.Remote, s.Off, s.Len})
	}
	x.out = appendSum(x.out, len(post.Slices)*entryLen)
}

// payload sends the bytes of a WRITE, or what is left of them, and puts their end in line. A fault of our own memory or
// an abort ends it early; the target's answer to that is the post's result.
func (w *writer) payload() (err error) {
	p, post := w.p, w.it.post
	complete := false
	if w.mem.post == nil {
		w.mem.post = post
		w.failed.reset()
		complete, err = p.send.payload(&w.mem, post.Bytes, uint32(p.d.cfg.ChunkBytes), post.CRC, &w.failed, true, &post.Moved, w.stop)
	} else {
		complete, err = p.send.resume(w.stop)
	}
	if err == errAgain {
		return err
	}
	w.mem.post = nil
	p.bytesOut.Add(p.send.applied)
	if err != nil {
		return err
	}
	switch {
	case len(w.failed.list) > 0:
		p.d.cfg.Counters.Add(CounterMemoryFaults, 1)
		p.mu.Lock()
		w.it.fault = true
		p.mu.Unlock()
		fallthrough
	case !complete:
		p.send.out = Chunk{Flags: ChunkAbort}.Append(p.send.out)
	case !p.send.ended:
		p.send.out = Chunk{Flags: ChunkLast}.Append(p.send.out)
	}
	return nil
}
