package tcp

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// proxy passes one connection on and flips a bit of one byte in each direction; an offset below 0 flips none.
type proxy struct {
	l         net.Listener
	there     string
	up, back  int64
	cutBackAt int64 // cut everything after so many bytes of answers; below 0: never
	wg        sync.WaitGroup
	mu        sync.Mutex
	conns     []net.Conn
}

func newProxy(t *testing.T, there string, up, back, cutBackAt int64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{l: l, there: there, up: up, back: back, cutBackAt: cutBackAt}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) serve() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.there)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.keep(in)
		p.keep(out)
		p.wg.Go(func() { p.pass(out, in, p.up, -1) })
		p.wg.Go(func() { p.pass(in, out, p.back, p.cutBackAt) })
	}
}

func (p *proxy) pass(to io.Writer, from io.Reader, flip, cutAt int64) {
	defer p.cut()
	b := make([]byte, 32<<10)
	var at int64
	for {
		n, err := from.Read(b)
		if cutAt >= 0 && at+int64(n) > cutAt {
			_, _ = to.Write(b[:cutAt-at])
			return
		}
		if flip >= at && flip < at+int64(n) {
			b[flip-at] ^= 0x20
		}
		at += int64(n)
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

func dialProxy(t *testing.T, p *pair, x *proxy, sink transport.Sink) transport.Path {
	t.Helper()
	path, err := NewDialer(DialerConfig{Sink: sink}).Dial(context.Background(), []string{x.l.Addr().String()},
		p.target.Token(p.self), p.target.Instance(), p.self)
	require.NoError(t, err)
	t.Cleanup(func() { path.Close(nil) })
	return path
}

// One byte of payload changes between the two: the checksum tells, on whichever side it is made, and the path lives on.
func TestCorruptPayload(t *testing.T) {
	const n = 1 << 20
	for _, op := range []types.Op{types.Write, types.Read} {
		for _, at := range []int64{0, 1000, n - 1, n} { // the last one is in a checksum
			p := newPair(t, nil)
			g := p.target.Add(t, n, types.PermReadWrite, p.self)
			b := conformance.Block(t, n)
			// Behind the hello, the header and one chunk header, in the first chunk or the second.
			flip := 2*HeaderLen + chunkLen + at
			if at > DefaultChunk {
				flip += sumLen + chunkLen
			}
			up, back := flip, int64(-1)
			if op == types.Read {
				up, back = back, up
			}
			rec := conformance.NewRecorder()
			path := dialProxy(t, p, newProxy(t, p.server.Addresses()[0], up, back, -1), rec)
			post := conformance.NewPost(op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n})
			path.Post(post)
			r := rec.Wait(t, post)
			require.Equal(t, errcode.Checksum, r.Code, "%v, byte %d: %s", op, at, r.Detail)
			require.True(t, r.Answered)
			again := conformance.NewPost(op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n})
			path.Post(again)
			require.Equal(t, errcode.OK, rec.Wait(t, again).Code)
			rec.RequireExact(t, []*transport.Post{post, again}, false)
		}
	}
}

// A change of a frame itself ends the path: nobody can tell where the next one begins.
func TestCorruptFrames(t *testing.T) {
	const n = 1 << 20
	for name, c := range map[string]struct {
		op       types.Op
		up, back int64
	}{
		"request header": {types.Write, HeaderLen + 50, -1},
		"chunk header":   {types.Write, 2 * HeaderLen, -1},
		"reply":          {types.Write, -1, HeaderLen + 20},
		"payload reply":  {types.Read, -1, HeaderLen + 60},
		"chunk of READ":  {types.Read, -1, 2*HeaderLen + 6},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nil)
			g := p.target.Add(t, n, types.PermReadWrite, p.self)
			b := conformance.Block(t, n)
			rec := conformance.NewRecorder()
			path := dialProxy(t, p, newProxy(t, p.server.Addresses()[0], c.up, c.back, -1), rec)
			post := conformance.NewPost(c.op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n})
			path.Post(post)
			r := rec.Wait(t, post)
			require.NotEqual(t, errcode.OK, r.Code)
			require.False(t, r.Answered)
			require.True(t, r.Sent)
			rec.WaitDown(t)
			rec.RequireExact(t, []*transport.Post{post}, true)
		})
	}
}

// The answer is lost with the connection: what was posted is unanswered, whatever became of it.
func TestConnectionLostAtEveryPoint(t *testing.T) {
	const n = 200_000
	p := newPair(t, nil)
	g := p.target.Add(t, n, types.PermReadWrite, p.self)
	b := conformance.Block(t, n)
	for _, op := range []types.Op{types.Write, types.Read} {
		for _, after := range []int64{HeaderLen, HeaderLen + 1, 2*HeaderLen - 1, 2 * HeaderLen, 2*HeaderLen + 5, 2*HeaderLen + 100_000} {
			if op == types.Write && after >= 2*HeaderLen {
				continue
			}
			rec := conformance.NewRecorder()
			path := dialProxy(t, p, newProxy(t, p.server.Addresses()[0], -1, -1, after), rec)
			post := conformance.NewPost(op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n})
			path.Post(post)
			r := rec.Wait(t, post)
			require.Equal(t, errcode.PeerUnreachable, r.Code)
			require.True(t, r.Sent)
			require.False(t, r.Answered)
			rec.WaitDown(t)
			rec.RequireExact(t, []*transport.Post{post}, true)
		}
	}
}
