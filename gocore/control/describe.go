package control

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Describe fetches the whole descriptor of the instance (zero: whoever answers) at the addresses, over a connection of
// its own. What it returns is complete and valid, and its digest was compared.
//
// Errors: as Dial, and METADATA_INVALID for a descriptor that must not be adopted.
func (n *Node) Describe(ctx context.Context, addrs []string, expect types.InstanceID) (*descriptor.Descriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout) // an earlier deadline of the caller stays
	defer cancel()
	for {
		c, reused, err := n.pool.get(n, addrs)
		if err != nil {
			return nil, err
		}
		d, err := n.describeOver(ctx, c, expect)
		n.pool.put(c, err != nil)
		// A pooled connection may have died unseen, with a peer that is long back.
		if reused && errcode.Of(err) == errcode.PeerUnreachable && ctx.Err() == nil {
			continue
		}
		return d, err
	}
}

func (n *Node) describeOver(ctx context.Context, c *pooled, expect types.InstanceID) (*descriptor.Descriptor, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream, however far it was read
	req := &controlpb.DescribeRequest{Caller: n.cfg.Instance[:], Nonce: newNonce()}
	if !expect.IsZero() {
		req.ExpectedInstance = expect[:]
	}
	if len(n.cfg.PSK) > 0 {
		req.Proof = proveDescribe(n.cfg.PSK, roleCaller, req.Nonce, req.Caller, expect[:])
	}
	stream, err := controlpb.NewControlClient(c.client).Describe(ctx, req)
	if err != nil {
		return nil, n.explainDescribe(ctx, c, expect, err, false)
	}
	var a assembly
	for {
		chunk, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil, invalidDescriptor("it ended before its last chunk")
			}
			return nil, n.explainDescribe(ctx, c, expect, err, true)
		}
		if err := a.add(chunk); err != nil {
			return nil, err
		}
		if chunk.GetLast() {
			return n.finish(&a, chunk, req, expect)
		}
	}
}

// finish checks the whole: count, validity, digest, identity, proof.
func (n *Node) finish(a *assembly, last *controlpb.DescribeChunk, req *controlpb.DescribeRequest, expect types.InstanceID) (*descriptor.Descriptor, error) {
	d, err := a.descriptor()
	if err != nil {
		return nil, err
	}
	digest := d.Digest()
	if string(digest[:]) != string(last.GetDigest()) {
		return nil, invalidDescriptor("its digest is not that of what arrived")
	}
	if err := checkProof("describe", n.cfg.PSK, last.GetProof(),
		proveDescribe(n.cfg.PSK, roleDescriber, req.GetNonce(), d.Instance[:], digest[:])); err != nil {
		return nil, err
	}
	if !expect.IsZero() && d.Instance != expect {
		return nil, staleInstance("describe", expect, d.Instance)
	}
	return d, nil
}

// explainDescribe turns gRPC's error into ours: the owner's refusal, the failure of the dial, or what the wire says.
func (n *Node) explainDescribe(ctx context.Context, c *pooled, expect types.InstanceID, err error, streaming bool) error {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*controlpb.Refused); ok && checkEvent(event(r)) == nil {
			present, _ := instanceOf(r.GetInstance())
			if errcode.Code(r.GetCode()) == errcode.StaleInstance {
				return staleInstance("describe", expect, present)
			}
			e := peerSaid("describe", r.GetCode(), r.GetDetail())
			e.Peer = present.String()
			return e
		}
	}
	conn, dialErr := c.last()
	switch {
	case dialErr != nil:
		return dialErr
	case ctx.Err() != nil:
		return errcode.New(errcode.PeerUnreachable, "describe", "not complete when time was up").Wrap(ctx.Err())
	case streaming && status.Code(err) == codes.ResourceExhausted:
		return invalidDescriptor(fmt.Sprintf("a chunk is larger than %d bytes", MaxMessageBytes))
	case streaming && status.Code(err) == codes.Internal && conn != nil && conn.readError() == nil:
		return invalidDescriptor("a chunk cannot be decoded").Wrap(err)
	}
	return explainRPC("describe", err, conn, streaming)
}

func invalidDescriptor(detail string) *errcode.Error {
	return errcode.New(errcode.MetadataInvalid, "describe", "the descriptor was not taken: "+detail)
}
