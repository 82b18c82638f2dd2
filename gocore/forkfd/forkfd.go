// Package forkfd knows which file descriptors belong to the library, so that a forked child can close its copies.
//
// A child of fork() has no Go runtime: only the forking thread lives on in it. Its copies of our sockets would keep
// ports and connections alive after the parent has gone. So every socket and eventfd that the library opens is entered
// here, in a bitmap off the Go heap that the C side (capi/te.c) walks in its pthread_atfork child handler with plain
// close(2). Nothing here closes anything, and exec'd children need none of it: Go opens everything close-on-exec.
//
// The rule for callers: Add right after opening, Remove right *before* closing, so that the bitmap never names a number
// that the process has meanwhile given to something else. A fork between the two leaves one copy open in the child,
// which costs tidiness, not safety. All functions may be called from any goroutine; none blocks or allocates.
package forkfd

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// MaxFD bounds the numbers that are tracked. Linux gives out the lowest free number, so a process would need a million
// open files to pass it; those beyond are not tracked.
const MaxFD = 1 << 20

const wordBits = 64

// The bitmap is one per process, as file descriptors are. It is a private mapping: the child sees it as it was at fork,
// whatever the parent does afterwards.
var bitmap = newBitmap()

func newBitmap() []atomic.Uint64 {
	const size = MaxFD / 8
	m, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
	if err != nil {
		return nil
	}
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&m[0])), MaxFD/wordBits)
}

// Bitmap returns the address of the 64-bit words (bit b of word w is descriptor 64*w+b) and their number; nil and 0
// when the kernel gave no memory for it, and then nothing is tracked. The memory stays mapped for the process's life.
func Bitmap() (unsafe.Pointer, int) {
	if len(bitmap) == 0 {
		return nil, 0
	}
	return unsafe.Pointer(&bitmap[0]), len(bitmap)
}

// Add enters a descriptor that was just opened and reports whether it is tracked now.
func Add(fd int) bool {
	if fd < 0 || fd >= len(bitmap)*wordBits {
		return false
	}
	bitmap[fd/wordBits].Or(1 << (fd % wordBits))
	return true
}

// Remove takes a descriptor out; call it before closing. One that is not tracked, -1 included, is fine.
func Remove(fd int) {
	if fd < 0 || fd >= len(bitmap)*wordBits {
		return
	}
	bitmap[fd/wordBits].And(^uint64(1 << (fd % wordBits)))
}

// Tracked reports whether a descriptor is entered.
func Tracked(fd int) bool {
	return fd >= 0 && fd < len(bitmap)*wordBits && bitmap[fd/wordBits].Load()&(1<<(fd%wordBits)) != 0
}

// Count is how many descriptors are entered, for tests and leak checks.
func Count() int {
	n := 0
	for i := range bitmap {
		for w := bitmap[i].Load(); w != 0; w &= w - 1 {
			n++
		}
	}
	return n
}
