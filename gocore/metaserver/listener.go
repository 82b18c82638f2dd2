package metaserver

import (
	"net"
	"sync"
	"sync/atomic"
)

// listener closes connections beyond a limit unread: a client that is refused so tries again later.
type listener struct {
	net.Listener
	limit   int64
	open    atomic.Int64
	refused atomic.Uint64
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.limit {
			return &counted{Conn: conn, open: &l.open}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		_ = conn.Close()
	}
}

type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
