package tcp

import (
	"bytes"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// flag is an Awaited that a test raises.
type flag struct{ atomic.Bool }

func (f *flag) Final() bool { return f.Load() }

// eager makes helpers look at once and as many as there are.
func eager(t testing.TB, p *Path) {
	t.Helper()
	require.Eventually(t, p.s.grab, conformance.Patience, time.Millisecond, "the reader keeps the input")
	p.help.spin.need, p.help.spin.slots = 0, 1<<20
	p.s.owned.Store(false)
	var over flag
	over.Store(true)
	p.Help(&over) // the reader may have missed an edge
}

// prompted does for every post what an engine does for small ones, beside two callers that wait for ever.
type prompted struct {
	*Path
	over flag
	wg   sync.WaitGroup
}

func newPrompted(t *testing.T, p *Path) *prompted {
	t.Helper()
	eager(t, p)
	h := &prompted{Path: p}
	for range 2 {
		h.wg.Go(func() {
			for !h.over.Final() {
				h.Help(&h.over)
				time.Sleep(10 * time.Microsecond) // lets others run, where there is one processor
			}
		})
	}
	t.Cleanup(func() {
		h.over.Store(true)
		h.wg.Wait()
	})
	return h
}

func (h *prompted) Post(p *transport.Post) {
	h.Hold(p)
	h.Push()
}

// The rules of package transport hold while callers send and take replies in their own goroutines.
func TestConformancePrompted(t *testing.T) {
	conformance.Run(t, func(t *testing.T, target *conformance.Target, sink transport.Sink) (transport.Path, types.InstanceID) {
		p := &pair{target: target, self: types.NewInstanceID()}
		var err error
		p.server, err = Listen(Config{Memory: target, Admission: target, MaxEntries: 1 << 17})
		require.NoError(t, err)
		t.Cleanup(p.server.Close)
		return &promptedSink{newPrompted(t, p.dial(t, sink, func(c *DialerConfig) { c.MaxEntries = 1 << 17 }))}, p.self
	})
}

// promptedSink is there for its type: the suite compares nothing but results.
type promptedSink struct{ *prompted }

// stackSink notes who reports.
type stackSink struct {
	*conformance.Recorder
	helped atomic.Int64
}

func (s *stackSink) PostDone(p transport.Path, post *transport.Post, r transport.Result) {
	if bytes.Contains(debug.Stack(), []byte("(*Path).Help(")) {
		s.helped.Add(1)
	}
	s.Recorder.PostDone(p, post, r)
}

// done is final when a post was reported.
type done struct {
	*conformance.Recorder
	post *transport.Post
}

func (d done) Final() bool { return len(d.Results(d.post)) > 0 }

// A caller that waits takes its reply itself: the reader sleeps on, also when the reply was there first.
func TestHelperTakesReplies(t *testing.T) {
	for _, op := range []types.Op{types.Write, types.Read} {
		for _, crc := range []bool{false, true} {
			p := newPair(t, nil)
			sink := &stackSink{Recorder: conformance.NewRecorder()}
			path := p.dial(t, sink, nil)
			for range hotStreak {
				path.helped()
			}
			path.mu.Lock()
			path.hot.timer.Stop() // else the reader would come in the end
			require.True(t, path.hot.on)
			path.mu.Unlock()
			g := p.target.Add(t, 4096, types.PermReadWrite, types.InstanceID{})
			b := conformance.Block(t, 4096)
			conformance.Pattern(b.Bytes(), 5)
			conformance.Pattern(g.Bytes(), 5+uint64(op))
			post := conformance.NewPost(op, crc, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096})
			path.Hold(post)
			path.Push()
			whole := HeaderLen
			if op == types.Read {
				whole += chunkLen + 4096 + chunkLen
			}
			if op == types.Read && crc {
				whole += sumLen
			}
			require.Eventually(t, func() bool { return path.unread(t) == whole }, conformance.Patience, time.Millisecond)
			waiter := done{sink.Recorder, post}
			require.Eventually(t, func() bool {
				path.Help(waiter)
				return waiter.Final()
			}, conformance.Patience, time.Microsecond)
			require.Equal(t, errcode.OK, sink.Wait(t, post).Code)
			require.Equal(t, b.Bytes(), g.Bytes())
			require.Equal(t, int64(1), sink.helped.Load())
		}
	}
}

// unread is how many bytes lie in the socket.
func (p *Path) unread(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, p.s.raw.Control(func(fd uintptr) {
		var err error
		n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		require.NoError(t, err)
	}))
	return n
}

