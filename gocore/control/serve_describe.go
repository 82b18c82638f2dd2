package control

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// maxDescribing bounds the descriptors on their way at once; more callers wait.
const maxDescribing = 32

// Describe streams the descriptor as it is now. Like Session it leaves the work to another goroutine, so that a caller
// that does not read holds a place for describeTimeout at most.
func (v service) Describe(req *controlpb.DescribeRequest, stream grpc.ServerStreamingServer[controlpb.DescribeChunk]) error {
	n := v.n
	ctx, cancel := context.WithTimeout(stream.Context(), describeTimeout)
	defer cancel()
	stop := context.AfterFunc(n.ctx, cancel)
	defer stop()
	caller, err := n.admitDescribe(req)
	if err != nil {
		if errcode.Of(err) != errcode.StaleInstance {
			n.cfg.Logger.Warn("describe refused", "from", remoteOf(ctx), "error", err)
		}
		return n.refuseDescribe(err)
	}
	select {
	case n.describing <- struct{}{}:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	result := make(chan error, 1)
	n.spawn(func() {
		defer func() { <-n.describing }()
		result <- n.serveDescribe(ctx, caller, req, stream)
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (n *Node) serveDescribe(ctx context.Context, caller types.InstanceID, req *controlpb.DescribeRequest, stream grpc.ServerStreamingServer[controlpb.DescribeChunk]) error {
	d := n.cfg.Handler.Describe(caller)
	if d == nil {
		return n.refuseDescribe(errcode.New(errcode.PeerUnreachable, "describe", "the engine is closing"))
	}
	digest := d.Digest()
	var proof []byte
	if len(n.cfg.PSK) > 0 {
		proof = proveDescribe(n.cfg.PSK, roleDescriber, req.GetNonce(), d.Instance[:], digest[:])
	}
	return chunks(d, digest[:], proof, func(c *controlpb.DescribeChunk) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return stream.Send(c)
	})
}

// admitDescribe checks who asks and whom they mean.
func (n *Node) admitDescribe(req *controlpb.DescribeRequest) (types.InstanceID, error) {
	const op = "serve describe"
	caller, err := instanceOf(req.GetCaller())
	if err != nil {
		return caller, err
	}
	expected, err := instanceOf(req.GetExpectedInstance())
	if err != nil {
		return caller, err
	}
	if len(req.GetNonce()) != nonceLen {
		return caller, bad(op, "nonce of %d bytes", len(req.GetNonce()))
	}
	want := proveDescribe(n.cfg.PSK, roleCaller, req.GetNonce(), caller[:], expected[:])
	if err := checkProof(op, n.cfg.PSK, req.GetProof(), want); err != nil {
		return caller, err
	}
	if !expected.IsZero() && expected != n.cfg.Instance {
		return caller, staleInstance(op, expected, n.cfg.Instance)
	}
	return caller, nil
}

// refuseDescribe makes a gRPC status that carries REFUSED.
func (n *Node) refuseDescribe(err error) error {
	s, detailErr := status.New(codes.FailedPrecondition, clip(err.Error(), maxDetail)).WithDetails(refusal(err, n.cfg.Instance))
	if detailErr != nil {
		return status.Error(codes.Internal, fmt.Sprintf("%v; and the refusal could not be encoded: %v", err, detailErr))
	}
	return s.Err()
}
