package tcp

import (
	"bufio"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

var testLimits = Limits{Entries: DefaultEntries, Chunk: MaxChunk}

func goldenHeader() Header {
	return Header{
		Version: 1, Op: OpWrite, Flags: FlagCRC | FlagBulk, RequestID: 0x0102030405060708,
		Target: types.InstanceID{0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xaf},
		Token:  0x1112131415161718, Buffer: 0x2122232425262728, Offset: 0x3132333435363738,
		Length: 0x0142434445464748, Chunk: 512 << 10, Trace: 0x51525354,
	}
}

func goldenVectored() Header {
	h := goldenHeader()
	h.Op, h.Flags, h.Buffer, h.Offset, h.Length = OpRead, FlagVectored, 0, 2, 4097
	return h
}

func goldenTable() []Entry { return []Entry{{7, 4096, 4096}, {1 << 40, 1<<63 + 5, 1}} }

func goldenReply() Reply {
	return Reply{
		Version: 1, Op: OpRead, Flags: ReplyPayload | ReplyCRC, RequestID: 0x0102030405060708,
		Responder: goldenHeader().Target, Applied: 4096, Metadata: 1700000000000001, Floor: 1700000000000000, Failures: 2,
	}
}

func goldenFailures() []Failure {
	return []Failure{{0, errcode.Revoked, 0}, {9, errcode.MemoryFault, 1 << 33}}
}

// goldenFrames is every golden frame by the name it has in testdata/golden.txt.
func goldenFrames() map[string][]byte {
	write, read, reply := goldenHeader(), goldenVectored(), goldenReply()
	hello := Header{Version: 1, Op: OpHello, Target: write.Target, Token: write.Token}
	abort := Header{Version: 1, Op: OpAbort, Target: write.Target, Token: write.Token, RequestID: read.RequestID}
	stale := Reply{Version: 1, Op: OpWrite, RequestID: 3, Responder: write.Target, Status: errcode.StaleInstance}
	skew := Reply{Version: 1, Op: OpHello, Status: errcode.VersionSkew, Applied: 1 | 1<<8}
	return map[string][]byte{
		"header-write":  write.Append(nil),
		"header-read":   read.Append(nil),
		"header-hello":  hello.Append(nil),
		"header-abort":  abort.Append(nil),
		"table":         AppendTable(nil, goldenTable()),
		"reply-payload": reply.Append(nil),
		"reply-stale":   stale.Append(nil),
		"reply-skew":    skew.Append(nil),
		"failures":      AppendFailures(nil, goldenFailures()),
		"chunk":         Chunk{Len: 512 << 10, Flags: ChunkCRC}.Append(nil),
		"chunk-last":    Chunk{Flags: ChunkLast}.Append(nil),
		"chunk-trailer": Chunk{Flags: ChunkLast | ChunkTrailer}.Append(nil),
		"chunk-abort":   Chunk{Flags: ChunkAbort | ChunkTrailer}.Append(nil),
	}
}

func readGolden(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/golden.txt")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	out := map[string][]byte{}
	var name string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		switch {
		case line == "" || line[0] == '#':
		case strings.HasSuffix(line, ":"):
			name = strings.TrimSuffix(line, ":")
		default:
			b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			require.NoError(t, err, "%s", name)
			out[name] = append(out[name], b...)
		}
	}
	return out
}

// The vectors are the format: a change of these bytes is another protocol version.
func TestGoldenFrames(t *testing.T) {
	want := readGolden(t)
	got := goldenFrames()
	require.Len(t, want, len(got))
	for name, b := range got {
		require.Equal(t, hex.EncodeToString(want[name]), hex.EncodeToString(b), name)
	}
	require.Len(t, got["header-write"], HeaderLen)
	require.Len(t, got["reply-payload"], HeaderLen)
	require.Len(t, got["chunk"], chunkLen)
	require.Len(t, got["table"], 2*entryLen+sumLen)
	require.Len(t, got["failures"], 2*failureLen+sumLen)
}

