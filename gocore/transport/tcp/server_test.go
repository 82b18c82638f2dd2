package tcp

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// A request for another instance is refused and leaves the connection in step.
func TestWrongInstanceByRequest(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 100_000, types.PermReadWrite, p.self)
	r := p.known(t)
	payload := make([]byte, 50_000)
	conformance.Pattern(payload, 1)
	for _, op := range []Opcode{OpWrite, OpRead} {
		h := r.header(op, g.ID, 0, 50_000)
		h.Target = types.NewInstanceID()
		r.send(h.Append(nil))
		if op == OpWrite {
			r.send(chunk(payload), last)
		}
		rep := r.reply()
		require.Equal(t, errcode.StaleInstance, rep.Status)
		require.Equal(t, p.target.Instance(), rep.Responder)
		require.Zero(t, rep.Applied)
	}
	require.Equal(t, make([]byte, 100_000), g.Bytes())
	h := r.header(OpWrite, g.ID, 10, 50_000)
	r.send(h.Append(nil), chunk(payload[:1]), chunk(payload[1:]), last)
	rep := r.reply()
	require.Equal(t, errcode.OK, rep.Status)
	require.EqualValues(t, 50_000, rep.Applied)
	require.Equal(t, payload, g.Bytes()[10:50_010])
}

// Requests may come in one piece, or byte by byte.
func TestRequestsInOneSegmentAndInMany(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	r := p.known(t)
	payload := make([]byte, 300)
	conformance.Pattern(payload, 4)
	var all []byte
	for i := range 20 {
		h := r.header(OpWrite, 0, 2, 300)
		h.RequestID = uint64(i + 1)
		h.Flags |= FlagVectored
		all = h.Append(all)
		all = AppendTable(all, []Entry{{g.ID, 0, 100}, {g.ID, 1000, 200}})
		all = append(all, chunk(payload)...)
		all = append(all, last...)
	}
	r.send(all)
	for i := range 20 {
		rep := r.reply()
		require.EqualValues(t, i+1, rep.RequestID, "answers come in the order of requests")
		require.Equal(t, errcode.OK, rep.Status)
	}
	require.Equal(t, payload[:100], g.Bytes()[:100])
	require.Equal(t, payload[100:], g.Bytes()[1000:1200])
	clear(g.Bytes())
	one := len(all) / 20
	for i := range one {
		r.send(all[i : i+1])
	}
	require.Equal(t, errcode.OK, r.reply().Status)
	require.Equal(t, payload[100:], g.Bytes()[1000:1200])
}

func TestWriteWithAWrongChecksum(t *testing.T) {
	c := newCounters()
	p := newPair(t, withCounters(c))
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	r := p.known(t)
	h := r.header(OpWrite, g.ID, 0, 2000)
	bad := chunk(make([]byte, 1000))
	bad[len(bad)-1] ^= 1
	r.send(h.Append(nil), bad, chunk(make([]byte, 1000)), last)
	require.Equal(t, errcode.Checksum, r.reply().Status)
	require.EqualValues(t, 1, c.get(CounterChecksumFails))
	r.send(h.Append(nil), chunk(make([]byte, 2000)), last)
	require.Equal(t, errcode.OK, r.reply().Status)
}

func TestAbortOfAWriteBetweenChunks(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	r := p.known(t)
	h := r.header(OpWrite, g.ID, 0, 2000)
	r.send(h.Append(nil), chunk(make([]byte, 700)), Chunk{Flags: ChunkAbort}.Append(nil))
	rep := r.reply()
	require.Equal(t, errcode.Canceled, rep.Status)
	require.EqualValues(t, 700, rep.Applied)
	stale := r.header(OpAbort, 0, 0, 0)
	r.send(stale.Append(nil), h.Append(nil), chunk(make([]byte, 2000)), last)
	require.Equal(t, errcode.OK, r.reply().Status, "an abort of what is over says nothing")
}

