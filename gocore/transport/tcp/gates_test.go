package tcp

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/transport/conformance"
)

// watched is a region of one entry behind a gate. Whoever asks for its length after the last access was taken does so
// while bytes are being accounted for, and must still be inside.
type watched struct {
	addr, n uint64
	gate    *gate.Gate
	inside  *[]uint64 // how many were inside at each look since the last access
}

func (watched) renew() {}

func (r watched) length(int) uint64 {
	*r.inside = append(*r.inside, r.gate.Count())
	return r.n
}

func (r watched) enter(_ int, off, _ uint64) (uint64, *gate.Gate, errcode.Code) {
	r.gate.Enter()
	*r.inside = (*r.inside)[:0]
	return r.addr + off, r.gate, errcode.OK
}

// A gate is held for as long as a system call, or a copy, reads or fills what is behind it: a fence that finds it empty
// frees the memory (S2).
func TestGatesAreHeldWhileBytesMove(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	out, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	require.NoError(t, err)
	in, err := l.AcceptTCP()
	require.NoError(t, err)
	from, err := newStream(out, 0)
	require.NoError(t, err)
	defer from.close()
	to, err := newStream(in, 0)
	require.NoError(t, err)
	defer to.close()

	const n = 256 << 10
	b := conformance.Block(t, 2*n)
	conformance.Pattern(b.Bytes()[:n], 5)
	for _, crc := range []bool{false, true} {
		source := watched{b.Addr(), n, new(gate.Gate), new([]uint64)}
		sink := watched{b.Addr() + n, n, new(gate.Gate), new([]uint64)}
		clear(b.Bytes()[n:])
		sent := make(chan error, 1)
		go func() {
			x := newSender(from)
			_, err := x.payload(source, n, 64<<10, crc, &failures{}, true, nil, func() bool { return false })
			if err == nil && !x.ended {
				x.out = Chunk{Flags: ChunkLast}.Append(x.out)
				err = x.flush()
			}
			sent <- err
		}()
		require.NoError(t, newReceiver(to).payload(sink, n, 64<<10, crc, &failures{}, false, nil, func() {}))
		require.NoError(t, <-sent)
		require.Equal(t, b.Bytes()[:n], b.Bytes()[n:])
		for name, r := range map[string]watched{"source": source, "sink": sink} {
			require.NotEmpty(t, *r.inside, name)
			require.NotContains(t, *r.inside, uint64(0), "%s: nobody was inside while bytes moved", name)
			require.True(t, r.gate.Close(), "%s: somebody stayed inside", name)
		}
	}
}
