package etcd

import (
	"context"
	"net"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
)

// How the connections behave. A server that comes back is found within maxBackoff.
const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond
	keepAlive    = 10 * time.Second // what servers allow is one ping in 5 s; the library rounds less up to 10
	maxTrials    = 1                // by the library, which would repeat writes too; call.go says what is asked again
)

// dial makes the client; it connects at the first use.
func dial(o *Options, auth *authentication) (*clientv3.Client, error) {
	secure, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: o.Endpoints, TLS: secure, Logger: quiet(o.Logger), MaxUnaryRetries: maxTrials,
		DialTimeout: o.DialTimeout, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: o.DialTimeout,
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: firstBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
				MinConnectTimeout: o.DialTimeout,
			}),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil {
					return nil, err
				}
				return forkfd.Conn(conn), nil
			}),
			// The library waits for a connection until the context ends, and then cannot say what was wrong with it.
			grpc.WithChainUnaryInterceptor(failFast),
			grpc.WithChainStreamInterceptor(failFastStream),
			grpc.WithPerRPCCredentials(auth),
			grpc.WithStatsHandler(sentHandler{}),
		},
	})
	if err != nil {
		return nil, errcode.New(errcode.InvalidArgument, openOp, "the client cannot be made for "+o.url()).Wrap(err)
	}
	return client, nil
}

func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return next(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

func failFastStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return next(ctx, desc, cc, method, append(opts, grpc.WaitForReady(false))...)
}