// Frames that break the protocol in the middle of a request end the connection, and nothing of it stays behind.
func TestBrokenFramesInARequest(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 1<<20, types.PermReadWrite, p.self)
	table := AppendTable(nil, []Entry{{g.ID, 0, 100}, {g.ID, 1000, 200}})
	for name, send := range map[string]func(*raw){
		"chunk beyond the length": func(r *raw) {
			h := r.header(OpWrite, g.ID, 0, 100)
			r.send(h.Append(nil), Chunk{Len: 101, Flags: ChunkCRC}.Append(nil))
		},
		"chunk beyond its size": func(r *raw) {
			h := r.header(OpWrite, g.ID, 0, 1<<20)
			r.send(h.Append(nil), Chunk{Len: 64<<10 + 1, Flags: ChunkCRC}.Append(nil))
		},
		"last too early": func(r *raw) {
			h := r.header(OpWrite, g.ID, 0, 100)
			r.send(h.Append(nil), last)
		},
		"table checksum": func(r *raw) {
			h := r.header(OpRead, 0, 2, 300)
			h.Flags |= FlagVectored
			b := append([]byte{}, table...)
			b[3] ^= 1
			r.send(h.Append(nil), b)
		},
		"table sum": func(r *raw) {
			h := r.header(OpRead, 0, 2, 299)
			h.Flags |= FlagVectored
			r.send(h.Append(nil), table)
		},
		"too many entries": func(r *raw) {
			h := r.header(OpRead, 0, DefaultEntries+1, 1<<20)
			h.Flags |= FlagVectored
			r.send(h.Append(nil))
		},
		"end in the middle": func(r *raw) {
			h := r.header(OpWrite, g.ID, 0, 1000)
			r.send(h.Append(nil), Chunk{Len: 1000, Flags: ChunkCRC}.Append(nil), make([]byte, 500))
			require.NoError(r, r.Conn.(*net.TCPConn).CloseWrite())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := p.known(t)
			hello := r.header(OpHello, 0, 0, 0)
			r.send(hello.Append(nil))
			r.reply()
			send(r)
			r.requireClosed()
			r.gone()
		})
	}
	require.Zero(t, g.Inside())
}

func TestHalfClosedAfterARequestIsStillAnswered(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	r := p.known(t)
	h := r.header(OpWrite, g.ID, 0, 4096)
	r.send(h.Append(nil), chunk(make([]byte, 4096)), last)
	require.NoError(t, r.Conn.(*net.TCPConn).CloseWrite())
	require.Equal(t, errcode.OK, r.reply().Status)
	r.requireClosed()
	r.gone()
}

// A peer that asks for much and reads nothing holds no memory while it is waited for, and is cut in the end.
func TestPeerThatNeverReads(t *testing.T) {
	const n = 128 << 20
	p := newPair(t, func(c *Config) { c.ProgressDeadline = 300 * time.Millisecond })
	g := p.target.Add(t, n, types.PermReadWrite, p.self)
	r := p.known(t)
	h := r.header(OpRead, g.ID, 0, n)
	r.send(h.Append(nil))
	eventually(t, func() bool { return p.target.Enters.Load() > 0 }, "it begins")
	select {
	case <-g.Fence(): // nobody sits inside for the socket's sake
	case <-time.After(conformance.Patience):
		require.Fail(t, "the gate is held while the socket is waited for")
	}
	r.gone()
}

func TestPeerThatStopsSending(t *testing.T) {
	p := newPair(t, func(c *Config) { c.ProgressDeadline = 50 * time.Millisecond })
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	r := p.known(t)
	h := r.header(OpWrite, g.ID, 0, 4096)
	r.send(h.Append(nil), Chunk{Len: 4096, Flags: ChunkCRC}.Append(nil), make([]byte, 100))
	eventually(t, func() bool { return p.target.Enters.Load() > 0 }, "it begins")
	<-g.Fence()
	r.requireClosed()
	r.gone()
	// Between requests one may be silent for as long as one likes.
	idle := p.known(t)
	hello := idle.header(OpHello, 0, 0, 0)
	idle.send(hello.Append(nil))
	idle.reply()
	slow := p.known(t)
	h = slow.header(OpWrite, g.ID, 0, 4096)
	slow.send(h.Append(nil), Chunk{Len: 4096, Flags: ChunkCRC}.Append(nil))
	slow.gone() // longer than the deadline has passed
	idle.send(hello.Append(nil))
	require.Equal(t, errcode.OK, idle.reply().Status)
}

