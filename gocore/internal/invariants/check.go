package invariants

import "fmt"

// Check panics with the formatted text when ok is false and checks are enabled. Where computing ok costs something, or
// the arguments escape on a hot path, put the call under `if invariants.Enabled`.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant violated: " + fmt.Sprintf(format, args...))
	}
}
