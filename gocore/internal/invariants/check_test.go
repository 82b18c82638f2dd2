package invariants_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/internal/invariants"
)

func TestCheckPanicsOnlyWhenEnabled(t *testing.T) {
	require.NotPanics(t, func() { invariants.Check(true, "never") })
	broken := func() { invariants.Check(false, "%d bytes too many", 3) }
	if invariants.Enabled {
		require.PanicsWithValue(t, "invariant violated: 3 bytes too many", broken)
	} else {
		require.NotPanics(t, broken)
	}
}
