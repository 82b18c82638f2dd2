package tcp

import (
	"encoding/binary"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
)

// receiver takes payloads off a stream into memory. One belongs to each reading goroutine and is used again and again.
type receiver struct {
	s   *stream
	win *window

	// Set by begin for one payload.
	into   region
	failed *failures
	crcOn  bool
	chunk  uint32
	left   uint64         // of the payload
	moved  *atomic.Uint64 // progress, may be nil

	at      cursor
	inChunk uint64
	sum     uint32
	narrow  bool // after EFAULT: entry by entry, to find the one at fault
	probe   bool // after a short read: most likely nothing is there yet
	drop    bool // all to scratch
	err     error
	step    func(uintptr) bool

	// Results.
	applied uint64 // bytes that reached user memory
	badSum  bool   // a checksum did not match
	torn    bool   // memory vanished between the read and the checksum
	end     Chunk  // how the sender ended
}

func newReceiver(s *stream) *receiver {
	r := &receiver{s: s}
	r.step = r.receive
	return r
}

// payload takes one payload up to and including the chunk that ends it. between is called after each chunk. An error means
// that the stream cannot be used any more.
func (r *receiver) payload(into region, total uint64, chunk uint32, crc bool, failed *failures, drop bool,
	moved *atomic.Uint64, between func(),
) error {
	r.into, r.failed, r.crcOn, r.chunk, r.left, r.moved, r.drop = into, failed, crc, chunk, total, moved, drop
	r.at, r.applied, r.badSum, r.torn, r.narrow, r.probe, r.err = cursor{}, 0, false, false, false, false, nil
	r.win = windows.Get().(*window)
	r.win.zeros = false
	defer func() {
		windows.Put(r.win)
		r.win, r.into, r.failed, r.moved = nil, nil, nil, nil
	}()
	for {
		if err := r.s.fill(chunkLen); err != nil {
			return unexpected(err)
		}
		var c Chunk
		if err := c.Decode(r.s.buffered(), r.chunk, r.left, r.crcOn); err != nil {
			return err
		}
		r.s.take(chunkLen)
		if c.Ends() {
			r.end = c
			return nil
		}
		if err := r.one(uint64(c.Len)); err != nil {
			return unexpected(err)
		}
		between()
	}
}

// unexpected says that a stream may not end here.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// one takes the bytes of a chunk and its checksum.
func (r *receiver) one(n uint64) error {
	r.inChunk, r.sum, r.narrow = n, 0, false
	if uint64(len(r.s.buffered())) >= n {
		r.step(0) // no wait, and no turn at the socket, which the reader may be waiting on
	} else if err := r.s.raw.Read(r.step); err != nil {
		return r.s.waitError(err)
	}
	if r.err != nil {
		return r.err
	}
	if !r.crcOn {
		return nil
	}
	if err := r.s.fill(sumLen); err != nil {
		return err
	}
	if !r.drop && binary.LittleEndian.Uint32(r.s.buffered()) != r.sum {
		// What follows would go to memory on top of bytes that nobody can vouch for.
		r.badSum, r.drop = true, true
	}
	r.s.take(sumLen)
	return nil
}

// receive goes round until the chunk is complete or the socket has nothing: gates, one system call, checksum, gates.
func (r *receiver) receive(fd uintptr) bool {
	w := r.win
	for r.inChunk > 0 {
		if r.s.cut.Load() {
			r.err = errCut
			return true
		}
		limit := maxSpans
		if r.narrow || r.probe {
			limit = 1
		}
		w.gather(r.into, r.at, r.inChunk, limit, r.failed, r.drop)
		n, errno := r.move(fd)
		if n > 0 {
			r.account(n)
		}
		w.leave()
		switch {
		case n > 0:
		case errno == syscall.EAGAIN:
			r.probe = false
			if !r.s.parkRead() {
				return false
			}
			r.err = errCut
			return true
		case errno == syscall.EFAULT && w.n > 1:
			r.narrow = true
		case errno == syscall.EFAULT:
			r.failed.add(r.at.entry, errcode.MemoryFault, r.at.off)
		case errno != 0:
			r.err = os.NewSyscallError("readv", errno)
			return true
		default:
			r.err = io.ErrUnexpectedEOF
			return true
		}
	}
	return true
}

// move fills the window from what was read ahead, or else from the socket. Caller holds the gates.
func (r *receiver) move(fd uintptr) (uint64, syscall.Errno) {
	w := r.win
	if b := r.s.buffered(); len(b) > 0 {
		return r.moveBuffered(b)
	}
	iov := w.spans()
	tail := w.bytes == r.inChunk && !r.narrow
	if tail {
		// The chunk gets complete: take what follows with the same call, but no payload that could go straight to memory.
		n := 0
		if r.left > r.inChunk {
			n = chunkLen
			if r.crcOn {
				n += sumLen
			}
		}
		iov = w.iov[first : first+w.n+1]
		iov[w.n] = r.s.readTail(n)
	}
	n, errno := mem.Readv(fd, iov)
	r.probe = n > 0 && uint64(n) < w.bytes
	if tail && uint64(n) > w.bytes {
		r.s.w = n - int(w.bytes)
		n = int(w.bytes)
	}
	return uint64(n), errno
}

func (r *receiver) moveBuffered(b []byte) (n uint64, errno syscall.Errno) {
	for _, v := range r.win.spans() {
		m := min(v.Len, uint64(len(b)))
		if m == 0 {
			break
		}
		if mem.Copy(v.Base, mem.Address(b), int(m)) != nil {
			if n == 0 {
				// As the kernel says it; the entry is known only when it stands alone.
				return 0, syscall.EFAULT
			}
			break
		}
		b = b[m:]
		n += m
	}
	r.s.take(int(n))
	return n, 0
}

// account checks off n bytes that are in the window. Caller holds the gates.
func (r *receiver) account(n uint64) {
	if r.crcOn && !r.drop {
		sum, at, err := mem.CRC32CVec(r.sum, r.win.spans(), int(n))
		if err != nil {
			r.tear(at)
		}
		r.sum = sum
	}
	r.applied += r.win.userBytes(n)
	r.at.advance(r.into, n)
	r.inChunk -= n
	r.left -= n
	if r.moved != nil {
		r.moved.Add(n)
	}
}

// tear notes that the memory of span at was there for the kernel and is gone for the checksum: nobody can vouch for the
// rest of the chunk.
func (r *receiver) tear(at int) {
	c := r.at
	for _, v := range r.win.spans()[:at] {
		c.advance(r.into, v.Len)
	}
	r.failed.add(c.entry, errcode.MemoryFault, c.off)
	r.torn, r.drop = true, true
}
