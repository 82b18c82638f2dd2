package conformance

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// large is more than sockets buffer, so that a request of it is under way for as long as its target is held.
const large = 64 << 20

// hold makes the target wait at its n-th access to g until release is called.
func (f *fixture) hold(g *Grant, n uint64) (held <-chan struct{}, release func()) {
	reached, let := make(chan struct{}), make(chan struct{})
	f.target.at(g, n, func() {
		close(reached)
		<-let
	})
	release = sync.OnceFunc(func() { close(let) })
	f.Cleanup(release)
	return reached, release
}

func testAbort(f *fixture) {
	b := Block(f, large)
	for _, op := range []types.Op{types.Write, types.Read} {
		f.target.OnEnter = nil
		g := f.target.Add(f, large, types.PermReadWrite, anybody())
		f.path, f.rec, f.posts = nil, NewRecorder(), nil
		held, release := f.hold(g, f.target.Enters.Load()+2)
		p := f.post(NewPost(op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: large}))
		<-held
		next := NewPost(op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096})
		f.path.Abort(p)
		f.path.Abort(p)
		f.post(next)
		release()
		r := f.rec.Wait(f, p)
		require.Equal(f, errcode.Canceled, r.Code, r.Detail)
		require.True(f, r.Sent)
		require.True(f, r.Answered, "the target said that it is over")
		require.Less(f, r.Applied, p.Bytes)
		f.completed(f.rec.Wait(f, next), 4096)
		f.works()
		f.finish()
	}
}

func testAbortQueued(f *fixture) {
	b := Block(f, large)
	g := f.target.Add(f, large, types.PermReadWrite, anybody())
	held, release := f.hold(g, 0)
	first := f.post(NewPost(types.Write, false, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: large}))
	<-held
	second := f.post(NewPost(types.Write, false, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096}))
	third := f.post(NewPost(types.Write, false, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096}))
	f.path.Abort(second)
	r := f.rec.Wait(f, second) // while the first one still holds the target
	require.Equal(f, errcode.Canceled, r.Code)
	require.False(f, r.Sent)
	require.Empty(f, f.rec.Results(first))
	release()
	f.completed(f.rec.Wait(f, first), large)
	f.completed(f.rec.Wait(f, third), 4096)
}

func testAbortLate(f *fixture) {
	b := Block(f, 4096)
	g := f.target.Add(f, 4096, types.PermReadWrite, anybody())
	p := NewPost(types.Read, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096})
	f.open()
	f.path.Abort(p) // never posted
	f.completed(f.do(p), 4096)
	f.path.Abort(p)
	f.works()
}

func testClasses(f *fixture) {
	b := Block(f, large)
	g := f.target.Add(f, large, types.PermReadWrite, anybody())
	held, release := f.hold(g, 0)
	slice := transport.Slice{Local: b.Addr(), Remote: g.ID, Len: large}
	f.post(NewPost(types.Write, false, slice))
	<-held
	bulk := f.post(NewPost(types.Write, false, slice))
	latency := NewPost(types.Write, false, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 8})
	latency.Class = types.Latency
	f.post(latency)
	release()
	f.completed(f.rec.Wait(f, latency), 8)
	f.completed(f.rec.Wait(f, bulk), large)
	require.Less(f, f.rec.order(latency), f.rec.order(bulk))
}

func testClose(f *fixture) {
	b := Block(f, large)
	g := f.target.Add(f, large, types.PermReadWrite, anybody())
	held, release := f.hold(g, 1)
	slice := transport.Slice{Local: b.Addr(), Remote: g.ID, Len: large}
	first := f.post(NewPost(types.Write, true, slice))
	<-held
	var queued []*transport.Post
	for range 5 {
		queued = append(queued, f.post(NewPost(types.Read, true, slice)))
	}
	cause := errcode.New(errcode.Fenced, "close path", "for the test")
	f.path.Close(cause)
	f.path.Close(nil)
	release()
	for _, p := range queued {
		r := f.rec.Wait(f, p)
		require.NotEqual(f, errcode.OK, r.Code)
		require.False(f, r.Answered)
	}
	require.NotEqual(f, errcode.OK, f.rec.Wait(f, first).Code)
	require.ErrorIs(f, f.rec.WaitDown(f), cause)
	<-g.Fence() // nobody is left inside
}

func testPostAfterClose(f *fixture) {
	b := Block(f, 4096)
	g := f.target.Add(f, 4096, types.PermReadWrite, anybody())
	f.open()
	f.path.Close(nil)
	f.rec.WaitDown(f)
	p := NewPost(types.Read, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096})
	f.path.Post(p)
	r := f.rec.Wait(f, p)
	require.Equal(f, errcode.Closed, r.Code)
	require.False(f, r.Sent)
	f.rec.forget(p) // it could only come late
	f.path.Abort(p)
}

// broken is memory of which the second half is gone, by a truncated file or by its protection.
func (f *fixture) broken(n int, truncated bool) uint64 {
	f.Helper()
	if !truncated {
		m := Block(f, 2*n)
		require.NoError(f, unix.Mprotect(m.Bytes()[n:2*n], unix.PROT_NONE))
		return m.Addr()
	}
	file, err := os.Create(filepath.Join(f.TempDir(), "buffer"))
	require.NoError(f, err)
	defer func() { require.NoError(f, file.Close()) }()
	require.NoError(f, file.Truncate(int64(2*n)))
	b, err := unix.Mmap(int(file.Fd()), 0, 2*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, unix.Munmap(b)) })
	require.NoError(f, file.Truncate(int64(n)))
	return mem.Address(b)
}

