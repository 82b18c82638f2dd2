package etcd

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// sentFlag tells whether any request under a context left this process: if none did, a write cannot have landed.
type sentFlag struct{ sent atomic.Bool }

type sentKey struct{}

func withSent(ctx context.Context) (context.Context, *sentFlag) {
	f := &sentFlag{}
	return context.WithValue(ctx, sentKey{}, f), f
}

// sentHandler sets the flags. gRPC calls it when a request is handed to a connection that stands.
type sentHandler struct{}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (sentHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.OutHeader, *stats.OutPayload:
		if f, ok := ctx.Value(sentKey{}).(*sentFlag); ok {
			f.sent.Store(true)
		}
	}
}

func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (sentHandler) HandleConn(context.Context, stats.ConnStats) {}
