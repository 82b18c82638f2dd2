package storesim

import (
	"errors"
	"slices"
	"testing"
)

// Each planted mistake must be found, and by a rule that it breaks.
func TestSimulatorFindsMistakes(t *testing.T) {
	breaks := map[mutant][]string{
		noHeadCompare: {"S6"}, noOwnerCompare: {"S6"}, bindAnyone: {"S1"},
		clockSleeps: {"S6 (zombie)"}, unknownAsFailed: {"version", "S6"}, neverRemade: {"L7", "S5", "S6"},
	}
	// Those that need many runs from seed 1 on begin a little before the seed that showed them last.
	from := map[mutant]uint64{clockSleeps: 110}
	for m := noMutant + 1; m < numMutants; m++ {
		if m == renewBlind {
			continue // TestBlindRenewalIsFound
		}
		t.Run(m.String(), func(t *testing.T) {
			first := max(from[m], 1)
			for seed := first; seed < first+2000; seed++ {
				_, err := Run(Config{Seed: seed, mutant: m})
				var f *Failure
				if errors.As(err, &f) && slices.Contains(breaks[m], f.Rule) {
					t.Logf("found after %d runs: %v", seed-first+1, f)
					return
				}
			}
			t.Fatal("not found in 2000 runs")
		})
	}
}
