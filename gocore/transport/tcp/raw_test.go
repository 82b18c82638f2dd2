package tcp

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// counters keeps what is counted.
type counters struct {
	mu sync.Mutex
	n  map[string]uint64
}

func newCounters() *counters { return &counters{n: map[string]uint64{}} }

func (c *counters) Add(name string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name] += n
}

func (c *counters) get(name string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// raw is a client that says what it is told to say.
type raw struct {
	*testing.T
	net.Conn
	p     *pair
	token types.PathID
	// rogue says that the other side may cut at any time, and that this is no goroutine of the test.
	rogue bool
}

func (p *pair) raw(t *testing.T) *raw {
	t.Helper()
	c, err := net.Dial("tcp", p.server.Addresses()[0])
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(conformance.Patience)))
	return &raw{T: t, Conn: c, p: p}
}

// refused dials and sees the connection closed at once.
func (p *pair) refused(t *testing.T) {
	t.Helper()
	c, err := net.Dial("tcp", p.server.Addresses()[0])
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET)
		return
	}
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetDeadline(time.Now().Add(conformance.Patience)))
	(&raw{T: t, Conn: c, p: p}).requireClosed()
}

// known is a raw client with a valid token.
func (p *pair) known(t *testing.T) *raw {
	t.Helper()
	r := p.raw(t)
	r.token = p.target.Token(p.self)
	return r
}

func (r *raw) header(op Opcode, id types.BufferID, off, n uint64) Header {
	return Header{
		Version: Version, Op: op, Flags: FlagCRC, RequestID: 99, Target: r.p.target.Instance(), Token: r.token,
		Buffer: id, Offset: off, Length: n, Chunk: 64 << 10,
	}
}

// send writes all parts at once, so that no pause between them is longer than a short deadline of the other side.
func (r *raw) send(parts ...[]byte) {
	r.Helper()
	if _, err := r.Write(slices.Concat(parts...)); !r.rogue {
		require.NoError(r, err)
	}
}

func (r *raw) recv(n int) []byte {
	r.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); !r.rogue {
		require.NoError(r, err)
	}
	return b
}

func (r *raw) reply() Reply {
	r.Helper()
	var rep Reply
	require.Nil(r, rep.Decode(r.recv(HeaderLen), testLimits))
	return rep
}

// requireClosed waits for the other side to end the connection without another byte.
func (r *raw) requireClosed() {
	r.Helper()
	n, err := io.Copy(io.Discard, r)
	require.Zero(r, n, "the server answered")
	var timeout net.Error
	if err != nil {
		require.False(r, errors.As(err, &timeout) && timeout.Timeout(), "the connection stays open")
	}
}

// chunk is one chunk of payload with its checksum.
func chunk(b []byte) []byte {
	out := append(Chunk{Len: uint32(len(b)), Flags: ChunkCRC}.Append(nil), b...)
	return appendSum(out, len(b))
}

var last = Chunk{Flags: ChunkLast}.Append(nil)

// gone waits until the connection of the token has left.
func (r *raw) gone() {
	r.Helper()
	select {
	case <-r.p.target.Gone(r.token):
	case <-time.After(conformance.Patience):
		require.Fail(r, "the handler is still there")
	}
}

// eventually polls for what no channel tells of.
func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, conformance.Patience, time.Millisecond, what)
}
