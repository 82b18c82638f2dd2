package tcp

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// rogue is a server that answers as it is told. The script runs for one connection, behind the hello.
func rogue(t *testing.T, hello Reply, script func(r *raw)) (path transport.Path, rec *conformance.Recorder, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(conformance.Patience))
		r := &raw{T: t, Conn: c, rogue: true}
		r.recv(HeaderLen)
		r.send(hello.Append(nil))
		if script != nil {
			script(r)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	rec = conformance.NewRecorder()
	path, err = NewDialer(DialerConfig{Sink: rec}).Dial(context.Background(), []string{l.Addr().String()}, 5,
		types.InstanceID{1}, types.InstanceID{2})
	return path, rec, err
}

func goodHello() Reply {
	return Reply{Version: Version, Op: OpHello, Responder: types.InstanceID{1}, Applied: 1 | 1<<8}
}

func TestHelloAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Reply)
		code   errcode.Code
	}{
		"version":        {func(r *Reply) { r.Status, r.Applied = errcode.VersionSkew, 3|4<<8 }, errcode.VersionSkew},
		"newer reply":    {func(r *Reply) { r.Version = 7 }, errcode.VersionSkew},
		"another opcode": {func(r *Reply) { r.Op = OpWrite }, errcode.Internal},
		"stale":          {func(r *Reply) { r.Status = errcode.StaleInstance }, errcode.StaleInstance},
		"another one":    {func(r *Reply) { r.Responder = types.InstanceID{9} }, errcode.StaleInstance},
		"refused":        {func(r *Reply) { r.Status = errcode.ResourceExhausted }, errcode.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			h := goodHello()
			c.change(&h)
			_, _, err := rogue(t, h, nil)
			require.Equal(t, c.code, errcode.Of(err), "%v", err)
		})
	}
}

// A server that breaks the protocol loses the path; every post is reported, none as completed or answered.
func TestRogueServers(t *testing.T) {
	const n = 10_000
	read := func(r *raw) Header { return r.request(0) }
	for name, c := range map[string]struct {
		op     types.Op
		script func(r *raw)
	}{
		"unknown request": {types.Write, func(r *raw) {
			h := r.request(n)
			h.RequestID += 1000
			r.answer(h, Reply{})
		}},
		"another opcode": {types.Write, func(r *raw) {
			h := r.request(n)
			h.Op = OpRead
			r.answer(h, Reply{})
		}},
		"more failures than entries": {types.Write, func(r *raw) {
			r.answer(r.request(n), Reply{Failures: 3})
			r.send(AppendFailures(nil, []Failure{{0, -9, 0}, {1, -9, 0}, {2, -9, 0}}))
		}},
		"failures of a stranger": {types.Write, func(r *raw) {
			h := r.request(n)
			h.RequestID += 1000
			r.answer(h, Reply{Failures: 1})
			r.send(AppendFailures(nil, []Failure{{0, -9, 0}}))
		}},
		"failures without order": {types.Write, func(r *raw) {
			r.answer(r.request(n), Reply{Failures: 2})
			r.send(AppendFailures(nil, []Failure{{1, -9, 0}, {0, -9, 0}}))
		}},
		"failures with a wrong checksum": {types.Write, func(r *raw) {
			r.answer(r.request(n), Reply{Failures: 1})
			b := AppendFailures(nil, []Failure{{1, -9, 0}})
			b[len(b)-1] ^= 1
			r.send(b)
		}},
		"failures cut off": {types.Write, func(r *raw) {
			r.answer(r.request(n), Reply{Failures: 2})
			r.send(AppendFailures(nil, []Failure{{0, -9, 0}})[:failureLen])
		}},
		"payload without checksums": {types.Read, func(r *raw) {
			r.answer(read(r), Reply{Flags: ReplyPayload})
			r.send(Chunk{Len: n}.Append(nil), make([]byte, n), last)
		}},
		"abort without a word": {types.Read, func(r *raw) {
			r.answer(read(r), Reply{Flags: ReplyPayload | ReplyCRC})
			r.send(chunk(make([]byte, 100)), Chunk{Flags: ChunkAbort}.Append(nil))
		}},
		"trailer of another request": {types.Read, func(r *raw) {
			h := read(r)
			r.answer(h, Reply{Flags: ReplyPayload | ReplyCRC})
			r.send(chunk(make([]byte, n)), Chunk{Flags: ChunkLast | ChunkTrailer}.Append(nil))
			h.RequestID++
			r.answer(h, Reply{})
		}},
		"trailer missing": {types.Read, func(r *raw) {
			r.answer(read(r), Reply{Flags: ReplyPayload | ReplyCRC})
			r.send(chunk(make([]byte, n)), Chunk{Flags: ChunkLast | ChunkTrailer}.Append(nil))
		}},
		"end in a checksum": {types.Read, func(r *raw) {
			r.answer(read(r), Reply{Flags: ReplyPayload | ReplyCRC})
			b := chunk(make([]byte, n))
			r.send(b[:len(b)-2])
		}},
		"answered twice": {types.Write, func(r *raw) {
			h := r.request(n)
			r.answer(h, Reply{Status: errcode.Revoked})
			r.answer(h, Reply{Status: errcode.Revoked})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			path, rec, err := rogue(t, goodHello(), c.script)
			require.NoError(t, err)
			b := conformance.Block(t, n)
			post := conformance.NewPost(c.op, true,
				transport.Slice{Local: b.Addr(), Remote: 1, Len: n / 2}, transport.Slice{Local: b.Addr() + n/2, Remote: 1, Len: n / 2})
			path.Post(post)
			r := rec.Wait(t, post)
			require.NotEqual(t, errcode.OK, r.Code)
			if name == "answered twice" {
				require.True(t, r.Answered)
			} else {
				require.False(t, r.Answered)
			}
			require.Error(t, rec.WaitDown(t))
			rec.RequireExact(t, []*transport.Post{post}, true)
		})
	}
}

