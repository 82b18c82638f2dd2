//go:build !invariants && !race

package invariants

// Enabled says whether internal checks run in this build.
const Enabled = false
