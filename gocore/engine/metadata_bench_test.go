package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/types"
)

// BenchmarkDescriptors is what many buffers cost an owner, its store and a reader, with everything in this process.
func BenchmarkDescriptors(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("register and publish/%d", n), func(b *testing.B) {
			owner := benchOwner(b, "owner")
			for b.Loop() {
				ids := owner.listMany(n)
				owner.settle()
				b.StopTimer()
				owner.drop(ids)
				owner.settle()
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("describe/%d", n), func(b *testing.B) {
			owner, reader := benchOwner(b, "owner"), benchOwner(b, "")
			owner.listMany(n)
			seg := reader.mustOpen("owner")
			for b.Loop() {
				reader.refreshed(seg)
			}
		})
		b.Run(fmt.Sprintf("one more after/%d", n), func(b *testing.B) {
			owner, reader := benchOwner(b, "owner"), benchOwner(b, "")
			owner.listMany(n)
			owner.settle()
			seg := reader.mustOpen("owner")
			mine := reader.listMany(1)[0]
			reader.benchRead(seg, mine, owner.listMany(1)[0])
			var registered, used, published, told time.Duration
			for b.Loop() {
				b.StopTimer()
				time.Sleep(200 * time.Millisecond) // past the pauses between two publishes and two refreshes
				b.StartTimer()
				begun := time.Now()
				id := owner.listMany(1)[0]
				registered += time.Since(begun)
				reader.benchRead(seg, mine, id)
				used += time.Since(begun)
				stored := false
				for known := false; !known || !stored; time.Sleep(20 * time.Microsecond) {
					if !known && reader.knownVersion(seg) >= owner.published() {
						known = true
						told += time.Since(begun)
					}
					if !stored && !owner.meta.announcer.Status().Pending {
						stored = true
						published += time.Since(begun)
					}
				}
			}
			per := func(d time.Duration) float64 { return d.Seconds() * 1e3 / float64(b.N) }
			b.ReportMetric(per(registered), "ms-registered")
			b.ReportMetric(per(used), "ms-read-by-peer")
			b.ReportMetric(per(published), "ms-in-store")
			b.ReportMetric(per(told), "ms-at-reader")
		})
	}
}

type benchEngine struct {
	*Engine
	b *testing.B
}

func benchOwner(b *testing.B, name string) *benchEngine {
	b.Helper()
	cfg := config.Default()
	cfg.LogLevel, cfg.Metadata, cfg.Name = "off", "mem://"+strings.ReplaceAll(b.Name(), "/", "."), name
	e, err := New(cfg)
	require.NoError(b, err)
	b.Cleanup(e.Destroy)
	if name != "" {
		task, err := e.Claim(true, 0, patience)
		require.NoError(b, err)
		<-task.Done()
		require.NoError(b, task.Err())
	}
	return &benchEngine{e, b}
}

// listMany registers n buffers of 64 bytes in one batch.
func (e *benchEngine) listMany(n int) []types.BufferID {
	e.b.Helper()
	addr, err := e.Allocate(uint64(n) * 64)
	require.NoError(e.b, err)
	regs := make([]Registration, n)
	for i := range regs {
		regs[i] = Registration{Address: addr + uint64(i)*64, Length: 64, Remote: types.RemoteAll, Perm: types.PermReadWrite, Writable: true}
	}
	ids, err := e.Register(regs)
	require.NoError(e.b, err)
	return ids
}

func (e *benchEngine) published() types.Version {
	e.memory.mu.Lock()
	defer e.memory.mu.Unlock()
	return e.memory.owner.Published()
}

func (e *benchEngine) settle() {
	for e.meta.announcer.Status().Pending {
		time.Sleep(50 * time.Microsecond)
	}
}

func (e *benchEngine) drop(ids []types.BufferID) {
	task, err := e.Drain(ids, patience)
	require.NoError(e.b, err)
	<-task.Done()
	require.NoError(e.b, task.Err())
}

func (e *benchEngine) mustOpen(name string) types.SegmentID {
	task, err := e.Open(name, patience)
	require.NoError(e.b, err)
	<-task.Done()
	require.NoError(e.b, task.Err())
	return task.result.(*OpenResult).Segment
}

func (e *benchEngine) refreshed(seg types.SegmentID) {
	task, err := e.Refresh(seg, patience)
	require.NoError(e.b, err)
	<-task.Done()
	require.NoError(e.b, task.Err())
}

func (e *benchEngine) benchRead(seg types.SegmentID, mine, theirs types.BufferID) {
	batch, err := e.Submit(one(types.Read, seg, mine, theirs, 0, 0, 64))
	require.NoError(e.b, err)
	<-batch.Done()
	require.NoError(e.b, batch.Err())
	require.NoError(e.b, batch.Free())
}

func (e *benchEngine) knownVersion(seg types.SegmentID) types.Version {
	_, p, err := e.segment("look", seg)
	require.NoError(e.b, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view.Descriptor().Version
}

// BenchmarkWarmOpen opens a name that is open and fresh, and closes it.
func BenchmarkWarmOpen(b *testing.B) {
	benchOwner(b, "owner")
	reader := benchOwner(b, "")
	reader.mustOpen("owner")
	b.ReportAllocs()
	for b.Loop() {
		seg, known := reader.OpenKnown("owner")
		if !known {
			b.Fatal("the name is not fresh")
		}
		if err := reader.CloseSegment(seg); err != nil {
			b.Fatal(err)
		}
	}
}
