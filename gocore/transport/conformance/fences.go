package conformance

import (
	"sync"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// at calls fn in the first Enter of a grant that comes after n successful ones.
func (o *Target) at(g *Grant, n uint64, fn func()) {
	var once sync.Once
	o.OnEnter = func(id types.BufferID, entered uint64) {
		if id == g.ID && entered >= n {
			once.Do(fn)
		}
	}
}

func testDraining(f *fixture) {
	const n = 8 << 20
	g := f.target.Add(f, n, types.PermReadWrite, anybody())
	b := Block(f, n)
	f.target.at(g, 2, g.Drain)
	Pattern(b.Bytes()[:n], 1)
	s := transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n}
	f.completed(f.do(NewPost(types.Write, true, s)), n)
	require.Equal(f, sum(b.Bytes()[:n]), sum(g.Bytes()))
	bothWays(func(op types.Op, crc bool) {
		require.Equal(f, errcode.DrainingCode, f.do(NewPost(op, crc, s)).Code)
	})
}

// testFence fences one of two grants in the middle of a request over both: the rest of it is refused, by entry.
func testFence(f *fixture) {
	const n = 4 << 20
	b := Block(f, 3*n)
	for _, op := range []types.Op{types.Write, types.Read} {
		for _, crc := range []bool{true, false} {
			f.target.OnEnter = nil
			g, h := f.target.Add(f, 2*n, types.PermReadWrite, anybody()), f.target.Add(f, n, types.PermReadWrite, anybody())
			both := append(append([]byte{}, g.Bytes()...), h.Bytes()...)
			src, _ := sides(op, b.Bytes()[:3*n], both, 9)
			copy(g.Bytes(), both[:2*n])
			copy(h.Bytes(), both[2*n:])
			f.path = nil // the hook must be set before the path is made
			f.rec = NewRecorder()
			f.posts = nil
			base := f.target.Enters.Load()
			f.target.at(g, base+3, func() { g.Fence() })
			p := NewPost(op, crc,
				transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n},
				transport.Slice{Local: b.Addr() + 2*n, Remote: h.ID, Len: n},
				transport.Slice{Local: b.Addr() + n, Remote: g.ID, Off: n, Len: n})
			r := f.do(p)
			<-g.gate.Quiet()
			require.Equal(f, errcode.OK, r.Code, r.Detail)
			require.NotEmpty(f, r.Failed)
			require.EqualValues(f, 2, r.Failed[len(r.Failed)-1].Index)
			var lost uint64
			for _, x := range r.Failed {
				require.Equal(f, errcode.Revoked, x.Code)
				require.Less(f, x.Applied, p.Slices[x.Index].Len)
				lost += p.Slices[x.Index].Len - x.Applied
			}
			require.Equal(f, p.Bytes-lost, r.Applied)
			if op == types.Write {
				require.Equal(f, sum(src[2*n:]), sum(h.Bytes()), "the other grant's entry is whole")
			} else {
				require.Equal(f, sum(src[2*n:]), sum(b.Bytes()[2*n:3*n]))
			}
			f.works()
			f.finish()
		}
	}
}

// testFenceAside fences from outside while a WRITE runs: from quiet on not one byte changes.
func testFenceAside(f *fixture) {
	const n = 16 << 20
	b := Block(f, n)
	Pattern(b.Bytes(), 2)
	for round := range 8 {
		f.target.OnEnter = nil
		g := f.target.Add(f, n, types.PermReadWrite, anybody())
		started := make(chan struct{})
		f.path, f.rec, f.posts = nil, NewRecorder(), nil
		f.target.at(g, f.target.Enters.Load()+uint64(round), func() { close(started) })
		p := f.post(NewPost(types.Write, round%2 == 0, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n}))
		<-started
		<-g.Fence()
		before := sum(g.Bytes())
		Pattern(g.Bytes(), 3) // the owner uses its memory again
		after := sum(g.Bytes())
		r := f.rec.Wait(f, p)
		if r.Code == errcode.OK {
			require.EqualValues(f, n, r.Applied)
			require.Equal(f, sum(b.Bytes()), before, "completed means that all of it was there before the fence")
		} else {
			require.Equal(f, errcode.Revoked, r.Code)
			require.True(f, r.Answered)
		}
		require.Equal(f, after, sum(g.Bytes()))
		f.finish()
	}
}
