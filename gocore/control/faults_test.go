package control

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// rawPeer is a peer that says what a test wants.
type rawPeer struct {
	controlpb.Control_SessionClient
	id types.InstanceID
}

func newRawPeer(t *testing.T, to *testNode) *rawPeer {
	client, err := grpc.NewClient("passthrough:///"+to.Addresses()[0],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() { cancel(); _ = client.Close() })
	s, err := controlpb.NewControlClient(client).Session(ctx)
	require.NoError(t, err)
	return &rawPeer{Control_SessionClient: s, id: types.NewInstanceID()}
}

func (p *rawPeer) hello() *controlpb.Hello {
	return &controlpb.Hello{Instance: p.id[:], ProtocolMin: 1, ProtocolMax: 1, SessionNumber: 1, Nonce: newNonce()}
}

// greet shakes hands as it should be done.
func (p *rawPeer) greet(t *testing.T) {
	require.NoError(t, p.Send(event(p.hello())))
	ev, err := p.Recv()
	require.NoError(t, err)
	require.NotNil(t, ev.GetHello(), "%v", ev)
}

// next returns the next message that is no heartbeat.
func (p *rawPeer) next(t *testing.T) *controlpb.Event {
	for {
		ev, err := p.Recv()
		require.NoError(t, err)
		if ev.GetHeartbeat() == nil {
			return ev
		}
	}
}

func TestBadHelloIsRefused(t *testing.T) {
	n := start(t)
	for says, spoil := range map[string]func(*controlpb.Hello) *controlpb.Event{
		"no HELLO":          func(*controlpb.Hello) *controlpb.Event { return notify("first") },
		"instance must be":  func(h *controlpb.Hello) *controlpb.Event { h.Instance = h.Instance[:15]; return event(h) },
		"not zero":          func(h *controlpb.Hello) *controlpb.Event { h.Instance = make([]byte, 16); return event(h) },
		"expected_instance": func(h *controlpb.Hello) *controlpb.Event { h.ExpectedInstance = []byte{1}; return event(h) },
		"protocol range":    func(h *controlpb.Hello) *controlpb.Event { h.ProtocolMin = 2; return event(h) },
		"name of":           func(h *controlpb.Hello) *controlpb.Event { h.Name = strings.Repeat("n", 513); return event(h) },
		"65 addresses":      func(h *controlpb.Hello) *controlpb.Event { h.Addresses = make([]string, 65); return event(h) },
		"nonce of":          func(h *controlpb.Hello) *controlpb.Event { h.Nonce = nil; return event(h) },
		"session_number":    func(h *controlpb.Hello) *controlpb.Event { h.SessionNumber = 0; return event(h) },
	} {
		p := newRawPeer(t, n)
		require.NoError(t, p.Send(spoil(p.hello())))
		r := p.next(t).GetRefused()
		require.NotNil(t, r)
		require.Equal(t, int32(errcode.MetadataInvalid), r.GetCode())
		require.Contains(t, r.GetDetail(), says)
		require.Equal(t, n.id[:], r.GetInstance())
		_, err := p.Recv()
		require.ErrorIs(t, err, io.EOF)
	}
	require.Empty(t, n.rec.kinds("up"))
}

func TestOlderNumberOfTheSameDiallerIsRefused(t *testing.T) {
	n := start(t)
	p := newRawPeer(t, n)
	h := p.hello()
	h.SessionNumber = 5
	require.NoError(t, p.Send(event(h)))
	require.NotNil(t, p.next(t).GetHello())
	for _, number := range []uint64{4, 5} {
		late := newRawPeer(t, n)
		h.SessionNumber = number
		require.NoError(t, late.Send(event(h)))
		require.Equal(t, int32(errcode.Canceled), late.next(t).GetRefused().GetCode())
	}
	newer := newRawPeer(t, n)
	h.SessionNumber = 6
	require.NoError(t, newer.Send(event(h)))
	require.NotNil(t, newer.next(t).GetHello())
	require.Equal(t, int32(errcode.Canceled), p.next(t).GetBye().GetCode())
	require.Equal(t, uint64(6), n.Session(p.id).Number())
	require.Eventually(t, func() bool { return len(n.rec.kinds("up", "down")) > 1 }, patience, time.Millisecond)
	require.Equal(t, []string{"up", "up"}, n.rec.kinds("up", "down"))
}

