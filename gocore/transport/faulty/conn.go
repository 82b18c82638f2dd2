package faulty

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// ErrFault is the error of a Write that the plan did not let pass.
var ErrFault = errors.New("a planned fault ended the connection")

// longest wait of one delayed write, and the most bytes that are repeated.
const (
	maxDelay     = 500 * time.Microsecond
	maxDuplicate = 64
)

// Conn is a connection that follows a plan.
type Conn struct {
	net.Conn
	plan  Plan
	fired chan struct{}
	fire  func() // comes before anybody can see what it tells of
	also  func() // of the proxy
	done  chan struct{}
	end   func() error

	mu      sync.Mutex // of writers
	rng     *rand.Rand
	written int64
}

// NewConn wraps a connection, which it owns from here on.
func NewConn(c net.Conn, plan Plan) *Conn {
	f := &Conn{
		Conn: c, plan: plan, fired: make(chan struct{}), done: make(chan struct{}),
		rng: rand.New(rand.NewPCG(plan.Seed, 0x5eed)),
	}
	f.fire = sync.OnceFunc(func() {
		close(f.fired)
		if f.also != nil {
			f.also()
		}
	})
	f.end = sync.OnceValue(func() error {
		close(f.done)
		return c.Close()
	})
	return f
}

// Fired is closed once the fault has happened.
func (c *Conn) Fired() <-chan struct{} { return c.fired }

// Close ends the connection and whoever waits in it.
func (c *Conn) Close() error { return c.end() }

// Reset ends it so that the other end sees a reset instead of an orderly end.
func (c *Conn) Reset() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	return c.end()
}

// Read is the wrapped one's, but for a half-open connection, that says nothing any more.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.plan.Kind == HalfOpen && c.hasFired() {
		<-c.done
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *Conn) hasFired() bool {
	select {
	case <-c.fired:
		return true
	default:
		return false
	}
}

// Write follows the plan.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch {
	case c.plan.Kind == Delay:
		err = c.delayed(b)
	case c.plan.Kind == Partial:
		err = c.pieces(b)
	case c.plan.Kind == HalfOpen && c.hasFired():
		// Taken, and lost.
	case c.plan.Kind != None && c.written <= c.plan.After && c.plan.After < c.written+int64(len(b)):
		err = c.struck(b)
	default:
		_, err = c.Conn.Write(b)
	}
	if err != nil {
		return 0, err
	}
	c.written += int64(len(b))
	return len(b), nil
}

func (c *Conn) delayed(b []byte) error {
	if c.rng.IntN(8) == 0 {
		c.fire()
		wait := time.NewTimer(time.Duration(c.rng.Int64N(int64(maxDelay))))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-c.done:
			return net.ErrClosed
		}
	}
	_, err := c.Conn.Write(b)
	return err
}

// pieces writes a few bytes, then some more, then the rest: a reader meets every kind of border.
func (c *Conn) pieces(b []byte) error {
	c.fire()
	for _, most := range []int{4, 128, 16 << 10} {
		if len(b) == 0 {
			return nil
		}
		n := min(len(b), 1+c.rng.IntN(most))
		if _, err := c.Conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) == 0 {
		return nil
	}
	_, err := c.Conn.Write(b)
	return err
}

// struck writes the bytes among which the fault lies.
func (c *Conn) struck(b []byte) error {
	at := int(c.plan.After - c.written)
	switch c.plan.Kind {
	case Corrupt:
		b = append([]byte{}, b...)
		b[at] ^= 1 << c.rng.IntN(8)
		c.fire()
		_, err := c.Conn.Write(b)
		return err
	case Duplicate:
		n := min(len(b)-at, 1+c.rng.IntN(maxDuplicate))
		twice := append(append(append([]byte{}, b[:at+n]...), b[at:at+n]...), b[at+n:]...)
		c.fire()
		_, err := c.Conn.Write(twice)
		return err
	}
	if _, err := c.Conn.Write(b[:at]); err != nil {
		return err
	}
	c.fire()
	switch c.plan.Kind {
	case HalfOpen:
		return nil
	case Stall:
		<-c.done
		return net.ErrClosed
	case Reset:
		_ = c.Reset()
	default:
		_ = c.Close()
	}
	return ErrFault
}
