package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Session is one chosen session with a peer. All methods may be called from anywhere, also after its end.
type Session interface {
	Peer() types.InstanceID
	Hello() *controlpb.Hello // the peer's; not to be changed
	// Send queues an event and returns at once. Events arrive in order or, when the session ends first, not at all.
	// CLOSED after the end; INVALID_ARGUMENT for what the peer would refuse; RESOURCE_EXHAUSTED when the peer takes
	// nothing and the queue is full, which also ends the session. The event must not be changed afterwards.
	Send(ev *controlpb.Event) error
	// Ping measures a round trip through both event queues.
	Ping(ctx context.Context) (time.Duration, error)
	// Close says BYE after what is queued, then ends. SessionDown reports cause (nil: CLOSED).
	Close(cause error)
	Number() uint64 // of the dialler
	Dialled() bool  // by this side
	RemoteAddr() string
	Since() time.Time
	LastHeard() time.Time
}

const (
	linger   = time.Second // for BYE and what is queued before it
	maxPings = 1024        // waiting at once on one session

	minPace = 10 * time.Millisecond // what a peer may ask of us, as the least that Config takes from a user
)

// wire is the gRPC stream of either side.
type wire interface {
	Send(*controlpb.Event) error
	Recv() (*controlpb.Event, error)
}

type session struct {
	facts
	node    *Node
	wire    wire
	peer    types.InstanceID
	greeted *controlpb.Hello
	dialled bool
	remote  string
	since   time.Time

	out     *outbox
	heard   atomic.Int64 // messages heard; never goes back
	heardAt atomic.Int64 // nanoseconds after since
	waiting atomic.Bool  // the reader waits for the peer, not for the handler

	up      chan struct{} // closed once SessionUp has returned
	done    chan struct{} // closed at the end; err is set before
	err     error
	endOnce sync.Once

	hangUpOnce sync.Once
	release    func()        // frees the stream; the reader and writer then fail
	gone       chan struct{} // closed with it

	mu    sync.Mutex
	pings map[uint64]chan struct{}
}

func (n *Node) newSession(w wire, f facts, h *controlpb.Hello, dialled bool, remote string, release func()) *session {
	id, _ := instanceOf(h.GetInstance())
	s := &session{
		facts: f, node: n, wire: w, peer: id, greeted: h, dialled: dialled, remote: remote, since: time.Now(),
		out: newOutbox(n.cfg.MaxQueuedBytes), up: make(chan struct{}), done: make(chan struct{}),
		release: release, gone: make(chan struct{}), pings: map[uint64]chan struct{}{},
	}
	return s
}

// start begins to write and to watch; the caller reads.
func (s *session) start() {
	s.node.spawn(s.write)
	s.node.spawn(s.watch)
}

func (s *session) Peer() types.InstanceID  { return s.peer }
func (s *session) Hello() *controlpb.Hello { return s.greeted }
func (s *session) Number() uint64          { return s.number }
func (s *session) Dialled() bool           { return s.dialled }
func (s *session) RemoteAddr() string      { return s.remote }
func (s *session) Since() time.Time        { return s.since }
func (s *session) LastHeard() time.Time    { return s.since.Add(time.Duration(s.heardAt.Load())) }

func (s *session) Send(ev *controlpb.Event) error {
	if err := checkSend(ev); err != nil {
		return err
	}
	err := s.out.put(ev)
	switch errcode.Of(err) {
	case errcode.ResourceExhausted:
		s.end(s.explain(err), nil)
	case errcode.Closed:
		return s.ended()
	}
	return err
}

func (s *session) Ping(ctx context.Context) (time.Duration, error) {
	pong := make(chan struct{})
	nonce := rand.Uint64()
	s.mu.Lock()
	if len(s.pings) >= maxPings {
		s.mu.Unlock()
		return 0, errcode.New(errcode.ResourceExhausted, "ping", fmt.Sprintf("%d pings wait for their answer", maxPings))
	}
	s.pings[nonce] = pong
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pings, nonce)
		s.mu.Unlock()
	}()
	sent := time.Now()
	if err := s.Send(event(&controlpb.Ping{Nonce: nonce})); err != nil {
		return 0, err
	}
	select {
	case <-pong:
		return time.Since(sent), nil
	case <-s.done:
		return 0, s.ended()
	case <-ctx.Done():
		return 0, errcode.New(errcode.Deadline, "ping", "no answer in time").Wrap(ctx.Err())
	}
}

func (s *session) Close(cause error) {
	if cause == nil {
		cause = errcode.New(errcode.Closed, "session", "closed by this side")
	}
	code := errcode.Of(cause)
	if code == errcode.Closed || code == codeReplaced {
		code = errcode.OK
	}
	s.end(cause, event(&controlpb.Bye{Code: int32(code), Detail: clip(cause.Error(), maxDetail)}))
}

// end happens once. With a farewell, what is queued and the farewell are still sent, for a while.
func (s *session) end(err error, farewell *controlpb.Event) {
	s.endOnce.Do(func() {
		s.err = err
		close(s.done)
		s.out.finish(farewell)
		s.node.sessionEnded(s, err)
		if farewell == nil {
			s.hangUp()
		}
	})
}

// replaced ends the session in favour of another; the peer waits for that one instead of calling this side lost.
func (s *session) replaced() {
	s.end(replacedError(), event(&controlpb.Bye{Code: int32(codeReplaced), Detail: errReplaced.Error()}))
}

