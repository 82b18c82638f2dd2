package tcp

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
)

// smallPayload is up to how many bytes a request goes out with one system call, checksum and end included.
const smallPayload = 64 << 10

// sender puts frames and payloads on a stream. One belongs to each writing goroutine and is used again and again.
type sender struct {
	s   *stream
	win *window
	out []byte // frames to go before any payload
	// nowait makes whoever would wait for the socket return errAgain instead: the rest goes by resume or flush.
	nowait bool
	off    int // how much of out was sent

	small []byte // out as the connection owns it, while big is in use
	big   *frames

	from    region
	failed  *failures
	crcOn   bool
	whole   bool // the payload may go out with its end in one call
	chunk   uint32
	picky   bool // a fault of the region ends the payload
	left    uint64
	moved   *atomic.Uint64
	at      cursor
	inChunk uint64
	sum     uint32
	narrow  bool
	probe   bool
	ended   bool // the end went out with the payload
	err     error
	step    func(uintptr) bool
	flushFn func(uintptr) bool
	tail    []byte

	known   int    // how many entries had failed before the payload
	applied uint64 // bytes sent from user memory
}

// errAgain says that the socket is full, and that the caller did not want to wait.
var errAgain = errors.New("the socket is full")

func newSender(s *stream) *sender {
	x := &sender{s: s, out: make([]byte, 0, 512), tail: make([]byte, 0, sumLen+chunkLen)}
	x.step = x.send
	x.flushFn = x.stepFlush
	return x
}

// flush sends the frames in out and waits until the socket has taken them.
func (x *sender) flush() error {
	if x.off == len(x.out) {
		x.trim()
		return nil
	}
	x.err = nil
	if err := x.s.raw.Write(x.flushFn); err != nil {
		return x.s.waitError(err)
	}
	return x.err
}