const faultSize = 256 << 10

func testTargetFault(f *fixture) {
	for _, truncated := range []bool{true, false} {
		bad := f.target.AddMemory(f.broken(faultSize, truncated), 2*faultSize, types.PermReadWrite, anybody())
		good := f.target.Add(f, faultSize, types.PermReadWrite, anybody())
		b := Block(f, 3*faultSize)
		for _, n := range []uint64{2 * faultSize, faultSize + 100} {
			bothWays(func(op types.Op, crc bool) {
				r := f.do(NewPost(op, crc, transport.Slice{Local: b.Addr(), Remote: bad.ID, Len: n}))
				require.Equal(f, errcode.MemoryFault, r.Code)
				require.True(f, r.Answered)
				require.LessOrEqual(f, r.Applied, uint64(faultSize))
			})
		}
		bothWays(func(op types.Op, crc bool) {
			src, dst := sides(op, b.Bytes()[:faultSize], good.Bytes(), 12)
			r := f.do(NewPost(op, crc,
				transport.Slice{Local: b.Addr() + faultSize, Remote: bad.ID, Off: faultSize, Len: 64},
				transport.Slice{Local: b.Addr(), Remote: good.ID, Len: faultSize},
				transport.Slice{Local: b.Addr() + 2*faultSize, Remote: bad.ID, Off: faultSize - 64, Len: 128}))
			require.Equal(f, errcode.OK, r.Code, r.Detail)
			require.Len(f, r.Failed, 2, "the entries in broken memory fail, alone")
			require.EqualValues(f, 0, r.Failed[0].Index)
			require.EqualValues(f, 2, r.Failed[1].Index)
			require.Equal(f, errcode.MemoryFault, r.Failed[1].Code)
			require.Equal(f, sum(src), sum(dst))
		})
		// Good entries before and behind a bad one, few enough bytes to travel together.
		bothWays(func(op types.Op, crc bool) {
			const part = 6 << 10
			src, dst := sides(op, b.Bytes()[:8*part], good.Bytes()[:8*part], 13)
			var slices []transport.Slice
			for i := range uint64(8) {
				slices = append(slices, transport.Slice{Local: b.Addr() + i*part, Remote: good.ID, Off: i * part, Len: part})
			}
			slices[5].Remote, slices[5].Off = bad.ID, faultSize
			r := f.do(NewPost(op, crc, slices...))
			require.Equal(f, errcode.OK, r.Code, r.Detail)
			require.Equal(f, []transport.SliceResult{{Index: 5, Code: errcode.MemoryFault}}, r.Failed)
			require.Equal(f, sum(src[:5*part]), sum(dst[:5*part]))
			require.Equal(f, sum(src[6*part:]), sum(dst[6*part:]))
		})
		f.works()
	}
}

func testInitiatorFault(f *fixture) {
	for _, truncated := range []bool{true, false} {
		g := f.target.Add(f, 2*faultSize, types.PermReadWrite, anybody())
		bad := f.broken(faultSize, truncated)
		for _, n := range []uint64{2 * faultSize, faultSize + 100} {
			bothWays(func(op types.Op, crc bool) {
				r := f.do(NewPost(op, crc, transport.Slice{Local: bad, Remote: g.ID, Len: n}))
				require.Equal(f, errcode.MemoryFault, r.Code)
				require.True(f, r.Answered)
				f.works()
			})
		}
		bothWays(func(op types.Op, crc bool) {
			r := f.do(NewPost(op, crc, transport.Slice{Local: bad + faultSize + 64, Remote: g.ID, Len: 8}))
			require.Equal(f, errcode.MemoryFault, r.Code)
		})
		f.works()
	}
}

// testMany posts from several goroutines, gives some up, and closes in the middle of it.
func testMany(f *fixture) {
	const workers, each, size = 4, 150, 64 << 10
	g := f.target.Add(f, workers*size, types.PermReadWrite, anybody())
	b := Block(f, workers*size)
	f.open()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for i := range each {
				n := 1 + rng.Uint64N(size)
				p := NewPost(types.Op(1+rng.UintN(2)), rng.UintN(2) == 0, transport.Slice{
					Local: b.Addr() + uint64(w*size), Remote: g.ID, Off: uint64(w * size), Len: n,
				})
				p.Class = types.Class(rng.UintN(2))
				mu.Lock()
				f.posts = append(f.posts, p)
				mu.Unlock()
				f.path.Post(p)
				if rng.UintN(4) == 0 {
					f.path.Abort(p)
				}
				if w == 0 && i == each-1 {
					f.path.Close(nil)
				}
				if rng.UintN(3) == 0 {
					f.rec.Wait(f, p)
				}
			}
		})
	}
	wg.Wait()
	for _, p := range f.posts {
		r := f.rec.Wait(f, p)
		require.Contains(f, []errcode.Code{errcode.OK, errcode.Canceled, errcode.Closed}, r.Code, r.Detail)
		if r.Code == errcode.OK {
			require.Equal(f, p.Bytes, r.Applied)
		}
	}
	f.rec.WaitDown(f)
	f.rec.allowLate()
}
