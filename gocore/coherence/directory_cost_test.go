package coherence

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestClosedNamesAreForgotten(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.got(r.d.Close(r.now, "kv"))
	require.Equal(t, DirectoryStats{}, func() DirectoryStats {
		s := r.d.Stats()
		return DirectoryStats{Names: s.Names, Instances: s.Instances, Waiting: s.Waiting, Bound: s.Bound}
	}())

	r.lead()
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	_, acts := r.d.Refresh(r.now, "kv")
	one[DirGet](t, r.got(acts)) // is under way
	r.d.Close(r.now, "kv")
	r.d.Changed(r.now, holding(7, head(nodeB, 7, 1)))
	require.False(t, r.d.IsOpen("kv"))
	ticket := r.open(OpenOptions{})
	require.Empty(t, r.acts, "the one under way will do; what came meanwhile was not followed, so nothing is known")
	r.got(r.d.Got(r.now, "kv", holding(7, head(nodeB, 7, 1))))
	r.got(r.d.Bound(r.now, "kv", nodeB, errcode.OK, ""))
	r.answer(ticket, errcode.OK)
}

func TestReplacementsLeaveMemoryFlat(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	replace := func(i int) {
		who := types.InstanceID{1, byte(i), byte(i >> 8), byte(i >> 16)}
		h := head(who, uint64(10+i), 1)
		if i%100 == 99 {
			h.StoreID = fmt.Sprintf("%032x", i)
		}
		r.now += 10 * ms
		r.d.Tick(r.now)
		r.d.Changed(r.now, holding(uint64(10+i), h))
		r.d.Bound(r.now, "kv", who, errcode.OK, "")
		require.Equal(t, who, r.d.Head("kv").Instance)
		other := fmt.Sprintf("name-%d", i)
		r.d.Open(r.now, other, OpenOptions{})
		r.d.Got(r.now, other, StoreRecord{Name: other, StoreID: storeOne, Revision: uint64(10 + i)})
		r.d.Close(r.now, other)
	}
	for i := range 5000 {
		replace(i)
	}
	before := memory()
	for i := range 10_000 {
		replace(5000 + i)
	}
	require.Less(t, int64(memory())-int64(before), int64(256<<10))
	r.pass(2 * types.Second)
	require.Equal(t, 1, r.d.Stats().Names)
	require.Equal(t, 1, r.d.Stats().Instances)
	require.LessOrEqual(t, len(r.d.timers.heap), 64)
}

func TestWarmOpenAllocatesNothing(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, ok := r.d.OpenFresh(r.now, "kv"); !ok {
			t.Fatal("not fresh")
		}
		r.d.Lookup(r.now, "kv")
		r.d.Fresh(r.now, "kv")
	}))
}

func BenchmarkWarmOpen(b *testing.B) {
	r := newDirRig(b)
	r.lead()
	b.ReportAllocs()
	for b.Loop() {
		r.d.OpenFresh(r.now, "kv")
	}
}

func TestStateOfOpenNames(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.now += 2 * types.Second
	_, acts := r.d.Open(r.now, "absent", OpenOptions{})
	r.got(acts)
	r.got(r.d.Got(r.now, "absent", StoreRecord{Name: "absent", StoreID: storeOne, Revision: 6}))
	require.Equal(t, []NameState{
		{Name: "absent", Refs: 1, Code: errcode.SegmentNotFound, Detail: "nobody has published it"},
		{Name: "kv", Refs: 1, Bound: true, Instance: nodeA, Epoch: 5, StoreID: storeOne, Version: 10, Source: "get", Age: 2 * types.Second},
	}, r.d.Names(r.now))
	require.Equal(t, []string{"absent", "kv"}, r.d.OpenNames())
}
