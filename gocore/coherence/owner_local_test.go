package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// D = 0 skips the wait for peers, and not that for our own batches, which use the memory as local memory (S10).
func TestDrainAtOnceWaitsForLocalUse(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	_, acts := r.drain(0, id)
	require.Empty(t, r.quiet(acts), "a batch of our own is not over")
	require.NotEmpty(t, each[DrainDone](r.localQuiet(id)))
}
