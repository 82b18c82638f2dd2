package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
	"mooncake_te/gocore/netaddr"
	"mooncake_te/gocore/types"
)

// Node is one engine's end of the control channel: a server, the sessions it has, and the means to dial.
type Node struct {
	cfg       Config
	tls       *tlsPair // nil: plain TCP
	listener  *listener
	server    *grpc.Server
	addresses []string

	ctx    context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of ours

	numbers       atomic.Uint64 // session numbers given
	unknownEvents atomic.Uint64
	describing    chan struct{} // one slot per Describe being served
	pool          connPool

	mu      sync.Mutex
	closing bool
	streams int // sessions and handshakes
	peers   map[types.InstanceID]*peer
	dials   map[dialKey]*dial
}

// Start binds the address and serves. Errors are INVALID_ARGUMENT with what to change.
func Start(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, peers: map[types.InstanceID]*peer{}, dials: map[dialKey]*dial{},
		describing: make(chan struct{}, maxDescribing),
	}
	if cfg.TLS != nil {
		if n.tls, err = cfg.TLS.load(); err != nil {
			return nil, err
		}
	}
	addr, err := netaddr.Parse(cfg.Listen)
	if err != nil {
		return nil, err
	}
	if addr.IsWildcard() && len(cfg.Advertise) == 0 {
		return nil, errcode.New(errcode.InvalidArgument, "start control channel",
			fmt.Sprintf("%s listens on every interface, and no address to advertise is given", cfg.Listen)).
			WithHint("set Advertise to the address under which peers reach this host")
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	bindCtx, done := context.WithTimeout(n.ctx, 10*time.Second)
	l, err := netaddr.Listen(bindCtx, "tcp", addr)
	done()
	if err != nil {
		n.cancel()
		return nil, err
	}
	if n.addresses, err = advertised(cfg.Advertise, l.Addr()); err != nil {
		n.cancel()
		_ = l.Close()
		return nil, err
	}
	n.listener = newListener(forkfd.Listener(l), 2*cfg.MaxSessions+16, cfg.Logger)
	n.server = n.newServer()
	n.spawn(func() {
		// Serve returns when the server is stopped; a listener that fails before is the only other reason.
		if err := n.server.Serve(n.listener); err != nil && n.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
			cfg.Logger.Error("control channel stopped serving", "address", l.Addr().String(), "error", err)
		}
	})
	return n, nil
}

// advertised completes addresses without a port; the bound address stands for an empty list.
func advertised(list []string, bound net.Addr) ([]string, error) {
	if len(list) == 0 {
		return []string{bound.String()}, nil
	}
	var out []string
	for _, s := range list {
		a, err := netaddr.Parse(s)
		if err != nil {
			return nil, err
		}
		if a.PortLo == 0 {
			a = a.WithPort(uint16(bound.(*net.TCPAddr).Port))
		}
		if err := a.CheckDial(); err != nil {
			return nil, errcode.New(errcode.InvalidArgument, "start control channel", "bad address to advertise").Wrap(err)
		}
		out = append(out, a.String())
	}
	return out, nil
}

// Addresses are those that peers are told; not to be changed.
func (n *Node) Addresses() []string { return n.addresses }

// Session returns the live session with a peer, or nil.
func (n *Node) Session(peer types.InstanceID) Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.live(peer); s != nil {
		return s
	}
	return nil
}

// Close says BYE to all peers and stops serving. It waits for every goroutine and handler call, at most as long as ctx
// lasts; farewells get a second of that. The port is free when it returns.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	n.closing = true
	var all []*session
	for _, p := range n.peers {
		if p.chosen != nil {
			all = append(all, p.chosen)
		}
	}
	n.mu.Unlock()
	n.listener.stop()
	for _, s := range all {
		s.Close(errcode.New(errcode.Closed, "session", "the engine closes"))
	}
	soft, done := context.WithTimeout(ctx, linger)
	defer done()
	for _, s := range all {
		select {
		case <-s.gone:
		case <-soft.Done():
			s.hangUp()
		}
	}
	n.pool.close()
	n.cancel() // handshakes, dials and Describe end here
	n.stopServer(soft)
	finished := make(chan struct{})
	go func() { n.wg.Wait(); close(finished) }()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return errcode.New(errcode.WaitTimeout, "close control channel", "a handler call has not returned").Wrap(ctx.Err())
	}
}

// spawn starts a goroutine that Close waits for.
func (n *Node) spawn(f func()) { n.wg.Go(f) }

// enter counts a stream against MaxSessions; leave takes it back.
func (n *Node) enter() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closing:
		return errcode.New(errcode.Closed, "session", "the engine is closing")
	case n.streams >= n.cfg.MaxSessions:
		return errcode.New(errcode.ResourceExhausted, "session", fmt.Sprintf("%d sessions, the limit", n.streams)).
			WithHint("raise MaxSessions or close sessions")
	}
	n.streams++
	return nil
}

func (n *Node) leave() {
	n.mu.Lock()
	n.streams--
	n.mu.Unlock()
}

// UnknownEvents counts events of a newer protocol that were skipped.
func (n *Node) UnknownEvents() uint64 { return n.unknownEvents.Load() }

func (n *Node) deliver(s *session, ev *controlpb.Event) {
	n.mu.Lock()
	p := n.peers[s.peer]
	n.mu.Unlock()
	if p != nil {
		p.mail.event(s, n.cfg.Handler, ev)
	}
}