func TestFramesDecodeToWhatWasEncoded(t *testing.T) {
	golden := readGolden(t)
	var h Header
	require.Nil(t, h.Decode(golden["header-write"], testLimits))
	require.Equal(t, goldenHeader(), h)
	require.Equal(t, 1, h.Entries())
	require.Nil(t, h.Decode(golden["header-read"], testLimits))
	require.Equal(t, goldenVectored(), h)
	require.Equal(t, 2, h.Entries())
	require.Nil(t, h.Decode(golden["header-hello"], testLimits))
	require.Nil(t, h.Decode(golden["header-abort"], testLimits))
	table, err := DecodeTable(golden["table"], 2, 4097)
	require.Nil(t, err)
	require.Equal(t, goldenTable(), table)
	var r Reply
	require.Nil(t, r.Decode(golden["reply-payload"], testLimits))
	require.Equal(t, goldenReply(), r)
	failures, err := DecodeFailures(golden["failures"], 2, 10)
	require.Nil(t, err)
	require.Equal(t, goldenFailures(), failures)
	var c Chunk
	require.Nil(t, c.Decode(golden["chunk"], 512<<10, 1<<20, true))
	require.EqualValues(t, 512<<10, c.Len)
	for _, name := range []string{"chunk-last", "chunk-trailer", "chunk-abort"} {
		require.Nil(t, c.Decode(golden[name], 512<<10, 0, true))
		require.True(t, c.Ends())
	}
}

// resum makes the checksum of a header right again after a change.
func resum(b []byte) []byte { return appendSum(b[:HeaderLen-4], HeaderLen-4) }

func TestEveryBitOfAHeaderIsCovered(t *testing.T) {
	write := goldenHeader()
	reply := goldenReply()
	for i := range HeaderLen * 8 {
		var h Header
		b := write.Append(nil)
		b[i/8] ^= 1 << (i % 8)
		require.NotNil(t, h.Decode(b, testLimits), "bit %d", i)
		var r Reply
		b = reply.Append(nil)
		b[i/8] ^= 1 << (i % 8)
		require.NotNil(t, r.Decode(b, testLimits), "bit %d", i)
	}
}

func TestHeaderDecoderIsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Header)
		code   errcode.Code
	}{
		"opcode 0":         {func(h *Header) { h.Op = 0 }, errcode.Unsupported},
		"opcode 5":         {func(h *Header) { h.Op = 5 }, errcode.Unsupported},
		"flags":            {func(h *Header) { h.Flags |= 1 << 9 }, errcode.Unsupported},
		"token":            {func(h *Header) { h.Token = 0 }, errcode.InvalidArgument},
		"request ID":       {func(h *Header) { h.RequestID = 0 }, errcode.InvalidArgument},
		"no length":        {func(h *Header) { h.Length = 0 }, errcode.InvalidArgument},
		"too long":         {func(h *Header) { h.Length = 1<<62 + 1 }, errcode.InvalidArgument},
		"chunk too small":  {func(h *Header) { h.Chunk = minChunk - 1 }, errcode.InvalidArgument},
		"chunk too large":  {func(h *Header) { h.Chunk = MaxChunk + 1 }, errcode.InvalidArgument},
		"empty table":      {func(h *Header) { h.Flags |= FlagVectored; h.Offset = 0 }, errcode.ResourceExhausted},
		"table too large":  {func(h *Header) { h.Flags |= FlagVectored; h.Offset = DefaultEntries + 1 }, errcode.ResourceExhausted},
		"empty entries":    {func(h *Header) { h.Flags |= FlagVectored; h.Offset, h.Length = 10, 9 }, errcode.InvalidArgument},
		"hello with bytes": {func(h *Header) { h.Op = OpHello }, errcode.InvalidArgument},
		"abort with table": {func(h *Header) { h.Op, h.Length = OpAbort, 0; h.Flags |= FlagVectored }, errcode.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			h := goldenHeader()
			c.change(&h)
			var got Header
			err := got.Decode(h.Append(nil), testLimits)
			require.NotNil(t, err)
			require.Equal(t, c.code, err.Code, err.Error())
		})
	}
	var h Header
	require.NotNil(t, h.Decode(make([]byte, HeaderLen-1), testLimits))
	skew := goldenHeader()
	skew.Version = 2
	err := h.Decode(skew.Append(nil), testLimits)
	require.Equal(t, errcode.VersionSkew, err.Code)
	require.Contains(t, err.Detail, "2")
	require.Contains(t, err.Detail, "1 to 1")
	b := skew.Append(nil)
	b[0] = 'X' // the magic number comes before the version
	require.Equal(t, errcode.InvalidArgument, h.Decode(resum(b), testLimits).Code)
}

