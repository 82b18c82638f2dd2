package control

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
)

// service is the gRPC face of a Node.
type service struct {
	controlpb.UnimplementedControlServer
	n *Node
}

// Session serves one stream. gRPC frees a server's stream only when this returns, so the work is done by another
// goroutine, and this one waits for its word, for the time-out of the handshake, or for the node's end.
func (v service) Session(stream grpc.BidiStreamingServer[controlpb.Event, controlpb.Event]) error {
	n := v.n
	if err := n.enter(); err != nil {
		n.logRefusal(remoteOf(stream.Context()), err)
		return stream.Send(event(refusal(err, n.cfg.Instance)))
	}
	released := make(chan struct{})
	chosen := make(chan struct{})
	handshake := make(chan struct{})
	n.spawn(func() {
		defer n.leave()
		s := n.accept(stream, func() { close(released) })
		if s == nil {
			close(handshake)
			return
		}
		close(chosen)
		s.read()
	})
	t := time.NewTimer(n.cfg.helloTimeout)
	defer t.Stop()
	select {
	case <-chosen:
	case <-handshake:
		return nil
	case <-stream.Context().Done():
		return nil
	case <-n.ctx.Done():
		return status.Error(codes.Unavailable, "the engine is closing")
	case <-t.C:
		return status.Error(codes.DeadlineExceeded, "no HELLO and AUTH within "+n.cfg.helloTimeout.String())
	}
	<-released
	return nil
}

// accept shakes hands with a caller. It returns the chosen session, started, or nil after telling the caller why not.
func (n *Node) accept(stream wire, release func()) *session {
	remote := ""
	if c, ok := stream.(interface{ Context() context.Context }); ok {
		remote = remoteOf(c.Context())
	}
	theirs, ours, err := n.greetCaller(stream)
	if err == nil {
		s := n.newSession(stream, callerFacts(theirs), theirs, false, remote, release)
		if len(n.cfg.PSK) == 0 {
			// HELLO goes first, whatever is sent from SessionUp.
			_ = s.out.put(event(ours))
		}
		if n.choose(s) {
			s.start()
			return s
		}
		err = n.lost()
	}
	var gone *streamError
	if errors.As(err, &gone) {
		return nil // the caller went away before the end of the handshake; it knows
	}
	if !isReplaced(err) {
		n.logRefusal(remote, err)
	}
	_ = stream.Send(event(refusal(err, n.cfg.Instance)))
	return nil
}

// lost says why a session was not chosen.
func (n *Node) lost() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return errcode.New(errcode.Closed, "session", "the engine is closing")
	}
	return replacedError()
}

// greetCaller takes the caller's HELLO and, where a key is configured, sends ours and takes AUTH. Without a key our
// HELLO is returned to be sent once the session is chosen.
func (n *Node) greetCaller(stream wire) (theirs, ours *controlpb.Hello, err error) {
	first, err := recv(stream)
	if err != nil {
		return nil, nil, err
	}
	if theirs = first.GetHello(); theirs == nil {
		return nil, nil, bad("accept session", "the first message is no HELLO")
	}
	id, err := n.admitCaller(theirs)
	if err != nil {
		return nil, nil, err
	}
	if !n.mayWin(id, callerFacts(theirs)) {
		return nil, nil, n.lost()
	}
	ours = n.hello(id)
	if len(n.cfg.PSK) == 0 {
		return theirs, ours, nil
	}
	ours.Proof = prove(n.cfg.PSK, roleAcceptor, theirs, ours)
	if err := stream.Send(event(ours)); err != nil {
		return nil, nil, &streamError{err}
	}
	second, err := recv(stream)
	if err != nil {
		return nil, nil, err
	}
	err = checkProof("accept session", n.cfg.PSK, second.GetAuth().GetProof(), prove(n.cfg.PSK, roleDialler, theirs, ours))
	return theirs, ours, err
}

func callerFacts(h *controlpb.Hello) facts {
	id, _ := instanceOf(h.GetInstance())
	return facts{dialler: id, number: h.GetSessionNumber(), ended: h.GetEndedNumber()}
}

// streamError marks a handshake that ended because the stream did.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }

// recv takes one message and checks its form.
func recv(w wire) (*controlpb.Event, error) {
	ev, err := w.Recv()
	if err != nil {
		return nil, &streamError{err}
	}
	return ev, checkEvent(ev)
}

func remoteOf(ctx context.Context) string {
	if p, ok := grpcpeer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return "unknown"
}

// logRefusal says that a session did not come about. CANCELED is no trouble: another session was chosen, or an engine
// dialled itself.
func (n *Node) logRefusal(remote string, err error) {
	level := slog.LevelWarn
	if errcode.Of(err) == errcode.Canceled {
		level = slog.LevelDebug
	}
	n.cfg.Logger.Log(context.Background(), level, "session refused", "from", remote, "error", err)
}
