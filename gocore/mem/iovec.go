package mem

import (
	"syscall"
	"unsafe"
)

// MaxIovecs is how many entries the kernel takes in one call (UIO_MAXIOV).
const MaxIovecs = 1024

// Iovec is struct iovec of the kernel with a plain address: what it points to is no concern of Go's collector.
type Iovec struct{ Base, Len uint64 }

// OfBytes describes memory of our own. b must be on the heap and stay reachable until the call returned.
func OfBytes(b []byte) Iovec { return Iovec{Base: Address(b), Len: uint64(len(b))} }

// Readv does one readv on a non-blocking descriptor. errno is EAGAIN when nothing is there and EFAULT when the first
// bytes have nowhere to go; n == 0 without errno is the end of the stream. EFAULT does not say which entry is at
// fault: the kernel reports what came before it only in whole packets, so a caller must try again entry by entry.
func Readv(fd uintptr, iov []Iovec) (n int, errno syscall.Errno) {
	return vector(syscall.SYS_READV, fd, iov)
}

// Writev is Readv in the other direction.
func Writev(fd uintptr, iov []Iovec) (n int, errno syscall.Errno) {
	return vector(syscall.SYS_WRITEV, fd, iov)
}

func vector(trap, fd uintptr, iov []Iovec) (int, syscall.Errno) {
	if len(iov) == 0 {
		return 0, 0
	}
	for {
		r, _, errno := syscall.Syscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
		switch errno {
		case 0:
			return int(r), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
