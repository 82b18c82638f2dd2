package mem

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// kernelSigaction is struct sigaction as rt_sigaction takes it.
type kernelSigaction struct {
	handler, flags, restorer, mask uint64
}

func sigaction(t *testing.T, sig unix.Signal, set, old *kernelSigaction) {
	t.Helper()
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(old)), 8, 0, 0)
	require.Zero(t, errno)
}

func TestFaultHandlerIsNoticedWhenTaken(t *testing.T) {
	ok, why := FaultHandlerIntact()
	require.True(t, ok, why)
	libc := libcFunction()
	for name, c := range map[string]struct {
		sig     unix.Signal
		handler uint64
		why     string
	}{
		"default":  {unix.SIGBUS, 0, "default action"},
		"ignored":  {unix.SIGBUS, 1, "ignored"},
		"foreign":  {unix.SIGSEGV, libc, "lies in"},
		"unmapped": {unix.SIGBUS, 4096, "no known object"},
	} {
		t.Run(name, func(t *testing.T) {
			var old kernelSigaction
			sigaction(t, c.sig, nil, &old)
			taken := old
			taken.handler = c.handler
			sigaction(t, c.sig, &taken, nil)
			intact, why := FaultHandlerIntact()
			sigaction(t, c.sig, &old, nil)
			require.False(t, intact)
			require.Contains(t, why, c.why)
		})
	}
	ok, why = FaultHandlerIntact()
	require.True(t, ok, why)
}
