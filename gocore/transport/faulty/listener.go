package faulty

import (
	"net"
	"sync/atomic"
)

// Listener gives each connection that it accepts the plan for its number, counted from 0.
type Listener struct {
	net.Listener
	plan func(n int) Plan
	next atomic.Int64
}

// NewListener wraps a listener.
func NewListener(l net.Listener, plan func(n int) Plan) *Listener {
	return &Listener{Listener: l, plan: plan}
}

// Accept waits for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewConn(c, l.plan(int(l.next.Add(1)-1))), nil
}
