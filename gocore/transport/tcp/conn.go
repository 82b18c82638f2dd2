package tcp

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// conn is one inbound connection and the goroutine that serves it, one request after the other.
type conn struct {
	srv  *Server
	s    *stream
	recv *receiver
	send *sender

	token types.PathID
	peer  types.InstanceID

	// Of the present request.
	head    Header
	mem     granted
	failed  failures
	status  errcode.Code
	payload func() bool // asked before each chunk that we send
	yieldFn func()
	spin    spinner

	greeted atomic.Bool // the handshake is over, one way or the other

	mu    sync.Mutex
	cause error // why it was killed
}

func newConn(srv *Server, c *net.TCPConn) (*conn, error) {
	if err := setOptions(c, srv.cfg.Keepalive); err != nil {
		return nil, err
	}
	s, err := newStream(c, srv.cfg.ProgressDeadline)
	if err != nil {
		return nil, err
	}
	h := &conn{srv: srv, s: s, recv: newReceiver(s), send: newSender(s), yieldFn: runtime.Gosched, spin: newSpinner()}
	h.mem.entries = make([]Entry, 0, 8)
	h.payload = h.aborted
	return h, nil
}

// Kill cuts the connection without waiting (transport.Conn).
func (c *conn) Kill(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	c.s.kill()
}

func (c *conn) run() {
	defer c.srv.forget(c)
	log := c.srv.cfg.Logger.With("remote", c.s.c.RemoteAddr().String())
	err := c.handshake()
	c.greeted.Store(true)
	c.srv.pending.Add(-1)
	if err == nil {
		log = log.With("peer", c.peer.Short())
		err = c.serve()
	}
	c.mu.Lock()
	if c.cause != nil {
		err = c.cause
	}
	c.mu.Unlock()
	if errcode.Of(err) == errcode.Stalled {
		c.s.kill() // what lies in the socket would wait for this peer, too
	}
	if !errors.Is(err, io.EOF) {
		log.Debug("data connection ends", "error", err)
	}
	c.s.close()
	if !c.peer.IsZero() {
		// Only now: from here on this connection touches no user memory.
		c.srv.cfg.Admission.ConnGone(c.token)
	}
}

// handshake takes the first header and turns its token into a peer.
func (c *conn) handshake() error {
	deadline := time.Now().Add(c.srv.cfg.HandshakeTimeout)
	_ = c.s.c.SetReadDeadline(deadline)
	c.s.readArmed = deadline // nobody moves it
	if err := c.readHeader(); err != nil {
		return err
	}
	peer, ok := c.srv.cfg.Admission.TokenUsed(c.head.Token, c)
	if !ok {
		c.srv.cfg.Counters.Add(CounterRefusedToken, 1)
		return errcode.New(errcode.Permission, "accept data connection", "the token is not valid: unknown, used or retired")
	}
	c.token, c.peer = c.head.Token, peer
	c.mem.memory, c.mem.peer = c.srv.cfg.Memory, peer
	c.s.readArmed = time.Time{}
	_ = c.s.c.SetReadDeadline(time.Time{})
	if c.s.cut.Load() {
		return errCut
	}
	return nil
}

// readHeader waits for the next header. A version that we do not speak is answered, everything else that is wrong is not.
func (c *conn) readHeader() error {
	if err := c.s.fill(HeaderLen); err != nil {
		return err
	}
	lim := Limits{Entries: c.srv.cfg.MaxEntries, Chunk: MaxChunk}
	if err := c.head.Decode(c.s.buffered(), lim); err != nil {
		c.srv.cfg.Counters.Add(CounterRefusedFrame, 1)
		if err.Code == errcode.VersionSkew {
			c.reply(Reply{Status: errcode.VersionSkew, Applied: MinVersion | MaxVersion<<8})
			_ = c.send.flush()
		}
		return err
	}
	c.s.take(HeaderLen)
	return nil
}

// nextHeader is readHeader between two requests. After a small one the next may follow at once.
func (c *conn) nextHeader() error {
	if c.head.Length > smallPayload {
		return c.readHeader()
	}
	c.s.spin = &c.spin
	err := c.readHeader()
	c.s.spin = nil
	if err != nil {
		c.spin.stop()
	} else {
		c.spin.end()
	}
	return err
}

