package tcp

import (
	"mooncake_te/gocore/types"
)

// writeLoop is the goroutine that sends.
func (p *Path) writeLoop() {
	w := writer{p: p}
	w.stop = w.stopped
	p.leave(lostPeer(w.run()))
}

// writer is what writeLoop works with.
type writer struct {
	p      *Path
	it     *item
	mem    local
	failed failures
	stop   func() bool
}

func (w *writer) run() error {
	for {
		it, abort, err := w.next()
		switch {
		case err != nil:
			return err
		case abort != 0:
			h := w.header(OpAbort)
			h.RequestID = abort
			w.p.send.out = h.Append(w.p.send.out)
			err = w.p.send.flush()
		default:
			w.it = it
			err = w.write()
			w.it = nil
		}
		if err != nil {
			return err
		}
	}
}

// next waits for an abort to send or a post; aborts go first, then latency, then bulk.
func (w *writer) next() (*item, uint64, error) {
	p := w.p
	for {
		p.mu.Lock()
		if p.cause != nil {
			p.mu.Unlock()
			return nil, 0, errCut
		}
		if n := len(p.aborts); n > 0 {
			id := p.aborts[0]
			p.aborts = append(p.aborts[:0], p.aborts[1:]...)
			p.mu.Unlock()
			return nil, id, nil
		}
		for class := range p.queues {
			for it := p.queues[class].pop(); it != nil; it = p.queues[class].pop() {
				if it.reported { // given up while it was queued
					p.recycle(it)
					continue
				}
				it.writing, it.sent = true, true
				p.mu.Unlock()
				return it, 0, nil
			}
		}
		p.mu.Unlock()
		<-p.wake
	}
}

func (w *writer) header(op Opcode) Header {
	return Header{Version: Version, Op: op, Target: w.p.target, Token: w.p.token}
}

// stopped is asked before each chunk of a WRITE.
func (w *writer) stopped() bool { return w.it.stop.Load() }

// write sends one post.
func (w *writer) write() error {
	p, post := w.p, w.it.post
	w.request()
	var err error
	if post.Op == types.Write {
		err = w.payload()
	} else {
		err = p.send.flush()
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	w.it.written = true
	p.mu.Unlock()
	p.settle(w.it)
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

// payload sends the bytes of a WRITE. A fault of our own memory or an abort ends it early; the target's answer to that is
// the post's result.
func (w *writer) payload() error {
	p, post := w.p, w.it.post
	w.mem.post = post
	w.failed.reset()
	complete, err := p.send.payload(&w.mem, post.Bytes, uint32(p.d.cfg.ChunkBytes), post.CRC, &w.failed, true, &post.Moved, w.stop)
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
	return p.send.flush()
}
