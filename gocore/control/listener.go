package control

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// prefaceLen is the length of what an HTTP/2 client says first.
const prefaceLen = 24

// listener caps the connections and remembers them, so that Close need not wait for callers that say nothing.
type listener struct {
	net.Listener
	limit int
	log   *slog.Logger

	mu      sync.Mutex
	conns   map[*inConn]struct{}
	full    bool // said so
	stopped bool
}

type inConn struct {
	net.Conn
	l     *listener
	heard atomic.Int64 // bytes
}

func newListener(l net.Listener, limit int, log *slog.Logger) *listener {
	return &listener{Listener: l, limit: limit, log: log, conns: map[*inConn]struct{}{}}
}

// Accept closes connections beyond the limit unread: a caller that is refused so tries again later.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.Close()
	}
}

func (l *listener) admit(conn net.Conn) *inConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return nil
	}
	if len(l.conns) >= l.limit {
		if !l.full {
			l.full = true
			l.log.Warn("control channel is full: new connections are closed", "limit", l.limit, "from", conn.RemoteAddr().String())
		}
		return nil
	}
	l.full = false
	c := &inConn{Conn: conn, l: l}
	l.conns[c] = struct{}{}
	return c
}

// stop frees the port and cuts connections that have not begun to speak.
func (l *listener) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	_ = l.Close()
	l.cut(func(c *inConn) bool { return c.heard.Load() < prefaceLen })
}

func (l *listener) cut(which func(*inConn) bool) {
	l.mu.Lock()
	var victims []*inConn
	for c := range l.conns {
		if which(c) {
			victims = append(victims, c)
		}
	}
	l.mu.Unlock()
	for _, c := range victims {
		_ = c.Close()
	}
}

func (c *inConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard.Add(int64(n))
	return n, err
}

func (c *inConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
