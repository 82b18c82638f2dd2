package tcp

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// The input of an outbound stream has one owner at a time: who holds it may read the socket, and use what was read. It is
// the reader goroutine, except while that one waits for a reply and nothing has come: then a caller who waits for its
// batch may take the input over, and look at the socket itself (Path.Help).

// grab takes the input if it is free.
func (s *stream) grab() bool { return s.owned.CompareAndSwap(false, true) }

// await is for the reader, which holds the input: it waits until something is buffered, and lets go meanwhile. After an
// error it does not hold the input any more.
func (s *stream) await() error {
	if s.w > s.r {
		return nil
	}
	s.readErr = nil
	s.owned.Store(false)
	for {
		err := s.raw.Read(s.awaitStep)
		switch {
		case err == nil && (s.readErr != nil || !s.nudged):
			return s.readErr
		case err != nil && (s.cut.Load() || !errors.Is(err, os.ErrDeadlineExceeded)):
			return s.waitError(err)
		}
		// The deadline of handOver has done its work, or is not needed any more; that of kill comes after cut is set.
		_ = s.c.SetReadDeadline(time.Time{})
		if s.cut.Load() {
			return errCut
		}
		if err == nil {
			s.nudged = false
			return nil
		}
	}
}

// stepAwait looks whether there is input and nobody else has it.
func (s *stream) stepAwait(fd uintptr) bool {
	for {
		if !s.grab() {
			// The edge that woke us is spent: whoever has the input looks again when leaving, unless it has just left.
			s.missed.Store(true)
			if !s.grab() {
				return false
			}
		}
		if s.cut.Load() {
			s.readErr = errCut
			s.owned.Store(false)
			return true
		}
		if s.w > s.r { // a helper left the rest to us
			return true
		}
		n, err := syscall.Read(int(fd), s.in)
		switch {
		case err == syscall.EINTR:
			s.owned.Store(false)
			continue
		case err == syscall.EAGAIN:
			s.owned.Store(false)
			return false
		case n > 0:
			s.r, s.w = 0, n
			return true
		case err != nil:
			s.readErr = os.NewSyscallError("read", err)
		default:
			s.readErr = io.EOF
		}
		s.owned.Store(false)
		return true
	}
}

// handOver lets go of the input in a state that only the reader can deal with, and wakes it. When missed is set afterwards
// it has to be done again.
func (s *stream) handOver() {
	s.nudged = true
	_ = s.c.SetReadDeadline(longAgo)
	s.owned.Store(false)
}