func TestRefusedWriteIsNotReadForEver(t *testing.T) {
	p := newPair(t, func(c *Config) { c.MaxSinkBytes = 1 << 20 })
	r := p.known(t)
	h := r.header(OpWrite, 1, 0, 1<<20+1)
	r.send(h.Append(nil))
	require.Equal(t, errcode.StaleBuffer, r.reply().Status)
	r.requireClosed()
}

func TestServerCloseEndsEverything(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 64<<20, types.PermReadWrite, p.self)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, nil)
	b := conformance.Block(t, 64<<20)
	var posts []*transport.Post
	for range 4 {
		post := conformance.NewPost(types.Write, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 64 << 20})
		posts = append(posts, post)
		path.Post(post)
	}
	eventually(t, func() bool { return p.target.Enters.Load() > 0 }, "it begins")
	p.server.Close()
	require.Zero(t, g.Inside())
	require.Zero(t, p.server.Connections())
	before := crc(g.Bytes())
	require.Equal(t, errcode.PeerUnreachable, errcode.Of(rec.WaitDown(t)))
	rec.RequireExact(t, posts, true)
	require.Equal(t, before, crc(g.Bytes()))
	p.server.Close()
}

// RETIRE: once the handler has left, not one byte more lands, and the initiator is told that nobody answered.
func TestRetireInTheMiddle(t *testing.T) {
	const n = 32 << 20
	p := newPair(t, nil)
	b := conformance.Block(t, n)
	conformance.Pattern(b.Bytes(), 8)
	for round := range 5 {
		g := p.target.Add(t, n, types.PermReadWrite, p.self)
		rec := conformance.NewRecorder()
		path := p.dial(t, rec, nil)
		base := p.target.Enters.Load()
		post := conformance.NewPost(types.Write, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: n})
		path.Post(post)
		eventually(t, func() bool {
			return p.target.Enters.Load() > base+uint64(round*8) || len(rec.Results(post)) > 0
		}, "it begins")
		<-p.target.Retire(path.ID())
		require.Zero(t, g.Inside())
		clear(g.Bytes())
		r := rec.Wait(t, post)
		if r.Code != errcode.OK { // it may have been over already
			require.False(t, r.Answered)
			require.True(t, r.Sent)
			rec.WaitDown(t)
			rec.RequireExact(t, []*transport.Post{post}, true)
		}
		require.Equal(t, crc(make([]byte, n)), crc(g.Bytes()))
	}
}

func crc(b []byte) uint32 {
	return binary.LittleEndian.Uint32(appendSum(append([]byte{}, b...), len(b))[len(b):])
}

// A peer that asks and asks and takes no answer is cut; it costs others nothing.
func TestPeerThatTakesNoAnswers(t *testing.T) {
	p := newPair(t, func(c *Config) { c.ProgressDeadline = 100 * time.Millisecond })
	r := p.known(t)
	require.NoError(t, r.Conn.(*net.TCPConn).SetReadBuffer(4096))
	h := r.header(OpHello, 0, 0, 0)
	var many []byte
	for range 1000 {
		many = h.Append(many)
	}
	for {
		if _, err := r.Write(many); err != nil {
			break
		}
	}
	r.gone()
	p.dial(t, conformance.NewRecorder(), nil)
}

func TestIdleConnectionsMayBeClosed(t *testing.T) {
	p := newPair(t, func(c *Config) { c.IdleTimeout = 20 * time.Millisecond })
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	r := p.known(t)
	h := r.header(OpWrite, g.ID, 0, 4096)
	r.send(h.Append(nil), chunk(make([]byte, 4096)), last)
	require.Equal(t, errcode.OK, r.reply().Status)
	r.requireClosed()
	r.gone()
}
