package castagnoli

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChecksumIsCastagnoli(t *testing.T) { checkStandard(t) }

// checkStandard holds Update against the standard library, for every length about its steps, many alignments and starts.
func checkStandard(t *testing.T) {
	t.Helper()
	b := make([]byte, 9000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	check := func(off, n int) {
		start := rng.Uint32()
		require.Equal(t, crc32.Update(start, table, b[off:off+n]), Update(start, b[off:off+n]), "%d bytes at %d", n, off)
	}
	for n := range 2100 {
		check(n%67, n)
	}
	for range 2000 {
		n := rng.IntN(len(b) - 64)
		check(rng.IntN(64), n)
	}
	require.EqualValues(t, 0xE3069283, Update(0, []byte("123456789")))
}

func BenchmarkUpdate(b *testing.B) {
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		Update(0, p)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	p := make([]byte, 128<<10)
	require.Zero(t, testing.AllocsPerRun(100, func() { Update(7, p) }))
}
