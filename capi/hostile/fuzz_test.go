package hostile

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzArguments: whatever a caller passes, each function of te.h answers with a code of its table and a reason.
func FuzzArguments(f *testing.F) {
	c, err := NewCaller()
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, c.Close()) })
	for i := range byte(14) {
		f.Add([]byte{i, 0, 1, 2, 3, i, 0, 0, 0, 0, 0, 0, 0, 4, 5})
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		require.Empty(t, c.Run(program))
	})
}

// The same without a fuzzer, so that each run of the tests makes some ten thousand calls.
func TestRandomPrograms(t *testing.T) {
	c, err := NewCaller()
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	rng := rand.New(rand.NewPCG(1, 2))
	for seed := range 600 {
		program := make([]byte, 100+rng.IntN(1500))
		for i := range program {
			program[i] = byte(rng.Uint32())
		}
		require.Empty(t, c.Run(program), "program %d", seed)
	}
	t.Log(c.succeeded)
	for _, call := range []string{"te_buffer_register", "te_buffer_drain", "te_segment_open", "te_batch_submit", "te_batch_cancel"} {
		require.Positive(t, c.succeeded[call], "%s never succeeded: the programs are no test of it", call)
	}
}
