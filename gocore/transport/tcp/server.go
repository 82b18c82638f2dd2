package tcp

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
	"mooncake_te/gocore/netaddr"
)

// errServerClosed is why the server's own Close cuts connections.
var errServerClosed = errcode.New(errcode.Closed, "serve", "the engine is closing")

// Server is the owner's side: it accepts connections and serves requests on the memory that Config.Memory grants.
type Server struct {
	cfg      Config
	listener *net.TCPListener
	fd       int
	done     chan struct{}
	wg       sync.WaitGroup
	pending  atomic.Int64 // connections without a first header
	waiting  []*conn      // these, oldest first, and some that have greeted since; under mu

	requests, bytesIn, bytesOut atomic.Uint64

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// Listen binds and serves until Close.
func Listen(cfg Config) (*Server, error) {
	if err := cfg.populate(); err != nil {
		return nil, err
	}
	addr, err := netaddr.Parse(cfg.Listen)
	if err != nil {
		return nil, err
	}
	if addr.IsWildcard() && len(cfg.Advertise) == 0 {
		return nil, errcode.New(errcode.InvalidArgument, "listen for data",
			"bound to every address, and none is given that peers could use").
			WithHint("set the data addresses to advertise, or bind one address")
	}
	l, err := netaddr.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	tl, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, errcode.New(errcode.Internal, "listen for data", "not a TCP listener")
	}
	s := &Server{
		cfg: cfg, listener: tl, fd: forkfd.Track(tl),
		done: make(chan struct{}), conns: map[*conn]struct{}{},
	}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Addresses is where peers reach this server.
func (s *Server) Addresses() []string {
	if len(s.cfg.Advertise) == 0 {
		return []string{s.listener.Addr().String()}
	}
	port := uint16(s.listener.Addr().(*net.TCPAddr).Port)
	out := slices.Clone(s.cfg.Advertise)
	for i, a := range out {
		if p, err := netaddr.Parse(a); err == nil && p.PortLo == 0 {
			out[i] = p.WithPort(port).String()
		}
	}
	return out
}

// Stats is what a server has done so far, and what it has now.
type Stats struct {
	Connections int    `json:"connections"`
	Handshakes  int    `json:"handshakes"` // connections among them without a first header yet
	Requests    uint64 `json:"requests"`
	BytesIn     uint64 `json:"bytes_in"`  // applied by WRITEs
	BytesOut    uint64 `json:"bytes_out"` // returned by READs
}

// Stats is a snapshot.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	return Stats{
		Connections: n, Handshakes: int(s.pending.Load()),
		Requests: s.requests.Load(), BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
	}
}

// Connections is how many inbound connections there are.
func (s *Server) Connections() int { return s.Stats().Connections }

// Close cuts all connections and waits until their handlers have left. It may be called again.
func (s *Server) Close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for c := range s.conns {
		c.Kill(errServerClosed)
	}
	s.mu.Unlock()
	if first {
		close(s.done)
		forkfd.Remove(s.fd)
		_ = s.listener.Close()
	}
	s.wg.Wait()
}

// accept takes connections in. Running out of descriptors slows it down and never ends it.
func (s *Server) accept() {
	defer s.wg.Done()
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		c, err := s.listener.AcceptTCP()
		if err == nil {
			pause = shortest
			s.start(c)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.cfg.Counters.Add(CounterAcceptErrors, 1)
		if pause == shortest {
			s.cfg.Logger.Warn("cannot accept data connections, trying on", "error", err)
		}
		timer.Reset(pause)
		pause = min(2*pause, longest)
		select {
		case <-timer.C:
		case <-s.done:
			return
		}
	}
}

// start gives a connection its handler, or closes it when there are too many.
func (s *Server) start(c *net.TCPConn) {
	h, err := newConn(s, c)
	if err != nil {
		_ = c.Close()
		s.cfg.Counters.Add(CounterAcceptErrors, 1)
		return
	}
	s.mu.Lock()
	refuse := s.closed || len(s.conns) >= s.cfg.MaxConns
	var stranger *conn
	if !refuse {
		if s.pending.Load() >= int64(s.cfg.MaxPendingHandshakes) {
			stranger = s.oldestStranger()
		}
		s.conns[h] = struct{}{}
		s.waiting = append(s.waiting, h)
		s.pending.Add(1)
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if stranger != nil {
		s.cfg.Counters.Add(CounterRefusedLimit, 1)
		stranger.Kill(errTooManyStrangers)
	}
	if refuse {
		s.cfg.Counters.Add(CounterRefusedLimit, 1)
		h.s.kill()
		h.s.close()
		return
	}
	s.cfg.Counters.Add(CounterAccepted, 1)
	go h.run()
}

var errTooManyStrangers = errcode.New(errcode.ResourceExhausted, "accept data connection",
	"too many connections without a first header: the oldest makes room")

// oldestStranger takes the connection out that has been silent for longest. Peers greet as soon as they are connected, so
// those who say nothing make room for those who come, and a crowd of them keeps nobody out.
func (s *Server) oldestStranger() *conn {
	for len(s.waiting) > 0 {
		c := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		if !c.greeted.Load() {
			return c
		}
	}
	return nil
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	for len(s.waiting) > 0 && s.waiting[0].greeted.Load() {
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
	}
	s.mu.Unlock()
	s.cfg.Counters.Add(CounterClosed, 1)
	s.wg.Done()
}
