//go:build !race

package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/open"
	"mooncake_te/gocore/types"
)

// A name that is open and fresh is opened and closed without asking anybody and without allocating.
func TestWarmOpenAllocatesNothing(t *testing.T) {
	named(t, "owner", func(c *config.Config) { c.HeartbeatMS = quietMS })
	reader := named(t, "", func(c *config.Config) { c.HeartbeatMS = quietMS })
	reader.open("owner")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		seg, known := reader.OpenKnown("owner")
		if !known {
			t.Fatal("the name is not fresh")
		}
		if err := reader.CloseSegment(seg); err != nil {
			t.Fatal(err)
		}
	}))
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a reader keeps of a segment with a handful of buffers is at most 2 KB and 300 bytes for each: the name with its
// head, the record of its peer, the descriptor.
func TestMemoryOfACachedSegment(t *testing.T) {
	const names, buffers, most = 2000, 8, 2048 + 8*300
	owner, reader := named(t, "owner"), named(t, "")
	s, err := open.Store("mem://"+t.Name(), open.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for i := range names { // all lead to one instance: what its own engine would take is not the reader's
		name := fmt.Sprintf("name-%d", i)
		o, err := s.Acquire(t.Context(), store.AcquireRequest{Name: name, Instance: owner.instance, TTL: patience})
		require.NoError(t, err)
		d := owner.publishedDescriptor()
		d.Name, d.Epoch, d.StoreID = name, o.Epoch, o.StoreID
		result, err := s.Publish(t.Context(), o, store.PublishRequest{Head: descriptor.EncodeHead(&d.Head)})
		require.NoError(t, err)
		require.Nil(t, result.Lost)
	}
	reader.open("owner")
	before := heapInUse()
	for i := range names {
		reader.open(fmt.Sprintf("name-%d", i))
	}
	perName := (heapInUse() - before) / names

	before = heapInUse()
	records := make([]*peer, names)
	for i := range records {
		p := reader.lockedPeerFor(types.NewInstanceID())
		p.segments++
		p.addrs = []string{"10.0.0.1:17001"}
		p.mu.Unlock()
		d := owner.publishedDescriptor()
		d.Instance, d.Addresses, d.Data = p.instance, []string{"10.0.0.1:17001"}, []string{"10.0.0.1:17002"}
		for id := range types.BufferID(buffers) {
			d.Buffers = append(d.Buffers, descriptor.Buffer{ID: id + 1, Length: 64, Perm: types.PermRead})
		}
		_, err := p.adopt(d)
		require.NoError(t, err)
		records[i] = p
	}
	perPeer := (heapInUse() - before) / names
	runtime.KeepAlive(records)
	t.Logf("%d bytes per name, %d per peer record with %d buffers", perName, perPeer, buffers)
	require.Less(t, perName+perPeer, int64(most))
	for _, p := range records {
		p.release()
	}
}

// A buffer that a reader knows takes at most 300 bytes, its label included; so does one that its owner has registered and
// offers, in the descriptor that is kept for readers.
func TestMemoryOfABuffer(t *testing.T) {
	const buffers, most = 20_000, 300
	owner, reader := named(t, "owner"), named(t, "")
	regs := make([]Registration, buffers)
	b := owner.alloc(buffers * 64)
	for i := range regs {
		regs[i] = Registration{
			Address: b.addr + uint64(i)*64, Length: 64, Remote: types.RemoteAll, Perm: types.PermRead, Label: fmt.Sprintf("layer-%d", i),
		}
	}
	_, err := owner.Register(regs)
	require.NoError(t, err)
	owner.describe()
	before := heapInUse()
	seg := reader.open("owner")
	known := (heapInUse() - before) / buffers
	t.Logf("%d bytes per buffer at a reader", known)
	require.Less(t, known, int64(most))
	_, p, err := reader.segment("look", seg)
	require.NoError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, p.view.Descriptor().Buffers, buffers)
}