// request takes a header, its table of two entries, and n bytes of payload in one chunk.
func (r *raw) request(n int) Header {
	var h Header
	_ = h.Decode(r.recv(HeaderLen), testLimits)
	r.recv(2*entryLen + sumLen)
	if n > 0 {
		r.recv(chunkLen + n + sumLen + chunkLen)
	}
	return h
}

func (r *raw) answer(h Header, rep Reply) {
	rep.Version, rep.Op, rep.RequestID, rep.Responder = Version, h.Op, h.RequestID, h.Target
	r.send(rep.Append(nil))
}

func TestStaleInstanceInAnAnswer(t *testing.T) {
	path, rec, err := rogue(t, goodHello(), func(r *raw) {
		h := r.request(200)
		rep := Reply{Version: Version, Op: h.Op, RequestID: h.RequestID, Responder: types.InstanceID{77}, Status: errcode.StaleInstance}
		r.send(rep.Append(nil))
		r.recv(1) // until the path is closed
	})
	require.NoError(t, err)
	b := conformance.Block(t, 200)
	post := conformance.NewPost(types.Write, true,
		transport.Slice{Local: b.Addr(), Remote: 1, Len: 100}, transport.Slice{Local: b.Addr() + 100, Remote: 1, Len: 100})
	path.Post(post)
	r := rec.Wait(t, post)
	require.Equal(t, errcode.StaleInstance, r.Code)
	require.Equal(t, types.InstanceID{77}, r.Instance)
	require.True(t, r.Answered)
	one := conformance.NewPost(types.Write, true, transport.Slice{Local: b.Addr(), Remote: 1, Len: 1})
	path.Post(one) // gives the script its byte
	rec.WaitDown(t)
	require.False(t, rec.Wait(t, one).Answered)
}