// What a helper cannot finish, the reader does.
func TestHelperHandsOver(t *testing.T) {
	const n = 200
	for name, script := range map[string]func(r *raw, h Header){
		"half a header": func(r *raw, h Header) {
			b := Reply{Version: Version, Op: h.Op, RequestID: h.RequestID, Responder: h.Target, Flags: ReplyPayload | ReplyCRC}.Bytes()
			r.send(b[:30])
			r.pause()
			r.send(b[30:], chunk(make([]byte, n)), last)
		},
		"half a payload": func(r *raw, h Header) {
			r.answer(h, Reply{Flags: ReplyPayload | ReplyCRC})
			b := chunk(make([]byte, n))
			r.send(b[:100])
			r.pause()
			r.send(b[100:], last)
		},
		"no end": func(r *raw, h Header) {
			r.answer(h, Reply{Flags: ReplyPayload | ReplyCRC})
			r.send(chunk(make([]byte, n)))
			r.pause()
			r.send(last)
		},
		"two chunks": func(r *raw, h Header) {
			r.answer(h, Reply{Flags: ReplyPayload | ReplyCRC})
			r.send(chunk(make([]byte, n/2)))
			r.pause()
			r.send(chunk(make([]byte, n/2)), last)
		},
		"a trailer": func(r *raw, h Header) {
			r.answer(h, Reply{Flags: ReplyPayload | ReplyCRC})
			r.send(chunk(make([]byte, n)), Chunk{Flags: ChunkLast | ChunkTrailer}.Append(nil))
			r.pause()
			r.answer(h, Reply{Applied: n})
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, rec, err := rogue(t, goodHello(), func(r *raw) {
				script(r, r.request(0))
				r.recv(1) // until the path is closed
			})
			require.NoError(t, err)
			t.Cleanup(func() { path.Close(nil) })
			h := newPrompted(t, path.(*Path))
			b := conformance.Block(t, n)
			copy(b.Bytes(), bytes.Repeat([]byte{1}, n))
			post := conformance.NewPost(types.Read, true,
				transport.Slice{Local: b.Addr(), Remote: 1, Len: n / 2}, transport.Slice{Local: b.Addr() + n/2, Remote: 1, Len: n / 2})
			h.Post(post)
			r := rec.Wait(t, post)
			require.Equal(t, errcode.OK, r.Code, r.Detail)
			require.Equal(t, make([]byte, n), b.Bytes()[:n])
			path.Close(nil)
			rec.WaitDown(t)
			rec.RequireExact(t, []*transport.Post{post}, true)
		})
	}
}

// pause gives helpers the time to find a part and to give up on the rest. Nothing depends on whether they do.
func (r *raw) pause() { time.Sleep(2 * spinLimit) }

// Bytes is a reply on the wire.
func (r Reply) Bytes() []byte { return r.Append(nil) }

// valve is a server's front door that lets nothing through until it is opened.
type valve struct {
	address string
	open    chan struct{}
}

func newValve(t *testing.T, there string) *valve {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	v := &valve{address: l.Addr().String(), open: make(chan struct{})}
	var wg sync.WaitGroup
	var in, out net.Conn
	accepted := make(chan struct{})
	wg.Go(func() {
		defer close(accepted)
		var err error
		if in, err = l.Accept(); err != nil {
			return
		}
		if out, err = net.Dial("tcp", there); err != nil {
			_ = in.Close()
			return
		}
		wg.Go(func() {
			_, _ = io.CopyN(out, in, HeaderLen) // hello
			<-v.open
			_, _ = io.Copy(out, in)
			_ = out.(*net.TCPConn).CloseWrite()
		})
		wg.Go(func() {
			_, _ = io.Copy(in, out)
			_ = in.Close()
		})
	})
	t.Cleanup(func() {
		_ = l.Close()
		<-accepted
		if out != nil {
			_ = in.Close()
			_ = out.Close()
		}
		wg.Wait()
	})
	return v
}

