package tcp

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// Strangers take a place among the pending handshakes, and give it back: those who come later get in (S12).
func TestStrangersGiveTheirPlaceBack(t *testing.T) {
	c := newCounters()
	p := newPair(t, func(cfg *Config) { cfg.MaxPendingHandshakes, cfg.Counters = 2, c })
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)
	b := conformance.Block(t, 4096)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, nil)
	for range 10 {
		r := p.raw(t)
		r.rogue = true
		r.send(make([]byte, HeaderLen))
		r.requireClosed()
		eventually(t, func() bool { return p.server.Connections() == 1 }, "the stranger has gone")
		require.Zero(t, p.server.Stats().Handshakes, "and its place is free")
		post := conformance.NewPost(types.Write, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096})
		path.Post(post)
		require.Equal(t, errcode.OK, rec.Wait(t, post).Code, "who is connected does not notice")
	}
	p.dial(t, conformance.NewRecorder(), nil)
	require.Zero(t, c.get(CounterRefusedLimit))
}

// An ABORT that names another request than the one being served ends nothing: it came late (S13).
func TestAbortOfAnotherRequestEndsNothing(t *testing.T) {
	p := newPair(t, nil)
	const n = 1 << 20
	g := p.target.Add(t, n, types.PermReadWrite, p.self)
	conformance.Pattern(g.Bytes(), 6)
	r := p.known(t)
	read, abort := r.header(OpRead, g.ID, 0, n), r.header(OpAbort, 0, 0, 0)
	abort.RequestID = read.RequestID - 1
	r.send(append(read.Append(nil), abort.Append(nil)...))
	rep := r.reply()
	require.Equal(t, errcode.OK, rep.Status)
	require.Equal(t, ReplyPayload|ReplyCRC, rep.Flags)
	var got []byte
	for {
		var c Chunk
		require.Nil(t, c.Decode(r.recv(chunkLen), read.Chunk, n-uint64(len(got)), true))
		if c.Ends() {
			require.Equal(t, ChunkLast, c.Flags, "given up after %d bytes", len(got))
			break
		}
		got = append(got, r.recv(int(c.Len))...)
		r.recv(sumLen)
	}
	require.True(t, bytes.Equal(g.Bytes(), got))
	hello := r.header(OpHello, 0, 0, 0)
	r.send(hello.Append(nil)) // still in step
	require.Equal(t, errcode.OK, r.reply().Status)
}

// The lengths of a table cannot wrap round to what the header says (S11).
func TestTableSumCannotWrap(t *testing.T) {
	const huge = math.MaxUint64 - 4
	for _, lens := range [][]uint64{{10, huge, 25}, {30, huge, 5}, {huge, 35}} {
		var entries []Entry
		for _, n := range lens {
			entries = append(entries, Entry{Buffer: 1, Len: n})
		}
		_, err := DecodeTable(AppendTable(nil, entries), len(entries), 30)
		require.NotNil(t, err, "lengths %d", lens)
		require.Equal(t, errcode.InvalidArgument, err.Code)
	}
}
