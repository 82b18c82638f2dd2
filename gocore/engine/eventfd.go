package engine

import (
	"sync"

	"golang.org/x/sys/unix"

	"mooncake_te/gocore/forkfd"
)

// eventFD wakes sleepers outside of Go, such as an asyncio loop.
type eventFD struct {
	mu sync.Mutex
	fd int
}

func newEventFD() (*eventFD, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	forkfd.Add(fd)
	return &eventFD{fd: fd}, nil
}

// number is the descriptor, or -1 after close.
func (e *eventFD) number() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fd
}

// signal makes the descriptor readable. A counter that is full already is readable, so EAGAIN is no loss.
func (e *eventFD) signal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fd >= 0 {
		one := [8]byte{1}
		_, _ = unix.Write(e.fd, one[:])
	}
}

// close wakes whoever sleeps, then gives the descriptor back.
func (e *eventFD) close() {
	e.signal()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fd >= 0 {
		forkfd.Remove(e.fd)
		_ = unix.Close(e.fd)
		e.fd = -1
	}
}
