package conformance

import (
	"math/rand/v2"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

func testSizes(f *fixture) {
	const most = 8 << 20
	g := f.target.Add(f, most+64, types.PermReadWrite, anybody())
	b := Block(f, most+64)
	here, there := b.Bytes()[:most+64], g.Bytes()
	seed := uint64(0)
	for _, n := range []int{1, 2, 3, 7, 8, 63, 4095, 4096, 4097, 65535, 65536, 65537, 512<<10 - 1, 512 << 10, 512<<10 + 1, 1 << 20, most} {
		bothWays(func(op types.Op, crc bool) {
			seed++
			// Not aligned, and with bytes around that must stay as they are.
			src, dst := sides(op, here[:n+64], there[:n+64], seed)
			p := NewPost(op, crc, transport.Slice{Local: b.Addr() + 5, Remote: g.ID, Off: 5, Len: uint64(n)})
			f.completed(f.do(p), uint64(n))
			require.Equal(f, uint64(n), p.Moved.Load())
			require.Equal(f, sum(src[5:5+n]), sum(dst[5:5+n]), "%v of %d bytes", op, n)
			require.Equal(f, make([]byte, 5), dst[:5])
			require.Equal(f, make([]byte, 59), dst[5+n:])
		})
	}
}

// scatter makes one slice per block of size bytes, in random order on both sides.
func scatter(local uint64, id types.BufferID, blocks, size int, seed uint64) []transport.Slice {
	rng := rand.New(rand.NewPCG(seed, 1))
	from, to := rng.Perm(blocks), rng.Perm(blocks)
	out := make([]transport.Slice, blocks)
	for i := range out {
		out[i] = transport.Slice{
			Local: local + uint64(from[i]*size), Remote: id, Off: uint64(to[i] * size), Len: uint64(size), Req: uint32(i),
		}
	}
	return out
}

func testTables(f *fixture) {
	for i, c := range []struct{ blocks, size int }{{1, 100}, {2, 1}, {1024, 4096}, {1025, 333}, {4096, 8}, {65537, 16}} {
		n := c.blocks * c.size
		g := f.target.Add(f, n, types.PermReadWrite, anybody())
		b := Block(f, n)
		bothWays(func(op types.Op, crc bool) {
			src, dst := sides(op, b.Bytes()[:n], g.Bytes(), uint64(i))
			slices := scatter(b.Addr(), g.ID, c.blocks, c.size, uint64(i))
			f.completed(f.do(NewPost(op, crc, slices...)), uint64(n))
			for _, s := range slices {
				from, to := int(s.Local-b.Addr()), int(s.Off)
				if op == types.Read {
					from, to = to, from
				}
				if string(src[from:from+c.size]) != string(dst[to:to+c.size]) {
					require.Failf(f, "wrong bytes", "%v, block %d of %d", op, s.Req, c.blocks)
				}
			}
		})
	}
}

// testCrossing has entries of all lengths, so that they start and end anywhere in a chunk, over two grants.
func testCrossing(f *fixture) {
	const n = 6 << 20
	g, h := f.target.Add(f, n, types.PermReadWrite, anybody()), f.target.Add(f, n, types.PermReadWrite, anybody())
	b := Block(f, 2*n)
	rng := rand.New(rand.NewPCG(4, 2))
	bothWays(func(op types.Op, crc bool) {
		here := b.Bytes()[:2*n]
		both := append(append([]byte{}, g.Bytes()...), h.Bytes()...)
		src, dst := sides(op, here, both, 3)
		copy(g.Bytes(), both[:n])
		copy(h.Bytes(), both[n:])
		var slices []transport.Slice
		for off := uint64(0); off < n; {
			m := min(1+rng.Uint64N(1<<(1+rng.UintN(20))), n-off)
			slices = append(slices,
				transport.Slice{Local: b.Addr() + off, Remote: g.ID, Off: off, Len: m},
				transport.Slice{Local: b.Addr() + n + off, Remote: h.ID, Off: off, Len: m})
			off += m
		}
		f.completed(f.do(NewPost(op, crc, slices...)), 2*n)
		copy(both, g.Bytes())
		copy(both[n:], h.Bytes())
		require.Equal(f, sum(src), sum(dst))
	})
}

// testRefusals mixes good entries with bad ones of every kind: the good ones are served, and bytes of the bad ones stay.
func testRefusals(f *fixture) {
	const n = 100 << 10
	f.open()
	good := f.target.Add(f, 8*n, types.PermReadWrite, f.self)
	draining := f.target.Add(f, n, types.PermReadWrite, anybody())
	draining.Drain()
	revoked := f.target.Add(f, n, types.PermReadWrite, anybody())
	<-revoked.Fence()
	others := f.target.Add(f, n, types.PermReadWrite, types.NewInstanceID())
	b := Block(f, 8*n)
	bothWays(func(op types.Op, crc bool) {
		perm := types.PermRead
		if op == types.Read {
			perm = types.PermWrite
		}
		wrongWay := f.target.Add(f, n, perm, anybody())
		bad := map[int]struct {
			id   types.BufferID
			off  uint64
			code errcode.Code
		}{
			1: {draining.ID, 0, errcode.DrainingCode}, 2: {revoked.ID, 0, errcode.Revoked}, 3: {others.ID, 0, errcode.Permission},
			4: {wrongWay.ID, 0, errcode.Permission}, 5: {good.ID, 8*n - 1, errcode.OutOfBounds}, 7: {9999, 0, errcode.StaleBuffer},
		}
		src, dst := sides(op, b.Bytes()[:8*n], good.Bytes(), 5)
		for i := range dst {
			dst[i] = 0xee
		}
		var slices []transport.Slice
		want := []transport.SliceResult{}
		for i := range 8 {
			s := transport.Slice{Local: b.Addr() + uint64(i*n), Remote: good.ID, Off: uint64(i * n), Len: n}
			if x, ok := bad[i]; ok {
				s.Remote, s.Off = x.id, x.off
				want = append(want, transport.SliceResult{Index: uint32(i), Code: x.code})
			}
			slices = append(slices, s)
		}
		r := f.do(NewPost(op, crc, slices...))
		require.Equal(f, errcode.OK, r.Code, r.Detail)
		require.True(f, r.Answered)
		require.Equal(f, want, r.Failed)
		require.EqualValues(f, 2*n, r.Applied)
		for i := range 8 {
			part := dst[i*n : (i+1)*n]
			if _, ok := bad[i]; !ok {
				require.Equal(f, sum(src[i*n:(i+1)*n]), sum(part), "entry %d", i)
				continue
			}
			for k := range part {
				if part[k] != 0xee {
					require.Failf(f, "a refused entry was touched", "%v, entry %d, byte %d", op, i, k)
				}
			}
		}
	})
	f.works()
}

func testAllRefused(f *fixture) {
	const n = 3 << 20
	g := f.target.Add(f, n, types.PermReadWrite, anybody())
	b := Block(f, n)
	bothWays(func(op types.Op, crc bool) {
		for code, s := range map[errcode.Code]transport.Slice{
			errcode.StaleBuffer: {Local: b.Addr(), Remote: 1, Len: n},
			errcode.OutOfBounds: {Local: b.Addr(), Remote: g.ID, Off: 1, Len: n},
		} {
			r := f.do(NewPost(op, crc, s))
			require.Equal(f, code, r.Code)
			require.Empty(f, r.Failed)
			require.True(f, r.Answered)
			require.Zero(f, r.Applied)
			require.Equal(f, MetadataVersion, r.Version)
		}
		// Wrapping around must not look like lying inside.
		r := f.do(NewPost(op, crc, transport.Slice{Local: b.Addr(), Remote: g.ID, Off: ^uint64(0), Len: 2}))
		require.Equal(f, errcode.OutOfBounds, r.Code)
	})
	f.works()
}
