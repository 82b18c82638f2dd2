package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func scheduled(s *Scheduler, op types.Op, class types.Class, n int, size uint64) *Transfer {
	id := uint64(0)
	cfg := TransferConfig{Op: op, Class: class, NextID: func() uint64 { id++; return id }, MaxPostBytes: max(size, 64<<10), Streams: 1}
	tr := NewTransfer(0, cfg, blocks(n, 1, size))
	s.Add(tr)
	return tr
}

func always(*Post) bool { return true }

// serve posts and completes what the scheduler gives, and counts bytes by transfer.
func serve(t require.TestingT, s *Scheduler, posts int) map[*Transfer]uint64 {
	got := map[*Transfer]uint64{}
	for range posts {
		p := s.Next(0, false, always)
		if p == nil {
			break
		}
		got[p.Transfer] += p.Bytes
		p.Transfer.Posted(0, p, 1)
		p.Transfer.Result(0, p, done)
		require.NoError(t, p.Transfer.CheckInvariants())
	}
	return got
}

func TestSchedulerSharesByWeightAndBytes(t *testing.T) {
	s := &Scheduler{}
	urgent := scheduled(s, types.Write, types.Latency, 4000, 64<<10)
	big := scheduled(s, types.Write, types.Bulk, 4000, 4<<20)
	small := scheduled(s, types.Read, types.Bulk, 400000, 64<<10)
	got := serve(t, s, 3000)
	require.InDelta(t, latencyWeight, float64(got[urgent])/float64(got[big]+got[small]), 0.5, "classes by weight")
	require.InDelta(t, 1, float64(got[big])/float64(got[small]), 0.3, "batches of a class by bytes, not by posts")
	require.Equal(t, 2, s.Waiting(types.Bulk))
	s.Remove(big)
	s.Remove(big)
	require.Equal(t, 1, s.Waiting(types.Bulk))
	require.Zero(t, serve(t, s, 10)[big])
}

func TestSchedulerLatencyGoesFirst(t *testing.T) {
	s := &Scheduler{}
	bulk := scheduled(s, types.Write, types.Bulk, 100, 4<<20)
	require.Same(t, bulk, s.Next(0, false, always).Transfer, "nobody else wants to")
	urgent := scheduled(s, types.Write, types.Latency, 10, 64<<10)
	require.Same(t, urgent, s.Next(0, false, always).Transfer)
}

func TestSchedulerSkipsWhatMayNotGo(t *testing.T) {
	s := &Scheduler{}
	write := scheduled(s, types.Write, types.Latency, 3, 64<<10)
	read := scheduled(s, types.Read, types.Latency, 3, 64<<10)
	for range 3 {
		p := s.Next(0, true, always)
		require.Same(t, read, p.Transfer, "WRITEs are held")
		read.Posted(0, p, 1)
	}
	require.Nil(t, s.Next(0, true, always))
	asked := 0
	require.Nil(t, s.Next(0, false, func(*Post) bool { asked++; return false }))
	require.Equal(t, 1, asked, "asked once per batch and call")
	p := s.Next(0, false, always)
	require.Same(t, write, p.Transfer, "what was refused kept its place")
	require.EqualValues(t, 0, p.Slices[0].Req)
	s.Remove(write)
	require.Nil(t, s.Next(0, false, always))
}

func TestSchedulerWakesWhatComesBack(t *testing.T) {
	s := &Scheduler{}
	tr := scheduled(s, types.Read, types.Bulk, 1, 100)
	s.Add(tr)
	p := s.Next(0, false, always)
	tr.Posted(0, p, 1)
	require.Nil(t, s.Next(0, false, always))
	require.Zero(t, s.Waiting(types.Bulk))
	tr.Result(0, p, pathLost)
	require.Equal(t, 1, s.Waiting(types.Bulk))
	p = s.Next(0, false, always)
	require.NotNil(t, p)
	tr.Posted(0, p, 2)
	full := done
	full.Failed = []SliceResult{{Code: errcode.ResourceExhausted}}
	tr.Result(0, p, full)
	require.Nil(t, s.Next(0, false, always), "pause")
	at, _ := tr.NextWake()
	tr.Tick(at)
	require.NotNil(t, s.Next(at, false, always))
	other := &Scheduler{}
	other.Add(tr)
	require.Zero(t, s.Waiting(types.Bulk))
}

// TestSchedulerServesAll: whatever the mix, everything that may go is given out, each byte once, and nobody starves.
func TestSchedulerServesAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &Scheduler{}
		var all []*Transfer
		total := uint64(0)
		for range rapid.IntRange(1, 8).Draw(t, "batches") {
			tr := scheduled(s, types.Read, types.Class(rapid.IntRange(0, 1).Draw(t, "class")),
				rapid.IntRange(1, 20).Draw(t, "n"), rapid.SampledFrom([]uint64{1, 4096, 64 << 10, 3 << 20}).Draw(t, "size"))
			all = append(all, tr)
			total += tr.Bytes()
		}
		sum := uint64(0)
		for _, n := range serve(t, s, 1000) {
			sum += n
		}
		require.Equal(t, total, sum)
		for _, tr := range all {
			require.True(t, tr.Final())
		}
	})
}

func TestSchedulerDoesNotAllocate(t *testing.T) {
	s := &Scheduler{}
	for range 4 {
		scheduled(s, types.Write, types.Bulk, 1<<17, 4096)
		scheduled(s, types.Write, types.Latency, 1<<17, 4096)
	}
	serve(t, s, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		p := s.Next(0, false, always)
		p.Transfer.Posted(0, p, 1)
		p.Transfer.Result(0, p, done)
		p.Transfer.TakeQuiet()
	}))
}
