package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// traceHash is a hash over every line of a run's trace.
func traceHash(t *testing.T, cfg Config) (hash string, lines int) {
	t.Helper()
	h := sha256.New()
	cfg.Trace = func(line string) {
		lines++
		_, _ = io.WriteString(h, line+"\n")
	}
	_, err := Run(cfg)
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil)), lines
}

func TestSeedGivesTheSameRunAgain(t *testing.T) {
	seen := map[string]bool{}
	for seed := uint64(1); seed <= 12; seed++ {
		cfg := Config{Seed: seed, Steps: 2500}
		first, lines := traceHash(t, cfg)
		again, _ := traceHash(t, cfg)
		require.Equal(t, first, again, "seed %d", seed)
		require.Greater(t, lines, 300, "seed %d", seed)
		require.False(t, seen[first], "seed %d is like another", seed)
		seen[first] = true
	}
}

// What is recorded is what happened: keeping all of it changes nothing, and keeping none leaves no fault.
func TestRecordedFaultsReplay(t *testing.T) {
	cfg := Config{Seed: 5, Steps: 2500}
	before, _ := traceHash(t, cfg)
	all := map[Injected]bool{}
	cfg.Record = func(in Injected) { all[in] = true }
	_, err := Run(cfg)
	require.NoError(t, err)
	require.NotEmpty(t, all)

	kept := Config{Seed: 5, Steps: 2500, Keep: all}
	after, _ := traceHash(t, kept)
	require.Equal(t, before, after)

	stats, err := Run(Config{Seed: 5, Steps: 2500, Keep: map[Injected]bool{}})
	require.NoError(t, err)
	require.Zero(t, stats.AllFaults())
}
