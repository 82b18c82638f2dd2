package sim

import (
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "run this seed alone, with a trace; 0: many")
	firstFlag = flag.Uint64("sim.first", 1, "first of many seeds")
	runsFlag  = flag.Uint64("sim.runs", 60, "how many seeds")
	stepsFlag = flag.Int("sim.steps", 4000, "events of each seed before its faults heal")
	tailFlag  = flag.Int("sim.tail", 60, "lines of trace to show of a failure")
)

// explain runs a failing seed again with a trace and shows its end.
func explain(t *testing.T, cfg Config, err error) {
	t.Helper()
	var tail []string
	cfg.Trace = func(line string) {
		tail = append(tail, line)
		if len(tail) > *tailFlag {
			tail = tail[1:]
		}
	}
	_, again := Run(cfg)
	for _, line := range tail {
		t.Log(line)
	}
	require.Equal(t, err, again, "a seed must give the same run again")
	t.Fatalf("%v\nreplay: go test ./gocore/coherence/sim -run TestSimulation -sim.seed=%d -sim.steps=%d -sim.tail=100000", err, cfg.Seed, cfg.Steps)
}

func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		cfg := Config{Seed: *seedFlag, Steps: *stepsFlag}
		if _, err := Run(cfg); err != nil {
			explain(t, cfg, err)
		}
		return
	}
	var sum Stats
	for seed := *firstFlag; seed < *firstFlag+*runsFlag; seed++ {
		cfg := Config{Seed: seed, Steps: *stepsFlag}
		s, err := Run(cfg)
		if err != nil {
			explain(t, cfg, err)
		}
		sum.add(s)
	}
	t.Logf("%d runs: %+v", *runsFlag, sum)
	if *runsFlag >= 50 && *stepsFlag >= 4000 {
		// A simulation in which nothing happens finds nothing.
		require.GreaterOrEqual(t, sum.Events, uint64(200_000))
		for what, n := range map[string]uint64{
			"batches completed": sum.Completed, "batches unknown": sum.Unknown, "batches not applied": sum.NotApplied,
			"batches partial": sum.Partial, "drains": sum.Drains, "drains timed out": sum.DrainsTimedOut,
			"drains fenced": sum.DrainsFenced, "crashes": sum.Crashes, "pauses": sum.Pauses,
			"session breaks": sum.SessionBreaks, "connection drops": sum.ConnDrops, "posts lost": sum.Lost,
			"paths retired": sum.Retired, "ends without remote quiet": sum.RemoteNotQuiet,
		} {
			require.NotZero(t, n, "no %s", what)
		}
	}
}

func (s *Stats) add(o Stats) {
	s.Events += o.Events
	s.Batches += o.Batches
	s.Completed += o.Completed
	s.NotApplied += o.NotApplied
	s.Unknown += o.Unknown
	s.Partial += o.Partial
	s.Drains += o.Drains
	s.DrainsTimedOut += o.DrainsTimedOut
	s.DrainsFenced += o.DrainsFenced
	s.Crashes += o.Crashes
	s.Pauses += o.Pauses
	s.SessionBreaks += o.SessionBreaks
	s.ConnDrops += o.ConnDrops
	s.Posts += o.Posts
	s.Lost += o.Lost
	s.RemoteNotQuiet += o.RemoteNotQuiet
	s.Retired += o.Retired
}

// Each planted mistake must be found, and by an invariant that it breaks.
func TestSimulatorFindsMistakes(t *testing.T) {
	breaks := map[mutant][]string{
		ackAtOnce: {"S4"}, freeBeforeFence: {"S2"}, retiredEarly: {"S8", "S4"}, tokenStaysGood: {"S8", "S4"}, ignoreFloor: {"S3 (floor)"},
		retryAtOnce: {"S8", "S4"}, laterWriteGoes: {"S8"}, reuseID: {"S2", "S3"}, noFence: {"S2", "S3"}, noTargetID: {"S1"},
		replyEarly: {"S8"}, splitDescribe: {"S7"}, localFreedEarly: {"S10"},
	}
	for m := noMutant + 1; m < numMutants; m++ {
		t.Run(m.String(), func(t *testing.T) {
			start := time.Now()
			for seed := uint64(1); seed <= 400; seed++ {
				_, err := Run(Config{Seed: seed, Steps: 4000, mutant: m})
				var f *Failure
				if errors.As(err, &f) && slices.Contains(breaks[m], f.Rule) { // it may break more, and first
					t.Logf("found after %d runs in %v: %v", seed, time.Since(start).Round(time.Millisecond), f)
					return
				}
			}
			t.Fatal("not found in 400 runs")
		})
	}
}

func TestSeedGivesTheSameRunAgain(t *testing.T) {
	var runs [2][]string
	for i := range runs {
		_, err := Run(Config{Seed: 7, Steps: 1500, Trace: func(line string) { runs[i] = append(runs[i], line) }})
		require.NoError(t, err)
	}
	require.NotEmpty(t, runs[0])
	require.Equal(t, runs[0], runs[1])
}