func (s *session) hangUp() {
	s.hangUpOnce.Do(func() {
		close(s.gone)
		s.release()
	})
}

func (s *session) alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// ended is the error for those who use the session after its end; s.done must be closed or about to be.
func (s *session) ended() error {
	<-s.done
	e := errcode.New(errcode.Closed, "session", "the session has ended").Wrap(s.err)
	e.Peer = s.peer.String()
	return e
}

func (s *session) write() {
	for {
		ev, ok := s.out.take(s.gone)
		if !ok {
			break
		}
		if err := s.wire.Send(ev); err != nil {
			// The reason is what the reader gets; Send says no more than EOF.
			return
		}
	}
	if c, ok := s.wire.(interface{ CloseSend() error }); ok {
		// The farewell is on its way. The peer ends the stream when it has read it, and the reader sees that.
		_ = c.CloseSend()
		return
	}
	s.hangUp()
}

// watch sends heartbeats and ends the session when the peer is silent. It also bounds the farewell.
func (s *session) watch() {
	beat := s.node.cfg.Heartbeat
	send, look := time.NewTicker(s.pace()), time.NewTicker(beat)
	defer send.Stop()
	defer look.Stop()
	judge := silence{every: beat, limit: s.node.cfg.missed, last: time.Now()}
	s.sendHeartbeat()
	for {
		select {
		case <-s.done:
			s.lingerThenHangUp()
			return
		case <-send.C:
			s.sendHeartbeat()
			continue
		case <-look.C:
		}
		if judge.tick(time.Now(), s.heard.Load(), s.waiting.Load()) {
			s.end(s.explain(errcode.New(errcode.PeerDead, "session",
				fmt.Sprintf("nothing heard for %d heartbeats of %v", judge.limit, beat))), nil)
		}
	}
}

// pace is how often the peer hears from us: at our own interval, or at its own where that is shorter. It takes a silence
// of three of its intervals for our death, whatever ours is.
func (s *session) pace() time.Duration {
	beat := s.node.cfg.Heartbeat
	if theirs := time.Duration(s.greeted.GetHeartbeatMs()) * time.Millisecond; theirs > 0 {
		beat = min(beat, max(theirs, minPace))
	}
	return beat
}

func (s *session) lingerThenHangUp() {
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-s.gone:
	case <-t.C:
		s.hangUp()
	}
}

func (s *session) sendHeartbeat() {
	g := s.node.cfg.Greeting(s.peer)
	s.out.beat(event(&controlpb.Heartbeat{
		Version: uint64(g.Version), Floor: uint64(g.Floor), OwnerEpoch: g.Epoch, StoreId: g.StoreID,
	}))
}

// read takes messages until the stream ends. It belongs to one goroutine; the session has been chosen.
func (s *session) read() {
	defer s.hangUp()
	for {
		s.waiting.Store(true)
		ev, err := s.wire.Recv()
		s.waiting.Store(false)
		if err != nil {
			s.end(s.explain(brokeOff(err)), nil)
			return
		}
		s.heard.Add(1)
		s.heardAt.Store(int64(time.Since(s.since)))
		if !s.alive() {
			continue // the farewell is being sent; the peer ends the stream when it has it
		}
		if err := checkEvent(ev); err != nil {
			s.violated(err)
			continue
		}
		if !s.take(ev) {
			return
		}
	}
}

// violated ends the session because the peer broke the protocol, and tells it.
func (s *session) violated(err error) {
	s.end(s.explain(err), event(&controlpb.Bye{Code: int32(errcode.Of(err)), Detail: clip(err.Error(), maxDetail)}))
}

// take handles one message; false ends the reader.
func (s *session) take(ev *controlpb.Event) bool {
	switch k := ev.GetKind().(type) {
	case nil:
		if s.node.unknownEvents.Add(1) == 1 {
			s.node.cfg.Logger.Info("a peer sends events of a newer protocol; they are skipped", "peer", s.peer.Short(), "at", s.remote)
		}
	case *controlpb.Event_Ping:
		// A peer that pings without reading fills its own queue's other end; then the session ends like any other.
		_ = s.Send(event(&controlpb.Pong{Nonce: k.Ping.GetNonce()}))
	case *controlpb.Event_Pong:
		s.mu.Lock()
		if c := s.pings[k.Pong.GetNonce()]; c != nil {
			close(c)
			delete(s.pings, k.Pong.GetNonce())
		}
		s.mu.Unlock()
	case *controlpb.Event_Bye:
		s.end(s.explain(peerSaid("session", k.Bye.GetCode(), "BYE "+k.Bye.GetDetail())), nil)
		return false
	case *controlpb.Event_Refused:
		// The acceptor chose another session while our AUTH was on its way.
		s.end(s.explain(peerSaid("session", k.Refused.GetCode(), k.Refused.GetDetail())), nil)
		return false
	case *controlpb.Event_Hello, *controlpb.Event_Auth:
		s.violated(bad("session", "a second HELLO or AUTH"))
	default:
		s.node.deliver(s, ev)
	}
	return true
}

// explain adds who the session was with.
func (s *session) explain(err error) error {
	var e *errcode.Error
	if errors.As(err, &e) && e.Peer == "" {
		e.Peer = s.peer.String() + " at " + s.remote
	}
	return err
}

func brokeOff(err error) error {
	detail := "the connection broke off"
	if errors.Is(err, io.EOF) {
		detail = "the peer ended the stream without BYE"
	}
	return errcode.New(errcode.PeerDead, "session", detail).Wrap(err)
}
