package tcp

import (
	"encoding/binary"
	"syscall"

	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// helper is what Path.Help works with, for whoever holds the input.
type helper struct {
	spin    spinner
	awaited transport.Awaited
	err     error // that ends the path
	left    bool  // what is buffered is for the reader
	step    func(uintptr)
}

// Help looks at the socket for a while, and takes replies, in the goroutine of a caller that waits for its batch: what it
// waits for comes without a thread switch. It returns early when a.Final() is true, and at once when looking is not worth
// it (transport.Helper).
func (p *Path) Help(a transport.Awaited) {
	if !p.enter() {
		return
	}
	defer p.exit()
	s, h := p.s, &p.help
	for {
		if !s.grab() {
			p.Rouse()
			return // the reader is at work
		}
		h.awaited, h.err, h.left = a, nil, s.w > s.r
		if !h.left {
			_ = s.raw.Control(h.step) // a stream that was closed is none to look at
		}
		h.awaited = nil
		h.spin.stop()
		err := h.err
		if left := h.left; left || err != nil || h.spin.tired || !a.Final() {
			p.Rouse()
			if left {
				s.handOver()
			} else {
				s.owned.Store(false)
			}
		} else {
			s.owned.Store(false)
			p.helped()
		}
		if err != nil {
			p.fail(lostPeer(err))
			return
		}
		if !s.missed.Swap(false) {
			return
		}
	}
}

// look is Help's turn at the socket. It looks at least once: the reader may have left an edge to us.
func (p *Path) look(fd uintptr) {
	s, h := p.s, &p.help
	for !s.cut.Load() {
		s.compact()
		n, err := syscall.Read(int(fd), s.in[s.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if h.awaited.Final() || !h.spin.again() {
				h.left = s.w > s.r
				return
			}
			continue
		case err != nil || n == 0:
			h.left = true // the reader finds the same
			return
		}
		s.w += n
		for s.w > s.r {
			whole, never := p.rd.whole()
			if never {
				h.left = true
				return
			}
			if !whole {
				break
			}
			h.spin.end()
			if h.err = p.rd.reply(false); h.err == nil {
				h.err = p.rd.answer()
			}
			if h.err != nil {
				return
			}
		}
		if h.awaited.Final() {
			break
		}
	}
	h.left = s.w > s.r
}

// whole reports whether a reply with all that belongs to it is buffered, so that taking it needs no wait. never says that
// the reader has to deal with it: it does not fit the buffer, it does not begin at its start, or it is out of the ordinary.
func (r *reader) whole() (whole, never bool) {
	b := r.p.s.buffered()
	if len(b) < HeaderLen {
		return false, false
	}
	if binary.LittleEndian.Uint32(b[60:]) != 0 { // failures
		return false, true
	}
	if flags := binary.LittleEndian.Uint16(b[6:]); flags&ReplyPayload == 0 {
		return true, false
	}
	p := r.p
	p.mu.Lock()
	it := p.posts[binary.LittleEndian.Uint64(b[8:])]
	ok := it != nil && it.post.Op == types.Read
	var n uint64
	var crc bool
	if ok {
		n, crc = it.post.Bytes, it.post.CRC
	}
	p.mu.Unlock()
	limit := uint32(p.d.cfg.ChunkBytes)
	size := HeaderLen + 2*chunkLen + int(min(n, inputLen))
	if crc {
		size += sumLen
	}
	if !ok || size > inputLen || n > uint64(limit) {
		return false, true
	}
	if len(b) < size {
		return false, false
	}
	var c Chunk
	if c.Decode(b[HeaderLen:], limit, n, crc) != nil || uint64(c.Len) != n {
		return false, true
	}
	end := b[size-chunkLen : size]
	if c.Decode(end, limit, 0, crc) != nil || c.Flags != ChunkLast {
		return false, true
	}
	return true, false
}

// enter keeps the path from being swept up until exit. It fails once that is about to happen.
func (p *Path) enter() bool {
	for {
		n := p.running.Load()
		if n == 0 {
			return false
		}
		if p.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *Path) exit() {
	if p.running.Add(-1) == 0 {
		go p.sweep()
	}
}