// serve handles the request whose header was read, then the next ones.
func (c *conn) serve() error {
	for {
		if err := c.request(); err != nil {
			return err
		}
		c.s.idle = true
		if t := c.srv.cfg.IdleTimeout; t > 0 {
			c.s.idle = false
			c.s.readArmed = time.Now().Add(t)
			_ = c.s.c.SetReadDeadline(c.s.readArmed)
			if c.s.cut.Load() {
				return errCut
			}
		}
		if err := c.nextHeader(); err != nil {
			return err
		}
		if c.srv.cfg.IdleTimeout > 0 {
			c.s.readArmed = time.Time{}
		}
		c.s.idle = false
		if c.head.Token != c.token {
			c.srv.cfg.Counters.Add(CounterRefusedToken, 1)
			return badFrame(errcode.Permission, "another token than the connection's")
		}
	}
}

func (c *conn) request() error {
	switch c.head.Op {
	case OpHello:
		c.reply(Reply{Status: c.instanceStatus(), Applied: MinVersion | MaxVersion<<8})
		return c.send.flush()
	case OpAbort:
		return nil // of a request that is over
	}
	c.srv.requests.Add(1)
	c.failed.reset()
	defer c.mem.trim()
	if err := c.readTable(); err != nil {
		c.srv.cfg.Counters.Add(CounterRefusedFrame, 1)
		return err
	}
	c.status = c.instanceStatus()
	if c.status == errcode.OK {
		c.admit()
	}
	if c.head.Op == OpWrite {
		return c.write()
	}
	return c.read()
}

func (c *conn) instanceStatus() errcode.Code {
	if c.head.Target == c.srv.cfg.Memory.Instance() {
		return errcode.OK
	}
	c.srv.cfg.Counters.Add(CounterStaleInstance, 1)
	return errcode.StaleInstance
}

// reply puts a reply to the present request in line.
func (c *conn) reply(r Reply) {
	r.Version, r.Op, r.RequestID = Version, c.head.Op, c.head.RequestID
	r.Responder = c.srv.cfg.Memory.Instance()
	if !c.peer.IsZero() { // a stranger learns nothing
		r.Metadata, r.Floor = c.srv.cfg.Memory.Version(c.peer)
	}
	c.send.reserve(HeaderLen + int(r.Failures)*failureLen + sumLen)
	c.send.out = r.Append(c.send.out)
}

// readTable takes the entries of the request.
func (c *conn) readTable() error {
	c.mem.op = types.Op(c.head.Op)
	c.mem.reserve(c.head.Entries())
	if c.head.Flags&FlagVectored == 0 {
		c.mem.entries = append(c.mem.entries, Entry{c.head.Buffer, c.head.Offset, c.head.Length})
		return nil
	}
	d := tableDecoder{count: c.head.Entries(), total: c.head.Length}
	for len(c.mem.entries) < d.count {
		if err := c.s.fill(entryLen); err != nil {
			return unexpected(err)
		}
		entries, n, err := d.feed(c.mem.entries, c.s.buffered())
		if err != nil {
			return err
		}
		c.mem.entries = entries
		c.s.take(n)
	}
	if err := c.s.fill(sumLen); err != nil {
		return unexpected(err)
	}
	if err := d.finish(binary.LittleEndian.Uint32(c.s.buffered())); err != nil {
		return err
	}
	c.s.take(sumLen)
	return nil
}

// admit checks every entry before any payload moves (S11).
func (c *conn) admit() {
	for i, e := range c.mem.entries {
		if code := c.mem.memory.Admit(c.peer, e.Buffer, c.mem.op, e.Off, e.Len); code != errcode.OK {
			c.failed.add(i, code, 0)
		}
	}
	if code, _ := c.failed.common(len(c.mem.entries)); code != errcode.OK {
		c.status = code
		c.srv.cfg.Counters.Add(CounterRefusals, uint64(len(c.failed.list)))
		c.failed.reset()
	}
}
