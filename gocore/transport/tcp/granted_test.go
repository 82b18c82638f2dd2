package tcp

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// ranged is memory that grants [100, 300) and [400, 500) of every buffer, each buffer at an address of its own.
type ranged struct {
	gates  map[types.BufferID]*gate.Gate
	enters int
}

func (m *ranged) Instance() types.InstanceID                              { return types.InstanceID{} }
func (m *ranged) Version(types.InstanceID) (version, floor types.Version) { return 1, 1 }
func (m *ranged) Admit(types.InstanceID, types.BufferID, types.Op, uint64, uint64) errcode.Code {
	return errcode.OK
}

func (m *ranged) Enter(_ types.InstanceID, id types.BufferID, _ types.Op, off, n uint64) (transport.Access, errcode.Code) {
	ranges := []types.Range{{Off: 100, Len: 200}, {Off: 400, Len: 100}}
	i := types.FindRange(ranges, off, n)
	if i < 0 {
		return transport.Access{}, errcode.OutOfBounds
	}
	if !m.gates[id].Enter() {
		return transport.Access{}, errcode.Revoked
	}
	m.enters++
	return transport.Access{Addr: uint64(id)*10000 + off, Gate: m.gates[id], Around: ranges[i]}, errcode.OK
}

// Entries in one granted range share one access, and only as long as it is held: nothing outside the range is let in by
// it, nothing of another buffer, and nothing after the gates were left.
func TestEntriesOfOneRangeShareAnAccess(t *testing.T) {
	m := &ranged{gates: map[types.BufferID]*gate.Gate{1: {}, 2: {}}}
	g := &granted{memory: m, op: types.Read, entries: []Entry{
		{1, 100, 50}, {1, 250, 50}, {1, 150, 50}, // one range
		{1, 400, 100},              // another one
		{1, 280, 30}, {1, 490, 20}, // over the end of each
		{2, 100, 10}, {2, 110, 10}, // another buffer
		{1, 100, 10}, // and back
	}}
	var failed failures
	w := &window{zeros: true}
	const total = 50 + 50 + 50 + 100 + 30 + 20 + 10 + 10 + 10
	w.gather(g, cursor{}, total, maxSpans, &failed, false)
	require.Equal(t, []Failure{{4, errcode.OutOfBounds, 0}, {5, errcode.OutOfBounds, 0}}, failed.list)
	require.Equal(t, 4, m.enters)
	require.EqualValues(t, 3, m.gates[1].Count())
	require.EqualValues(t, 1, m.gates[2].Count())
	want := []uint64{10100, 10250, 10150, 10400, 0, 0, 20100, 20110, 10100}
	for i, v := range w.spans() {
		if want[i] != 0 {
			require.Equal(t, want[i], v.Base, "entry %d", i)
		}
	}
	require.EqualValues(t, total-50, w.userBytes(total))
	w.leave()
	require.Zero(t, m.gates[1].Count())

	require.True(t, m.gates[1].Close())
	failed.reset()
	w.gather(g, cursor{}, 150, maxSpans, &failed, false)
	require.Len(t, failed.list, 3, "an access of the last gather let somebody in")
	require.Equal(t, errcode.Revoked, failed.list[0].Code)
	w.leave()
}

func BenchmarkGather(b *testing.B) {
	m := &ranged{gates: map[types.BufferID]*gate.Gate{1: {}}}
	g := &granted{memory: m, op: types.Read}
	for i := range maxSpans {
		g.entries = append(g.entries, Entry{1, 100 + uint64(i%100), 100})
	}
	w := &window{}
	var failed failures
	for b.Loop() {
		w.gather(g, cursor{}, 100*maxSpans, maxSpans, &failed, false)
		at := cursor{}
		at.advance(g, w.bytes)
		w.leave()
	}
	require.Empty(b, failed.list)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/maxSpans, "ns/entry")
}
