package gate_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/gate"
)

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestEnterUntilClosed(t *testing.T) {
	var g gate.Gate
	require.True(t, g.Enter())
	require.True(t, g.EnterN(3))
	require.EqualValues(t, 4, g.Count())
	require.False(t, g.Closed())
	quiet := g.Quiet()
	require.False(t, g.Close(), "somebody is inside")
	require.True(t, g.Closed())
	require.False(t, g.Enter())
	require.False(t, g.EnterN(5))
	require.EqualValues(t, 4, g.Count(), "those turned away do not count")
	g.LeaveN(3)
	require.False(t, closed(quiet))
	require.False(t, g.IsQuiet())
	g.Leave()
	require.True(t, closed(quiet))
	require.True(t, g.IsQuiet())
	require.True(t, g.Close(), "closing again says that it is quiet")
	require.True(t, closed(g.Quiet()))
}

func TestEmptyGateIsQuietAtOnce(t *testing.T) {
	var g gate.Gate
	require.False(t, closed(g.Quiet()), "an open gate is not quiet")
	require.True(t, g.Close())
	require.True(t, closed(g.Quiet()))
	require.False(t, g.Enter())
	require.True(t, g.IsQuiet())
}

func TestTooManyLeavesPanic(t *testing.T) {
	for name, prepare := range map[string]func(*gate.Gate){
		"open":   func(*gate.Gate) {},
		"closed": func(g *gate.Gate) { g.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			var g gate.Gate
			prepare(&g)
			require.Panics(t, g.Leave)
		})
	}
}

// The property that everything rests on: after Quiet nobody is inside, and whoever enters sees the gate open.
func TestQuietMeansNobodyInside(t *testing.T) {
	const rounds, workers = 40, 4
	for range rounds {
		var g gate.Gate
		var inside, entered atomic.Int64
		var memory atomic.Uint64 // stands for what the gate protects
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				<-start
				for g.Enter() {
					inside.Add(1)
					entered.Add(1)
					memory.Add(1)
					inside.Add(-1)
					g.Leave()
				}
			})
		}
		close(start)
		for entered.Load() < workers {
			runtime.Gosched()
		}
		g.Close()
		<-g.Quiet()
		require.Zero(t, inside.Load())
		before := memory.Load()
		wg.Wait()
		require.Equal(t, before, memory.Load(), "something was written after quiet")
		require.True(t, g.IsQuiet())
		require.Zero(t, g.Count())
	}
}

func TestQuietWakesEveryWaiter(t *testing.T) {
	var g gate.Gate
	require.True(t, g.Enter())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { <-g.Quiet() })
	}
	wg.Go(func() { g.Close() })
	g.Leave()
	wg.Wait()
	require.True(t, g.IsQuiet())
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	var g gate.Gate
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if g.Enter() {
			g.Leave()
		}
	}))
}

func BenchmarkEnterLeave(b *testing.B) {
	var g gate.Gate
	for b.Loop() {
		if g.Enter() {
			g.Leave()
		}
	}
}

func BenchmarkEnterLeaveParallel(b *testing.B) {
	var g gate.Gate
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Enter() {
				g.Leave()
			}
		}
	})
}
