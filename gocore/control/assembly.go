package control

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// chunkBytes is the most that one chunk of Describe holds, encoded, unless a single buffer or the head is larger.
const chunkBytes = 256 << 10

// assembly puts the chunks of Describe together. Memory grows with what has arrived, not with what was announced.
type assembly struct {
	d     descriptor.Descriptor
	count uint64
	begun bool
}

func (a *assembly) add(c *controlpb.DescribeChunk) error {
	if h := c.GetHead(); h != nil {
		if a.begun {
			return invalidDescriptor("it has two heads")
		}
		if err := a.begin(h); err != nil {
			return err
		}
	}
	if !a.begun {
		return invalidDescriptor("its first chunk has no head")
	}
	if n := uint64(len(a.d.Buffers)) + uint64(len(c.GetBuffers())); n > a.count {
		return invalidDescriptor(fmt.Sprintf("%d buffers were announced, and at least %d came", a.count, n))
	}
	if len(c.GetBuffers()) == 0 && c.GetHead() == nil && !c.GetLast() {
		return invalidDescriptor("a chunk is empty")
	}
	for _, b := range c.GetBuffers() {
		if b.GetState() > 255 || b.GetPerm() > 255 {
			return invalidDescriptor(fmt.Sprintf("buffer %d has state %d and permission %d", b.GetId(), b.GetState(), b.GetPerm()))
		}
		a.d.Buffers = append(a.d.Buffers, descriptor.Buffer{
			ID: types.BufferID(b.GetId()), Length: b.GetLength(), State: types.State(b.GetState()), Perm: types.Perm(b.GetPerm()),
			Label: b.GetLabel(), Location: b.GetLocation(),
		})
	}
	return nil
}

func (a *assembly) begin(h *controlpb.DescriptorHead) error {
	id, err := instanceOf(h.GetInstance())
	if err != nil {
		return err
	}
	if h.GetBufferCount() > descriptor.MaxBuffers {
		return invalidDescriptor(fmt.Sprintf("%d buffers were announced, more than %d", h.GetBufferCount(), descriptor.MaxBuffers))
	}
	a.begun, a.count = true, h.GetBufferCount()
	a.d.Head = descriptor.Head{
		Name: h.GetName(), Instance: id, Epoch: h.GetOwnerEpoch(), StoreID: h.GetStoreId(),
		Version: types.Version(h.GetVersion()), Addresses: h.GetAddresses(), Data: h.GetDataAddresses(),
	}
	return nil
}

// descriptor returns the whole, validated.
func (a *assembly) descriptor() (*descriptor.Descriptor, error) {
	if n := uint64(len(a.d.Buffers)); n != a.count {
		return nil, invalidDescriptor(fmt.Sprintf("%d buffers were announced, and %d came", a.count, n))
	}
	if err := a.d.Validate(); err != nil {
		return nil, err
	}
	return &a.d, nil
}

// chunks cuts a descriptor and hands each chunk to send, the last with the digest and proof. A chunk belongs to send.
func chunks(d *descriptor.Descriptor, digest, proof []byte, send func(*controlpb.DescribeChunk) error) error {
	c := &controlpb.DescribeChunk{Head: &controlpb.DescriptorHead{
		Name: d.Name, Instance: d.Instance[:], OwnerEpoch: d.Epoch, StoreId: d.StoreID, Version: uint64(d.Version),
		Addresses: d.Addresses, DataAddresses: d.Data, BufferCount: uint64(len(d.Buffers)),
	}}
	size := proto.Size(c) + len(digest) + len(proof) + 16
	for i := range d.Buffers {
		b := &d.Buffers[i]
		info := &controlpb.BufferInfo{
			Id: uint64(b.ID), Length: b.Length, State: uint32(b.State), Perm: uint32(b.Perm), Label: b.Label, Location: b.Location,
		}
		n := proto.Size(info) + 4
		if size+n > chunkBytes && len(c.Buffers) > 0 {
			if err := send(c); err != nil {
				return err
			}
			c, size = &controlpb.DescribeChunk{}, len(digest)+len(proof)+16
		}
		c.Buffers = append(c.Buffers, info)
		size += n
	}
	c.Last, c.Digest, c.Proof = true, digest, proof
	return send(c)
}
