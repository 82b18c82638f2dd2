package tcp

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// doneSink hands each result to whoever waits for it.
type doneSink struct{ done chan errcode.Code }

func (s doneSink) PostDone(_ transport.Path, _ *transport.Post, r transport.Result) { s.done <- r.Code }
func (s doneSink) PathDown(transport.Path, error)                                   {}

// BenchmarkTransfer moves scattered blocks between eight sets of cold memory over loopback, cut into posts of 4 MiB as the
// engine cuts them, over one or two connections.
func BenchmarkTransfer(b *testing.B) {
	for _, shape := range []struct {
		name   string
		blocks int
		size   int
	}{{"1x64MiB", 1, 64 << 20}, {"1024x4KiB", 1024, 4 << 10}, {"256x64KiB", 256, 64 << 10}, {"1x4KiB", 1, 4 << 10}, {"1x8B", 1, 8}} {
		for _, op := range []types.Op{types.Write, types.Read} {
			for _, crc := range []bool{false, true} {
				for _, conns := range []int{1, 2} {
					if conns > 1 && shape.blocks*shape.size < 1<<20 {
						continue
					}
					name := fmt.Sprintf("%s/%v/crc=%v/conns=%d", shape.name, op, crc, conns)
					b.Run(name, func(b *testing.B) { benchmarkTransfer(b, op, crc, conns, shape.blocks, shape.size) })
				}
			}
		}
	}
}

func benchmarkTransfer(b *testing.B, op types.Op, crc bool, conns, blocks, size int) {
	const sets = 8
	p := newPair(b, nil)
	sink := doneSink{make(chan errcode.Code, 1024)}
	paths := make([]*Path, conns)
	for i := range paths {
		paths[i] = p.dial(b, sink, nil)
	}
	total := blocks * size
	n := sets
	if total >= 16<<20 {
		n = 2
	}
	remote := p.target.Add(b, n*total, types.PermReadWrite, types.InstanceID{})
	local := conformance.Block(b, n*total)
	for i := range n * total {
		local.Bytes()[i] = byte(i)
		remote.Bytes()[i] = byte(i * 3)
	}
	batches := make([][]*transport.Post, n)
	for set := range batches {
		batches[set] = cut(op, crc, local.Addr()+uint64(set*total), remote.ID, uint64(set*total), blocks, size, conns)
	}
	b.SetBytes(int64(total))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		posts := batches[i%n]
		for k, post := range posts {
			post.ID += 1 << 32 // never used again
			paths[k%conns].Post(post)
		}
		for range posts {
			require.Equal(b, errcode.OK, <-sink.done)
		}
	}
}

// cut makes posts over blocks in random order.
func cut(op types.Op, crc bool, addr uint64, id types.BufferID, off uint64, blocks, size, conns int) []*transport.Post {
	most := min(4<<20, max(blocks*size/conns, size))
	var out []*transport.Post
	if size > most {
		for o := 0; o < size; o += most {
			out = append(out, conformance.NewPost(op, crc, transport.Slice{
				Local: addr + uint64(o), Remote: id, Off: off + uint64(o), Len: uint64(min(most, size-o)),
			}))
		}
		return out
	}
	from, to := rand.Perm(blocks), rand.Perm(blocks)
	var slices []transport.Slice
	for i := range blocks {
		slices = append(slices, transport.Slice{
			Local: addr + uint64(from[i]*size), Remote: id, Off: off + uint64(to[i]*size), Len: uint64(size),
		})
		if len(slices)*size >= most || i == blocks-1 {
			out = append(out, conformance.NewPost(op, crc, slices...))
			slices = nil
		}
	}
	return out
}
