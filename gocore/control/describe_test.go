package control

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func describeMe(n *testNode, buffers int) *descriptor.Descriptor {
	d := &descriptor.Descriptor{Head: descriptor.Head{
		Name: "segment", Instance: n.id, Version: 1_700_000_000_000_000, Addresses: n.Addresses(), Data: []string{"127.0.0.1:1"},
	}}
	for i := range buffers {
		d.Buffers = append(d.Buffers, descriptor.Buffer{
			ID: types.BufferID(i + 1), Length: uint64(i + 4096), State: types.Ready, Perm: types.PermReadWrite,
			Label: fmt.Sprint("layer.", i), Location: "cpu:0",
		})
	}
	return d
}

func TestDescribe(t *testing.T) {
	a, b := start(t), start(t)
	for _, buffers := range []int{0, 1, 100_000} {
		b.rec.desc = describeMe(b, buffers)
		for _, expect := range []types.InstanceID{{}, b.id} {
			got, err := a.Describe(t.Context(), b.Addresses(), expect)
			require.NoError(t, err)
			require.Equal(t, b.rec.desc.Digest(), got.Digest())
			require.Len(t, got.Buffers, buffers)
		}
	}
	_, err := a.Describe(t.Context(), b.Addresses(), types.NewInstanceID())
	var stale *StaleInstanceError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, b.id, stale.Present)

	b.rec.mu.Lock()
	b.rec.desc = nil // closing
	b.rec.mu.Unlock()
	_, err = a.Describe(t.Context(), b.Addresses(), b.id)
	requireCode(t, errcode.PeerUnreachable, err)
}

// The pooled connection dies with the first owner; the next call finds the second without an error in between.
func TestDescribeAfterRestart(t *testing.T) {
	a, b := start(t), start(t)
	b.rec.desc = describeMe(b, 1)
	_, err := a.Describe(t.Context(), b.Addresses(), b.id)
	require.NoError(t, err)
	b.close(t)
	b2 := start(t, func(c *Config) { c.Listen = b.Addresses()[0] })
	b2.rec.desc = describeMe(b2, 2)
	got, err := a.Describe(t.Context(), b2.Addresses(), b2.id)
	require.NoError(t, err)
	require.Len(t, got.Buffers, 2)
}

func TestDescribePoolIsBounded(t *testing.T) {
	a, b := start(t), start(t)
	b.rec.desc = describeMe(b, 1)
	for i := range maxPooled + 10 {
		// Each list is another client; all but the last address refuse.
		_, err := a.Describe(t.Context(), append(b.Addresses(), fmt.Sprintf("127.0.0.1:%d", i+1)), b.id)
		require.NoError(t, err)
	}
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	require.Len(t, a.pool.clients, maxPooled)
}

func TestChunksAreSmall(t *testing.T) {
	b := start(t)
	d := describeMe(b, 50_000)
	for i := range d.Buffers {
		d.Buffers[i].Label = strings.Repeat("l", descriptor.MaxLabelLen)
	}
	digest := d.Digest()
	var a assembly
	n := 0
	require.NoError(t, chunks(d, digest[:], make([]byte, proofLen), func(c *controlpb.DescribeChunk) error {
		n++
		require.LessOrEqual(t, proto.Size(c), chunkBytes)
		return a.add(c)
	}))
	require.Greater(t, n, 50)
	got, err := a.descriptor()
	require.NoError(t, err)
	require.Equal(t, d, got)
}

// liar is a Describe server that sends what it is told to.
type liar struct {
	controlpb.UnimplementedControlServer
	chunks []*controlpb.DescribeChunk
}

func (l *liar) Describe(_ *controlpb.DescribeRequest, s grpc.ServerStreamingServer[controlpb.DescribeChunk]) error {
	for _, c := range l.chunks {
		if err := s.Send(c); err != nil {
			return err
		}
	}
	return nil
}

func TestDescribeRefusesWhatIsWrong(t *testing.T) {
	a, b := start(t), start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, lie := grpc.NewServer(), &liar{}
	controlpb.RegisterControlServer(server, lie)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	honest := func() []*controlpb.DescribeChunk {
		d := describeMe(b, 3)
		digest := d.Digest()
		var out []*controlpb.DescribeChunk
		require.NoError(t, chunks(d, digest[:], nil, func(c *controlpb.DescribeChunk) error { out = append(out, c); return nil }))
		return out
	}
	for says, twist := range map[string]func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk{
		"":              func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { return c },
		"digest":        func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Digest[0]++; return c },
		"digest is not": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Buffers[1].Length++; return c },
		"ended before":  func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Last = false; return c },
		"no head":       func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Head = nil; return c },
		"two heads": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk {
			c[0].Last = false
			return append(c, c[0])
		},
		"chunk is empty": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk {
			c[0].Last = false
			return append(c, &controlpb.DescribeChunk{})
		},
		"2 buffers were announced, and at least 3": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Head.BufferCount = 2; return c },
		"4 buffers were announced, and 3":          func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Head.BufferCount = 4; return c },
		"more than 4194304": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk {
			c[0].Head.BufferCount = 1 << 60
			return c
		},
		"ascending": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { slices.Reverse(c[0].Buffers); return c },
		"15 bytes": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk {
			c[0].Head.Instance = c[0].Head.Instance[:15]
			return c
		},
		"state 256": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk { c[0].Buffers[0].State = 256; return c },
		"a chunk is larger than": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk {
			c[0].Head.Name = strings.Repeat("n", MaxMessageBytes)
			return c
		},
		"cannot be decoded": func(c []*controlpb.DescribeChunk) []*controlpb.DescribeChunk {
			for range maxRecords {
				c[0].Buffers = append(c[0].Buffers, &controlpb.BufferInfo{})
			}
			return c
		},
	} {
		lie.chunks = twist(honest())
		d, err := a.Describe(t.Context(), []string{l.Addr().String()}, b.id)
		if says == "" {
			require.NoError(t, err)
			continue
		}
		require.Nil(t, d)
		requireCode(t, errcode.MetadataInvalid, err)
		require.ErrorContains(t, err, says)
	}

	lie.chunks = honest()
	_, err = a.Describe(t.Context(), []string{l.Addr().String()}, a.id)
	requireCode(t, errcode.StaleInstance, err)
}

func TestDescribeEndsWithItsContext(t *testing.T) {
	a := start(t)
	addrs := serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); <-t.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.Describe(ctx, addrs, types.InstanceID{})
	requireCode(t, errcode.PeerUnreachable, err)
}
