package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
	"mooncake_te/gocore/mem"
)

// inputLen is the size of a connection's read-ahead: a small request and its payload come in with one system call.
const inputLen = 8 << 10

// longAgo is a deadline that wakes everybody.
var longAgo = time.Unix(1, 0)

// errCut is the error of every wait on a stream after kill.
var errCut = errors.New("the connection was cut")

// stream is one TCP connection as both sides use it: one goroutine reads, one writes (on the server it is the same).
// Input is buffered for headers; payload goes round the buffer.
type stream struct {
	c        *net.TCPConn
	raw      syscall.RawConn
	fd       int // for forkfd; -1 when it is not tracked
	cut      atomic.Bool
	progress time.Duration // how long a peer may make us wait in the middle of a request; 0 is for ever

	in         []byte
	r, w       int // unread bytes are in[r:w]
	need       int
	readErr    error
	readArmed  time.Time // when the read deadline was last moved; zero when there is none
	writeArmed time.Time
	idle       bool        // waiting for the next request: no deadline
	spin       *spinner    // set while waiting for a request that may come soon
	owned      atomic.Bool // somebody has the input of an outbound stream: see input.go
	nudged     bool        // the read deadline may be that of handOver
	missed     atomic.Bool // the reader was woken and found the input taken
	quiet      bool        // of an inbound stream: hush was called, and rouse not since
	hushStep   func(uintptr)
	rouseStep  func(uintptr)
	awaitStep  func(uintptr) bool
	fillStep   func(uintptr) bool
	topUpStep  func(uintptr) bool
}

func newStream(c *net.TCPConn, progress time.Duration) (*stream, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{c: c, raw: raw, fd: forkfd.Track(c), progress: progress, in: make([]byte, inputLen)}
	s.awaitStep = s.stepAwait
	s.hushStep, s.rouseStep = stepHush, stepRouse
	s.fillStep = s.stepFill
	s.topUpStep = s.stepTopUp
	return s, nil
}

// kill makes every present and later wait end at once, without waiting itself. It may be called from any goroutine.
func (s *stream) kill() {
	s.cut.Store(true)
	// A step that moves a deadline looks at cut afterwards, so that this one is never overtaken.
	_ = s.c.SetDeadline(longAgo)
}

// close gives the descriptor back. Only for the goroutine that is last to use the stream. A stream that was cut is
// reset, so that what lies in the socket's buffer is not sent.
func (s *stream) close() {
	if s.cut.Load() {
		_ = s.c.SetLinger(0)
	}
	forkfd.Remove(s.fd)
	_ = s.c.Close()
}

// waitError makes the error of a wait: what the runtime says, or that we were cut.
func (s *stream) waitError(err error) error {
	switch {
	case s.cut.Load():
		return errCut
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errcode.New(errcode.Stalled, "wait for the peer", "no progress within "+s.progress.String())
	}
	return err
}

// buffered is what was read ahead.
func (s *stream) buffered() []byte { return s.in[s.r:s.w] }

// take consumes n buffered bytes.
func (s *stream) take(n int) {
	s.r += n
	if s.r == s.w {
		s.r, s.w = 0, 0
	}
}

// compact moves what is buffered to the start of the buffer.
func (s *stream) compact() {
	if s.r > 0 {
		copy(s.in, s.in[s.r:s.w])
		s.r, s.w = 0, s.w-s.r
	}
}

// fill waits until n bytes are buffered. The end of the stream is io.EOF when nothing is, else io.ErrUnexpectedEOF.
func (s *stream) fill(n int) error {
	if s.w-s.r >= n {
		return nil
	}
	s.compact()
	s.need, s.readErr = n, nil
	if err := s.raw.Read(s.fillStep); err != nil {
		return s.waitError(err)
	}
	return s.readErr
}

func (s *stream) stepFill(fd uintptr) bool {
	for s.w-s.r < s.need {
		if s.cut.Load() {
			s.readErr = errCut
			return true
		}
		n, err := syscall.Read(int(fd), s.in[s.w:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			if s.spin != nil && s.spin.again() {
				if !s.quiet && s.spin.wins > hotStreak {
					s.quiet = true
					s.hush() // while we look, nobody else need be woken
				}
				continue
			}
			return s.parkRead()
		case err != nil:
			s.readErr = os.NewSyscallError("read", err)
			return true
		case n == 0:
			s.readErr = io.ErrUnexpectedEOF
			if s.w == s.r {
				s.readErr = io.EOF
			}
			return true
		default:
			s.w += n
		}
	}
	return true
}

// topUp reads what is there without waiting and reports whether n bytes are buffered now.
func (s *stream) topUp(n int) bool {
	if s.w-s.r < n {
		s.compact()
		// An error shows again at the next read that needs the bytes.
		_ = s.raw.Read(s.topUpStep)
	}
	return s.w-s.r >= n
}

func (s *stream) stepTopUp(fd uintptr) bool {
	if n, err := syscall.Read(int(fd), s.in[s.w:]); err == nil && n > 0 {
		s.w += n
	}
	return true
}

// parkRead is called before a wait for input; it returns what the step must return.
func (s *stream) parkRead() bool {
	if s.quiet {
		s.quiet = false
		s.rouse()
	}
	switch {
	case s.idle && !s.readArmed.IsZero():
		s.readArmed = time.Time{}
		_ = s.c.SetReadDeadline(time.Time{})
	case !s.idle && s.progress > 0:
		if now := time.Now(); now.Sub(s.readArmed) > s.progress/8 {
			s.readArmed = now
			_ = s.c.SetReadDeadline(now.Add(s.progress))
		}
	}
	if s.cut.Load() {
		s.readErr = errCut
		return true
	}
	return false
}

// parkWrite is parkRead for output; cut reports that there is no point in waiting.
func (s *stream) parkWrite() (cut bool) {
	if s.progress > 0 {
		if now := time.Now(); now.Sub(s.writeArmed) > s.progress/8 {
			s.writeArmed = now
			_ = s.c.SetWriteDeadline(now.Add(s.progress))
		}
	}
	return s.cut.Load()
}

// readTail is the part of the input buffer that a readv may fill behind a payload, at most n bytes (0: all of it). Only
// while nothing is buffered.
func (s *stream) readTail(n int) mem.Iovec {
	s.r, s.w = 0, 0
	v := mem.OfBytes(s.in)
	if n > 0 {
		v.Len = uint64(n)
	}
	return v
}

// setOptions makes a connection notice a dead peer and send small messages at once.
func setOptions(c *net.TCPConn, k Keepalive) error {
	if err := c.SetNoDelay(true); err != nil {
		return err
	}
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: k.Idle, Interval: k.Interval, Count: k.Count,
	}); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	if err := raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(k.UserTimeout.Milliseconds()))
	}); err != nil {
		return err
	}
	return opt
}
