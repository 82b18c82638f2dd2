package metaserver

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

func smallTable(now func() time.Duration) *table {
	return newTable(now, tableLimits{bytes: 1 << 30, keys: 1 << 20, clusters: 100, ringEvents: 1000, ringBytes: 1 << 20})
}

// With real time, leases end although nobody asks for anything.
func TestLeasesEndByThemselves(t *testing.T) {
	r := start(t, Options{})
	w := r.watch("", "")
	w.listing()
	names := map[string]bool{}
	for i := range 20 {
		name := fmt.Sprint(i)
		r.acquire(name, time.Duration(300-10*i)*time.Millisecond)
		names[name] = true
	}
	for len(names) > 0 {
		if record, _ := w.change(); record.Owner == nil {
			delete(names, record.Name)
		}
	}
	require.Equal(t, "20", r.counter("leases_expired_total"))
}

// Each lease ends at its own time, not before, renewed or not.
func TestLeasesEndInOrder(t *testing.T) {
	var c clock
	table := smallTable(c.now)
	ends := map[string]time.Duration{}
	owners := map[string]store.Owner{}
	rng := rand.New(rand.NewPCG(1, 2))
	for step := range 3000 {
		name := fmt.Sprint(rng.IntN(200))
		ttl := time.Duration(1+rng.IntN(1000)) * time.Millisecond
		switch o, owned := owners[name]; {
		case !owned:
			o, held, err := table.acquire("", name, types.NewInstanceID(), ttl, nil)
			require.NoError(t, err)
			require.Nil(t, held)
			owners[name], ends[name] = o, c.now()+ttl
		case rng.IntN(3) == 0:
			table.release("", name, o)
			delete(owners, name)
		default:
			table.renew("", name, o)
			ends[name] = c.now() + table.find("", name).ttl
		}
		c.advance(time.Duration(rng.IntN(5)) * time.Millisecond)
		for name := range owners {
			if ends[name] <= c.now() {
				delete(owners, name)
			}
		}
		if step%50 == 0 {
			_, _, documents := table.list("")
			require.Len(t, documents, len(owners))
			require.Len(t, table.leases, len(owners))
		}
	}
}

// 10^5 names that come and expire, and as many stock values, leave nothing behind.
func TestMemoryIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	var c clock
	table := smallTable(c.now)
	round := func(first int) {
		for i := first; i < first+10_000; i++ {
			name := fmt.Sprint("name-", i)
			o, _, err := table.acquire("c", name, types.NewInstanceID(), time.Second, nil)
			require.NoError(t, err)
			_, lost, err := table.publish("c", name, o, store.PublishRequest{
				Head: make([]byte, 300), Stock: []store.StockKey{{Key: "ram/" + name, Value: make([]byte, 1000)}},
			})
			require.NoError(t, err)
			require.Nil(t, lost)
			require.NoError(t, table.putStock("mooncake/ram/s"+name, make([]byte, 100), nil))
			require.True(t, table.deleteStock("mooncake/ram/s"+name))
			c.advance(time.Millisecond)
		}
		c.advance(2 * time.Second)
		_, _, documents := table.list("c")
		require.Empty(t, documents)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round(0)
	before := heap()
	for i := 1; i < 10; i++ {
		round(i * 10_000)
	}
	require.Less(t, heap(), before+2<<20)
	require.Zero(t, table.bytes)
	require.Zero(t, table.names)
	require.Empty(t, table.values)
	require.Empty(t, table.spaces)
	require.Empty(t, table.leases)
	require.Equal(t, uint64(100_000), table.expired)
	require.LessOrEqual(t, table.ring.bytes, 1<<20)
}

func BenchmarkPublish(b *testing.B) {
	start := time.Now()
	table := smallTable(func() time.Duration { return time.Since(start) })
	o, _, err := table.acquire("", "x", types.NewInstanceID(), time.Hour, nil)
	require.NoError(b, err)
	head := make([]byte, 500)
	var last uint64
	for b.Loop() {
		last, _, _ = table.publish("", "x", o, store.PublishRequest{Head: head, Last: last})
	}
}
