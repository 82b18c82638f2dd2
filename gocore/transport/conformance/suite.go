package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Factory makes a path to a target whose events go to sink, and says which instance the target sees at the other end. It
// registers what must be cleaned up. Requests of 65,537 slices must be allowed.
type Factory func(t *testing.T, target *Target, sink transport.Sink) (transport.Path, types.InstanceID)

// Run checks a transport against the rules of package transport.
func Run(t *testing.T, make Factory) {
	for _, c := range []struct {
		name string
		run  func(*fixture)
	}{
		{"sizes", testSizes},
		{"tables", testTables},
		{"crossing entries and chunks", testCrossing},
		{"refusals by entry", testRefusals},
		{"refusal of all", testAllRefused},
		{"draining finishes what was admitted", testDraining},
		{"fence in the middle", testFence},
		{"fence by another goroutine", testFenceAside},
		{"abort under way", testAbort},
		{"abort while queued", testAbortQueued},
		{"abort of what is over", testAbortLate},
		{"latency goes first", testClasses},
		{"close under way", testClose},
		{"post after close", testPostAfterClose},
		{"memory fault of the target", testTargetFault},
		{"memory fault of the initiator", testInitiatorFault},
		{"many at once", testMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, target: NewTarget(), rec: NewRecorder(), make: make}
			c.run(f)
			f.finish()
		})
	}
}

// fixture is one test's target, path and what was posted.
type fixture struct {
	*testing.T
	target *Target
	rec    *Recorder
	make   Factory
	path   transport.Path
	self   types.InstanceID
	posts  []*transport.Post
}

// open makes the path, late so that a test can prepare its target.
func (f *fixture) open() {
	f.Helper()
	if f.path == nil {
		f.path, f.self = f.make(f.T, f.target, f.rec)
	}
}

func (f *fixture) post(p *transport.Post) *transport.Post {
	f.Helper()
	f.open()
	f.posts = append(f.posts, p)
	f.path.Post(p)
	return p
}

func (f *fixture) do(p *transport.Post) transport.Result {
	f.Helper()
	return f.rec.Wait(f, f.post(p))
}

// finish closes the path and checks the accounting.
func (f *fixture) finish() {
	f.Helper()
	f.open()
	for _, p := range f.posts {
		f.rec.Wait(f, p)
	}
	f.path.Close(nil)
	f.rec.WaitDown(f)
	f.rec.RequireExact(f, f.posts, true)
	require.Zero(f, f.path.Info().PostsPending)
}

// works checks that the path is still good for something.
func (f *fixture) works() {
	f.Helper()
	g := f.target.Add(f, 4096, types.PermReadWrite, types.InstanceID{})
	b := Block(f, 4096)
	Pattern(b.Bytes(), 77)
	r := f.do(NewPost(types.Write, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096}))
	f.completed(r, 4096)
	require.Equal(f, b.Bytes(), g.Bytes())
}

func (f *fixture) completed(r transport.Result, n uint64) {
	f.Helper()
	require.Equal(f, errcode.OK, r.Code, r.Detail)
	require.Empty(f, r.Failed)
	require.True(f, r.Sent)
	require.True(f, r.Answered)
	require.Equal(f, n, r.Applied)
	require.Equal(f, MetadataVersion, r.Version)
	require.Equal(f, MetadataFloor, r.Floor)
}

// Pattern fills b so that every 8 bytes differ from their neighbours and from another seed's.
func Pattern(b []byte, seed uint64) {
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		if i%8 == 0 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		b[i] = byte(x >> (8 * (i % 8)))
	}
}

func anybody() types.InstanceID { return types.InstanceID{} }

func bothWays(f func(op types.Op, crc bool)) {
	for _, op := range []types.Op{types.Write, types.Read} {
		for _, crc := range []bool{true, false} {
			f(op, crc)
		}
	}
}

// sides puts a pattern at the source of an operation and zeros at its destination, and returns both.
func sides(op types.Op, here, there []byte, seed uint64) (src, dst []byte) {
	src, dst = here, there
	if op == types.Read {
		src, dst = there, here
	}
	Pattern(src, seed)
	clear(dst)
	return src, dst
}

func sum(b []byte) uint32 { return mem.CRC32CBytes(0, b) }
