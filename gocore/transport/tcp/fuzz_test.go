package tcp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a decoder accepts, encoding gives the same bytes back, reserved ones aside, and nothing is beyond its limits.

func FuzzHeader(f *testing.F) {
	for _, name := range []string{"header-write", "header-read", "header-hello", "header-abort"} {
		f.Add(goldenFrames()[name])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderLen { // else nothing but checksum errors would be found
			b = resum(append([]byte{}, b[:HeaderLen]...))
		}
		var h Header
		if h.Decode(b, testLimits) != nil {
			return
		}
		if h.Op <= OpWrite {
			require.LessOrEqual(t, h.Entries(), DefaultEntries)
			require.LessOrEqual(t, h.Chunk, uint32(MaxChunk))
			require.Positive(t, h.Length)
		}
		again := h.Append(nil)
		copy(b[72:76], again[72:76])
		require.Equal(t, resum(b), again)
	})
}

func FuzzReply(f *testing.F) {
	for _, name := range []string{"reply-payload", "reply-stale", "reply-skew"} {
		f.Add(goldenFrames()[name])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderLen {
			b = resum(append([]byte{}, b[:HeaderLen]...))
		}
		var r Reply
		if r.Decode(b, testLimits) != nil {
			return
		}
		require.LessOrEqual(t, r.Failures, uint32(DefaultEntries))
		again := r.Append(nil)
		copy(b[64:76], again[64:76])
		require.Equal(t, resum(b), again)
	})
}

func FuzzTable(f *testing.F) {
	f.Add(goldenFrames()["table"], uint16(2), uint64(4097))
	f.Fuzz(func(t *testing.T, b []byte, count uint16, total uint64) {
		if n := int(count) * entryLen; n > 0 && len(b) >= n {
			b = appendSum(append([]byte{}, b[:n]...), n)
		}
		entries, err := DecodeTable(b, int(count), total)
		if err != nil {
			return
		}
		require.Len(t, entries, int(count))
		var sum uint64
		for _, e := range entries {
			require.Positive(t, e.Len)
			require.GreaterOrEqual(t, sum+e.Len, sum)
			sum += e.Len
		}
		require.Equal(t, total, sum)
		require.Equal(t, b, AppendTable(nil, entries))
	})
}

func FuzzFailures(f *testing.F) {
	f.Add(goldenFrames()["failures"], uint16(2), uint16(10))
	f.Fuzz(func(t *testing.T, b []byte, count, entries uint16) {
		if n := int(count) * failureLen; n > 0 && len(b) >= n {
			b = appendSum(append([]byte{}, b[:n]...), n)
		}
		list, err := DecodeFailures(b, int(count), int(entries))
		if err != nil {
			return
		}
		last := -1
		for _, x := range list {
			require.Greater(t, int(x.Index), last)
			require.Less(t, int(x.Index), int(entries))
			require.Negative(t, int(x.Code))
			last = int(x.Index)
		}
		require.Equal(t, b, AppendFailures(nil, list))
	})
}

func FuzzChunk(f *testing.F) {
	for _, name := range []string{"chunk", "chunk-last", "chunk-trailer", "chunk-abort"} {
		f.Add(goldenFrames()[name], uint32(512<<10), uint64(1<<20), name == "chunk")
	}
	f.Fuzz(func(t *testing.T, b []byte, limit uint32, left uint64, crc bool) {
		var c Chunk
		if c.Decode(b, limit, left, crc) != nil {
			return
		}
		require.LessOrEqual(t, c.Len, limit)
		require.LessOrEqual(t, uint64(c.Len), left)
		require.Equal(t, c.Ends(), c.Len == 0)
		require.Equal(t, b[:chunkLen], c.Append(nil))
	})
}