// A post that the socket does not take at once is finished by the writer goroutine, whatever happens meanwhile.
func TestPushIntoAFullSocket(t *testing.T) {
	for name, c := range map[string]struct {
		then  func(p *Path, v *valve, half *transport.Post)
		whole bool
	}{
		"goes on": {func(_ *Path, v *valve, _ *transport.Post) { close(v.open) }, true},
		"aborted": {func(p *Path, v *valve, half *transport.Post) {
			p.Abort(half)
			close(v.open)
		}, false},
		"closed": {func(p *Path, v *valve, _ *transport.Post) {
			p.Close(nil)
			close(v.open)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nil)
			v := newValve(t, p.server.Addresses()[0])
			rec := conformance.NewRecorder()
			made, err := NewDialer(DialerConfig{Sink: rec}).Dial(t.Context(), []string{v.address}, p.target.Token(p.self), p.target.Instance(), p.self)
			require.NoError(t, err)
			path := made.(*Path)
			t.Cleanup(func() { path.Close(nil) })
			const n = 12_000
			const most = 4096 // posts: more than any socket buffer
			g := p.target.Add(t, most*n, types.PermReadWrite, types.InstanceID{})
			b := conformance.Block(t, most*n)
			conformance.Pattern(b.Bytes(), 3)
			var posts []*transport.Post
			var half *item
			for i := 0; half == nil; i++ {
				require.Less(t, i, most, "the socket never got full")
				off := uint64(i * n)
				post := conformance.NewPost(types.Write, true, transport.Slice{Local: b.Addr() + off, Remote: g.ID, Off: off, Len: n})
				posts = append(posts, post)
				path.Hold(post)
				path.Push()
				path.mu.Lock()
				if path.busy { // left to the writer goroutine, whether that one has begun or not
					half = path.posts[post.ID]
				}
				path.mu.Unlock()
			}
			require.NotNil(t, half)
			c.then(path, v, half.post)
			for i, post := range posts {
				r := rec.Wait(t, post)
				switch {
				case c.whole || name == "aborted" && i < len(posts)-1:
					require.Equal(t, errcode.OK, r.Code, r.Detail)
				case name == "closed":
					require.False(t, r.Answered)
					require.True(t, r.Sent)
				}
			}
			if c.whole {
				done := len(posts) * n
				require.Equal(t, b.Bytes()[:done], g.Bytes()[:done])
			}
			path.Close(nil)
			rec.WaitDown(t)
			rec.RequireExact(t, posts, true)
		})
	}
}

// Many callers push, wait and help at once, on one path, beside large posts of the writer goroutine.
func TestManyCallersPrompt(t *testing.T) {
	p := newPair(t, nil)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, nil)
	eager(t, path)
	const callers, rounds = 8, 100
	sizes := []int{8, 4096, 7900, 8192, 16 << 10, 100 << 10}
	g := p.target.Add(t, callers*(1<<20), types.PermReadWrite, types.InstanceID{})
	var posts [callers][]*transport.Post
	var wg sync.WaitGroup
	for c := range callers {
		b := conformance.Block(t, 100<<10)
		wg.Go(func() {
			for i := range rounds {
				n := sizes[(c+i)%len(sizes)]
				off := uint64(c << 20)
				op := types.Op(1 + i/len(sizes)%2)
				conformance.Pattern(b.Bytes()[:n], uint64(c*rounds+i))
				post := conformance.NewPost(op, i%3 != 0, transport.Slice{Local: b.Addr(), Remote: g.ID, Off: off, Len: uint64(n)})
				posts[c] = append(posts[c], post)
				if n > maxPush {
					path.Post(post)
				} else {
					path.Hold(post)
					path.Push()
				}
				path.Help(done{rec, post})
				r := rec.Wait(t, post)
				if r.Code != errcode.OK || !bytes.Equal(b.Bytes()[:n], g.Bytes()[off:off+uint64(n)]) {
					t.Errorf("caller %d, round %d, %v of %d bytes: %v %s", c, i, op, n, r.Code, r.Detail)
					return
				}
			}
		})
	}
	wg.Wait()
	var all []*transport.Post
	for _, list := range posts {
		all = append(all, list...)
	}
	path.Close(nil)
	rec.WaitDown(t)
	rec.RequireExact(t, all, true)
}

// blocking is an Awaited that keeps its helper in the middle of helping.
type blocking struct{ entered, leave chan struct{} }

func (b blocking) Final() bool {
	select {
	case b.entered <- struct{}{}:
	case <-b.leave:
	}
	<-b.leave
	return true
}

// What is left on a path is reported only when no helper can be copying a reply into memory.
func TestHelperHoldsThePath(t *testing.T) {
	drain := make(chan struct{})
	path, rec, err := rogue(t, goodHello(), func(*raw) { <-drain })
	require.NoError(t, err)
	defer close(drain)
	p := path.(*Path)
	b := blocking{make(chan struct{}), make(chan struct{})}
	post := conformance.NewPost(types.Read, true, transport.Slice{Local: conformance.Block(t, 8).Addr(), Remote: 1, Len: 8})
	p.Hold(post)
	p.Push()
	require.Eventually(t, func() bool { return !p.s.owned.Load() }, conformance.Patience, time.Millisecond)
	var wg sync.WaitGroup
	wg.Go(func() { p.Help(b) })
	<-b.entered
	require.Equal(t, int32(3), p.running.Load(), "writer, reader, helper")
	path.Close(nil)
	require.Eventually(t, func() bool { return p.running.Load() == 1 }, conformance.Patience, time.Millisecond,
		"the helper alone is left")
	require.Empty(t, rec.Results(post))
	close(b.leave)
	wg.Wait()
	require.Error(t, rec.WaitDown(t))
	rec.RequireExact(t, []*transport.Post{post}, true)
}