func TestReplyDecoderIsStrict(t *testing.T) {
	for name, change := range map[string]func(*Reply){
		"opcode":                 func(r *Reply) { r.Op = 0 },
		"flags":                  func(r *Reply) { r.Flags |= 1 << 5 },
		"payload of a WRITE":     func(r *Reply) { r.Op = OpWrite },
		"payload with a failure": func(r *Reply) { r.Status = errcode.Revoked; r.Failures = 0 },
		"positive status":        func(r *Reply) { r.Flags, r.Failures, r.Status = 0, 0, 1 },
		"too many failures":      func(r *Reply) { r.Failures = DefaultEntries + 1 },
		"failures of a failure":  func(r *Reply) { r.Flags, r.Status = 0, errcode.Revoked },
		"version":                func(r *Reply) { r.Version = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := goldenReply()
			change(&r)
			var got Reply
			require.NotNil(t, got.Decode(r.Append(nil), testLimits))
		})
	}
}

func TestTableDecoderIsStrict(t *testing.T) {
	good := AppendTable(nil, []Entry{{1, 0, 10}, {2, 5, 20}})
	_, err := DecodeTable(good, 2, 30)
	require.Nil(t, err)
	for name, c := range map[string]struct {
		entries []Entry
		count   int
		total   uint64
	}{
		"sum too small":  {[]Entry{{1, 0, 10}, {2, 5, 20}}, 2, 29},
		"sum too large":  {[]Entry{{1, 0, 10}, {2, 5, 20}}, 2, 31},
		"wrapping sum":   {[]Entry{{1, 0, 1 << 63}, {2, 5, 1 << 63}}, 2, 0},
		"empty entry":    {[]Entry{{1, 0, 0}, {2, 5, 20}}, 2, 20},
		"count too low":  {[]Entry{{1, 0, 10}, {2, 5, 20}}, 1, 10},
		"count too high": {[]Entry{{1, 0, 10}, {2, 5, 20}}, 3, 30},
		"count 0":        {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeTable(AppendTable(nil, c.entries), c.count, c.total)
			require.NotNil(t, err)
		})
	}
	for i := range good {
		b := append([]byte{}, good...)
		b[i] ^= 0x10
		_, err := DecodeTable(b, 2, 30)
		require.NotNil(t, err, "byte %d", i)
	}
}

func TestFailureDecoderIsStrict(t *testing.T) {
	for name, list := range map[string][]Failure{
		"not sorted":    {{2, errcode.Revoked, 0}, {1, errcode.Revoked, 0}},
		"twice":         {{1, errcode.Revoked, 0}, {1, errcode.Revoked, 0}},
		"outside":       {{1, errcode.Revoked, 0}, {3, errcode.Revoked, 0}},
		"no failure":    {{1, errcode.OK, 0}, {2, errcode.Revoked, 0}},
		"positive code": {{1, 5, 0}, {2, errcode.Revoked, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeFailures(AppendFailures(nil, list), len(list), 3)
			require.NotNil(t, err)
		})
	}
	_, err := DecodeFailures(nil, 4, 3)
	require.NotNil(t, err)
	require.Empty(t, AppendFailures(nil, nil))
}

func TestChunkDecoderIsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		chunk Chunk
		left  uint64
		crc   bool
	}{
		"empty":              {Chunk{0, ChunkCRC}, 100, true},
		"over the limit":     {Chunk{4097, ChunkCRC}, 1 << 20, true},
		"over the rest":      {Chunk{101, ChunkCRC}, 100, true},
		"no checksum":        {Chunk{10, 0}, 100, true},
		"unwanted checksum":  {Chunk{10, ChunkCRC}, 100, false},
		"last too early":     {Chunk{0, ChunkLast}, 1, true},
		"last with bytes":    {Chunk{1, ChunkLast}, 1, false},
		"last and abort":     {Chunk{0, ChunkLast | ChunkAbort}, 0, true},
		"last with checksum": {Chunk{0, ChunkLast | ChunkCRC}, 0, true},
		"trailer of nothing": {Chunk{10, ChunkTrailer | ChunkCRC}, 100, true},
		"unknown flag":       {Chunk{10, ChunkCRC | 1<<8}, 100, true},
	} {
		t.Run(name, func(t *testing.T) {
			var got Chunk
			require.NotNil(t, got.Decode(c.chunk.Append(nil), 4096, c.left, c.crc))
		})
	}
	var got Chunk
	b := Chunk{10, ChunkCRC}.Append(nil)
	b[6] ^= 1
	require.NotNil(t, got.Decode(b, 4096, 100, true))
	require.NotNil(t, got.Decode(b[:7], 4096, 100, true))
	require.Nil(t, got.Decode(Chunk{0, ChunkAbort | ChunkTrailer}.Append(nil), 4096, 100, true), "an abort may come at any time")
}