// BYE "replaced" without a successor is a loss after all.
func TestSuccessorThatNeverComes(t *testing.T) {
	n := start(t, func(c *Config) { c.DialTimeout = 50 * time.Millisecond })
	p := newRawPeer(t, n)
	p.greet(t)
	require.NoError(t, p.Send(event(&controlpb.Bye{Code: int32(errcode.Canceled), Detail: "replaced"})))
	require.Equal(t, errcode.Canceled, errcode.Of(n.rec.awaitDown(t).err))
}

func TestBrokenProtocolEndsTheSession(t *testing.T) {
	for says, ev := range map[string]*controlpb.Event{
		"second HELLO":    event(newRawHello()),
		"token 0":         {Kind: &controlpb.Event_Retire{Retire: &controlpb.Retire{Tokens: []uint64{0}}}},
		"65537 IDs":       {Kind: &controlpb.Event_Drain{Drain: &controlpb.Drain{Ids: make([]uint64, MaxIDs+1)}}},
		"lies outside":    {Kind: &controlpb.Event_Grant{Grant: &controlpb.GrantInfo{Id: 1, Perm: 1, Length: 10, Ranges: []*controlpb.Range{{Offset: ^uint64(0), Length: 11}}}}},
		"permission 0x4":  {Kind: &controlpb.Event_Grant{Grant: &controlpb.GrantInfo{Id: 1, Perm: 4, Length: 10, Ranges: []*controlpb.Range{{Length: 1}}}}},
		"within_ns -1":    {Kind: &controlpb.Event_Drain{Drain: &controlpb.Drain{WithinNs: -1}}},
		"4097 connection": {Kind: &controlpb.Event_Attach{Attach: &controlpb.Attach{Connections: 4097}}},
	} {
		n := start(t)
		p := newRawPeer(t, n)
		p.greet(t)
		require.NoError(t, p.Send(notify("good")))
		require.NoError(t, p.Send(ev))
		_ = p.Send(notify("after")) // the session may be over by then
		bye := p.next(t).GetBye()
		require.Equal(t, int32(errcode.MetadataInvalid), bye.GetCode())
		require.Contains(t, bye.GetDetail(), says)
		down := n.rec.awaitDown(t)
		requireCode(t, errcode.MetadataInvalid, down.err)
		require.ErrorContains(t, down.err, p.id.String())
		require.NoError(t, p.CloseSend())
		require.Equal(t, []string{"up", "event", "down"}, n.rec.kinds("up", "event", "down"))
	}
}

func newRawHello() *controlpb.Hello {
	id := types.NewInstanceID()
	return &controlpb.Hello{Instance: id[:], ProtocolMin: 1, ProtocolMax: 1, SessionNumber: 1, Nonce: newNonce()}
}

// A newer peer's event kind is counted and skipped.
func TestUnknownEventIsSkipped(t *testing.T) {
	n := start(t)
	p := newRawPeer(t, n)
	p.greet(t)
	newer := &controlpb.Event{}
	newer.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), []byte("new")))
	require.NoError(t, p.Send(newer))
	require.NoError(t, p.Send(notify("known")))
	n.rec.awaitNotify(t, "known")
	require.Equal(t, uint64(1), n.UnknownEvents())
}

func TestBreakWithoutByeIsPeerDead(t *testing.T) {
	a, b := start(t), start(t)
	way := newRelay(t, b.Addresses()[0])
	_, err := a.Dial(t.Context(), way.addrs(), b.id)
	require.NoError(t, err)
	way.mu.Lock()
	for _, c := range way.conns {
		_ = c.Close()
	}
	way.mu.Unlock()
	for _, n := range []*testNode{a, b} {
		requireCode(t, errcode.PeerDead, n.rec.awaitDown(t).err)
	}
}

func TestQueueOverflow(t *testing.T) {
	block := make(chan struct{})
	a := start(t, func(c *Config) { c.MaxQueuedBytes = 256 << 10 })
	b := start(t)
	b.rec.onEvent = func(Session, *controlpb.Event) { <-block }
	defer close(block)
	s := a.dial(t, b)
	big := notify("big")
	big.GetNotify().Payload = make([]byte, 64<<10)
	var err error
	for err == nil {
		err = s.Send(big)
	}
	requireCode(t, errcode.ResourceExhausted, err)
	requireCode(t, errcode.ResourceExhausted, a.rec.awaitDown(t).err)
	requireCode(t, errcode.Closed, s.Send(notify("x")))
	require.ErrorContains(t, s.Send(notify("x")), "RESOURCE_EXHAUSTED")
}

