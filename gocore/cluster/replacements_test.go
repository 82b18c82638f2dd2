package cluster

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// A name that goes from owner to owner ten thousand times leaves its reader as it was.
func TestReplacementsLeaveNothingBehind(t *testing.T) {
	const warm, rounds = 1000, 10_000
	srv := server(t)
	s := client(t, srv)
	r := newReader(t, client(t, srv))
	var last *store.Record
	replace := func() {
		id := types.NewInstanceID()
		own, err := s.Acquire(t.Context(), store.AcquireRequest{Name: "n", Instance: id, TTL: time.Hour, Takeover: last})
		require.NoError(t, err)
		head := descriptor.EncodeHead(&descriptor.Head{
			Name: "n", Instance: id, Epoch: own.Epoch, StoreID: own.StoreID, Version: types.Version(own.Epoch),
			Addresses: []string{"127.0.0.1:1"},
		})
		_, err = s.Publish(t.Context(), own, store.PublishRequest{Head: head})
		require.NoError(t, err)
		rec, err := s.Get(t.Context(), "n")
		require.NoError(t, err)
		last = &rec
	}
	replace()
	require.NoError(t, r.opens(t, "n", patience))
	follow := func(n int) {
		for range n {
			replace()
			for end := time.Now().Add(patience); r.lead("n") != last.Owner.Instance; runtime.Gosched() {
				require.True(t, time.Now().Before(end), "the name is not followed")
			}
		}
	}
	memory := func() (heap uint64, goroutines int) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	follow(warm)
	before, running := memory()
	follow(rounds)
	after, now := memory()
	t.Logf("heap %d -> %d bytes, goroutines %d -> %d, %d adopted", before, after, running, now, r.Stats().Adopted)
	require.Less(t, after, before+256<<10, "less than 26 bytes for each")
	require.LessOrEqual(t, now, running+2)
	stats := r.Stats()
	require.Equal(t, 1, stats.Names)
	require.Equal(t, 1, stats.Instances)
	require.Greater(t, stats.Replaced, uint64(rounds))
	names, leases, _ := srv.Sizes()
	require.Equal(t, 1, names)
	require.Equal(t, 1, leases, "a takeover ends the lease before")
}