func (x *sender) stepFlush(fd uintptr) bool {
	for x.off < len(x.out) {
		if x.s.cut.Load() {
			x.err = errCut
			return true
		}
		n, err := syscall.Write(int(fd), x.out[x.off:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN && x.nowait:
			x.err = errAgain
			return true
		case err == syscall.EAGAIN:
			if x.s.parkWrite() {
				x.err = errCut
				return true
			}
			return false
		case err != nil:
			x.err = os.NewSyscallError("write", err)
			return true
		default:
			x.off += n
		}
	}
	x.trim()
	return true
}

// frames is memory for large tables and lists of failures.
type frames struct{ b []byte }

var bigFrames = sync.Pool{New: func() any { return new(frames) }}

// reserve makes room for n more bytes in out.
func (x *sender) reserve(n int) {
	if x.big != nil || cap(x.out)-len(x.out) >= n {
		return
	}
	x.big = bigFrames.Get().(*frames)
	x.small = x.out
	x.out = append(x.big.b[:0], x.out...)
}

// trim starts out anew, and lets go of a table's worth of memory.
func (x *sender) trim() {
	x.off, x.out = 0, x.out[:0]
	if x.big != nil {
		x.big.b = x.out
		bigFrames.Put(x.big)
		x.out, x.small, x.big = x.small[:0], nil, nil
	}
}

// payload sends total bytes of a region in chunks, behind what is in out, and leaves the end of the last one in out.
// stop is asked before each chunk; a fault of the region makes it stop too if faultStops is set. The payload is complete
// if the result is true; then the end is sent already if x.ended is set, else the caller appends it.
func (x *sender) payload(from region, total uint64, chunk uint32, crc bool, failed *failures, faultStops bool,
	moved *atomic.Uint64, stop func() bool,
) (complete bool, err error) {
	x.from, x.failed, x.crcOn, x.left, x.moved = from, failed, crc, total, moved
	x.whole = total <= smallPayload && total <= uint64(chunk)
	x.chunk, x.picky, x.inChunk = chunk, faultStops, 0
	x.at, x.applied, x.narrow, x.probe, x.ended = cursor{}, 0, false, false, false
	x.win = windows.Get().(*window)
	x.win.zeros = true
	x.known = len(failed.list)
	return x.resume(stop)
}

// resume goes on with a payload that ended in errAgain.
func (x *sender) resume(stop func() bool) (complete bool, err error) {
	if complete, err = x.chunks(stop); err != errAgain {
		windows.Put(x.win)
		x.win, x.from, x.failed, x.moved = nil, nil, nil, nil
	}
	return complete, err
}

func (x *sender) chunks(stop func() bool) (complete bool, err error) {
	for x.left > 0 {
		if x.inChunk == 0 {
			if stop() || x.picky && len(x.failed.list) > x.known {
				return false, nil
			}
			c := Chunk{Len: uint32(min(x.left, uint64(x.chunk)))}
			if x.crcOn {
				c.Flags = ChunkCRC
			}
			x.out = c.Append(x.out)
			x.inChunk, x.sum, x.narrow = uint64(c.Len), 0, false
		}
		x.err = nil
		if err := x.s.raw.Write(x.step); err != nil {
			return false, x.s.waitError(err)
		}
		if x.err != nil {
			return false, x.err
		}
		if x.crcOn && !x.ended {
			x.out = binary.LittleEndian.AppendUint32(x.out, x.sum)
		}
	}
	return !x.picky || len(x.failed.list) == x.known, nil
}

// send goes round until the chunk is sent or the socket is full: gates, checksum, one system call, gates.
func (x *sender) send(fd uintptr) bool {
	w := x.win
	for x.inChunk > 0 {
		if x.s.cut.Load() {
			x.err = errCut
			return true
		}
		limit := maxSpans
		if x.narrow || x.probe {
			limit = 1
		}
		faults := len(x.failed.list)
		w.gather(x.from, x.at, x.inChunk, limit, x.failed, false)
		tail := x.makeTail(len(x.failed.list) == faults)
		n, errno := x.write(fd, tail)
		w.leave()
		switch {
		case errno == 0 && n > 0:
		case errno == syscall.EAGAIN && x.nowait:
			x.probe = false
			x.err = errAgain
			return true
		case errno == syscall.EAGAIN:
			x.probe = false
			if !x.s.parkWrite() {
				return false
			}
			x.err = errCut
			return true
		case errno == syscall.EFAULT && !x.alone():
			x.narrow = true
		case errno == syscall.EFAULT:
			x.failed.add(x.at.entry, errcode.MemoryFault, x.at.off)
		default:
			x.err = os.NewSyscallError("writev", errno)
			return true
		}
	}
	return true
}

// alone reports whether the last call covered one entry and nothing else.
func (x *sender) alone() bool { return x.win.n == 1 && x.off == len(x.out) }

// makeTail prepares checksum and end of a payload that goes out in one call. Caller holds the gates. When some of the call
// is not taken, or a fault gets in the way, the tail is made anew.
func (x *sender) makeTail(clean bool) []byte {
	w := x.win
	if !x.whole || !clean || len(x.failed.list) > 0 || x.narrow || w.bytes != x.left || w.bytes != x.inChunk {
		return nil
	}
	t := x.tail[:0]
	if x.crcOn {
		sum, _, err := mem.CRC32CVec(x.sum, w.spans(), int(w.bytes))
		if err != nil {
			x.narrow = true // the kernel will say which entry it is
			return nil
		}
		t = binary.LittleEndian.AppendUint32(t, sum)
	}
	return Chunk{Flags: ChunkLast}.Append(t)
}

// write makes the one system call of a turn and accounts for what it took. Caller holds the gates.
func (x *sender) write(fd uintptr, tail []byte) (int, syscall.Errno) {
	w := x.win
	iov := w.spans()
	head := len(x.out) - x.off
	switch {
	case head > 0 && x.narrow:
		iov = w.iov[:1]
		iov[0] = mem.OfBytes(x.out[x.off:])
	case head > 0:
		iov = w.iov[:first+w.n]
		iov[0] = mem.OfBytes(x.out[x.off:])
	}
	if tail != nil {
		iov = iov[:len(iov)+1]
		iov[len(iov)-1] = mem.OfBytes(tail)
	}
	n, errno := mem.Writev(fd, iov)
	if errno != 0 {
		return 0, errno
	}
	took := n
	m := min(n, head)
	n -= m
	if x.off += m; x.off == len(x.out) {
		x.trim()
	}
	body := min(uint64(n), w.bytes)
	if n -= int(body); tail != nil && body == w.bytes {
		x.ended = true
		x.out = append(x.out, tail[n:]...)
	} else if x.crcOn && body > 0 {
		sum, at, err := mem.CRC32CVec(x.sum, w.spans(), int(body))
		if err != nil {
			x.tear(at)
		}
		x.sum = sum
	}
	x.applied += w.userBytes(body)
	x.at.advance(x.from, body)
	x.inChunk -= body
	x.left -= body
	x.probe = body > 0 && body < w.bytes
	if x.moved != nil {
		x.moved.Add(body)
	}
	return took, 0
}

// tear notes that memory was there for the kernel and is gone for the checksum. The chunk's checksum will not match,
// as it should.
func (x *sender) tear(at int) {
	c := x.at
	for _, v := range x.win.spans()[:at] {
		c.advance(x.from, v.Len)
	}
	x.failed.add(c.entry, errcode.MemoryFault, c.off)
}