func TestCallerThatSaysNothingIsCutOff(t *testing.T) {
	n := start(t, func(c *Config) { c.helloTimeout = 50 * time.Millisecond })
	p := newRawPeer(t, n)
	_, err := p.Recv()
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))

	// Not even a preface: gRPC's own limit.
	conn, err := net.Dial("tcp", n.Addresses()[0])
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err = io.Copy(io.Discard, conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server must close it")

	// With a key, a caller that does not prove it is cut off likewise, once its HELLO was answered: which a busy machine
	// may not manage within a short time-out.
	for timeout := 50 * time.Millisecond; ; timeout *= 4 {
		require.Less(t, timeout, patience, "a HELLO is never answered")
		keyed := start(t, func(c *Config) { c.helloTimeout = timeout; c.PSK = make([]byte, 16) })
		q := newRawPeer(t, keyed)
		h := q.hello()
		h.Capabilities = []string{capabilityPSK}
		_ = q.Send(event(h))
		answer, err := q.Recv()
		if err == nil {
			require.Len(t, answer.GetHello().GetProof(), proofLen)
			_, err = q.Recv()
			require.Equal(t, codes.DeadlineExceeded, status.Code(err))
			require.Empty(t, keyed.rec.kinds("up"))
			break
		}
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	}
}

func TestGarbageHurtsNobody(t *testing.T) {
	a, b := start(t), start(t)
	s := a.dial(t, b)
	garbage := make([]byte, 64<<10)
	_, _ = rand.Read(garbage)
	for _, what := range [][]byte{garbage, []byte("GET / HTTP/1.1\r\n\r\n"), append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), garbage...), {0}} {
		conn, err := net.Dial("tcp", b.Addresses()[0])
		require.NoError(t, err)
		_, _ = conn.Write(what)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	require.NoError(t, s.Send(notify("unhurt")))
	b.rec.awaitNotify(t, "unhurt")
}

// Connections that say nothing, or stop in the middle, do not hold up Close.
func TestCloseWithHalfOpenConnections(t *testing.T) {
	n := start(t)
	for i := range 20 {
		conn, err := net.Dial("tcp", n.Addresses()[0])
		require.NoError(t, err)
		defer conn.Close()
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "PRI * HTTP/2.0")
		}
	}
	p := newRawPeer(t, n)
	p.greet(t)
	n.close(t)
	l, err := net.Listen("tcp", n.Addresses()[0])
	require.NoError(t, err, "the port is free at once")
	_ = l.Close()
}

func TestConnectionsAreCapped(t *testing.T) {
	n := start(t, func(c *Config) { c.MaxSessions = 2 })
	limit := n.listener.limit
	var open []net.Conn
	for range limit + 5 {
		conn, err := net.Dial("tcp", n.Addresses()[0])
		require.NoError(t, err)
		defer conn.Close()
		open = append(open, conn)
	}
	// The last ones are closed unread; the read ends.
	last := open[len(open)-1]
	require.NoError(t, last.SetReadDeadline(time.Now().Add(patience)))
	_, err := last.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	for _, c := range open {
		_ = c.Close()
	}
	a := start(t)
	require.Eventually(t, func() bool {
		_, err := a.Dial(t.Context(), n.Addresses(), n.id)
		return err == nil
	}, patience, time.Millisecond)
}

// A handler that does not return holds up Close only as long as the caller allows.
func TestCloseIsBoundedByItsContext(t *testing.T) {
	block := make(chan struct{})
	a, b := start(t), start(t)
	entered := make(chan struct{}, 1)
	b.rec.onEvent = func(_ Session, ev *controlpb.Event) {
		if ev.GetNotify() != nil {
			entered <- struct{}{}
			<-block
		}
	}
	require.NoError(t, a.dial(t, b).Send(notify("x")))
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	requireCode(t, errcode.WaitTimeout, b.Close(ctx))
	close(block)
}
