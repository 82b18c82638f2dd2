package mem

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b uintptr) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, unix.Close(fds[0]))
		require.NoError(t, unix.Close(fds[1]))
	})
	return uintptr(fds[0]), uintptr(fds[1])
}

func TestIovecIsTheKernels(t *testing.T) {
	require.Equal(t, unsafe.Sizeof(unix.Iovec{}), unsafe.Sizeof(Iovec{}))
	require.Equal(t, unsafe.Offsetof(unix.Iovec{}.Len), unsafe.Offsetof(Iovec{}.Len))
}

func TestVectoredTransfer(t *testing.T) {
	a, b := pair(t)
	src, dst := mapped(t, 4096), mapped(t, 4096)
	fill(src.Bytes(), 9)
	_, errno := Readv(b, []Iovec{{dst.Addr(), 1}})
	require.Equal(t, syscall.EAGAIN, errno)
	n, errno := Writev(a, []Iovec{{src.Addr(), 10}, {src.Addr() + 100, 20}})
	require.Zero(t, errno)
	require.Equal(t, 30, n)
	n, errno = Readv(b, []Iovec{{dst.Addr(), 15}, {dst.Addr() + 50, 100}})
	require.Zero(t, errno)
	require.Equal(t, 30, n)
	require.Equal(t, src.Bytes()[:10], dst.Bytes()[:10])
	require.Equal(t, src.Bytes()[100:105], dst.Bytes()[10:15])
	require.Equal(t, src.Bytes()[105:120], dst.Bytes()[50:65])
	n, errno = Readv(b, nil)
	require.Zero(t, errno)
	require.Zero(t, n)
}

func TestFaultOfAVectoredCallIsEFAULT(t *testing.T) {
	a, b := pair(t)
	m := mapped(t, 8) // before the hole, which the kernel would give it
	addr, page := hole(t)
	bad := Iovec{addr + uint64(page), 8}
	_, errno := Writev(a, []Iovec{bad})
	require.Equal(t, syscall.EFAULT, errno)
	_, errno = Writev(a, []Iovec{{m.Addr(), 8}})
	require.Zero(t, errno)
	_, errno = Readv(b, []Iovec{bad})
	require.Equal(t, syscall.EFAULT, errno)
}
