package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"google.golang.org/grpc"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// dialKey makes callers that want the same share one attempt.
type dialKey struct {
	expect types.InstanceID
	addrs  string
}

type dial struct {
	done chan struct{}
	s    *session
	err  error
}

// Dial makes one attempt to have a session with whoever answers at the addresses (expect zero), or with one instance; a
// live session with that instance counts. When it returns a session, SessionUp has been called for it.
//
// Errors: ErrSelf; PEER_UNREACHABLE; STALE_INSTANCE around a *StaleInstanceError; VERSION_SKEW; METADATA_REFUSED (key or
// certificate); UNSUPPORTED (no engine there); INVALID_ARGUMENT (addresses); RESOURCE_EXHAUSTED (MaxSessions of either
// side); CLOSED.
func (n *Node) Dial(ctx context.Context, addrs []string, expect types.InstanceID) (Session, error) {
	if expect == n.cfg.Instance {
		return nil, ErrSelf
	}
	d, s, err := n.join(addrs, expect)
	if err != nil {
		return nil, err
	}
	if d != nil {
		if s, err = n.awaitDial(ctx, d, addrs, expect); err != nil {
			return nil, err
		}
	}
	select {
	case <-s.up:
		return s, nil
	case <-ctx.Done():
		return nil, gaveUp(ctx, addrs)
	}
}

// join returns the live session, or the attempt under way, or a new one.
func (n *Node) join(addrs []string, expect types.InstanceID) (*dial, *session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return nil, nil, errcode.New(errcode.Closed, "dial", "the engine is closing")
	}
	if s := n.live(expect); s != nil {
		return nil, s, nil
	}
	key := dialKey{expect, strings.Join(addrs, ",")}
	if d := n.dials[key]; d != nil {
		return d, nil, nil
	}
	d := &dial{done: make(chan struct{})}
	n.dials[key] = d
	n.spawn(func() {
		d.s, d.err = n.attempt(addrs, expect)
		n.mu.Lock()
		delete(n.dials, key)
		n.mu.Unlock()
		close(d.done)
	})
	return d, nil, nil
}

// awaitDial waits for the attempt, or for a session that the peer dialled meanwhile.
func (n *Node) awaitDial(ctx context.Context, d *dial, addrs []string, expect types.InstanceID) (*session, error) {
	if !expect.IsZero() {
		if s := n.awaitSession(expect, d.done, ctx.Done()); s != nil {
			return s, nil
		}
	}
	select {
	case <-d.done:
		return d.s, d.err
	case <-ctx.Done():
		return nil, gaveUp(ctx, addrs)
	}
}

func gaveUp(ctx context.Context, addrs []string) error {
	return errcode.New(errcode.PeerUnreachable, "dial", fmt.Sprintf("no session with %q when the caller gave up", addrs)).Wrap(ctx.Err())
}

// attempt is one try, from names to a chosen session.
func (n *Node) attempt(addrs []string, expect types.InstanceID) (_ *session, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.DialTimeout)
	defer cancel()
	if err := n.enter(); err != nil {
		return nil, err
	}
	reading := false
	defer func() {
		if !reading {
			n.leave()
		}
	}()
	conn, err := n.connect(ctx, addrs)
	if err != nil {
		return nil, err
	}
	c, err := n.newCall(conn)
	if err != nil {
		_ = conn.Close()
		return nil, errcode.New(errcode.Internal, "dial", "gRPC client").Wrap(err)
	}
	hungUp := context.AfterFunc(ctx, c.release)
	s, err := n.greetAcceptor(c, conn, expect)
	if !hungUp() && err == nil {
		err = &streamError{ctx.Err()}
	}
	if err != nil {
		c.release()
		return n.settle(ctx, err, conn, c.ready)
	}
	chosen := n.choose(s)
	s.start()
	reading = true
	n.spawn(func() {
		defer n.leave()
		s.read()
	})
	if chosen {
		return s, nil
	}
	s.replaced()
	return n.settle(ctx, &lostError{s.peer}, conn, true)
}

// call is one gRPC client with its stream.
type call struct {
	controlpb.Control_SessionClient
	client  *grpc.ClientConn
	ctx     context.Context
	ready   bool
	release func()
}

func (n *Node) newCall(conn net.Conn) (*call, error) {
	used := false
	client, err := n.newClient(func(context.Context) (net.Conn, error) {
		if used { // gRPC calls this from one goroutine at a time
			return nil, errors.New("one attempt only")
		}
		used = true
		return conn, nil
	}, grpc.WithIdleTimeout(0))
	if err != nil {
		return nil, err
	}
	ctx, hang := context.WithCancel(context.Background())
	return &call{client: client, ctx: ctx, release: func() {
		hang()
		_ = client.Close()
		_ = conn.Close() // gRPC has it only once it has dialled
	}}, nil
}

