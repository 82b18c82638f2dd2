package control

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"mooncake_te/gocore/control/controlpb"
)

// newServer makes the one gRPC server. Limits hold before anybody has said who they are.
func (n *Node) newServer() *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.MaxConcurrentStreams(16),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(n.cfg.helloTimeout),
		grpc.ForceServerCodecV2(codec{}),
		grpc.WaitForHandlers(true),
		// Connections without a stream (a Describe long over, or a caller that says nothing) are closed.
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 2 * time.Minute}),
	}
	if n.tls != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(n.tls.server)))
	}
	s := grpc.NewServer(opts...)
	controlpb.RegisterControlServer(s, service{n: n})
	return s
}

// stopServer lets streams end by themselves until soft ends, then cuts every connection.
func (n *Node) stopServer(soft context.Context) {
	graceful := make(chan struct{})
	n.spawn(func() {
		n.server.GracefulStop()
		close(graceful)
	})
	select {
	case <-graceful:
		return
	case <-soft.Done():
	}
	n.listener.cut(func(*inConn) bool { return true })
	n.server.Stop()
}
