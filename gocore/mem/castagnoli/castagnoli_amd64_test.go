package castagnoli

import "testing"

// Each way of making the checksum gives the same, whichever of them this processor takes.
func TestNarrowerWaysAreCastagnoliToo(t *testing.T) {
	wide, narrow := canFold512, canFold
	defer func() { canFold512, canFold = wide, narrow }()
	canFold512 = false
	checkStandard(t)
	canFold = false
	checkStandard(t)
}
