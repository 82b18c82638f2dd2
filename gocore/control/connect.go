package control

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
	"mooncake_te/gocore/netaddr"
)

// lastWords is how long a failed write waits for what is already on its way; the peer has hung up, so it seldom waits.
const lastWords = 100 * time.Millisecond

// outConn is a connection that we dialled; it remembers what tells one failure from another.
type outConn struct {
	net.Conn
	heard atomic.Int64 // bytes, of the peer's gRPC

	mu  sync.Mutex
	err error // the first that reading gave
}

func (c *outConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard.Add(int64(n))
	if err != nil {
		c.mu.Lock()
		if c.err == nil {
			c.err = err
		}
		c.mu.Unlock()
	}
	return n, err
}

// Write looks, when it fails, at what the peer said before it hung up: a TLS 1.3 server refuses a client's certificate
// when the client already writes, and the reason lies unread behind the broken pipe.
func (c *outConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && c.SetReadDeadline(time.Now().Add(lastWords)) == nil {
		_, _ = c.Read(make([]byte, 512))
	}
	return n, err
}

func (c *outConn) readError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// connect dials, and shakes hands where TLS is configured. gRPC gets the finished connection: it would turn the errors
// of both into text.
func (n *Node) connect(ctx context.Context, addrs []string) (*outConn, error) {
	raw, err := netaddr.Dial(ctx, "tcp", addrs)
	if err != nil {
		return nil, err
	}
	raw = forkfd.Conn(raw)
	if n.tls == nil {
		return &outConn{Conn: raw}, nil
	}
	c := tls.Client(raw, n.tls.client)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, explainTLS(raw.RemoteAddr().String(), err, ctx.Err())
	}
	return &outConn{Conn: c}, nil
}

func explainTLS(remote string, err, timedOut error) error {
	var header tls.RecordHeaderError
	e := errcode.New(errcode.MetadataRefused, "dial", "the TLS handshake failed").Wrap(err).
		WithHint("do both sides use TLS, with certificates of the same CA?")
	switch {
	case timedOut != nil:
		e = errcode.New(errcode.PeerUnreachable, "dial", "connected, but the TLS handshake was not answered in time").Wrap(timedOut)
	case errors.As(err, &header):
		e = errcode.New(errcode.Unsupported, "dial", "what answers does not speak TLS").Wrap(err)
	}
	e.Peer = remote
	return e
}

// newClient makes a gRPC client over our own dialler. No proxy, no service configuration and no retry: one attempt is
// one attempt.
func (n *Node) newClient(dial func(context.Context) (net.Conn, error), opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///peer", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // TLS is below
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithMaxHeaderListSize(16 << 10),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: n.cfg.DialTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageBytes),
			grpc.MaxCallSendMsgSize(MaxMessageBytes),
			grpc.ForceCodecV2(codec{})),
	}, opts...)...)
}

// explainRPC says what a gRPC error before the first answer means. ready: gRPC itself was up at the other side.
func explainRPC(op string, err error, conn *outConn, ready bool) *errcode.Error {
	e := errcode.New(errcode.PeerUnreachable, op, "the connection ended before an answer").Wrap(err)
	if conn != nil {
		e.Peer = conn.RemoteAddr().String()
	}
	code := status.Code(err)
	var alert tls.AlertError
	switch {
	case conn != nil && errors.As(conn.readError(), &alert), conn != nil && isRemoteAlert(conn.readError()):
		e.Code, e.Detail, e.Err = errcode.MetadataRefused, "the peer refused our certificate", conn.readError()
		e.Hint = "do both sides use TLS, with certificates of the same CA?"
	case !ready && conn != nil && conn.heard.Load() > 0,
		code == codes.Unimplemented, code == codes.Unknown && !errors.Is(err, io.EOF), code == codes.Internal:
		e.Code, e.Detail = errcode.Unsupported, "what answers is no mooncake_te engine"
		e.Hint = "is this the control port of an engine?"
	case !ready:
		e.Detail = "connected, but it said nothing"
		e.Hint = "is this the control port of an engine, and does it use TLS?"
	}
	return e
}

// isRemoteAlert: an alert that the peer sent is a net.OpError "remote error" around an unexported type.
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
