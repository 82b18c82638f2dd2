package forkfd

import (
	"net"
	"sync"
	"syscall"
)

// Track enters the descriptor of a socket (a *net.TCPConn, *net.UnixConn, *net.TCPListener, *os.File, ...) and returns
// its number for Remove, or -1 when it is closed already or cannot be tracked. For connections whose concrete type
// matters to their user; others take Conn and Listener.
func Track(c syscall.Conn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	// Entered inside Control: the descriptor cannot be closed and its number reused before the bit is set.
	if err := raw.Control(func(n uintptr) {
		if Add(int(n)) {
			fd = int(n)
		}
	}); err != nil {
		return -1
	}
	return fd
}

// Conn wraps a connection so that it is tracked from here until its Close. One that has no descriptor comes back as it
// is.
func Conn(c net.Conn) net.Conn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	fd := Track(s)
	if fd < 0 {
		return c
	}
	return &conn{Conn: c, fd: fd}
}

type conn struct {
	net.Conn
	fd     int
	remove sync.Once // a second Close must not take out a successor with the same number
}

func (c *conn) Close() error {
	c.remove.Do(func() { Remove(c.fd) })
	return c.Conn.Close()
}

// SyscallConn keeps socket options reachable through the wrapper.
func (c *conn) SyscallConn() (syscall.RawConn, error) { return c.Conn.(syscall.Conn).SyscallConn() }

// Listener wraps a listener so that it and every connection that it accepts are tracked until they are closed.
func Listener(l net.Listener) net.Listener {
	fd := -1
	if s, ok := l.(syscall.Conn); ok {
		fd = Track(s)
	}
	return &listener{Listener: l, fd: fd}
}

type listener struct {
	net.Listener
	fd     int
	remove sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Conn(c), nil
}

func (l *listener) Close() error {
	l.remove.Do(func() { Remove(l.fd) })
	return l.Listener.Close()
}