// A WRITE that was refused while it is being sent is not over: its memory is still read.
func TestRefusedWriteIsReportedWhenTheWriterIsDone(t *testing.T) {
	const n = 64 << 20
	stuck, drain := make(chan struct{}), make(chan struct{})
	path, rec, err := rogue(t, goodHello(), func(r *raw) {
		var small, large Header
		_ = small.Decode(r.recv(HeaderLen), testLimits)
		r.recv(chunkLen + 100 + chunkLen)
		_ = large.Decode(r.recv(HeaderLen), testLimits)
		<-stuck
		r.answer(large, Reply{Status: errcode.Revoked})
		r.answer(small, Reply{Applied: 100})
		<-drain
		_, _ = io.Copy(io.Discard, r)
	})
	require.NoError(t, err)
	t.Cleanup(func() { path.Close(nil) })
	b := conformance.Block(t, n)
	small := conformance.NewPost(types.Write, false, transport.Slice{Local: b.Addr(), Remote: 1, Len: 100})
	large := conformance.NewPost(types.Write, false, transport.Slice{Local: b.Addr(), Remote: 1, Len: n})
	path.Post(small)
	path.Post(large)
	// Only once the socket is full is the writer in the middle of a chunk, where an answer cannot end it.
	for moved, since := uint64(0), time.Now(); moved == 0 || time.Since(since) < 200*time.Millisecond; {
		if m := large.Moved.Load(); m != moved {
			moved, since = m, time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	close(stuck)
	require.Equal(t, errcode.OK, rec.Wait(t, small).Code)
	early := rec.Results(large)
	close(drain)
	require.Empty(t, early, "the answer is there, but the writer is not done")
	r := rec.Wait(t, large)
	require.Equal(t, errcode.Revoked, r.Code)
	require.True(t, r.Answered)
	require.Less(t, large.Moved.Load(), uint64(n), "the rest was not sent")
	path.Close(nil)
	rec.WaitDown(t)
	rec.RequireExact(t, []*transport.Post{small, large}, true)
}

func TestPostsThatCannotBeCarried(t *testing.T) {
	p := newPair(t, nil)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, func(c *DialerConfig) { c.MaxEntries = 2 })
	s := transport.Slice{Local: 4096, Remote: 1, Len: 10}
	empty := s
	empty.Len = 0
	huge := s
	huge.Len = 1 << 63
	wrongSum := conformance.NewPost(types.Write, false, s)
	wrongSum.Bytes++
	noID := conformance.NewPost(types.Write, false, s)
	noID.ID = 0
	for name, post := range map[string]*transport.Post{
		"no slices": conformance.NewPost(types.Write, false), "empty slice": conformance.NewPost(types.Write, false, s, empty),
		"overflow": conformance.NewPost(types.Write, false, huge, huge), "wrong sum": wrongSum, "no ID": noID,
		"too many": conformance.NewPost(types.Read, false, s, s, s), "no operation": conformance.NewPost(3, false, s),
	} {
		path.Post(post)
		r := rec.Wait(t, post)
		require.Equal(t, errcode.InvalidArgument, r.Code, name)
		require.False(t, r.Sent, name)
		require.NotEmpty(t, r.Detail, name)
	}
}

func TestInfo(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, nil)
	b := conformance.Block(t, 4096)
	for _, op := range []types.Op{types.Write, types.Read} {
		post := conformance.NewPost(op, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4000})
		path.Post(post)
		rec.Wait(t, post)
	}
	info := path.Info()
	require.Equal(t, path.ID(), info.ID)
	require.Equal(t, "tcp", info.Kind)
	require.Equal(t, p.server.Addresses()[0], info.Remote)
	require.EqualValues(t, 4000, info.BytesOut)
	require.EqualValues(t, 4000, info.BytesIn)
	require.Zero(t, info.PostsPending)
	eventually(t, func() bool { return p.server.Stats().BytesOut == 4000 }, "the server counts, too")
	require.Equal(t, Stats{Connections: 1, Requests: 2, BytesIn: 4000, BytesOut: 4000}, p.server.Stats())
}