// greetAcceptor sends our HELLO and judges the answer.
func (n *Node) greetAcceptor(c *call, conn *outConn, expect types.InstanceID) (*session, error) {
	stream, err := controlpb.NewControlClient(c.client).Session(c.ctx)
	if err != nil {
		return nil, &streamError{err}
	}
	c.Control_SessionClient, c.ready = stream, true
	ours := n.hello(expect)
	ours.SessionNumber = n.numbers.Add(1)
	if !expect.IsZero() {
		ours.ExpectedInstance = expect[:]
		ours.EndedNumber = n.endedNumber(expect)
	}
	if err := stream.Send(event(ours)); err != nil && !errors.Is(err, io.EOF) {
		return nil, &streamError{err}
	}
	first, err := recv(stream)
	if err != nil {
		return nil, err
	}
	if r := first.GetRefused(); r != nil {
		return nil, n.refused(r, expect)
	}
	s, err := n.admitAcceptor(stream, c, conn, first.GetHello(), ours, expect)
	if err != nil {
		n.sayWhy(stream, err)
	}
	return s, err
}

// admitAcceptor checks the acceptor's HELLO.
func (n *Node) admitAcceptor(w wire, c *call, conn *outConn, theirs, ours *controlpb.Hello, expect types.InstanceID) (*session, error) {
	if theirs == nil {
		return nil, bad("dial", "the first message is no HELLO")
	}
	id, err := n.admit("dial", theirs)
	switch {
	case err != nil:
		return nil, err
	case !expect.IsZero() && id != expect:
		return nil, staleInstance("dial", expect, id)
	case id == n.cfg.Instance:
		return nil, ErrSelf
	}
	if err := checkProof("dial", n.cfg.PSK, theirs.GetProof(), prove(n.cfg.PSK, roleAcceptor, ours, theirs)); err != nil {
		return nil, err
	}
	f := facts{dialler: n.cfg.Instance, number: ours.SessionNumber, ended: ours.EndedNumber}
	s := n.newSession(w, f, theirs, true, conn.RemoteAddr().String(), c.release)
	if len(n.cfg.PSK) > 0 {
		// AUTH goes first, whatever is sent from SessionUp.
		_ = s.out.put(event(&controlpb.Auth{Proof: prove(n.cfg.PSK, roleDialler, ours, theirs)}))
	}
	return s, nil
}

// sayWhy tells the acceptor why we leave, and waits for the end of the stream so that it gets there; the time-out of
// the attempt bounds that.
func (n *Node) sayWhy(stream controlpb.Control_SessionClient, err error) {
	if stream.Send(event(refusal(err, n.cfg.Instance))) != nil || stream.CloseSend() != nil {
		return
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return
		}
	}
}

// lostError: another session with this peer was chosen.
type lostError struct{ peer types.InstanceID }

func (e *lostError) Error() string { return errReplaced.Error() }

// refused turns REFUSED into the error of Dial.
func (n *Node) refused(r *controlpb.Refused, expect types.InstanceID) error {
	present, _ := instanceOf(r.GetInstance())
	switch errcode.Code(r.GetCode()) {
	case errcode.StaleInstance:
		return staleInstance("dial", expect, present)
	case codeReplaced:
		return &lostError{present}
	case errcode.Closed:
		e := peerSaid("dial", int32(errcode.PeerUnreachable), r.GetDetail())
		e.Peer = present.String()
		return e
	}
	if present == n.cfg.Instance {
		return ErrSelf
	}
	e := peerSaid("dial", r.GetCode(), r.GetDetail())
	e.Peer = present.String()
	return e
}

// settle ends an attempt that did not give a session of its own: if it lost against another, that one is the result.
func (n *Node) settle(ctx context.Context, err error, conn *outConn, ready bool) (*session, error) {
	var lost *lostError
	var broke *streamError
	switch {
	case errors.As(err, &lost):
		if s := n.awaitSession(lost.peer, ctx.Done(), nil); s != nil {
			return s, nil
		}
		e := errcode.New(errcode.PeerUnreachable, "dial", "the peer holds on to another session that does not work here").
			WithHint("it will notice within three heartbeats; try again")
		e.Peer = lost.peer.String()
		return nil, e
	case errors.As(err, &broke) && ctx.Err() != nil:
		e := explainRPC("dial", broke.err, conn, ready)
		if e.Code == errcode.PeerUnreachable {
			e.Detail = fmt.Sprintf("connected, but no answer within %v", n.cfg.DialTimeout)
		}
		return nil, e
	case errors.As(err, &broke):
		return nil, explainRPC("dial", broke.err, conn, ready)
	}
	return nil, err
}