// Moving data costs no allocation, on either side, once the connection is warm.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	p := newPair(t, nil)
	const blocks, size = 300, 512
	g := p.target.Add(t, blocks*size, types.PermReadWrite, p.self)
	b := conformance.Block(t, blocks*size)
	sink := doneSink{make(chan errcode.Code, 1)}
	path := p.dial(t, sink, nil)
	var slices []transport.Slice
	for i := range uint64(blocks) {
		slices = append(slices, transport.Slice{Local: b.Addr() + i*size, Remote: g.ID, Off: i * size, Len: size})
	}
	write, read := conformance.NewPost(types.Write, true, slices...), conformance.NewPost(types.Read, true, slices...)
	once := func() {
		for _, post := range []*transport.Post{write, read} {
			post.ID += 1 << 32
			path.Post(post)
			require.Equal(t, errcode.OK, <-sink.done)
		}
	}
	for range 20 {
		once()
	}
	// A collection may empty the pools now and then: less than one allocation for 600 blocks.
	require.Less(t, testing.AllocsPerRun(50, once), 40.0)
}

func TestFifoKeepsOrderWhileItReusesMemory(t *testing.T) {
	var q fifo
	next, want := uint64(0), uint64(0)
	push := func() {
		next++
		q.push(&item{post: &transport.Post{ID: next}})
	}
	for range 1000 {
		push()
	}
	for range 5000 {
		push()
		want++
		require.Equal(t, want, q.pop().post.ID)
	}
	require.Less(t, cap(q.items), 5000)
	for range 1000 {
		want++
		require.Equal(t, want, q.pop().post.ID)
	}
	require.Nil(t, q.pop())
}

// fixed is a region of one entry.
type fixed struct{ addr, n uint64 }

func (fixed) renew() {}

func (f fixed) length(int) uint64 { return f.n }
func (f fixed) enter(_ int, off, _ uint64) (uint64, *gate.Gate, errcode.Code) {
	return f.addr + off, nil, errcode.OK
}

// Memory that vanishes between the system call and the checksum is a fault of that entry and never a wrong checksum.
func TestMemoryThatVanishesBeforeTheChecksum(t *testing.T) {
	b := conformance.Block(t, 8192)
	src := fixed{b.Addr(), 4096}
	w := &window{}
	var failed failures
	w.gather(src, cursor{}, 4096, maxSpans, &failed, false)
	require.Equal(t, 1, w.n)
	require.NoError(t, unix.Mprotect(b.Bytes()[:4096], unix.PROT_NONE))
	r := &receiver{into: src, failed: &failed, crcOn: true, win: w, inChunk: 4096, left: 4096}
	r.account(4096)
	require.True(t, r.torn)
	require.Equal(t, []Failure{{0, errcode.MemoryFault, 0}}, failed.list)
	failed.reset()
	x := &sender{from: src, failed: &failed, win: w}
	x.tear(0)
	require.Equal(t, []Failure{{0, errcode.MemoryFault, 0}}, failed.list)
}

func TestFailuresStaySorted(t *testing.T) {
	var f failures
	f.add(5, errcode.Revoked, 1)
	f.add(1, errcode.Permission, 0)
	f.add(5, errcode.MemoryFault, 9)
	require.True(t, f.has(1))
	require.False(t, f.has(2))
	require.Equal(t, []Failure{{1, errcode.Permission, 0}, {5, errcode.Revoked, 1}}, f.list)
	f.replace(Failure{5, errcode.MemoryFault, 2})
	f.replace(Failure{3, errcode.MemoryFault, 0})
	require.Equal(t, []Failure{{1, errcode.Permission, 0}, {3, errcode.MemoryFault, 0}, {5, errcode.MemoryFault, 2}}, f.list)
	code, _ := f.common(3)
	require.Equal(t, errcode.OK, code, "not all alike")
	f.list = []Failure{{0, errcode.Revoked, 1}, {1, errcode.Revoked, 2}}
	code, applied := f.common(2)
	require.Equal(t, errcode.Revoked, code)
	require.EqualValues(t, 3, applied)
	code, _ = f.common(3)
	require.Equal(t, errcode.OK, code, "not all")
}
